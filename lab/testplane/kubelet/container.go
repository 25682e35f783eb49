package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runner "tidegate.dev/lab/testplane/container"
)

const (
	// A container that ends is started again after so long, twice as long each time.
	backoffFirst = time.Second
	backoffMax   = 30 * time.Second
	// One that ran for so long begins with the first pause again.
	backoffForgotten = time.Minute
)

// Container of a pod, over all its runs.
type Container struct {
	pod     *Pod
	spec    *corev1.Container
	initial bool
	logs    *Logs
	// over is closed when it will not run again; up when it first was started and, if it has a startup probe, passed it.
	over, up chan struct{}
	upOnce   sync.Once

	mutex    sync.Mutex
	state    corev1.ContainerState
	last     corev1.ContainerState
	restarts int32
	ready    bool
	started  bool
	process  *os.Process
	running  bool
	stopping bool
}

func newContainer(pod *Pod, spec *corev1.Container, initial bool) *Container {
	return &Container{
		pod: pod, spec: spec, initial: initial,
		logs:  &Logs{path: filepath.Join(pod.folder, spec.Name+".log")},
		over:  make(chan struct{}),
		up:    make(chan struct{}),
		state: waiting("PodInitializing", ""),
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// start it, to be run again and again as its pod's policy says, until the pod shall end.
func (c *Container) start() {
	c.change(func() { c.running = true })
	go c.run()
}

func (c *Container) run() {
	defer close(c.over)
	pause := backoffFirst
	for c.pod.life.Err() == nil {
		began := time.Now()
		err := c.once()
		if err == nil && !c.again() {
			return
		}
		if time.Since(began) > backoffForgotten {
			pause = backoffFirst
		}
		c.change(func() {
			switch {
			case c.stopping:
			case err != nil:
				c.state = waiting("CreateContainerConfigError", err.Error())
			default:
				c.last, c.state = c.state, waiting("CrashLoopBackOff", fmt.Sprintf("back-off %s", pause))
			}
		})
		if err != nil {
			sleep(c.pod.life, retryPause)
			continue
		}
		if !sleep(c.pod.life, pause) {
			return
		}
		pause = min(2*pause, backoffMax)
		c.change(func() { c.restarts++ })
	}
}

// again says whether a container that ended shall be started anew.
func (c *Container) again() bool {
	policy := c.pod.object().Spec.RestartPolicy
	if c.initial && policy == corev1.RestartPolicyAlways {
		policy = corev1.RestartPolicyOnFailure
	}
	if c.sidecar() {
		policy = corev1.RestartPolicyAlways
	}
	return policy == corev1.RestartPolicyAlways || (policy == corev1.RestartPolicyOnFailure && c.failed())
}

// sidecar: one that is started before the others and runs beside them.
func (c *Container) sidecar() bool {
	return c.initial && c.spec.RestartPolicy != nil && *c.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// passed waits until the containers after this one may start; whether they may.
func (c *Container) passed() bool {
	up := c.up
	if !c.sidecar() {
		up = nil
	}
	select {
	case <-c.pod.life.Done():
		return false
	case <-up:
		return true
	case <-c.over:
		return c.pod.life.Err() == nil && !c.failed()
	}
}

func (c *Container) failed() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.state.Terminated == nil || c.state.Terminated.ExitCode != 0
}

// once runs it one time; an error if it could not be started.
func (c *Container) once() error {
	command, spec, err := c.command()
	if err != nil {
		return err
	}
	log, err := c.logs.begin()
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log.stream("stdout"), log.stream("stderr")
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	// Open as long as it runs: by this a container learns that its kubelet died before it could be told to die with it.
	defer writer.Close()
	command.ExtraFiles = []*os.File{reader}
	if network := c.pod.network(); network != nil {
		spec.Network = true
		command.ExtraFiles = append(command.ExtraFiles, network)
	}
	err = command.Start()
	_ = reader.Close()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(writer).Encode(spec); err != nil {
		_ = command.Process.Kill()
	}
	alive, dead := context.WithCancel(c.pod.abandoned)
	began := metav1.Now()
	c.change(func() {
		c.process, c.started, c.ready = command.Process, c.spec.StartupProbe == nil, c.spec.ReadinessProbe == nil && c.spec.StartupProbe == nil
		c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
		if c.stopping {
			_ = command.Process.Kill()
		}
	})
	go c.probe(alive)
	_ = command.Wait()
	dead()
	c.change(func() {
		c.process, c.started, c.ready = nil, false, false
		c.state = corev1.ContainerState{Terminated: terminated(command.ProcessState, began)}
	})
	return nil
}

func terminated(state *os.ProcessState, began metav1.Time) *corev1.ContainerStateTerminated {
	end := &corev1.ContainerStateTerminated{StartedAt: began, FinishedAt: metav1.Now(), ExitCode: int32(state.ExitCode())}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		end.Signal = int32(status.Signal())
		end.ExitCode = 128 + end.Signal
	}
	switch end.ExitCode {
	case 0:
		end.Reason = "Completed"
	case runner.StartFailed:
		end.Reason = "StartError"
	default:
		end.Reason = "Error"
	}
	return end
}

// command that becomes the container, and what it becomes.
func (c *Container) command() (*exec.Cmd, *runner.Spec, error) {
	pod := c.pod.object()
	image, found := FindImage(c.pod.kubelet.config.Images, c.spec.Image)
	if !found {
		return nil, nil, fmt.Errorf("ErrImagePull: no program stands for image %q here", c.spec.Image)
	}
	env, values, err := c.environment(c.pod.life, image)
	if err != nil {
		return nil, nil, err
	}
	mounts, err := image.mounts()
	if err != nil {
		return nil, nil, err
	}
	volumes, err := c.pod.volumes.mounts(c.spec)
	if err != nil {
		return nil, nil, err
	}
	names, err := c.pod.names()
	if err != nil {
		return nil, nil, err
	}
	root := filepath.Join(c.pod.folder, c.spec.Name)
	if err := os.RemoveAll(root); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, nil, err
	}
	spec := &runner.Spec{
		Root: root, Mounts: append(append(mounts, names...), volumes...), Hostname: hostname(pod),
		Argv: image.argv(expandAll(c.spec.Command, values), expandAll(c.spec.Args, values)), Env: env, Folder: c.spec.WorkingDir,
	}
	secure(spec, pod, c.spec)
	command := exec.Command(c.pod.kubelet.config.Runner)
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, Setsid: true,
	}
	if pod.Spec.HostNetwork {
		// Its host name is the node's; the namespace of names is its own all the same.
		spec.Hostname = c.pod.kubelet.config.Name
	}
	command.WaitDelay = 2 * time.Second
	return command, spec, nil
}

