// The program that turns itself into a container. Whoever starts it has put it into new namespaces of mounts, host names
// and processes; it fills them, enters the network namespace, drops what the container may not have and becomes the
// container's program. It never starts a process: it is the first of its namespace, and with it all others end.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
	"tidegate.dev/lab/testplane/container"
)

func init() {
	// The network namespace is a thread's: the one that enters it must be the one that becomes the program.
	runtime.LockOSThread()
}

func main() {
	err := become()
	fmt.Fprintln(os.Stderr, "container:", err)
	os.Exit(container.StartFailed)
}

func become() error {
	pipe := os.NewFile(container.SpecDescriptor, "spec")
	unix.CloseOnExec(container.SpecDescriptor)
	line, err := bufio.NewReader(pipe).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading what to become: %w", err)
	}
	var spec container.Spec
	if err := json.Unmarshal(line, &spec); err != nil {
		return fmt.Errorf("reading what to become: %w", err)
	}
	if spec.Network {
		if err := enterNetwork(); err != nil {
			return fmt.Errorf("entering its network namespace: %w", err)
		}
	}
	if err := fill(&spec); err != nil {
		return err
	}
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("its host name: %w", err)
		}
	}
	os.Clearenv()
	for _, variable := range spec.Env {
		if name, value, found := cut(variable); found {
			_ = os.Setenv(name, value)
		}
	}
	program, err := exec.LookPath(spec.Argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return err
	}
	if spec.Folder != "" {
		if err := os.Chdir(spec.Folder); err != nil {
			return err
		}
	}
	if err := drop(&spec); err != nil {
		return err
	}
	if err := dieWithKubelet(); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", program, unix.Exec(program, spec.Argv, spec.Env))
}

func cut(variable string) (name, value string, found bool) {
	for at, letter := range variable {
		if letter == '=' {
			return variable[:at], variable[at+1:], true
		}
	}
	return "", "", false
}

func enterNetwork() error {
	if err := unix.Setns(container.NetworkDescriptor, unix.CLONE_NEWNET); err != nil {
		return err
	}
	return unix.Close(container.NetworkDescriptor)
}

// fill the root folder, and make it "/". Every mount is private and ends with the container.
func fill(spec *container.Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount(spec.Root, spec.Root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("its root: %w", err)
	}
	for _, system := range []struct {
		kind, path string
		flags      uintptr
	}{
		{"proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
	} {
		target := filepath.Join(spec.Root, system.path)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(system.kind, target, system.kind, system.flags, ""); err != nil {
			return fmt.Errorf("mounting /%s: %w", system.path, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(spec.Root, "tmp"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(spec.Root, "tmp"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	for _, mount := range append(devices(spec), spec.Mounts...) {
		if err := bind(spec.Root, mount); err != nil {
			return fmt.Errorf("mounting %s at %s: %w", mount.From, mount.To, err)
		}
	}
	if spec.ReadOnlyRoot {
		if err := unix.Mount("", spec.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("making its root read-only: %w", err)
		}
	}
	return pivot(spec.Root)
}

func devices(spec *container.Spec) []container.Mount {
	if spec.Devices {
		return []container.Mount{{From: "/dev", To: "/dev"}}
	}
	var mounts []container.Mount
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		mounts = append(mounts, container.Mount{From: "/dev/" + name, To: "/dev/" + name})
	}
	return mounts
}

func bind(root string, mount container.Mount) error {
	about, err := os.Stat(mount.From)
	if err != nil {
		return err
	}
	target := filepath.Join(root, mount.To)
	if about.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = touch(target)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(mount.From, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if mount.ReadOnly {
		return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

func touch(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// pivot makes a folder "/", and lets go of everything else.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root comes to lie over the new one at ".", and is taken off there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing its root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting go of the host's files: %w", err)
	}
	return os.Chdir("/")
}

// drop whatever the container may not have. Group ids go first: a user who is not root could not change them.
func drop(spec *container.Spec) error {
	for capability := range 64 {
		if spec.Capabilities&(1<<capability) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // The kernel knows no more.
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d: %w", capability, err)
		}
	}
	if err := unix.Setgroups(spec.Groups); err != nil {
		return fmt.Errorf("its groups: %w", err)
	}
	if err := unix.Setresgid(spec.Group, spec.Group, spec.Group); err != nil {
		return fmt.Errorf("its group: %w", err)
	}
	if err := unix.Setresuid(spec.User, spec.User, spec.User); err != nil {
		return fmt.Errorf("its user: %w", err)
	}
	if spec.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("forbidding new privileges: %w", err)
		}
	}
	return nil
}

// dieWithKubelet asks for a signal when who started us ends, once more: a change of the user takes it back. Who ended
// before has closed its end of the pipe.
func dieWithKubelet() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	pipe := []unix.PollFd{{Fd: container.SpecDescriptor}}
	if _, err := unix.Poll(pipe, 0); err != nil {
		return err
	}
	if pipe[0].Revents&unix.POLLHUP != 0 {
		return errors.New("who started it is gone")
	}
	return nil
}
