package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// A webClient speaks gRPC-Web: messages in frames, trailers in a last one, all of it base64 in text mode.
type webClient struct {
	http *http.Client
	url  string
	text bool
}

// A webAnswer is what came of a call.
type webAnswer struct {
	contentType string
	messages    [][]byte
	trailers    map[string]string
	// firstAfter is how long the first bytes took, and all how long everything did.
	firstAfter, all time.Duration
}

func (c *webClient) contentType() string {
	if c.text {
		return "application/grpc-web-text"
	}
	return "application/grpc-web+proto"
}

func (c *webClient) call(method string, request proto.Message) (*webAnswer, error) {
	message, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	frame = append(frame, message...)
	if c.text {
		// Two texts with paddings of their own, as a client that sends in pieces has them.
		first := base64.StdEncoding.EncodeToString(frame[:4])
		frame = []byte(first + base64.StdEncoding.EncodeToString(frame[4:]))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	asked, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+method, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	asked.Host = host
	asked.Header.Set("Content-Type", c.contentType())
	asked.Header.Set("Accept", c.contentType())
	asked.Header.Set("X-Grpc-Web", "1")
	began := time.Now()
	response, err := c.http.Do(asked)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", response.Status)
	}
	answer := &webAnswer{contentType: response.Header.Get("Content-Type"), trailers: map[string]string{}}
	// Trailers-Only: they stand in the head.
	for _, name := range []string{"grpc-status", "grpc-message"} {
		if value := response.Header.Get(name); value != "" {
			answer.trailers[name] = value
		}
	}
	return answer, answer.read(response.Body, c.text, began)
}

func (a *webAnswer) read(body io.Reader, text bool, began time.Time) error {
	first := make([]byte, 1)
	count, err := io.ReadFull(body, first)
	if err == io.EOF {
		return nil
	}
	a.firstAfter = time.Since(began)
	rest, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	a.all = time.Since(began)
	all := append(first[:count], rest...)
	if text {
		if all, err = decodePadded(string(all)); err != nil {
			return err
		}
	}
	for len(all) > 0 {
		if len(all) < 5 || len(all)-5 < int(binary.BigEndian.Uint32(all[1:])) {
			return fmt.Errorf("a frame is cut short")
		}
		flag, end := all[0], 5+int(binary.BigEndian.Uint32(all[1:]))
		content := all[5:end]
		all = all[end:]
		switch {
		case flag == 0:
			a.messages = append(a.messages, content)
		case flag == 0x80 && len(all) == 0:
			for _, line := range strings.Split(strings.TrimSuffix(string(content), "\r\n"), "\r\n") {
				name, value, _ := strings.Cut(line, ":")
				a.trailers[name] = strings.TrimSpace(value)
			}
		default:
			return fmt.Errorf("a frame with flag %#x, %d bytes before the end", flag, len(all))
		}
	}
	return nil
}

// decodePadded reads base64 in which padding may stand after any group.
func decodePadded(text string) ([]byte, error) {
	var all []byte
	for len(text) > 0 {
		size := min(4, len(text))
		group, err := base64.StdEncoding.DecodeString(text[:size])
		if err != nil {
			return nil, err
		}
		all, text = append(all, group...), text[size:]
	}
	return all, nil
}

const service = "/grpc.testing.TestService/"

// runGRPCWeb calls the interoperability server of grpc-go in both modes, over both versions of HTTP.
func runGRPCWeb(gw *gateway) (passed, total int, err error) {
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	for name, transport := range map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2": h2c} {
		defer transport.CloseIdleConnections()
		for _, text := range []bool{false, true} {
			address := net.JoinHostPort("127.0.0.1", fmt.Sprint(gw.grpc))
			client := &webClient{&http.Client{Transport: transport}, "http://" + address, text}
			for _, check := range []struct {
				name string
				run  func(*webClient) error
			}{
				{"empty unary", webEmpty},
				{"large unary", webLarge},
				{"server streaming", webStreaming},
				{"status and message", webStatus},
				{"unimplemented", webUnimplemented},
			} {
				total++
				if err := check.run(client); err != nil {
					fmt.Printf("grpc-web     %s, text %v, over %s: %v\n", check.name, text, name, err)
					continue
				}
				passed++
			}
		}
	}
	return passed, total, nil
}

func (a *webAnswer) expect(c *webClient, messages int, status string) error {
	if a.contentType != c.contentType() {
		return fmt.Errorf("content type %q", a.contentType)
	}
	if len(a.messages) != messages || a.trailers["grpc-status"] != status {
		return fmt.Errorf("%d messages, trailers %v", len(a.messages), a.trailers)
	}
	return nil
}

func webEmpty(c *webClient) error {
	answer, err := c.call(service+"EmptyCall", &testgrpc.Empty{})
	if err != nil {
		return err
	}
	return answer.expect(c, 1, "0")
}

func webLarge(c *webClient) error {
	const size = 314159
	answer, err := c.call(service+"UnaryCall", &testgrpc.SimpleRequest{
		ResponseSize: size, Payload: &testgrpc.Payload{Body: make([]byte, 271828)},
	})
	if err != nil {
		return err
	}
	if err := answer.expect(c, 1, "0"); err != nil {
		return err
	}
	response := &testgrpc.SimpleResponse{}
	if err := proto.Unmarshal(answer.messages[0], response); err != nil {
		return err
	}
	if got := len(response.GetPayload().GetBody()); got != size {
		return fmt.Errorf("%d bytes came back", got)
	}
	return nil
}

// webStreaming asks for messages with pauses between them: the first must not wait for the last.
func webStreaming(c *webClient) error {
	request := &testgrpc.StreamingOutputCallRequest{}
	for _, size := range []int32{31415, 9, 2653, 58979} {
		request.ResponseParameters = append(request.ResponseParameters,
			&testgrpc.ResponseParameters{Size: size, IntervalUs: 200_000})
	}
	answer, err := c.call(service+"StreamingOutputCall", request)
	if err != nil {
		return err
	}
	if answer.all-answer.firstAfter < 300*time.Millisecond {
		return fmt.Errorf("the first message came after %v, the last after %v", answer.firstAfter, answer.all)
	}
	return answer.expect(c, 4, "0")
}

func webStatus(c *webClient) error {
	answer, err := c.call(service+"UnaryCall", &testgrpc.SimpleRequest{
		ResponseStatus: &testgrpc.EchoStatus{Code: 2, Message: "test status message"},
	})
	if err != nil {
		return err
	}
	if got := answer.trailers["grpc-message"]; got != "test status message" {
		return fmt.Errorf("message %q", got)
	}
	return answer.expect(c, 0, "2")
}

func webUnimplemented(c *webClient) error {
	answer, err := c.call(service+"UnimplementedCall", &testgrpc.Empty{})
	if err != nil {
		return err
	}
	return answer.expect(c, 0, "12")
}
