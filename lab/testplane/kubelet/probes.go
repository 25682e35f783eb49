package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A container that was never ready is asked at least this often, so that tests need not wait for a probe's period.
const eager = 250 * time.Millisecond

// probe a running container until the context ends: first whether it has started, then whether it lives and is ready.
func (c *Container) probe(ctx context.Context) {
	if startup := c.spec.StartupProbe; startup != nil {
		if !c.starts(ctx, startup) {
			return
		}
		c.change(func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
	}
	if probe := c.spec.LivenessProbe; probe != nil {
		go c.watch(ctx, probe, true, func(alive bool) {
			if !alive {
				c.kill()
			}
		})
	}
	if probe := c.spec.ReadinessProbe; probe != nil {
		c.watch(ctx, probe, false, func(ready bool) { c.change(func() { c.ready = ready && ctx.Err() == nil }) })
	}
}

func (c *Container) starts(ctx context.Context, probe *corev1.Probe) bool {
	passed := make(chan bool, 1)
	watching, done := context.WithCancel(ctx)
	defer done()
	go c.watch(watching, probe, false, func(started bool) {
		if started {
			passed <- true
			done()
		} else {
			c.kill()
		}
	})
	<-watching.Done()
	select {
	case <-passed:
		return true
	default:
		return false
	}
}

// watch a container by a probe, and tell each turn: first is what is taken for true before it was asked.
func (c *Container) watch(ctx context.Context, probe *corev1.Probe, first bool, tell func(bool)) {
	if !sleep(ctx, time.Duration(probe.InitialDelaySeconds)*time.Second) {
		return
	}
	now, once, same := first, first, int32(0)
	for {
		limit, done := context.WithTimeout(ctx, seconds(probe.TimeoutSeconds, 1))
		good := c.ask(limit, probe) == nil
		done()
		if ctx.Err() != nil {
			return
		}
		needed := max(probe.FailureThreshold, 1)
		if !now {
			needed = max(probe.SuccessThreshold, 1)
		}
		if good == now {
			same = 0
		} else if same++; same >= needed {
			now, same, once = good, 0, true
			tell(now)
		}
		pause := seconds(probe.PeriodSeconds, 10)
		if !once {
			pause = min(pause, eager)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

func seconds(number int32, otherwise int) time.Duration {
	if number <= 0 {
		return time.Duration(otherwise) * time.Second
	}
	return time.Duration(number) * time.Second
}

// ask once.
func (c *Container) ask(ctx context.Context, probe *corev1.Probe) error {
	switch {
	case probe.HTTPGet != nil:
		return c.get(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		address, err := c.endpoint(probe.TCPSocket.Host, probe.TCPSocket.Port)
		if err != nil {
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	case probe.GRPC != nil:
		address, err := c.endpoint("", intstr.FromInt32(probe.GRPC.Port))
		if err != nil {
			return err
		}
		return askGRPC(ctx, address, or(probe.GRPC.Service, ""))
	case probe.Exec != nil:
		return c.exec(ctx, probe.Exec.Command, nil, nil, nil)
	}
	return fmt.Errorf("this kind of probe is not served here")
}

func (c *Container) get(ctx context.Context, action *corev1.HTTPGetAction) error {
	address, err := c.endpoint(action.Host, action.Port)
	if err != nil {
		return err
	}
	target := url.URL{Scheme: "http", Host: address}
	if action.Scheme == corev1.URISchemeHTTPS {
		target.Scheme = "https"
	}
	if parsed, err := url.Parse(action.Path); err == nil {
		target.Path, target.RawQuery = parsed.Path, parsed.RawQuery
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/testplane")
	for _, header := range action.HTTPHeaders {
		request.Header.Add(header.Name, header.Value)
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
		}
	}
	// As kubelets do: a new connection each time, and no question of who vouches for the certificate.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 10<<10)
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func askGRPC(ctx context.Context, address, service string) error {
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("it is %s", answer.Status)
	}
	return nil
}

// endpoint of a probe: a port by number, or by the name that the container gives it.
func (c *Container) endpoint(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = c.pod.address().String()
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, strconv.Itoa(port.IntValue())), nil
	}
	for _, known := range c.spec.Ports {
		if known.Name == port.StrVal {
			return net.JoinHostPort(host, strconv.Itoa(int(known.ContainerPort))), nil
		}
	}
	return "", fmt.Errorf("no port is called %q", port.StrVal)
}
