package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// serveWeb answers plain requests with a short text, and echoes WebSocket messages under /ws.
func serveWeb(listener net.Listener) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: true}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "the web origin has answered this request with a line of text")
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	go http.Serve(listener, mux)
}

// wsCase is one kind of frame, sent and looked for on the way back.
type wsCase struct {
	name string
	run  func(*websocket.Conn) error
}

var wsCases = []wsCase{
	{"empty text", echo(websocket.TextMessage, nil)},
	{"text", echo(websocket.TextMessage, []byte("grüße, 世界"))},
	{"binary of 125 bytes", echo(websocket.BinaryMessage, random(125))},
	{"binary of 126 bytes", echo(websocket.BinaryMessage, random(126))},
	{"binary of 65,535 bytes", echo(websocket.BinaryMessage, random(65_535))},
	{"binary of 65,536 bytes", echo(websocket.BinaryMessage, random(65_536))},
	{"binary of 4 MiB", echo(websocket.BinaryMessage, random(4<<20))},
	{"fragments", fragments},
	{"ping and pong", ping},
	{"ping between fragments", pingBetween},
	{"close with code and reason", closing(websocket.CloseNormalClosure, "bye")},
	{"close with an application's code", closing(4321, "own")},
}

func runWebSocket(gw *gateway) (passed, total int, err error) {
	for _, scheme := range []string{"ws", "wss"} {
		for _, compressed := range []bool{false, true} {
			for _, c := range wsCases {
				total++
				if err := gw.webSocket(scheme, compressed, c.run); err != nil {
					fmt.Printf("  %s, compressed %v, %s: %v\n", scheme, compressed, c.name, err)
					continue
				}
				passed++
			}
		}
	}
	return passed, total, nil
}

func (gw *gateway) webSocket(scheme string, compressed bool, run func(*websocket.Conn) error) error {
	port := gw.plain
	if scheme == "wss" {
		port = gw.tls
	}
	dialer := websocket.Dialer{
		EnableCompression: compressed,
		TLSClientConfig:   insecureTLS(),
		NetDial:           func(string, string) (net.Conn, error) { return net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port)) },
		HandshakeTimeout:  5 * time.Second,
	}
	conn, _, err := dialer.Dial(fmt.Sprintf("%s://%s:%d/ws", scheme, host, port), nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return run(conn)
}

func random(length int) []byte {
	content := make([]byte, length)
	rand.Read(content)
	return content
}

func echo(kind int, message []byte) func(*websocket.Conn) error {
	return func(conn *websocket.Conn) error {
		if err := conn.WriteMessage(kind, message); err != nil {
			return err
		}
		return expect(conn, kind, message)
	}
}

func expect(conn *websocket.Conn, kind int, message []byte) error {
	gotKind, got, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	if gotKind != kind || !bytes.Equal(got, message) {
		return fmt.Errorf("sent kind %d with %d bytes, got kind %d with %d other bytes", kind, len(message), gotKind, len(got))
	}
	return nil
}

// fragments writes more than the client's buffer, which leaves as several frames of one message.
func fragments(conn *websocket.Conn) error {
	writer, err := conn.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	message := bytes.Repeat([]byte("fragment "), 20_000)
	for part := message; len(part) > 0; part = part[min(len(part), 7001):] {
		if _, err := writer.Write(part[:min(len(part), 7001)]); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return expect(conn, websocket.TextMessage, message)
}

func ping(conn *websocket.Conn) error {
	pong := ""
	conn.SetPongHandler(func(text string) error { pong = text; return nil })
	if err := conn.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(time.Second)); err != nil {
		return err
	}
	if err := echo(websocket.TextMessage, []byte("after"))(conn); err != nil {
		return err
	}
	if pong != "there?" {
		return fmt.Errorf("the pong says %q", pong)
	}
	return nil
}

func pingBetween(conn *websocket.Conn) error {
	pong := ""
	conn.SetPongHandler(func(text string) error { pong = text; return nil })
	writer, err := conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	first, second := random(9000), random(9000)
	if _, err := writer.Write(first); err != nil {
		return err
	}
	if err := conn.WriteControl(websocket.PingMessage, []byte("between"), time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := writer.Write(second); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if err := expect(conn, websocket.BinaryMessage, append(first, second...)); err != nil {
		return err
	}
	if pong != "between" {
		return fmt.Errorf("the pong says %q", pong)
	}
	return nil
}

// closing sends a close frame and expects its code back, as the origin's library answers.
func closing(code int, reason string) func(*websocket.Conn) error {
	return func(conn *websocket.Conn) error {
		frame := websocket.FormatCloseMessage(code, reason)
		if err := conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, _, err := conn.ReadMessage()
		var closed *websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != code {
			return fmt.Errorf("expected a close frame with %d, got %v", code, err)
		}
		return nil
	}
}
