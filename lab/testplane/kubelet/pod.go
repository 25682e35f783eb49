package kubelet

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What fails because something is not there yet is tried again after so long.
const retryPause = 300 * time.Millisecond

// Pod that lives on this node. One goroutine tells its life from beginning to end (live), one for each container runs it
// again and again (Container.start), one tells the API server (report).
type Pod struct {
	kubelet *Kubelet
	folder  string
	// life ends when the pod shall be gone: what waits for something stops waiting.
	life context.Context
	end  context.CancelFunc
	// abandoned ends when nobody wants to hear of it any more.
	abandoned context.Context
	abandon   context.CancelFunc
	changed   chan struct{}
	volumes   *Volumes

	mutex      sync.Mutex
	latest     *corev1.Pod
	sandbox    *Sandbox
	since      metav1.Time
	inits      []*Container
	containers []*Container
	problem    string
	phase      corev1.PodPhase

	// telling is held by whoever tells the API server; told is what it heard last.
	telling sync.Mutex
	told    *corev1.PodStatus
}

func newPod(kubelet *Kubelet, object *corev1.Pod) *Pod {
	pod := &Pod{
		kubelet: kubelet,
		folder:  filepath.Join(kubelet.config.Home, string(object.UID)),
		latest:  object,
		since:   metav1.Now(),
		phase:   corev1.PodPending,
		changed: make(chan struct{}, 1),
	}
	pod.abandoned, pod.abandon = context.WithCancel(context.Background())
	pod.life, pod.end = context.WithCancel(pod.abandoned)
	pod.volumes = &Volumes{pod: pod, folder: filepath.Join(pod.folder, "volumes")}
	for index := range object.Spec.InitContainers {
		pod.inits = append(pod.inits, newContainer(pod, &object.Spec.InitContainers[index], true))
	}
	for index := range object.Spec.Containers {
		pod.containers = append(pod.containers, newContainer(pod, &object.Spec.Containers[index], false))
	}
	if object.DeletionTimestamp != nil {
		pod.end()
	}
	return pod
}

// update with what the API server holds now. Of a running pod only its deletion and its metadata matter.
func (p *Pod) update(object *corev1.Pod) {
	p.mutex.Lock()
	p.latest = object
	p.mutex.Unlock()
	if object.DeletionTimestamp != nil {
		p.end()
	}
}

func (p *Pod) object() *corev1.Pod {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.latest
}

// live from being bound to this node until nothing is left of it.
func (p *Pod) live() {
	object := p.object()
	finished := object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
	if finished {
		// It ended under a kubelet before this one.
		<-p.life.Done()
	} else {
		silent, silence := context.WithCancel(p.abandoned)
		go p.report(silent)
		p.work()
		<-p.life.Done()
		p.stopAll()
		silence()
		p.tell(p.abandoned)
	}
	if p.sandbox != nil {
		p.sandbox.Close()
	}
	if err := os.RemoveAll(p.folder); err != nil {
		log.Printf("pod %s/%s: %v", object.Namespace, object.Name, err)
	}
	p.remove()
	p.abandon()
}

// work until the pod shall end, or every container has done its work.
func (p *Pod) work() {
	object := p.object()
	if err := p.prepare(object); err != nil {
		return
	}
	for _, container := range p.inits {
		container.start()
		if !container.passed() {
			if p.life.Err() == nil {
				p.settle(corev1.PodFailed)
			}
			return
		}
	}
	p.settle(corev1.PodRunning)
	for _, container := range p.containers {
		container.start()
	}
	go p.volumes.keep(p.life)
	phase := corev1.PodSucceeded
	for _, container := range p.containers {
		select {
		case <-p.life.Done():
			return // Whoever waits for our return stops them.
		case <-container.over:
		}
		if container.failed() {
			phase = corev1.PodFailed
		}
	}
	for _, container := range p.inits {
		container.stop(p.life, 5*time.Second)
	}
	p.settle(phase)
}

// prepare its network and its volumes, however often that has to be tried.
func (p *Pod) prepare(object *corev1.Pod) error {
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return err
	}
	if !object.Spec.HostNetwork {
		if err := p.try("FailedCreatePodSandBox", func() error { return p.open(object) }); err != nil {
			return err
		}
	}
	return p.try("FailedMount", func() error { return p.volumes.fill(p.life) })
}

func (p *Pod) open(object *corev1.Pod) error {
	sysctls := map[string]string{}
	if context := object.Spec.SecurityContext; context != nil {
		for _, sysctl := range context.Sysctls {
			sysctls[strings.ReplaceAll(sysctl.Name, ".", "/")] = sysctl.Value
		}
	}
	sandbox, err := NewSandbox(p.kubelet.addresses, object.Namespace, object.Name, sysctls)
	if err != nil {
		return err
	}
	p.mutex.Lock()
	p.sandbox = sandbox
	p.mutex.Unlock()
	p.touch()
	return nil
}

// try something until it succeeds or the pod shall end; what keeps it from succeeding stands in its status.
func (p *Pod) try(what string, work func() error) error {
	for {
		err := work()
		if err != nil && p.life.Err() != nil {
			return p.life.Err()
		}
		problem := ""
		if err != nil {
			problem = fmt.Sprintf("%s: %v", what, err)
		}
		p.mutex.Lock()
		p.problem = problem
		p.mutex.Unlock()
		if err == nil {
			return nil
		}
		p.touch()
		if !sleep(p.life, retryPause) {
			return p.life.Err()
		}
	}
}

func (p *Pod) settle(phase corev1.PodPhase) {
	p.mutex.Lock()
	p.phase = phase
	p.mutex.Unlock()
	p.touch()
}

// stopAll containers, with the grace that the deletion gives them; none if nobody waits.
func (p *Pod) stopAll() {
	grace := 30 * time.Second
	object := p.object()
	if seconds := object.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	if seconds := object.DeletionGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	p.touch()
	var group sync.WaitGroup
	for _, container := range append(append([]*Container{}, p.containers...), p.inits...) {
		group.Go(func() { container.stop(p.abandoned, grace) })
	}
	group.Wait()
}

// remove the object: only now may another pod take its name.
func (p *Pod) remove() {
	object := p.object()
	now := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &object.UID}}
	_ = retry(p.abandoned, "removing pod "+object.Name, func() error {
		err := p.kubelet.client.CoreV1().Pods(object.Namespace).Delete(p.abandoned, object.Name, options)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
}

// address of the pod; invalid as long as it has none.
func (p *Pod) address() netip.Addr {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case p.latest.Spec.HostNetwork:
		return p.kubelet.config.Address
	case p.sandbox != nil:
		return p.sandbox.Address
	}
	return netip.Addr{}
}

func (p *Pod) network() *os.File {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.sandbox == nil {
		return nil
	}
	return p.sandbox.network
}

// container of that name; without a name, the only or first one.
func (p *Pod) container(name string) *Container {
	for _, container := range append(append([]*Container{}, p.containers...), p.inits...) {
		if container.spec.Name == name || name == "" {
			return container
		}
	}
	return nil
}

// touch says that the status may have changed.
func (p *Pod) touch() {
	select {
	case p.changed <- struct{}{}:
	default: // It has been said, and nobody has looked since.
	}
}
