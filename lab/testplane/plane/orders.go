package plane

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

var signals = map[string]syscall.Signal{
	"kill": syscall.SIGKILL, "stop": syscall.SIGTERM, "freeze": syscall.SIGSTOP, "thaw": syscall.SIGCONT,
}

// Usage of orders, a line for whoever types a wrong one.
const Usage = "kill|stop|freeze|thaw|start COMPONENT, kill|start NODE, or states"

// Obey orders, one a line, until there are no more; each is answered by a line of JSON. Killing and stopping wait until the
// component has ended; a node stands for all that runs on it.
func (p *Plane) Obey(orders io.Reader, answers io.Writer) {
	lines := bufio.NewScanner(orders)
	encoder := json.NewEncoder(answers)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0:
		case len(words) == 1 && words[0] == "states":
			_ = encoder.Encode(p.states())
		case len(words) == 2:
			answer := map[string]any{"ok": true}
			for _, name := range p.meant(words[1]) {
				if err := p.obey(words[0], name); err != nil {
					answer = map[string]any{"ok": false, "error": err.Error()}
				}
			}
			_ = encoder.Encode(answer)
		default:
			_ = encoder.Encode(map[string]any{"ok": false, "error": "usage: " + Usage})
		}
	}
}

// meant by a name: a component, or everything on a node.
func (p *Plane) meant(name string) []string {
	var all []string
	for _, known := range p.order {
		if strings.HasSuffix(known, "/"+name) {
			all = append(all, known)
		}
	}
	if len(all) == 0 {
		return []string{name}
	}
	return all
}

func (p *Plane) obey(order, name string) error {
	if order == "start" {
		return p.Start(name)
	}
	signal, known := signals[order]
	if !known {
		return fmt.Errorf("usage: %s", Usage)
	}
	if err := p.Signal(name, signal); err != nil {
		return err
	}
	if order == "kill" || order == "stop" {
		return p.Wait(name, 90*time.Second)
	}
	return nil
}