// stop it: what its pod wants done before, then SIGTERM, and SIGKILL when the grace is over or nobody waits.
func (c *Container) stop(wanted context.Context, grace time.Duration) {
	deadline, done := context.WithTimeout(wanted, grace)
	defer done()
	var process *os.Process
	running := false
	c.change(func() { c.stopping, process, running = true, c.process, c.running })
	if process == nil {
		if running {
			<-c.over // Started this moment, it is killed at once.
		}
		c.change(func() {
			if c.state.Waiting != nil {
				c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}}
			}
		})
		return
	}
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PreStop != nil {
		c.before(deadline, c.spec.Lifecycle.PreStop)
	}
	// It is the first of its process namespace: SIGKILL ends everything in there.
	_ = syscall.Kill(process.Pid, syscall.SIGTERM)
	select {
	case <-c.over:
	case <-deadline.Done():
		_ = syscall.Kill(process.Pid, syscall.SIGKILL)
		<-c.over
	}
}

// before it is told to end.
func (c *Container) before(ctx context.Context, hook *corev1.LifecycleHandler) {
	switch {
	case hook.Sleep != nil:
		sleep(ctx, time.Duration(hook.Sleep.Seconds)*time.Second)
	case hook.Exec != nil:
		_ = c.exec(ctx, hook.Exec.Command, nil, nil, nil)
	case hook.HTTPGet != nil:
		_ = c.get(ctx, hook.HTTPGet)
	}
}

// kill it, to be started anew if its pod's policy says so.
func (c *Container) kill() {
	c.mutex.Lock()
	process := c.process
	c.mutex.Unlock()
	if process != nil {
		_ = syscall.Kill(process.Pid, syscall.SIGKILL)
	}
}

// exec runs a command inside, to its end.
func (c *Container) exec(ctx context.Context, argv []string, input, output, errors any) error {
	c.mutex.Lock()
	process := c.process
	c.mutex.Unlock()
	if process == nil {
		return fmt.Errorf("container %s does not run", c.spec.Name)
	}
	arguments := append([]string{"--target", fmt.Sprint(process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"}, argv...)
	command := exec.CommandContext(ctx, "nsenter", arguments...)
	connectStreams(command, input, output, errors)
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", process.Pid))
	if err != nil {
		return err
	}
	command.Env = splitZero(environment)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.WaitDelay = 2 * time.Second
	return command.Run()
}

// change its state, and have it told.
func (c *Container) change(work func()) {
	c.mutex.Lock()
	work()
	started := c.started && c.process != nil
	c.mutex.Unlock()
	if started {
		c.upOnce.Do(func() { close(c.up) })
	}
	c.pod.touch()
}
