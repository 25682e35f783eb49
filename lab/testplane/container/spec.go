// Package container says what a container is to the kernel: the program that turns itself into one reads it.
package container

// Spec of a container: everything that is settled before its program begins.
type Spec struct {
	// Root is an empty folder that becomes "/".
	Root string
	// Mounts into it, in this order.
	Mounts []Mount
	// ReadOnlyRoot leaves only mounts writable.
	ReadOnlyRoot bool
	// Network says that a network namespace is given; without it the container runs in the one of who starts it.
	Network bool
	// Devices of the host are all there; without it only null, zero, full, random, urandom and tty.
	Devices bool
	// Hostname inside; empty: the host's.
	Hostname string
	// Argv begins with the program, a path inside.
	Argv []string
	// Env as NAME=VALUE.
	Env []string
	// Folder in which it begins; empty: "/".
	Folder string
	// User and group ids, and further groups.
	User, Group int
	Groups      []int
	// Capabilities that it and whatever it starts may ever have, by number as a bit.
	Capabilities uint64
	// NoNewPrivileges: no program that it starts gets more than it has.
	NoNewPrivileges bool
}

// Mount makes a file or folder of the host visible inside.
type Mount struct {
	// From is a path outside, To one inside.
	From, To string
	ReadOnly bool
}

// Descriptors with which the program begins.
const (
	// SpecDescriptor is where the Spec is read as JSON, one line; the other end stays open as long as who started it lives.
	SpecDescriptor = 3
	// NetworkDescriptor is the network namespace to run in, if one is given.
	NetworkDescriptor = 4
)

// StartFailed is the exit status of a program that could not become the container; why is on its standard error.
const StartFailed = 128
