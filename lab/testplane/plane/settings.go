// Package plane stands a cluster of Kubernetes up in network namespaces: etcd, the API server, the controller manager and
// the scheduler in one, and nodes with a kubelet, kube-proxy and BIRD in one each. It owns their processes, keys and
// folders, and removes all of it. Nothing of it touches the namespace that it is started in, but one port on its loopback.
package plane

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"tidegate.dev/lab/testplane/kubelet"
)

// Settings of a plane, all with a default.
type Settings struct {
	// ID of the plane: part of the names of its namespaces and of its folder.
	ID string
	// Prefix of its namespaces.
	Prefix string
	// Home is its folder.
	Home string
	// Nodes by number.
	Nodes int
	// Subnet of nodes and control plane; Control and Node are the last byte of the first address of each.
	Subnet        netip.Prefix
	Control, Node uint8
	// Switch is the namespace of the bridge; empty: one of its own. Bridge is its name, and that of every interface on it.
	Switch, Bridge string
	// Via is the default router of nodes and control plane; it may be absent.
	Via netip.Addr
	// Peers are routers that every node tells its block of pods.
	Peers []netip.Addr
	// Pods and Services are ranges of addresses; NodeBits is the size of a node's share of the former.
	Pods, Services netip.Prefix
	NodeBits       int
	// DNS is the name server of pods; it may be absent.
	DNS netip.Addr
	// Images by name.
	Images map[string]kubelet.Image
	// Programs is the folder of the binaries that scripts/testplane built.
	Programs string
	// Audit writes down every request to the API server, without bodies, in audit.log of its folder.
	Audit bool
	// Patience until everything stands.
	Patience time.Duration
}

// AS number of the cluster, Calico's default.
const clusterAS = 64512

const (
	apiPort  = 6443
	etcdPort = 2379
)

func (s *Settings) check() error {
	switch {
	case s.Nodes < 1 || s.Nodes > 20:
		return fmt.Errorf("%d nodes: it can be 1 to 20", s.Nodes)
	case !s.Subnet.IsValid() || !s.Subnet.Addr().Is4() || s.Subnet.Bits() != 24:
		return fmt.Errorf("subnet %s: it must be an IPv4 /24", s.Subnet)
	case int(s.Node)+s.Nodes > 250:
		return fmt.Errorf("%d nodes from .%d on do not fit into %s", s.Nodes, s.Node, s.Subnet)
	case len(s.Bridge) > 9:
		return fmt.Errorf("bridge %q: interfaces named after it would be too long", s.Bridge)
	}
	return nil
}

func (s *Settings) last(byte uint8) netip.Addr {
	bytes := s.Subnet.Addr().As4()
	bytes[3] = byte
	return netip.AddrFrom4(bytes)
}

func (s *Settings) controlAddress() netip.Addr { return s.last(s.Control) }
func (s *Settings) nodeAddress(index int) netip.Addr {
	return s.last(s.Node + uint8(index))
}
func (s *Settings) nodeName(index int) string { return fmt.Sprintf("node%d", index+1) }
func (s *Settings) firstService() netip.Addr  { return s.Services.Masked().Addr().Next() }
func (s *Settings) namespace(name string) string {
	return s.Prefix + name
}
func (s *Settings) path(parts ...string) string {
	return filepath.Join(append([]string{s.Home}, parts...)...)
}
func (s *Settings) server() string { return fmt.Sprintf("https://%s:%d", s.controlAddress(), apiPort) }

// port of the bridge to which a namespace is attached. Several planes may share a bridge, so it carries the address.
func (s *Settings) port(address netip.Addr) string {
	bytes := address.As4()
	return fmt.Sprintf("%s-%d", s.Bridge, bytes[3])
}

// ParseImage of NAME=PROGRAM, or NAME=PROGRAM,ARGUMENT,...
func ParseImage(text string) (string, kubelet.Image, error) {
	name, rest, found := strings.Cut(text, "=")
	parts := strings.Split(rest, ",")
	if !found || name == "" || parts[0] == "" {
		return "", kubelet.Image{}, fmt.Errorf("image %q: it must be NAME=PROGRAM[,ARGUMENT...]", text)
	}
	program, err := filepath.Abs(parts[0])
	return name, kubelet.Image{Program: program, Args: parts[1:]}, err
}
