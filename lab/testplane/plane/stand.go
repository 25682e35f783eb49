package plane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"tidegate.dev/lab/testplane/network"
)

// startAll in an order in which nothing waits longer than it must; when the API server was ready.
func (p *Plane) startAll(ctx context.Context) (time.Time, error) {
	if err := os.MkdirAll(p.path("logs"), 0o700); err != nil {
		return time.Time{}, err
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := p.Start(name); err != nil {
			return time.Time{}, err
		}
	}
	client, err := p.client()
	if err != nil {
		return time.Time{}, err
	}
	if err := p.until(ctx, "a ready API server", func() error { return get(ctx, client, p.url("/readyz"), nil) }); err != nil {
		return time.Time{}, err
	}
	ready := time.Now()
	for _, name := range p.order {
		if p.parts[name].ended == nil && filepath.Dir(name) != "bird" {
			if err := p.Start(name); err != nil {
				return ready, err
			}
		}
	}
	p.routable = map[string]bool{}
	err = p.until(ctx, "nodes with blocks of addresses", func() error { return p.route(ctx, client) })
	if err != nil {
		return ready, err
	}
	// Without it no pod can be made.
	account := p.url("/api/v1/namespaces/default/serviceaccounts/default")
	if err := p.until(ctx, "the ServiceAccount of the default namespace", func() error { return get(ctx, client, account, nil) }); err != nil {
		return ready, err
	}
	if err := p.until(ctx, "ready nodes", func() error { return p.nodesReady(ctx, client) }); err != nil {
		return ready, err
	}
	return ready, p.until(ctx, "routes to all pods", p.routed)
}

// nodes as far as they matter here.
type nodes struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			PodCIDR string `json:"podCIDR"`
			Taints  []struct {
				Key string `json:"key"`
			} `json:"taints"`
		} `json:"spec"`
		Status struct {
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
		} `json:"status"`
	} `json:"items"`
}

// route pods of every node that has a block by now.
func (p *Plane) route(ctx context.Context, client *http.Client) error {
	var all nodes
	if err := get(ctx, client, p.url("/api/v1/nodes"), &all); err != nil {
		return err
	}
	for _, node := range all.Items {
		block, err := netip.ParsePrefix(node.Spec.PodCIDR)
		name := node.Metadata.Name
		if err != nil || p.routable[name] {
			continue
		}
		for index := range p.Nodes {
			if p.nodeName(index) != name {
				continue
			}
			if err := p.writeBird(name, p.nodeAddress(index), block); err != nil {
				return err
			}
			if err := os.WriteFile(p.path(name, "block"), []byte(block.String()), 0o600); err != nil {
				return err
			}
			if err := p.Start("bird/" + name); err != nil {
				return err
			}
			p.routable[name] = true
		}
	}
	if !p.routable["control"] {
		if err := p.writeBird("control", p.controlAddress(), netip.Prefix{}); err != nil {
			return err
		}
		if err := p.Start("bird/control"); err != nil {
			return err
		}
		p.routable["control"] = true
	}
	if len(p.routable) <= p.Nodes {
		return fmt.Errorf("%d of %d nodes", len(p.routable)-1, p.Nodes)
	}
	return nil
}

// block of a node's pods.
func (p *Plane) block(name string) netip.Prefix {
	text, _ := os.ReadFile(p.path(name, "block"))
	block, _ := netip.ParsePrefix(string(text))
	return block
}

func (p *Plane) nodesReady(ctx context.Context, client *http.Client) error {
	var all nodes
	if err := get(ctx, client, p.url("/api/v1/nodes"), &all); err != nil {
		return err
	}
	ready := 0
	for _, node := range all.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" && len(node.Spec.Taints) == 0 {
				ready++
			}
		}
	}
	if ready < p.Nodes {
		return fmt.Errorf("%d of %d are ready and take pods", ready, p.Nodes)
	}
	return nil
}

// routed says whether every host has a route to the pods of every other.
func (p *Plane) routed() error {
	hosts := []string{"control"}
	for index := range p.Nodes {
		hosts = append(hosts, p.nodeName(index))
	}
	for _, host := range hosts {
		err := network.Inside(p.namespace(host), func() error {
			routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			known := map[string]bool{}
			for _, route := range routes {
				if route.Dst != nil {
					known[route.Dst.String()] = true
				}
			}
			for index := range p.Nodes {
				name := p.nodeName(index)
				if !known[p.block(name).String()] {
					return fmt.Errorf("%s has no route to the pods of %s", host, name)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// until it succeeds. Whatever ends meanwhile will not come back by itself.
func (p *Plane) until(ctx context.Context, what string, work func() error) error {
	for {
		err := work()
		if err == nil {
			return nil
		}
		if broken := p.check(); broken != nil {
			return fmt.Errorf("waiting for %s: %w", what, broken)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s in vain: %w", what, err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// listen on the loopback of the namespace that this process is in, and hand connections on to the API server: so that
// tests and people need not enter a namespace to ask it.
func (p *Plane) listen() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.relay = listener
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go p.hand(connection)
		}
	}()
	return p.kubeconfig(p.path("kubeconfig"), p.url(""), "admin")
}

func (p *Plane) url(path string) string { return "https://" + p.relay.Addr().String() + path }

func (p *Plane) hand(near net.Conn) {
	defer near.Close()
	var far net.Conn
	err := network.Inside(p.namespace("control"), func() (err error) {
		far, err = net.DialTimeout("tcp", fmt.Sprintf("%s:%d", p.controlAddress(), apiPort), 5*time.Second)
		return err
	})
	if err != nil {
		return
	}
	defer far.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done
}

// client of the API server with every right.
func (p *Plane) client() (*http.Client, error) {
	ca, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &http.Client{Transport: &bearer{p.tokens["admin"], transport}, Timeout: 5 * time.Second}, nil
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(request)
}

// get an object, or just an answer that is no error.
func get(ctx context.Context, client *http.Client, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body[:min(len(body), 300)])
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}
