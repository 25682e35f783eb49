// Package network makes network namespaces with names, as `ip netns` knows them, and wires them to a bridge. Nothing is
// made in the namespace that it was called in.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Names is where `ip netns` keeps them.
const Names = "/run/netns"

// Create a namespace with forwarding on, reverse-path filters off and its loopback up.
func Create(name string) error {
	if err := os.MkdirAll(Names, 0o755); err != nil {
		return err
	}
	path := filepath.Join(Names, name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	_ = file.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread ends with this function.
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			loopback, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			for setting, value := range map[string]string{
				"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
				"ipv6/conf/default/accept_dad": "0",
			} {
				if err := os.WriteFile("/proc/sys/net/"+setting, []byte(value), 0); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(loopback)
		}()
	}()
	if err := <-done; err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return nil
}

// Remove a namespace; what is inside goes with its last process.
func Remove(name string) error {
	path := filepath.Join(Names, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// Beginning lists namespaces whose names begin so.
func Beginning(prefix string) []string {
	entries, _ := os.ReadDir(Names)
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			names = append(names, entry.Name())
		}
	}
	return names
}

// Inside runs work on a thread that is in a namespace; what it starts or opens stays there. The thread comes back, because
// what it has started would die with it.
func Inside(name string, work func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join(Names, name))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering %s: %w", name, err)
	}
	failed := work()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// A thread that is elsewhere must never serve anybody else.
		panic(fmt.Sprintf("coming back from %s: %v", name, err))
	}
	runtime.UnlockOSThread()
	return failed
}

// Bridge in a namespace.
func Bridge(namespace, name string) error {
	return Inside(namespace, func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = name
		snooping := false
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}); err != nil {
			return fmt.Errorf("bridge %s in %s: %w", name, namespace, err)
		}
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
}

// Attach a namespace to a bridge in another: its interface has the bridge's name.
func Attach(namespace string, address netip.Prefix, switchboard, bridge, port string) error {
	far, err := netns.GetFromName(namespace)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", namespace, err)
	}
	defer far.Close()
	err = Inside(switchboard, func() error {
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			return fmt.Errorf("bridge %s in %s: %w", bridge, switchboard, err)
		}
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.MasterIndex = port, master.Attrs().Index
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: bridge, PeerNamespace: netlink.NsFd(int(far))}); err != nil {
			return fmt.Errorf("port %s of bridge %s: %w", port, bridge, err)
		}
		near, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(near)
	})
	if err != nil {
		return err
	}
	return Inside(namespace, func() error {
		link, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		own := &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen())}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: own}); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
}

// Detach the port of a namespace from its bridge, if both are still there.
func Detach(switchboard, port string) error {
	if _, err := os.Stat(filepath.Join(Names, switchboard)); err != nil {
		return nil
	}
	return Inside(switchboard, func() error {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return nil // It is gone already.
		}
		return netlink.LinkDel(link)
	})
}

// Route in a namespace, over a neighbour or, without one, over the interface itself.
func Route(namespace string, to netip.Prefix, via netip.Addr, over string) error {
	return Inside(namespace, func() error {
		link, err := netlink.LinkByName(over)
		if err != nil {
			return err
		}
		route := &netlink.Route{
			LinkIndex: link.Attrs().Index,
			Dst:       &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
		}
		if via.IsValid() {
			route.Gw = via.AsSlice()
		} else {
			route.Scope = netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s in %s: %w", to, namespace, err)
		}
		return nil
	})
}

// Processes that are inside any of these namespaces.
func Processes(names []string) []int {
	type identity struct{ device, inode uint64 }
	wanted := map[identity]bool{}
	var about unix.Stat_t
	for _, name := range names {
		if unix.Stat(filepath.Join(Names, name), &about) == nil {
			wanted[identity{about.Dev, about.Ino}] = true
		}
	}
	entries, _ := os.ReadDir("/proc")
	var found []int
	for _, entry := range entries {
		var number int
		if _, err := fmt.Sscanf(entry.Name(), "%d", &number); err != nil || number == os.Getpid() {
			continue
		}
		if unix.Stat(filepath.Join("/proc", entry.Name(), "ns/net"), &about) == nil && wanted[identity{about.Dev, about.Ino}] {
			found = append(found, number)
		}
	}
	return found
}
