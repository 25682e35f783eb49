package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// A run's log is kept in two files of this size; when the second is full, the first is forgotten.
	logBytesMax = 2 << 20
	// Longer lines are cut into parts.
	lineBytesMax = 16 << 10
)

// Logs of a container: of the run that is on, or was the last, and of the one before.
type Logs struct {
	path string

	mutex             sync.Mutex
	runs              int
	current, previous *runLog
}

// begin the log of a new run.
func (l *Logs) begin() (*runLog, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.previous != nil {
		l.previous.remove()
	}
	l.previous = l.current
	l.runs++
	log := &runLog{path: fmt.Sprintf("%s.%d", l.path, l.runs), changed: make(chan struct{})}
	if err := log.open(); err != nil {
		return nil, err
	}
	l.current = log
	return log, nil
}

func (l *Logs) run(previous bool) *runLog {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if previous {
		return l.previous
	}
	return l.current
}

// runLog holds what one run wrote, each line with its time. Places in it are counted from its first byte, also when that
// has been forgotten.
type runLog struct {
	path string

	mutex   sync.Mutex
	file    *os.File
	older   *os.File
	begins  int64 // of file
	began   int64 // of older
	end     int64
	closed  bool
	changed chan struct{}
}

func (l *runLog) open() (err error) {
	l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	return err
}

// Close says that nothing more will come; it can still be read.
func (l *runLog) Close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.closed = true
	close(l.changed)
}

func (l *runLog) remove() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_ = l.file.Close()
	_ = os.Remove(l.path)
	if l.older != nil {
		_ = l.older.Close()
		_ = os.Remove(l.path + ".older")
	}
}

func (l *runLog) write(line []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.closed {
		return
	}
	if l.end-l.begins > logBytesMax {
		l.turn()
	}
	if count, err := l.file.WriteAt(line, l.end-l.begins); err == nil {
		l.end += int64(count)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// turn to a new file. Where that fails the old one grows on.
func (l *runLog) turn() {
	if os.Rename(l.path, l.path+".older") != nil {
		return
	}
	full := l.file
	if l.open() != nil {
		l.file = full
		return
	}
	if l.older != nil {
		_ = l.older.Close()
	}
	l.older, l.began, l.begins = full, l.begins, l.end
}

// read from a place on: what is there, and the place behind it; a channel that closes when there is more, or none if there
// will be no more.
func (l *runLog) read(place int64) ([]byte, int64, <-chan struct{}) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	place = max(place, l.began)
	file, first, last := l.file, l.begins, l.end
	if place < l.begins {
		file, first, last = l.older, l.began, l.begins
	}
	text := make([]byte, last-place)
	count, _ := file.ReadAt(text, place-first)
	if place+int64(count) == l.end && l.closed {
		return text[:count], l.end, nil
	}
	return text[:count], place + int64(count), l.changed
}

// stream writes lines of one kind.
func (l *runLog) stream(name string) io.Writer { return &stream{log: l, name: name} }

type stream struct {
	log  *runLog
	name string
	rest []byte
}

func (s *stream) Write(text []byte) (int, error) {
	s.rest = append(s.rest, text...)
	for {
		length := bytes.IndexByte(s.rest, '\n')
		mark, skip := "F", 1
		if length < 0 && len(s.rest) > lineBytesMax {
			length, mark, skip = lineBytesMax, "P", 0
		}
		if length < 0 {
			return len(text), nil
		}
		line := fmt.Appendf(nil, "%s %s %s ", time.Now().UTC().Format(time.RFC3339Nano), s.name, mark)
		s.log.write(append(append(line, s.rest[:length]...), '\n'))
		s.rest = s.rest[length+skip:]
	}
}

// LogWish is what somebody wants to read of a log.
type LogWish struct {
	Follow, Previous, Timestamps bool
	Since                        time.Time
	// Tail counts lines; negative: all.
	Tail int
	// Bytes at most; 0: no limit.
	Bytes int64
}

// Copy what is wished for; following, until the run ends or the context does.
func (l *Logs) Copy(ctx context.Context, to io.Writer, wish LogWish) error {
	log := l.run(wish.Previous)
	if log == nil {
		return nil
	}
	flush := func() {}
	if flusher, ok := to.(interface{ Flush() }); ok {
		flush = flusher.Flush
	}
	if wish.Bytes > 0 {
		to = &limited{to, wish.Bytes}
	}
	var rest []byte
	var kept [][]byte
	for place, caughtUp := int64(0), false; ; {
		text, next, more := log.read(place)
		place, rest = next, append(rest, text...)
		for {
			line, after, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				break
			}
			rest = after
			if shown, wanted := wish.show(line); wanted {
				kept = append(kept, shown)
			}
		}
		if len(text) > 0 && !caughtUp {
			continue // There may be another file.
		}
		if !caughtUp && wish.Tail >= 0 {
			kept = kept[max(0, len(kept)-wish.Tail):]
		}
		caughtUp = true
		for _, line := range kept {
			if _, err := to.Write(line); err != nil {
				return err
			}
		}
		kept = nil
		flush()
		if more == nil || !wish.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
	}
}

// show a line as it was written, or with its time; whether it is wanted.
func (w *LogWish) show(line []byte) ([]byte, bool) {
	parts := bytes.SplitN(line, []byte(" "), 4)
	if len(parts) < 4 {
		return nil, false
	}
	if at, err := time.Parse(time.RFC3339Nano, string(parts[0])); err != nil || at.Before(w.Since) {
		return nil, false
	}
	shown := bytes.Clone(parts[3])
	if w.Timestamps {
		shown = append(append(bytes.Clone(parts[0]), ' '), shown...)
	}
	if string(parts[2]) == "F" {
		shown = append(shown, '\n')
	}
	return shown, true
}

type limited struct {
	to   io.Writer
	left int64
}

func (l *limited) Write(text []byte) (int, error) {
	if int64(len(text)) > l.left {
		_, _ = l.to.Write(text[:l.left])
		l.left = 0
		return 0, io.EOF
	}
	l.left -= int64(len(text))
	return l.to.Write(text)
}
