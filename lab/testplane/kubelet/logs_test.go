package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func begin(t *testing.T) (*Logs, *runLog, io.Writer) {
	t.Helper()
	logs := &Logs{path: filepath.Join(t.TempDir(), "log")}
	log, err := logs.begin()
	if err != nil {
		t.Fatal(err)
	}
	return logs, log, log.stream("stdout")
}

func read(t *testing.T, logs *Logs, wish LogWish) string {
	t.Helper()
	var text bytes.Buffer
	if err := logs.Copy(context.Background(), &text, wish); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return text.String()
}

// Lines come back as they were written, however they were cut into writes; tail, since, limit and times do as they say.
func TestLogs(t *testing.T) {
	logs, log, output := begin(t)
	fmt.Fprint(output, "one\ntw")
	fmt.Fprint(output, "o\n")
	between := time.Now()
	fmt.Fprint(output, "three\n")
	log.Close()
	for _, one := range []struct {
		wish   LogWish
		wanted string
	}{
		{LogWish{Tail: -1}, "one\ntwo\nthree\n"},
		{LogWish{Tail: -1, Follow: true}, "one\ntwo\nthree\n"},
		{LogWish{Tail: 2}, "two\nthree\n"},
		{LogWish{Tail: 0}, ""},
		{LogWish{Tail: -1, Since: between}, "three\n"},
		{LogWish{Tail: -1, Bytes: 5}, "one\nt"},
		{LogWish{Tail: -1, Previous: true}, ""},
	} {
		if found := read(t, logs, one.wish); found != one.wanted {
			t.Errorf("%+v: %q", one.wish, found)
		}
	}
	if found := read(t, logs, LogWish{Tail: 1, Timestamps: true}); !strings.HasSuffix(found, "Z three\n") {
		t.Errorf("with times: %q", found)
	}
	if _, err := logs.begin(); err != nil {
		t.Fatal(err)
	}
	if found := read(t, logs, LogWish{Tail: 1, Previous: true}); found != "three\n" {
		t.Errorf("of the run before: %q", found)
	}
}

// A log holds its last lines in bounded files; who follows from the beginning of what is left misses none.
func TestLogIsBounded(t *testing.T) {
	logs, log, output := begin(t)
	line := strings.Repeat("x", 1000)
	const lines = 3 * logBytesMax / 1000
	for number := range lines {
		fmt.Fprintf(output, "%d %s\n", number, line)
	}
	log.Close()
	text := read(t, logs, LogWish{Tail: -1})
	if len(text) > 2*logBytesMax+2000 || len(text) < logBytesMax {
		t.Errorf("%d bytes are left", len(text))
	}
	if !strings.HasSuffix(text, fmt.Sprintf("%d %s\n", lines-1, line)) {
		t.Error("the last line is missing")
	}
	var first int
	if _, err := fmt.Sscan(text, &first); err != nil || strings.Count(text, "\n") != lines-first {
		t.Errorf("%d lines from %d on (%v)", strings.Count(text, "\n"), first, err)
	}
}

// Who follows sees a line when it is written, and the end when the run ends.
func TestFollow(t *testing.T) {
	logs, log, output := begin(t)
	reader, writer := io.Pipe()
	go func() {
		_ = logs.Copy(context.Background(), writer, LogWish{Tail: -1, Follow: true})
		_ = writer.Close()
	}()
	for _, line := range []string{"one\n", "two\n"} {
		fmt.Fprint(output, line)
		seen := make([]byte, len(line))
		if _, err := io.ReadFull(reader, seen); err != nil || string(seen) != line {
			t.Fatalf("%q, %v", seen, err)
		}
	}
	log.Close()
	if rest, err := io.ReadAll(reader); err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v", rest, err)
	}
}
