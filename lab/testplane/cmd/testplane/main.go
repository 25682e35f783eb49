// testplane stands a Kubernetes cluster up in network namespaces, or is the kubelet of one of its nodes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
	"tidegate.dev/lab/testplane/kubelet"
	"tidegate.dev/lab/testplane/plane"
)

const usage = `usage:
  testplane up [flags]        stand a cluster up; ends with Ctrl-C, SIGTERM or the end of its input
  testplane sweep             remove what is left of clusters whose owner was killed
  testplane send [flags]      send requests to an API server, METHOD PATH BODY on each line of its input
  testplane kubelet CONFIG    be the kubelet of a node (internal)
`

func init() {
	// Threads that were in another network namespace end with their work, but the first one cannot end: it would stay
	// there, and be what others take for this process's namespace. So it serves only main.
	runtime.LockOSThread()
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	if err := obey(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testplane:", err)
		os.Exit(1)
	}
}

func obey(ctx context.Context, words []string) error {
	switch {
	case len(words) >= 1 && words[0] == "up":
		return up(ctx, words[1:])
	case len(words) >= 1 && words[0] == "send":
		return send(ctx, words[1:])
	case len(words) == 1 && words[0] == "sweep":
		plane.Sweep()
		return nil
	case len(words) == 2 && words[0] == "kubelet":
		klog.LogToStderr(true)
		config, err := kubelet.ReadConfig(words[1])
		if err != nil {
			return err
		}
		return kubelet.Run(ctx, config)
	}
	return errors.New(usage)
}

// up stands until the context or standard input ends.
func up(ctx context.Context, words []string) error {
	settings, err := read(words)
	if err != nil {
		return err
	}
	plane.Sweep()
	standing, report, err := plane.Up(ctx, *settings)
	if err != nil {
		return err
	}
	fmt.Println(report.JSON())
	ended := make(chan struct{})
	go func() {
		standing.Obey(os.Stdin, os.Stdout)
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	return standing.Down()
}

func read(words []string) (*plane.Settings, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	settings := &plane.Settings{Images: map[string]kubelet.Image{}, NodeBits: 26, Programs: filepath.Dir(self), Patience: time.Minute}
	settings.Images["echo"] = kubelet.Image{Program: filepath.Join(settings.Programs, "echo")}
	flags := flag.NewFlagSet("testplane up", flag.ContinueOnError)
	flags.StringVar(&settings.ID, "id", plane.NewID(), "part of the names of its namespaces and of its folder")
	flags.StringVar(&settings.Prefix, "prefix", "", "what the names of its namespaces begin with (default tgp-ID-)")
	flags.StringVar(&settings.Home, "home", "", "its folder, which must not be there yet (default "+plane.Root+"/ID)")
	flags.IntVar(&settings.Nodes, "nodes", 3, "how many nodes, node1 and so on")
	flags.StringVar(&settings.Switch, "switch", "", "namespace of the bridge to which nodes are attached (default: one of its own)")
	flags.StringVar(&settings.Bridge, "bridge", "cluster", "name of the bridge, and of the interface of every node")
	control := flags.Uint("control", 10, "last byte of the control plane's address")
	node := flags.Uint("node", 11, "last byte of the first node's address")
	flags.DurationVar(&settings.Patience, "patience", settings.Patience, "how long standing up may take")
	flags.BoolVar(&settings.Audit, "audit", false, "write every request to the API server to audit.log")
	text := func(name, value, about string, parse func(string) error) {
		if value != "" {
			_ = parse(value)
			about += " (default " + value + ")"
		}
		flags.Func(name, about, parse)
	}
	text("subnet", "172.31.0.0/24", "of nodes and control plane", prefix(&settings.Subnet))
	text("pods", "10.244.0.0/16", "addresses of pods", prefix(&settings.Pods))
	text("services", "10.96.0.0/16", "addresses of Services", prefix(&settings.Services))
	text("via", "", "default router of nodes and control plane (default: none)", address(&settings.Via))
	text("dns", "", "name server of pods (default: none)", address(&settings.DNS))
	text("peers", "", "routers, separated by commas, that BIRD of every node tells its pods", func(text string) error {
		for one := range strings.SplitSeq(text, ",") {
			var peer netip.Addr
			if err := address(&peer)(one); err != nil {
				return err
			}
			settings.Peers = append(settings.Peers, peer)
		}
		return nil
	})
	text("image", "", "NAME=PROGRAM[,ARGUMENT...]: what a pod's image of this name runs; may be repeated", func(text string) error {
		name, image, err := plane.ParseImage(text)
		settings.Images[name] = image
		return err
	})
	text("images", "", "file of JSON with further images: {\"NAME\": {\"Program\": \"...\", \"Folder\": \"...\", \"Args\": [], \"Env\": []}}", func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &settings.Images)
	})
	if err := flags.Parse(words); err != nil {
		return nil, err
	}
	if settings.Prefix == "" {
		settings.Prefix = "tgp-" + settings.ID + "-"
	}
	if settings.Home == "" {
		settings.Home = filepath.Join(plane.Root, settings.ID)
	}
	if *control < 1 || *control > 250 || *node < 1 || *node > 250 {
		return nil, errors.New("last bytes of addresses go from 1 to 250")
	}
	settings.Control, settings.Node = uint8(*control), uint8(*node)
	return settings, nil
}

func prefix(into *netip.Prefix) func(string) error {
	return func(text string) (err error) {
		*into, err = netip.ParsePrefix(text)
		return err
	}
}

func address(into *netip.Addr) func(string) error {
	return func(text string) (err error) {
		*into, err = netip.ParseAddr(text)
		return err
	}
}
