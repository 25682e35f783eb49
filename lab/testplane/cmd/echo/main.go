// echo answers every request with what it knows, in the words of the lab's other servers: `who` it is, the `source` that
// asked, and what was asked for. `?ms=500` makes an answer wait. It writes a line for each request. `echo get URL` asks
// somebody else, and `echo show FILE` shows a file, so that images need no shell.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// After SIGTERM whoever still comes is served for so long: not every balancer knows yet.
const lingering = 3 * time.Second

func main() {
	if len(os.Args) == 3 {
		if err := once(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	serve()
}

func once(order, what string) error {
	if order == "show" {
		text, err := os.ReadFile(what)
		if err == nil {
			_, err = os.Stdout.Write(text)
		}
		return err
	}
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get(what)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func serve() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ended := make(chan struct{})
	go func() {
		<-ctx.Done()
		time.Sleep(lingering)
		_ = server.Shutdown(context.Background())
		close(ended)
	}()
	fmt.Println("listening on port", port)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-ended
}

func answer(response http.ResponseWriter, request *http.Request) {
	source, _, _ := net.SplitHostPort(request.RemoteAddr)
	who, _ := os.Hostname()
	fmt.Println(source, request.Method, request.URL)
	if wait, err := strconv.Atoi(request.URL.Query().Get("ms")); err == nil {
		time.Sleep(time.Duration(wait) * time.Millisecond)
	}
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(map[string]string{
		"who": who, "node": os.Getenv("NODE_NAME"), "source": source, "host": request.Host, "path": request.URL.Path,
	})
}
