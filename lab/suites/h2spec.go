package main

import (
	"os"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/reporter"
	"github.com/summerwind/h2spec/spec"
)

func runH2spec(gw *gateway) (int, int, error)    { return conform(gw.plain, false) }
func runH2specTLS(gw *gateway) (int, int, error) { return conform(gw.tls, true) }

// conform runs every case of h2spec, strict ones included, and prints those that fail.
func conform(port int, tls bool) (passed, total int, err error) {
	settings := &config.Config{
		Host: "127.0.0.1", Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
		Strict: true, TLS: tls, Insecure: true,
	}
	groups := []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()}
	for _, group := range groups {
		quietly(func() { group.Test(settings) })
		passed += group.PassedCount
		total += group.PassedCount + group.FailedCount + group.SkippedCount
	}
	if passed != total {
		reporter.FailedTests(groups)
	}
	return passed, total, nil
}

// quietly runs what prints a line for every case.
func quietly(run func()) {
	output := os.Stdout
	defer func() { os.Stdout = output }()
	if nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		defer nowhere.Close()
		os.Stdout = nowhere
	}
	run()
}
