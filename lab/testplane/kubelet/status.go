package kubelet

import (
	"context"
	"encoding/json"
	"log"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report the status of a pod whenever it changes, until the context ends.
func (p *Pod) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
			p.tell(ctx)
		}
	}
}

// tell the API server how the pod does, however long that takes.
func (p *Pod) tell(ctx context.Context) {
	p.telling.Lock()
	defer p.telling.Unlock()
	pause := 100 * time.Millisecond
	for {
		object := p.object()
		status := p.status()
		if p.told != nil && reflect.DeepEqual(p.told, status) {
			return
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": object.UID}, "status": status})
		if err == nil {
			_, err = p.kubelet.client.CoreV1().Pods(object.Namespace).
				Patch(ctx, object.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		}
		if err == nil {
			p.told = status
			return
		}
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil {
			return // It is gone, or another pod has its name.
		}
		log.Printf("status of pod %s/%s: %v", object.Namespace, object.Name, err)
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// status of the pod now. Times of conditions stay as long as the condition does.
func (p *Pod) status() *corev1.PodStatus {
	address := p.address()
	p.mutex.Lock()
	phase, problem, object := p.phase, p.problem, p.latest
	p.mutex.Unlock()
	status := &corev1.PodStatus{
		Phase: phase, StartTime: &p.since,
		HostIP: p.kubelet.config.Address.String(), HostIPs: []corev1.HostIP{{IP: p.kubelet.config.Address.String()}},
	}
	if address.IsValid() {
		status.PodIP, status.PodIPs = address.String(), []corev1.PodIP{{IP: address.String()}}
	}
	ready, initialized := phase == corev1.PodRunning, true
	for _, container := range p.inits {
		told := container.status(problem)
		if !told.Ready {
			initialized = false
		}
		if container.sidecar() && !told.Ready {
			ready = false
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses, told)
	}
	for _, container := range p.containers {
		told := container.status(problem)
		ready = ready && told.Ready
		status.ContainerStatuses = append(status.ContainerStatuses, told)
	}
	gates := true
	for _, gate := range object.Spec.ReadinessGates {
		gates = gates && holds(object.Status.Conditions, gate.ConditionType)
	}
	reason := ""
	if !ready {
		reason = "ContainersNotReady"
		if phase == corev1.PodSucceeded {
			reason = "PodCompleted"
		}
	}
	for _, condition := range []struct {
		kind   corev1.PodConditionType
		holds  bool
		reason string
	}{
		{corev1.PodReadyToStartContainers, address.IsValid(), ""},
		{corev1.PodInitialized, initialized, ""},
		{corev1.ContainersReady, ready, reason},
		{corev1.PodReady, ready && gates, reason},
	} {
		status.Conditions = append(status.Conditions, p.condition(condition.kind, condition.holds, condition.reason))
	}
	return status
}

func (p *Pod) condition(kind corev1.PodConditionType, holds bool, reason string) corev1.PodCondition {
	condition := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.Now()}
	if holds {
		condition.Status = corev1.ConditionTrue
	}
	if p.told != nil {
		for _, before := range p.told.Conditions {
			if before.Type == kind && before.Status == condition.Status {
				condition.LastTransitionTime = before.LastTransitionTime
			}
		}
	}
	return condition
}

func holds(conditions []corev1.PodCondition, kind corev1.PodConditionType) bool {
	for _, condition := range conditions {
		if condition.Type == kind {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// status of a container; what keeps its pod from starting stands for what it waits for.
func (c *Container) status(problem string) corev1.ContainerStatus {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	state, started := c.state, c.started
	if state.Waiting != nil && problem != "" {
		state = waiting("ContainerCreating", problem)
	}
	ready := c.ready
	if c.initial && !c.sidecar() {
		ready = state.Terminated != nil && state.Terminated.ExitCode == 0
	}
	return corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, State: state, LastTerminationState: c.last,
		Ready: ready, Started: &started, RestartCount: c.restarts,
	}
}
