// Suites runs public test suites and real peers of other languages through a gateway: h2spec, the gRPC interoperability
// cases, gRPC-Web before the same server, WebSocket frames of every kind. Each is a Go module that go.sum pins; nothing else is fetched.
//
//	go run . -tidegate PATH [h2spec] [grpc] [grpc-web] [websocket]
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

// A suite runs against a gateway and says how many of its cases passed.
type suite struct {
	name string
	run  func(*gateway) (passed, total int, err error)
}

var suites = []suite{
	{"h2spec", runH2spec},
	{"h2spec-tls", runH2specTLS},
	{"grpc", runGRPC},
	{"grpc-web", runGRPCWeb},
	{"websocket", runWebSocket},
}

func main() {
	program := flag.String("tidegate", "tidegate", "the program under test")
	keep := flag.Bool("v", false, "show the gateway's log at the end")
	flag.Parse()
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.name == name }) {
			fmt.Fprintf(os.Stderr, "suites: there is no suite %q\n", name)
			os.Exit(2)
		}
	}
	os.Exit(runAll(*program, flag.Args(), *keep))
}

func runAll(program string, names []string, verbose bool) int {
	gw, err := startGateway(program)
	if err != nil {
		fmt.Fprintln(os.Stderr, "suites:", err)
		return 2
	}
	defer gw.stop(verbose)
	passedAll, failedAll := 0, 0
	for _, s := range suites {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		began := time.Now()
		passed, total, err := s.run(gw)
		took := time.Since(began).Round(time.Millisecond)
		if err != nil {
			fmt.Printf("%-12s failed after %s: %v\n", s.name, took, err)
			failedAll++
			continue
		}
		fmt.Printf("%-12s %d of %d, in %s\n", s.name, passed, total, took)
		passedAll += passed
		failedAll += max(total, 1) - passed
	}
	fmt.Printf("suites: %d passed, %d failed\n", passedAll, failedAll)
	if failedAll > 0 {
		return 1
	}
	return 0
}
