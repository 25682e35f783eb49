// Package conformance runs the conformance suite of Gateway API, unmodified, against one `tidegate run` that reads a real
// Kubernetes API server and writes there.
//
//	suite ─ client-go ─► kube-apiserver ◄─ watches, statuses ─ tidegate run ─► pods: processes in network namespaces
//
// The cluster is the test plane of lab/testplane, stood up in namespaces of this program; its kubelet runs the suite's own
// backends. With a kubeconfig the suite talks to that cluster instead, and nothing of this is started.
package conformance

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// GatewayClass is the class that the suite's Gateways are of.
	GatewayClass = "tidegate"
	// UsableAddress is outside the pool, and any process may listen there.
	UsableAddress = "10.99.1.10"
	// UnusableAddress is of no machine (RFC 1112 section 4, class E).
	UnusableAddress = "240.0.0.1"

	admin = "127.0.0.1:9440"
	// gatewayAddress on the LAN of the cluster's nodes.
	gatewayAddress = "172.31.0.200/24"
	patience       = 2 * time.Minute
)

// Settings of a plane.
type Settings struct {
	// Tidegate is the program under test, Echo the suite's backend, DNS one that answers questions.
	Tidegate, Echo, DNS string
	// Testplane is the folder of the test plane's programs.
	Testplane string
	// Definitions is the folder of CustomResourceDefinitions.
	Definitions string
	// Folder for everything written.
	Folder string
}

// Plane is a cluster, and Tidegate beside it.
type Plane struct {
	// Kubeconfig leads to the cluster.
	Kubeconfig string

	kubectl  []string
	launcher *exec.Cmd
	orders   io.Closer
	daemon   *exec.Cmd
}

// report of the test plane, as far as it matters here.
type report struct {
	Kubectl    []string `json:"kubectl"`
	Kubeconfig string   `json:"kubeconfig"`
	Switch     string   `json:"switch"`
	Bridge     string   `json:"bridge"`
	Nodes      []struct {
		Address string `json:"address"`
		Pods    string `json:"pods"`
	} `json:"nodes"`
}

// StartPlane starts everything, inside the network namespace it finds itself in, and waits until Tidegate has told its
// GatewayClass what it serves.
func StartPlane(settings Settings) (*Plane, error) {
	if err := ip("link set lo up\n"); err != nil {
		return nil, err
	}
	plane := &Plane{}
	if err := plane.start(settings); err != nil {
		return nil, errors.Join(err, plane.Stop())
	}
	return plane, nil
}

func (p *Plane) start(settings Settings) error {
	cluster, err := p.startCluster(settings)
	if err != nil {
		return err
	}
	p.Kubeconfig, p.kubectl = cluster.Kubeconfig, cluster.Kubectl
	if err := join(cluster); err != nil {
		return err
	}
	// Beside them lies a file that only kustomize reads.
	files, err := filepath.Glob(filepath.Join(settings.Definitions, "*.*.yaml"))
	if err != nil {
		return err
	}
	var definitions []string
	for _, file := range files {
		definitions = append(definitions, "-f", file)
	}
	if err := p.apply(definitions...); err != nil {
		return err
	}
	if _, err := p.ask("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return err
	}
	objects := filepath.Join(settings.Folder, "objects.yaml")
	if err := os.WriteFile(objects, []byte(class), 0o600); err != nil {
		return err
	}
	if err := p.apply("-f", objects); err != nil {
		return err
	}
	if err := p.startDaemon(settings); err != nil {
		return err
	}
	told := func() bool {
		features, err := p.ask("get", "gatewayclass", GatewayClass, "-o", "jsonpath={.status.supportedFeatures[*].name}")
		return err == nil && features != ""
	}
	if !until(patience, told) {
		return fmt.Errorf("tidegate did not accept its GatewayClass; its log is in %s", settings.Folder)
	}
	return nil
}

