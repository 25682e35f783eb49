package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// host is the name that every request of the suites asks for.
const host = "suites.example"

// A gateway is a running daemon with one Gateway before the origins of the suites.
type gateway struct {
	folder  string
	command *exec.Cmd
	log     *os.File
	// plain, grpc and tls are the ports of its listeners; h2c is spoken on the first two by prior knowledge. An HTTPRoute
	// and a GRPCRoute never share a host of one listener, so each has its own.
	plain, grpc, tls int
	// origins, by the name of their Service.
	origins map[string]net.Listener
}

func startGateway(program string) (*gateway, error) {
	folder, err := os.MkdirTemp("", "tidegate-suites-")
	if err != nil {
		return nil, err
	}
	gw := &gateway{folder: folder, origins: map[string]net.Listener{}}
	if err := gw.start(program); err != nil {
		gw.stop(true)
		return nil, err
	}
	return gw, nil
}

func (gw *gateway) start(program string) error {
	for _, name := range []string{"web", "grpc"} {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		gw.origins[name] = listener
	}
	serveWeb(gw.origins["web"])
	serveGRPC(gw.origins["grpc"])
	var err error
	var admin int
	for _, port := range []*int{&gw.plain, &gw.grpc, &gw.tls, &admin} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	manifests, err := gw.manifests()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(gw.folder, "manifests"), 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"manifests/suites.yaml": manifests,
		"tidegate.yaml":         fmt.Sprintf("stateDir: %s/state\naccessLog: {output: %s/access.log}\n", gw.folder, gw.folder),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(gw.folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if gw.log, err = os.Create(filepath.Join(gw.folder, "log")); err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", admin)
	gw.command = exec.Command(program, "run", "--config", filepath.Join(gw.folder, "tidegate.yaml"),
		"--manifests", filepath.Join(gw.folder, "manifests"), "--admin", address)
	gw.command.Stdout, gw.command.Stderr = gw.log, gw.log
	gw.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := gw.command.Start(); err != nil {
		return err
	}
	return waitReady("http://" + address + "/readyz")
}

func waitReady(url string) error {
	for range 200 {
		answer, err := http.Get(url)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the gateway is not ready after 10 s")
}

func (gw *gateway) stop(verbose bool) {
	if gw.command != nil && gw.command.Process != nil {
		gw.command.Process.Kill()
		gw.command.Wait()
	}
	for _, listener := range gw.origins {
		listener.Close()
	}
	if verbose && gw.log != nil {
		text, _ := os.ReadFile(gw.log.Name())
		os.Stderr.Write(text)
	}
	os.RemoveAll(gw.folder)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// manifests are the objects of the gateway.
func (gw *gateway) manifests() (string, error) {
	certificate, key, err := selfSigned()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, `apiVersion: v1
kind: Secret
metadata: {name: suites, namespace: suites}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: suites, namespace: suites}
spec:
  gatewayClassName: tidegate
  listeners:
  - {name: plain, port: %d, protocol: HTTP}
  - {name: grpc, port: %d, protocol: HTTP}
  - {name: tls, port: %d, protocol: HTTPS, tls: {certificateRefs: [{name: suites}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: suites}
spec:
  parentRefs: [{name: suites, sectionName: plain}, {name: suites, sectionName: tls}]
  rules:
  - backendRefs: [{name: web, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc, namespace: suites}
spec:
  parentRefs: [{name: suites, sectionName: grpc}]
  rules:
  - backendRefs: [{name: grpc, port: 80}]
`, base64.StdEncoding.EncodeToString(certificate), base64.StdEncoding.EncodeToString(key), gw.plain, gw.grpc, gw.tls)
	for name, listener := range gw.origins {
		fmt.Fprintf(&text, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: suites}
spec:
  ports: [{name: main, port: 80, targetPort: %[2]d, protocol: TCP%[3]s}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, namespace: suites, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: main, port: %[2]d, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
`, name, listener.Addr().(*net.TCPAddr).Port, map[string]string{"grpc": ", appProtocol: kubernetes.io/h2c"}[name])
	}
	return text.String(), nil
}

func selfSigned() (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host, "*." + host},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}
