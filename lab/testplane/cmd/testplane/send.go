package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// lineMax bounds a request: more than any object has.
const lineMax = 4 << 20

// sent is what became of the requests, told as one line of JSON.
type sent struct {
	Sent   int     `json:"sent"`
	Failed int     `json:"failed"`
	First  string  `json:"first"`
	Secs   float64 `json:"secs"`
	sync.Mutex
}

// send requests to an API server, as many at a time as are asked for, and as fast as it answers: one on each line of the
// standard input, METHOD PATH BODY. Requests under way at the same time have no order. What became of them is told at the end
// of the input, or of the context.
func send(ctx context.Context, words []string) error {
	flags := flag.NewFlagSet("testplane send", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "whom to send to, and as whom")
	parallel := flags.Int("parallel", 16, "requests at a time")
	if err := flags.Parse(words); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout = time.Minute
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	lines := make(chan string)
	told := &sent{}
	began := time.Now()
	var senders sync.WaitGroup
	for range *parallel {
		senders.Go(func() {
			for line := range lines {
				err := request(ctx, client, strings.TrimRight(config.Host, "/"), line)
				told.Lock()
				told.Sent++
				if err != nil {
					told.Failed++
					if told.First == "" {
						told.First = err.Error()
					}
				}
				told.Unlock()
			}
		})
	}
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, lineMax)
	for ctx.Err() == nil && scanner.Scan() {
		lines <- scanner.Text()
	}
	close(lines)
	senders.Wait()
	told.Secs = time.Since(began).Seconds()
	if err := scanner.Err(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

func request(ctx context.Context, client *http.Client, host, line string) error {
	method, rest, _ := strings.Cut(line, " ")
	path, body, _ := strings.Cut(rest, " ")
	request, err := http.NewRequestWithContext(ctx, method, host+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer[:min(len(answer), 300)])
	}
	return nil
}