// startCluster stands the test plane up; it ends when its input does.
func (p *Plane) startCluster(settings Settings) (*report, error) {
	log, err := os.Create(filepath.Join(settings.Folder, "testplane.log"))
	if err != nil {
		return nil, err
	}
	p.launcher = exec.Command(filepath.Join(settings.Testplane, "testplane"), "up", "--nodes", "2",
		"--home", filepath.Join(settings.Folder, "plane"), "--patience", patience.String(),
		"--image", "echo-basic="+settings.Echo, "--image", "coredns="+settings.DNS)
	p.launcher.Stderr = log
	if p.orders, err = p.launcher.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.launcher.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// It cleans up after itself, whatever ends this process.
	p.launcher.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.launcher.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(output)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("no cluster stands; its log is %s", log.Name())
	}
	// Whatever it says later.
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	cluster := &report{}
	return cluster, json.Unmarshal(line, cluster)
}

// join the LAN of the cluster's nodes, with ways to their pods.
func join(cluster *report) error {
	lines := fmt.Sprintf("link add cluster type veth peer name gateway netns %s\naddr add %s dev cluster\nlink set cluster up\n",
		cluster.Switch, gatewayAddress)
	if err := ip(lines); err != nil {
		return err
	}
	if err := ip(fmt.Sprintf("link set gateway master %s up\n", cluster.Bridge), "-n", cluster.Switch); err != nil {
		return err
	}
	var ways strings.Builder
	for _, node := range cluster.Nodes {
		fmt.Fprintf(&ways, "route add %s via %s\n", node.Pods, node.Address)
	}
	return ip(ways.String())
}

// class of the suite's Gateways, and where the Lease of the status writer is.
const class = `apiVersion: v1
kind: Namespace
metadata: {name: tidegate-system}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: tidegate}
spec: {controllerName: tidegate.dev/gateway-controller}
`

// Addresses for Gateways that name none, from a directory: MetalLB's definitions are not in this cluster. Nothing announces
// them: whoever asks is on this machine.
const pool = `apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: vips, namespace: metallb-system}
spec: {addresses: [10.99.0.1-10.99.0.250]}
`

func (p *Plane) startDaemon(settings Settings) error {
	manifests := filepath.Join(settings.Folder, "manifests")
	if err := os.MkdirAll(manifests, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(manifests, "pool.yaml"), []byte(pool), 0o600); err != nil {
		return err
	}
	config := filepath.Join(settings.Folder, "bootstrap.yaml")
	text := fmt.Sprintf("node: lab\nstateDir: %s\naccessLog: {output: %s}\n",
		filepath.Join(settings.Folder, "state"), filepath.Join(settings.Folder, "access.log"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(settings.Folder, "tidegate.log"))
	if err != nil {
		return err
	}
	p.daemon = exec.Command(settings.Tidegate, "run", "--config", config, "--manifests", manifests,
		"--kubeconfig", p.Kubeconfig, "--admin", admin)
	p.daemon.Stdout, p.daemon.Stderr = log, log
	p.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.daemon.Start(); err != nil {
		p.daemon = nil
		return err
	}
	ready := func() bool {
		response, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	if !until(patience, ready) {
		return fmt.Errorf("tidegate is not ready; its log is in %s", settings.Folder)
	}
	return nil
}

// Stop ends Tidegate in good order, and the cluster.
func (p *Plane) Stop() error {
	var failures []error
	if p.daemon != nil {
		if err := p.daemon.Process.Signal(syscall.SIGTERM); err != nil {
			failures = append(failures, fmt.Errorf("tidegate had ended before: %w", err))
		}
		failures = append(failures, p.daemon.Wait())
	}
	if p.orders != nil && p.launcher.Process != nil {
		failures = append(failures, p.orders.Close(), p.launcher.Wait())
	}
	return errors.Join(failures...)
}

// apply objects, whoever made them before.
func (p *Plane) apply(words ...string) error {
	_, err := p.ask(append([]string{"apply", "--server-side", "--force-conflicts"}, words...)...)
	return err
}

// ask the cluster by kubectl.
func (p *Plane) ask(words ...string) (string, error) {
	words = append(append(p.kubectl[1:len(p.kubectl):len(p.kubectl)], "--kubeconfig", p.Kubeconfig), words...)
	output, err := exec.Command(p.kubectl[0], words...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(words, " "), err, output)
	}
	return string(output), nil
}

// ip obeys lines as `ip -batch` takes them, with words before that.
func ip(lines string, words ...string) error {
	command := exec.Command("ip", append(words, "-batch", "-")...)
	command.Stdin = strings.NewReader(lines)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, output)
	}
	return nil
}

func until(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return true
		}
	}
	return holds()
}
