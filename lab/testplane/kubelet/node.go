package kubelet

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Port at which a kubelet answers.
	Port = 10250

	leaseRenewal = 10 * time.Second
	leaseSecs    = 40
	// A status that has not changed is told this often, as kubelets do.
	statusEvery = 5 * time.Minute
	podsMax     = 60
)

// join makes the Node, and waits for the block that its pods get addresses from.
func (k *Kubelet) join(ctx context.Context) (netip.Prefix, error) {
	nodes := k.client.CoreV1().Nodes()
	node := k.node()
	err := retry(ctx, "registering the node", func() error {
		_, err := nodes.Create(ctx, node, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return k.patchNode(ctx)
		}
		return err
	})
	if err != nil {
		return netip.Prefix{}, err
	}
	var block netip.Prefix
	for !block.IsValid() {
		if found, err := nodes.Get(ctx, k.config.Name, metav1.GetOptions{}); err == nil {
			block, _ = netip.ParsePrefix(found.Spec.PodCIDR)
		}
		if !block.IsValid() && !sleep(ctx, 50*time.Millisecond) {
			return block, ctx.Err()
		}
	}
	return block, nil
}

func (k *Kubelet) node() *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname:   k.config.Name,
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: runtime.GOARCH,
	}
	for name, value := range k.config.Labels {
		labels[name] = value
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.config.Name, Labels: labels},
		Status:     k.nodeStatus(time.Now()),
	}
}

func (k *Kubelet) nodeStatus(now time.Time) corev1.NodeStatus {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(64, resource.DecimalSI),
		corev1.ResourceMemory:           resource.MustParse("64Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("64Gi"),
		corev1.ResourcePods:             *resource.NewQuantity(podsMax, resource.DecimalSI),
	}
	status := corev1.NodeStatus{
		Capacity:    capacity,
		Allocatable: capacity,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: k.config.Address.String()},
			{Type: corev1.NodeHostName, Address: k.config.Name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: Port}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: k.config.Version, OperatingSystem: "linux", Architecture: runtime.GOARCH,
			ContainerRuntimeVersion: "tidegate-testplane://1", KernelVersion: kernel(), OSImage: "the machine's own",
			MachineID: k.config.Name, SystemUUID: k.config.Name, BootID: k.config.Name,
		},
	}
	heard := metav1.NewTime(now)
	for _, condition := range []struct {
		kind   corev1.NodeConditionType
		status corev1.ConditionStatus
		reason string
	}{
		{corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"},
		{corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"},
		{corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"},
		{corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"},
		{corev1.NodeNetworkUnavailable, corev1.ConditionFalse, "RouteCreated"},
	} {
		status.Conditions = append(status.Conditions, corev1.NodeCondition{
			Type: condition.kind, Status: condition.status, Reason: condition.reason,
			LastHeartbeatTime: heard, LastTransitionTime: heard,
		})
	}
	return status
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

func (k *Kubelet) patchNode(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"status": k.nodeStatus(time.Now())})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Nodes().Patch(ctx, k.config.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// tellNode that it is ready: when the API server thinks otherwise, as after a silence, and now and then.
func (k *Kubelet) tellNode(ctx context.Context) {
	told := time.Now()
	for sleep(ctx, leaseRenewal) {
		node, err := k.client.CoreV1().Nodes().Get(ctx, k.config.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = k.client.CoreV1().Nodes().Create(ctx, k.node(), metav1.CreateOptions{})
		}
		if err != nil || (ready(node) && time.Since(told) < statusEvery) {
			continue
		}
		if k.patchNode(ctx) == nil {
			told = time.Now()
		}
	}
}

func ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// renew the Lease by which the node is known to live.
func (k *Kubelet) renew(ctx context.Context) {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	seconds := int32(leaseSecs)
	var lease *coordinationv1.Lease
	for {
		_ = retry(ctx, "renewing the lease", func() (err error) {
			now := metav1.NowMicro()
			if lease == nil {
				lease, err = leases.Get(ctx, k.config.Name, metav1.GetOptions{})
			}
			if apierrors.IsNotFound(err) {
				lease, err = leases.Create(ctx, &coordinationv1.Lease{
					ObjectMeta: metav1.ObjectMeta{Name: k.config.Name},
					Spec:       coordinationv1.LeaseSpec{HolderIdentity: &k.config.Name, LeaseDurationSeconds: &seconds, RenewTime: &now},
				}, metav1.CreateOptions{})
			} else if err == nil {
				lease = lease.DeepCopy()
				lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &k.config.Name, &seconds, &now
				lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
			}
			if err != nil {
				lease = nil
			}
			return err
		})
		if !sleep(ctx, leaseRenewal) {
			return
		}
	}
}
