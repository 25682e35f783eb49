package plane

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"tidegate.dev/lab/testplane/kubelet"
)

func base64Of(bytes []byte) string { return base64.StdEncoding.EncodeToString(bytes) }

func (p *Plane) kubernetes(arguments ...string) []string {
	return append([]string{filepath.Join(p.Programs, "kubernetes")}, arguments...)
}

// addControl names the components of the control plane.
func (p *Plane) addControl() {
	control := p.namespace("control")
	p.add("etcd", control, p.kubernetes("etcd", "--data-dir", p.path("etcd"), "--listen", fmt.Sprintf("http://127.0.0.1:%d", etcdPort)))
	api := p.kubernetes("kube-apiserver",
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcdPort),
		fmt.Sprintf("--secure-port=%d", apiPort), "--bind-address=0.0.0.0", "--advertise-address="+p.controlAddress().String(),
		"--tls-cert-file="+p.path("server.crt"), "--tls-private-key-file="+p.path("server.key"), "--cert-dir="+p.path("etcd"),
		"--token-auth-file="+p.path("tokens.csv"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range="+p.Services.String(), "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--api-audiences=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+p.path("accounts.key"), "--service-account-signing-key-file="+p.path("accounts.key"),
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority="+p.path("ca.crt"),
		"--kubelet-client-certificate="+p.path("kubelet-client.crt"), "--kubelet-client-key="+p.path("kubelet-client.key"),
		// So that a restart with open watches is no matter of a minute.
		"--shutdown-delay-duration=0s", "--shutdown-watch-termination-grace-period=0s",
	)
	if p.Audit {
		api = append(api, "--audit-policy-file="+p.path("audit-policy.yaml"), "--audit-log-path="+p.path("audit.log"))
	}
	p.add("kube-apiserver", control, api)
	p.add("kube-controller-manager", control, p.kubernetes("kube-controller-manager",
		"--kubeconfig="+p.path("kube-controller-manager.kubeconfig"), "--service-account-private-key-file="+p.path("accounts.key"),
		"--root-ca-file="+p.path("ca.crt"), "--use-service-account-credentials", "--leader-elect=false", "--secure-port=0",
		"--allocate-node-cidrs=true", "--cluster-cidr="+p.Pods.String(), fmt.Sprintf("--node-cidr-mask-size=%d", p.NodeBits),
		"--service-cluster-ip-range="+p.Services.String(),
	))
	p.add("kube-scheduler", control, p.kubernetes("kube-scheduler",
		"--kubeconfig="+p.path("kube-scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0",
	))
	p.add("bird/control", control, p.birdCommand("control"))
}

// addNode names the components of a node, and writes down what its kubelet must know.
func (p *Plane) addNode(index int) error {
	name := p.nodeName(index)
	namespace := p.namespace(name)
	config := kubelet.Config{
		Name: name, Address: p.nodeAddress(index), Server: p.server(), CA: p.path("ca.crt"),
		Certificate: p.path(name, "kubelet.crt"), Key: p.path(name, "kubelet.key"), Token: p.tokens["system:node:"+name],
		Home: p.path(name, "pods"), Runner: filepath.Join(p.Programs, "container"), Images: p.Images, Version: p.version,
		KubernetesService: p.firstService(), ClusterDNS: p.DNS,
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	file := p.path(name, "kubelet.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	p.add("kubelet/"+name, namespace, []string{filepath.Join(p.Programs, "testplane"), "kubelet", file})
	p.add("kube-proxy/"+name, namespace, p.kubernetes("kube-proxy",
		"--kubeconfig="+p.path("kube-proxy.kubeconfig"), "--proxy-mode=nftables", "--hostname-override="+name,
		"--cluster-cidr="+p.Pods.String(), "--conntrack-max-per-core=0", "--metrics-bind-address=127.0.0.1:10249",
		"--healthz-bind-address=0.0.0.0:10256",
	))
	p.add("bird/"+name, namespace, p.birdCommand(name))
	return nil
}

// birdCommand of a host; its configuration is written when its block is known.
func (p *Plane) birdCommand(host string) []string {
	file := func(name string) string { return p.path(host, name) }
	return []string{"bird", "-f", "-c", file("bird.conf"), "-s", file("bird.ctl"), "-P", file("bird.pid")}
}

// versionOf the Kubernetes that was built; its builder wrote it down.
func (p *Plane) versionOf() (string, error) {
	text, err := os.ReadFile(filepath.Join(p.Programs, "version"))
	return strings.TrimSpace(string(text)), err
}

// writeBird the configuration of a host as Calico renders it: its own block as a blackhole, sessions with every other host
// and with routers, everything accepted, only the block sent. The control plane has no block; it only learns.
func (p *Plane) writeBird(host string, own netip.Addr, block netip.Prefix) error {
	if err := os.MkdirAll(p.path(host), 0o700); err != nil {
		return err
	}
	var text strings.Builder
	export, static, mine := "none", "", "false"
	if block.IsValid() {
		export, mine = "filter calico_aggr", fmt.Sprintf("net ~ %s && net.len = 32", block)
		static = fmt.Sprintf("protocol static { ipv4; route %s blackhole; }\nfilter calico_aggr { if ( net = %s ) then accept; reject; }\n", block, block)
	}
	fmt.Fprintf(&text, `router id %[1]s;
log stderr { warning, error, fatal, bug };
%[2]sfilter calico_kernel_programming {
  if ( source = RTS_DEVICE ) then reject;
  if ( %[3]s ) then reject;
  accept;
}
protocol kernel {
  learn;
  persist;
  scan time 2;
  merge paths on;
  graceful restart;
  ipv4 { import all; export filter calico_kernel_programming; };
}
protocol device { scan time 2; }
protocol direct { ipv4; interface -"cali*", "*"; }
template bgp bgp_template {
  local %[1]s as %[4]d;
  multihop;
  ipv4 { gateway recursive; import all; export %[5]s; add paths on; };
  graceful restart;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 5;
}
`, own, static, mine, clusterAS, export)
	for index := range p.Nodes {
		if address := p.nodeAddress(index); address != own {
			p.session(&text, p.nodeName(index), own, address)
		}
	}
	if address := p.controlAddress(); address != own {
		p.session(&text, "control", own, address)
	}
	for index, peer := range p.Peers {
		if host != "control" {
			fmt.Fprintf(&text, "protocol bgp router%d from bgp_template { neighbor %s as %d; }\n", index+1, peer, clusterAS)
		}
	}
	return os.WriteFile(p.path(host, "bird.conf"), []byte(text.String()), 0o600)
}

// session with another host of the plane. Of two one calls, so that no two sessions collide.
func (p *Plane) session(text *strings.Builder, name string, own, other netip.Addr) {
	passive := ""
	if other.Less(own) {
		passive = " passive on;"
	}
	fmt.Fprintf(text, "protocol bgp mesh_%s from bgp_template { neighbor %s as %d;%s }\n", name, other, clusterAS, passive)
}

const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}
`
