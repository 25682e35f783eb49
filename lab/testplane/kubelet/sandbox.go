package kubelet

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// gateway that every pod sees; its node answers ARP for it, and it stands nowhere.
var gateway = net.IPv4(169, 254, 1, 1)

// Sandbox of a pod: a network namespace without a name, wired to the node as Calico does it: the pod's address is a /32
// on eth0, and the node holds a route to it over its end of the wire.
type Sandbox struct {
	// Address of the pod.
	Address netip.Addr
	network *os.File
	link    string
	pool    *Addresses
}

// NewSandbox for a pod.
func NewSandbox(pool *Addresses, namespace, name string, sysctls map[string]string) (*Sandbox, error) {
	address, err := pool.Take()
	if err != nil {
		return nil, err
	}
	digest := sha1.Sum([]byte(namespace + "." + name))
	sandbox := &Sandbox{Address: address, pool: pool, link: "cali" + hex.EncodeToString(digest[:])[:11]}
	if sandbox.network, err = newNetwork(sysctls); err == nil {
		err = sandbox.wire()
	}
	if err != nil {
		sandbox.Close()
		return nil, err
	}
	return sandbox, nil
}

// Close it: with its last process the namespace goes, and with it both ends of the wire.
func (s *Sandbox) Close() {
	if link, err := netlink.LinkByName(s.link); err == nil {
		_ = netlink.LinkDel(link)
	}
	if s.network != nil {
		_ = s.network.Close()
	}
	s.pool.Free(s.Address)
}

// newNetwork is made by a thread that ends with it: only the descriptor holds it.
func newNetwork(sysctls map[string]string) (*os.File, error) {
	type outcome struct {
		file *os.File
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread must not serve anybody else.
		file, err := func() (*os.File, error) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("making a network namespace: %w", err)
			}
			// As container runtimes set it: ports below 1024 need no privilege inside a pod.
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
				return nil, err
			}
			for name, value := range sysctls {
				if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
					return nil, err
				}
			}
			return os.Open("/proc/thread-self/ns/net")
		}()
		done <- outcome{file, err}
	}()
	made := <-done
	return made.file, made.err
}

func (s *Sandbox) wire() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = s.link
	// Something may be left of a pod of the same name that ended a moment ago.
	if old, err := netlink.LinkByName(s.link); err == nil {
		_ = netlink.LinkDel(old)
	}
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(s.network.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("making %s: %w", s.link, err)
	}
	for _, setting := range []struct{ path, value string }{
		{"ipv4/conf/" + s.link + "/proxy_arp", "1"},
		{"ipv4/conf/" + s.link + "/rp_filter", "0"},
		{"ipv4/neigh/" + s.link + "/proxy_delay", "0"},
	} {
		if err := os.WriteFile("/proc/sys/net/"+setting.path, []byte(setting.value), 0); err != nil {
			return err
		}
	}
	near, err := netlink.LinkByName(s.link)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(near); err != nil {
		return err
	}
	if err := s.wireInside(); err != nil {
		return fmt.Errorf("wiring the pod's side of %s: %w", s.link, err)
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: near.Attrs().Index, Dst: host(s.Address), Scope: netlink.SCOPE_LINK})
}

func (s *Sandbox) wireInside() error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(int(s.network.Fd())))
	if err != nil {
		return err
	}
	defer inside.Close()
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(loopback); err != nil {
		return err
	}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: host(s.Address)}); err != nil {
		return err
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return err
	}
	index := eth0.Attrs().Index
	toGateway := &netlink.Route{LinkIndex: index, Dst: &net.IPNet{IP: gateway, Mask: net.CIDRMask(32, 32)}, Scope: netlink.SCOPE_LINK}
	if err := inside.RouteAdd(toGateway); err != nil {
		return err
	}
	return inside.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway})
}

func host(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())}
}
