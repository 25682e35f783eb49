// Package conformance runs the conformance suite of Gateway API, unmodified, against one `tidegate run` that reads a
// folder of manifests.
//
//	suite ─ client-go ─► API ─► Store ─► manifests ─► tidegate run ─► /api/v1/statuses ─► Store
//	                              ▲ Pods, EndpointSlices: processes in network namespaces
//
// Everything from API to the right stands for a cluster. With a kubeconfig the suite talks to a real one instead, and
// nothing of this is started.
package conformance

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

const (
	controllerName = "tidegate.dev/gateway-controller"
	// GatewayClass is the class that the suite's Gateways are of.
	GatewayClass = "tidegate"
	// UsableAddress is outside the pool, and any process may listen there.
	UsableAddress = "10.99.1.10"
	// UnusableAddress is of no machine (RFC 1112 section 4, class E).
	UnusableAddress = "240.0.0.1"

	admin = "127.0.0.1:9440"
)

// Settings of a plane.
type Settings struct {
	// Tidegate is the program under test, Echo the suite's backend, Self this program: it answers DNS.
	Tidegate, Echo string
	Self           []string
	// Definitions is the folder of CustomResourceDefinitions.
	Definitions string
	// Folder for everything written.
	Folder string
}

// Plane stands for a cluster.
type Plane struct {
	store  *Store
	api    *API
	daemon *exec.Cmd
	end    chan struct{}
}

// StartPlane starts everything, inside the network namespace it finds itself in, and waits until Tidegate is ready.
func StartPlane(settings Settings) (*Plane, error) {
	schemas, err := LoadSchemas(settings.Definitions)
	if err != nil {
		return nil, err
	}
	network := "link set lo up\nlink add pods type bridge\naddr add 10.88.0.1/16 dev pods\naddr add fd00:88::1/64 dev pods nodad\nlink set pods up\n"
	if err := ipBatch(nil, network); err != nil {
		return nil, err
	}
	store := NewStore(schemas)
	pods := &Pods{
		Store:    store,
		Folder:   filepath.Join(settings.Folder, "mounts"),
		Programs: map[string][]string{"/echo-basic:": {settings.Echo}, "/coredns:": settings.Self},
	}
	plane := &Plane{store: store, api: &API{Store: store, Logs: pods.Log}, end: make(chan struct{})}
	manifests := filepath.Join(settings.Folder, "manifests")
	if err := os.MkdirAll(manifests, 0o700); err != nil {
		return nil, err
	}
	if err := replace(manifests, "pool.yaml", []byte(pool)); err != nil {
		return nil, err
	}
	for _, definition := range schemas.Definitions {
		store.Apply(definition)
	}
	store.Apply(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gatewayGroup + "/v1", "kind": "GatewayClass",
		"metadata": map[string]any{"name": GatewayClass},
		"spec":     map[string]any{"controllerName": controllerName},
	}})
	if err := plane.startDaemon(settings, manifests); err != nil {
		return nil, err
	}
	go pods.Run()
	go FollowServices(store)
	go WriteManifests(store, manifests)
	go CopyStatuses(store, admin, plane.end)
	told := func() bool {
		class := store.Get(id{gatewayGroup, "GatewayClass", "", GatewayClass})
		features, _, _ := unstructured.NestedSlice(class.Object, "status", "supportedFeatures")
		return len(features) > 0
	}
	if !until(30*time.Second, told) {
		return nil, fmt.Errorf("tidegate did not accept its GatewayClass; its log is in %s", settings.Folder)
	}
	return plane, nil
}

// Addresses for Gateways that name none. Nothing announces them: whoever asks is on this machine.
const pool = `apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: vips, namespace: metallb-system}
spec: {addresses: [10.99.0.1-10.99.0.250]}
`

func (p *Plane) startDaemon(settings Settings, manifests string) error {
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
	p.daemon = exec.Command(settings.Tidegate, "run", "--config", config, "--manifests", manifests, "--admin", admin)
	p.daemon.Stdout, p.daemon.Stderr = log, log
	p.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.daemon.Start(); err != nil {
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
	if !until(30*time.Second, ready) {
		return fmt.Errorf("tidegate is not ready; its log is in %s", settings.Folder)
	}
	return nil
}

// Stop ends Tidegate in good order; pods end with this process.
func (p *Plane) Stop() error {
	close(p.end)
	if err := p.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("tidegate had ended before: %w", err)
	}
	return p.daemon.Wait()
}

// RestConfig leads clients to the plane.
func (p *Plane) RestConfig() *rest.Config {
	asJSON := rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"}
	return &rest.Config{Host: "http://plane", Transport: p.api, ContentConfig: asJSON, QPS: -1}
}

// Mapper says which path each kind has, so that clients need not ask.
func Mapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, known := range kinds {
		scope := meta.RESTScopeRoot
		if known.namespaced {
			scope = meta.RESTScopeNamespace
		}
		versions := []string{known.kind.Version}
		if known.kind.Group == gatewayGroup {
			versions = []string{"v1", "v1beta1", "v1alpha2", "v1alpha3"}
		}
		for _, version := range versions {
			kind := schema.GroupVersionKind{Group: known.kind.Group, Version: version, Kind: known.kind.Kind}
			plural := kind.GroupVersion().WithResource(known.plural)
			mapper.AddSpecific(kind, plural, plural, scope)
		}
	}
	return mapper
}
