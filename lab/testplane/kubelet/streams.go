package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const (
	// A stream on which nothing passes ends after so long, and one that is not opened.
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// serve the API server: logs, commands inside containers, forwarded ports. Nobody else has a certificate of the cluster's CA.
func (k *Kubelet) serve() error {
	certificate, err := tls.LoadX509KeyPair(k.config.Certificate, k.config.Key)
	if err != nil {
		return err
	}
	callers := x509.NewCertPool()
	callers.AppendCertsFromPEM(k.ca)
	listener, err := net.Listen("tcp", netip.AddrPortFrom(k.config.Address, Port).String())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.serveExec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.servePorts)
	mux.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) { fmt.Fprint(response, "ok") })
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		// Upgrades to SPDY and WebSocket need HTTP/1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers},
	}
	go func() { log.Printf("serving the API server ended: %v", server.ServeTLS(listener, "", "")) }()
	return nil
}

func (k *Kubelet) asked(response http.ResponseWriter, request *http.Request) *Container {
	pod := k.find(request.PathValue("namespace"), request.PathValue("pod"))
	if pod == nil {
		http.Error(response, "no such pod runs here", http.StatusNotFound)
		return nil
	}
	container := pod.container(request.PathValue("container"))
	if container == nil {
		http.Error(response, "the pod has no such container", http.StatusNotFound)
	}
	return container
}

func (k *Kubelet) serveLogs(response http.ResponseWriter, request *http.Request) {
	container := k.asked(response, request)
	if container == nil {
		return
	}
	query := request.URL.Query()
	yes := func(name string) bool { is, _ := strconv.ParseBool(query.Get(name)); return is }
	wish := LogWish{Follow: yes("follow"), Previous: yes("previous"), Timestamps: yes("timestamps"), Tail: -1}
	if lines, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		wish.Tail = lines
	}
	if seconds, err := strconv.ParseInt(query.Get("sinceSeconds"), 10, 64); err == nil {
		wish.Since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if since, err := time.Parse(time.RFC3339, query.Get("sinceTime")); err == nil {
		wish.Since = since
	}
	wish.Bytes, _ = strconv.ParseInt(query.Get("limitBytes"), 10, 64)
	response.Header().Set("Content-Type", "text/plain")
	_ = container.logs.Copy(request.Context(), response, wish)
}

func (k *Kubelet) serveExec(response http.ResponseWriter, request *http.Request) {
	container := k.asked(response, request)
	if container == nil {
		return
	}
	options, err := remotecommand.NewOptions(request)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(response, request, executor{container}, "", "", "", request.Form["command"], options,
		streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
}

type executor struct{ container *Container }

// ExecInContainer runs a command and hands on its streams; there is no terminal.
func (e executor) ExecInContainer(
	ctx context.Context, _, _, _ string, argv []string, input io.Reader, output, errors io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	return exitStatus(e.container.exec(ctx, argv, input, output, errors))
}

// exitStatus as the streaming library knows it.
func exitStatus(err error) error {
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Exited() {
		return utilexec.CodeExitError{Err: err, Code: ended.ExitCode()}
	}
	return err
}

func (k *Kubelet) servePorts(response http.ResponseWriter, request *http.Request) {
	pod := k.find(request.PathValue("namespace"), request.PathValue("pod"))
	if pod == nil {
		http.Error(response, "no such pod runs here", http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(request)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(response, request, forwarder{pod}, "", "", options,
		streamIdle, streamCreation, portforward.SupportedProtocols)
}

type forwarder struct{ pod *Pod }

// PortForward copies until both sides have ended. Unlike a kubelet's it reaches what listens at the pod's address, not at
// its loopback.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	target := netip.AddrPortFrom(f.pod.address(), uint16(port))
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.String())
	if err != nil {
		return err
	}
	defer connection.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(stream, connection)
	}()
	_, _ = io.Copy(connection, stream)
	if half, ok := connection.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	<-ended
	return nil
}

// connectStreams of a command, as far as there are any.
func connectStreams(command *exec.Cmd, input, output, errors any) {
	if reader, ok := input.(io.Reader); ok && reader != nil {
		command.Stdin = reader
	}
	if writer, ok := output.(io.Writer); ok && writer != nil {
		command.Stdout = writer
	}
	if writer, ok := errors.(io.Writer); ok && writer != nil {
		command.Stderr = writer
	}
	if command.Stderr == nil && command.Stdout == nil {
		command.Stderr = os.Stderr
	}
}
