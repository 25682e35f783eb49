package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tidegate.dev/lab/testplane/network"
)

// Plane that stands, or is being stood up.
type Plane struct {
	Settings
	version  string
	tokens   map[string]string
	relay    net.Listener
	mutex    sync.Mutex
	parts    map[string]*component
	order    []string
	lock     *os.File
	routable map[string]bool
	// ownSwitch: the bridge, and its namespace, are this plane's and go with it.
	ownSwitch bool
}

// Report of a plane that stands: what its users need to know of it.
type Report struct {
	ID      string `json:"id"`
	Home    string `json:"home"`
	Version string `json:"version"`
	// Kubectl is a command; Kubeconfig leads to a port on this machine's loopback, InsideKubeconfig to the same server from the bridge.
	Kubectl          []string `json:"kubectl"`
	Kubeconfig       string   `json:"kubeconfig"`
	InsideKubeconfig string   `json:"insideKubeconfig"`
	Server           string   `json:"server"`
	Control          Host     `json:"control"`
	Nodes            []Host   `json:"nodes"`
	// Switch and Bridge to which more can be attached.
	Switch string `json:"switch"`
	Bridge string `json:"bridge"`
	// ReadySecs until the API server was ready, StandingSecs until everything else was: nodes, routes, the first ServiceAccount.
	ReadySecs    float64 `json:"readySecs"`
	StandingSecs float64 `json:"standingSecs"`
}

// Host of a plane.
type Host struct {
	Name      string       `json:"name"`
	Namespace string       `json:"namespace"`
	Address   netip.Addr   `json:"address"`
	Pods      netip.Prefix `json:"pods,omitzero"`
}

// Up stands a plane up. What it could not finish it removes.
func Up(ctx context.Context, settings Settings) (*Plane, *Report, error) {
	if err := settings.check(); err != nil {
		return nil, nil, err
	}
	plane := &Plane{Settings: settings, parts: map[string]*component{}}
	if err := plane.claim(); err != nil {
		return nil, nil, err
	}
	ctx, done := context.WithTimeout(ctx, settings.Patience)
	defer done()
	report, err := plane.stand(ctx)
	if err != nil {
		err = errors.Join(err, plane.tails())
		return nil, nil, errors.Join(err, plane.Down())
	}
	return plane, report, nil
}

func (p *Plane) stand(ctx context.Context) (*Report, error) {
	began := time.Now()
	var err error
	if p.version, err = p.versionOf(); err != nil {
		return nil, err
	}
	if err := p.wire(); err != nil {
		return nil, err
	}
	if err := p.keys(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	p.addControl()
	for index := range p.Nodes {
		if err := p.addNode(index); err != nil {
			return nil, err
		}
	}
	if err := p.listen(); err != nil {
		return nil, err
	}
	ready, err := p.startAll(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{
		ID: p.ID, Home: p.Home, Version: p.version, Kubectl: p.kubernetes("kubectl"),
		Kubeconfig: p.path("kubeconfig"), InsideKubeconfig: p.path("inside.kubeconfig"), Server: p.server(),
		Control: Host{Name: "control", Namespace: p.namespace("control"), Address: p.controlAddress()},
		Switch:  p.Switch, Bridge: p.Bridge,
		ReadySecs: ready.Sub(began).Seconds(), StandingSecs: time.Since(began).Seconds(),
	}
	for index := range p.Nodes {
		name := p.nodeName(index)
		report.Nodes = append(report.Nodes, Host{name, p.namespace(name), p.nodeAddress(index), p.block(name)})
	}
	return report, nil
}

// wire namespaces to the bridge; the bridge too, unless it is somebody else's.
func (p *Plane) wire() error {
	if p.Switch == "" {
		p.Switch, p.ownSwitch = p.namespace("lan"), true
		if err := network.Create(p.Switch); err != nil {
			return err
		}
		if err := network.Bridge(p.Switch, p.Bridge); err != nil {
			return err
		}
	}
	if err := p.attach("control", p.controlAddress()); err != nil {
		return err
	}
	for index := range p.Nodes {
		if err := p.attach(p.nodeName(index), p.nodeAddress(index)); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plane) attach(name string, address netip.Addr) error {
	namespace := p.namespace(name)
	if err := network.Create(namespace); err != nil {
		return err
	}
	own := netip.PrefixFrom(address, p.Subnet.Bits())
	if err := network.Attach(namespace, own, p.Switch, p.Bridge, p.port(address)); err != nil {
		return err
	}
	all := netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 0)
	if p.Via.IsValid() {
		return network.Route(namespace, all, p.Via, p.Bridge)
	}
	// Proxy ARP answers pods only for what has a route elsewhere, which a default route does; and Service addresses need
	// some route before kube-proxy gives them another destination.
	if err := network.Route(namespace, netip.MustParsePrefix("169.254.1.1/32"), netip.Addr{}, p.Bridge); err != nil {
		return err
	}
	return network.Route(namespace, p.Services.Masked(), netip.Addr{}, p.Bridge)
}

// Down removes a plane and everything that belongs to it.
func (p *Plane) Down() error {
	if p.relay != nil {
		_ = p.relay.Close()
	}
	p.killAll()
	var failed []error
	if !p.ownSwitch && p.Switch != "" {
		failed = append(failed, network.Detach(p.Switch, p.port(p.controlAddress())))
		for index := range p.Nodes {
			failed = append(failed, network.Detach(p.Switch, p.port(p.nodeAddress(index))))
		}
	}
	failed = append(failed, clear(p.mine()))
	failed = append(failed, os.RemoveAll(p.Home))
	if p.lock != nil {
		_ = p.lock.Close()
	}
	return errors.Join(failed...)
}

// mine lists the namespaces of this plane, whichever of them there are.
func (p *Plane) mine() []string {
	names := []string{p.namespace("control")}
	if p.ownSwitch {
		names = append(names, p.Switch)
	}
	for index := range p.Nodes {
		names = append(names, p.namespace(p.nodeName(index)))
	}
	var there []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(network.Names, name)); err == nil {
			there = append(there, name)
		}
	}
	return there
}

// JSON of a report, in one line.
func (r *Report) JSON() string {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Sprintf("{%q: %q}", "error", err)
	}
	return string(text)
}
