package plane

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"tidegate.dev/lab/testplane/network"
)

// component of a plane: a process that can be killed and started again.
type component struct {
	name      string
	namespace string
	argv      []string
	log       string
	process   *os.Process
	ended     chan struct{}
	outcome   string
}

func (p *Plane) add(name, namespace string, argv []string) {
	log := p.path("logs", strings.ReplaceAll(name, "/", "-")+".log")
	p.parts[name] = &component{name: name, namespace: namespace, argv: argv, log: log}
	p.order = append(p.order, name)
}

// Start a component.
func (p *Plane) Start(name string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	part := p.parts[name]
	if part == nil {
		return fmt.Errorf("there is no %s, but: %s", name, strings.Join(p.order, ", "))
	}
	if part.running() {
		return fmt.Errorf("%s runs already", name)
	}
	log, err := os.OpenFile(part.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(part.argv[0], part.argv[1:]...)
	command.Stdout, command.Stderr = log, log
	// It dies with this process, whatever kills that one, and its children with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := network.Inside(part.namespace, command.Start); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	part.process, part.ended = command.Process, make(chan struct{})
	go func(ended chan struct{}) {
		err := command.Wait()
		p.mutex.Lock()
		part.outcome = fmt.Sprint(err)
		p.mutex.Unlock()
		close(ended)
	}(part.ended)
	return nil
}

// Signal a component.
func (p *Plane) Signal(name string, signal syscall.Signal) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	part := p.parts[name]
	if part == nil {
		return fmt.Errorf("there is no %s, but: %s", name, strings.Join(p.order, ", "))
	}
	if !part.running() {
		return fmt.Errorf("%s does not run", name)
	}
	return syscall.Kill(-part.process.Pid, signal)
}

// Wait until a component has ended.
func (p *Plane) Wait(name string, patience time.Duration) error {
	p.mutex.Lock()
	var ended chan struct{}
	if part := p.parts[name]; part != nil {
		ended = part.ended
	}
	p.mutex.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s has not ended in %s", name, patience)
	}
}

// killAll at once: nothing of a plane is kept, so nobody need say farewell.
func (p *Plane) killAll() {
	for _, name := range p.order {
		_ = p.Signal(name, syscall.SIGKILL)
	}
	for _, name := range p.order {
		_ = p.Wait(name, 10*time.Second)
	}
}

// check that everything that was started runs.
func (p *Plane) check() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, name := range p.order {
		if part := p.parts[name]; part.ended != nil && !part.running() {
			return fmt.Errorf("%s ended: %s", name, part.outcome)
		}
	}
	return nil
}

// states of all components: a process id, or that it does not run.
func (p *Plane) states() map[string]int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	states := map[string]int{}
	for name, part := range p.parts {
		states[name] = 0
		if part.running() {
			states[name] = part.process.Pid
		}
	}
	return states
}

// tails of the logs of what has ended, for whoever asks why nothing stands.
func (p *Plane) tails() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var text strings.Builder
	for _, name := range p.order {
		part := p.parts[name]
		if part.ended == nil || part.running() {
			continue
		}
		log, _ := os.ReadFile(part.log)
		fmt.Fprintf(&text, "%s ended (%s):\n%s\n", name, part.outcome, log[max(0, len(log)-1500):])
	}
	if text.Len() == 0 {
		return nil
	}
	return fmt.Errorf("%s", text.String())
}

func (c *component) running() bool {
	if c.ended == nil {
		return false
	}
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}
