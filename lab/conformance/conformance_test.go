package conformance

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	v1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayapi "sigs.k8s.io/gateway-api/conformance"
)

var (
	tidegate    = flag.String("tidegate", "tidegate", "the program under test")
	echo        = flag.String("echo", "echo-basic", "the suite's backend, built")
	testplane   = flag.String("testplane", "", "the folder of the test plane's programs")
	definitions = flag.String("definitions", "", "the folder of Gateway API's CustomResourceDefinitions")
	folder      = flag.String("folder", "", "where everything is written; empty: a temporary folder")
	table       = flag.String("table", "", "the page whose table of all tests is written anew; empty: none")
)

// inside marks this program where it has namespaces of its own.
const inside = "TIDEGATE_CONFORMANCE_INSIDE"

// dnsServer is the name under which this program answers DNS: that of the image it stands for.
const dnsServer = "coredns"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == dnsServer {
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
	return os.Getenv(inside) == "" && (os.Getenv("KUBECONFIG") != "" || (given != nil && given.Value.String() != ""))
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
	if err := prepareMounts(); err != nil {
		return failed("mounts", err)
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
	plane, err := StartPlane(Settings{
		Tidegate: *tidegate, Echo: *echo, DNS: self, Testplane: *testplane, Definitions: *definitions, Folder: where,
	})
	if err != nil {
		return failed("start", err)
	}
	if err := os.Setenv("KUBECONFIG", plane.Kubeconfig); err != nil {
		return failed("kubeconfig", err)
	}
	code := m.Run()
	if err := plane.Stop(); err != nil {
		return failed("stop", err)
	}
	return code
}

// prepareMounts so that nothing of this program's is seen outside: its processes, and names of network namespaces.
func prepareMounts() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("names", "/run/netns", "tmpfs", 0, ""); err != nil {
		return err
	}
	return syscall.Mount("proc", "/proc", "proc", 0, "")
}

// copySelf puts this program where a pod finds it, under the name of the image it stands for.
func copySelf(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer source.Close()
	path := filepath.Join(folder, dnsServer)
	_ = os.Remove(path)
	target, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	defer target.Close()
	_, err = io.Copy(target, source)
	return path, err
}

// Every core test and every test of a feature that Tidegate says it supports must pass.
func TestConformance(t *testing.T) {
	options := gatewayapi.DefaultOptions(t)
	if os.Getenv(inside) != "" {
		chosen := &options.ConfigurableOptions
		chosen.GatewayClassName = GatewayClass
		address := func(text string) []v1.GatewaySpecAddress {
			return []v1.GatewaySpecAddress{{Type: new(v1.IPAddressType), Value: text}}
		}
		chosen.UsableNetworkAddresses, chosen.UnusableNetworkAddresses = address(UsableAddress), address(UnusableAddress)
		if len(chosen.ConformanceProfiles) == 0 {
			for _, profile := range profiles {
				chosen.ConformanceProfiles = append(chosen.ConformanceProfiles, profile.Name)
			}
		}
	}
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
