package conformance

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	v1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/apis/v1alpha2"
	"sigs.k8s.io/gateway-api/apis/v1beta1"
	gatewayapi "sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/flags"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

var (
	tidegate    = flag.String("tidegate", "tidegate", "the program under test")
	echo        = flag.String("echo", "echo-basic", "the suite's backend, built")
	definitions = flag.String("definitions", "", "the folder of Gateway API's CustomResourceDefinitions")
	folder      = flag.String("folder", "", "where everything is written; empty: a temporary folder")
	table       = flag.String("table", "", "the page whose table of all tests is written anew; empty: none")
)

// inside marks this program where it has namespaces of its own.
const inside = "TIDEGATE_CONFORMANCE_INSIDE"

var plane *Plane

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "dns" {
		fmt.Fprintln(os.Stderr, ServeDNS())
		os.Exit(1)
	}
	flag.Parse()
	switch {
	case realCluster():
		os.Exit(m.Run())
	case os.Getenv(inside) == "":
		os.Exit(enter())
	default:
		os.Exit(runInside(m))
	}
}

// realCluster says whether a kubeconfig is given: then the suite talks to that cluster.
func realCluster() bool {
	given := flag.Lookup("kubeconfig")
	return os.Getenv("KUBECONFIG") != "" || (given != nil && given.Value.String() != "")
}

// enter starts this program again with network, mounts and processes of its own: whatever happens, nothing is left.
func enter() int {
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Env = append(os.Environ(), inside+"=1")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := command.Run(); err != nil {
		if ended, ok := err.(*exec.ExitError); ok {
			return ended.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "conformance: no namespaces (root is needed):", err)
		return 2
	}
	return 0
}

func runInside(m *testing.M) int {
	failed := func(what string, err error) int {
		fmt.Fprintf(os.Stderr, "conformance: %s: %v\n", what, err)
		return 2
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return failed("mounts", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return failed("/proc", err)
	}
	where := *folder
	if where == "" {
		made, err := os.MkdirTemp("", "tidegate-conformance-")
		if err != nil {
			return failed("folder", err)
		}
		defer os.RemoveAll(made)
		where = made
	}
	where, err := filepath.Abs(where)
	if err != nil {
		return failed("folder", err)
	}
	self, err := copySelf(where)
	if err != nil {
		return failed("self", err)
	}
	plane, err = StartPlane(Settings{
		Tidegate: *tidegate, Echo: *echo, Self: []string{self, "dns"}, Definitions: *definitions, Folder: where,
	})
	if err != nil {
		return failed("start", err)
	}
	code := m.Run()
	if err := plane.Stop(); err != nil {
		return failed("stop", err)
	}
	return code
}

// copySelf puts this program where a pod finds it: /proc/self/exe would be the pod's own.
func copySelf(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer source.Close()
	path := filepath.Join(folder, "self")
	_ = os.Remove(path)
	target, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		return "", err
	}
	defer target.Close()
	_, err = io.Copy(target, source)
	return path, err
}

// Every core test and every test of a feature that Tidegate says it supports must pass.
func TestConformance(t *testing.T) {
	if realCluster() {
		gatewayapi.RunConformance(t)
		return
	}
	options := options(t)
	results := NewTable()
	options.Hook = results.Note
	t.Cleanup(func() {
		if *table == "" {
			return
		}
		if err := results.Write(*table); err != nil {
			t.Error(err)
		}
	})
	gatewayapi.RunConformanceWithOptions(t, options)
}

func options(t *testing.T) suite.ConformanceOptions {
	log.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	known := scheme.Scheme
	for _, add := range []func() error{
		func() error { return appsv1.AddToScheme(known) },
		func() error { return v1.Install(known) },
		func() error { return v1beta1.Install(known) },
		func() error { return v1alpha2.Install(known) },
		func() error { return apiextensionsv1.AddToScheme(known) },
	} {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	rest := plane.RestConfig()
	clientOptions := client.Options{Scheme: known, Mapper: Mapper()}
	direct, err := client.New(rest, clientOptions)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(rest)
	if err != nil {
		t.Fatal(err)
	}
	chosen := suite.ConfigurableOptions{
		GatewayClassName:         GatewayClass,
		CleanupBaseResources:     true,
		CleanupTestResources:     true,
		Mode:                     flags.DefaultMode,
		TimeoutConfig:            config.DefaultTimeoutConfig(),
		UsableNetworkAddresses:   []v1.GatewaySpecAddress{{Type: new(v1.IPAddressType), Value: UsableAddress}},
		UnusableNetworkAddresses: []v1.GatewaySpecAddress{{Type: new(v1.IPAddressType), Value: UnusableAddress}},
	}
	for _, profile := range profiles {
		chosen.ConformanceProfiles = append(chosen.ConformanceProfiles, profile.Name)
	}
	flags.ApplyAll(&chosen)
	return suite.ConformanceOptions{
		ConfigurableOptions: chosen,
		Client:              direct,
		ClientOptions:       clientOptions,
		Clientset:           clients,
		RestConfig:          rest,
		ManifestFS:          []fs.FS{&gatewayapi.Manifests},
	}
}
