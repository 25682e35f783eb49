package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Pods does for Deployments what a controller and a kubelet do: it makes their pods, runs each as a process in a network
// namespace of its own, says when it is ready and keeps its log. A map from image to program stands for a registry.
type Pods struct {
	Store *Store
	// Programs that an image means, by a part of its name.
	Programs map[string][]string
	// Folder for what pods mount.
	Folder string

	mutex   sync.Mutex
	running map[string]*pod
	next    int
}

// pod is a running one.
type pod struct {
	deployment string
	name       string
	addresses  []string
	command    *exec.Cmd

	mutex sync.Mutex
	log   []line
}

type line struct {
	at   time.Time
	text string
}

// Run follows the Deployments until the channel is closed.
func (p *Pods) Run() {
	p.running = map[string]*pod{}
	for range p.Store.Changes() {
		p.follow()
	}
}

func (p *Pods) follow() {
	wanted := map[string]bool{}
	for _, object := range p.Store.All("apps", "Deployment") {
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
			continue
		}
		replicas := int32(1)
		if deployment.Spec.Replicas != nil {
			replicas = *deployment.Spec.Replicas
		}
		for number := range replicas {
			short := strings.ReplaceAll(string(uidOf(object)), "-", "")[:10]
			key := fmt.Sprintf("%s/%s-%s-%d", deployment.Namespace, deployment.Name, short, number)
			wanted[key] = true
			if p.get(key) == nil {
				if err := p.start(key, &deployment); err != nil {
					fmt.Fprintf(os.Stderr, "pod %s: %v\n", key, err)
				}
			}
		}
	}
	for key, pod := range p.all() {
		if !wanted[key] {
			p.stop(key, pod)
		}
	}
}

func (p *Pods) get(key string) *pod {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.running[key]
}

func (p *Pods) all() map[string]*pod {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	all := map[string]*pod{}
	for key, pod := range p.running {
		all[key] = pod
	}
	return all
}

func (p *Pods) start(key string, deployment *appsv1.Deployment) error {
	namespace, name, _ := strings.Cut(key, "/")
	container := deployment.Spec.Template.Spec.Containers[0]
	program, ok := p.program(container.Image)
	if !ok {
		return fmt.Errorf("image %s is not known here", container.Image)
	}
	mounts, err := p.mount(key, namespace, &deployment.Spec.Template.Spec, container.VolumeMounts)
	if err != nil {
		return nil // What it mounts is not there yet: the next change brings it.
	}
	p.mutex.Lock()
	p.next++
	number := p.next
	p.mutex.Unlock()
	pod := &pod{deployment: deployment.Name, name: name, addresses: addressesOf(number)}
	pod.command = exec.Command(program[0], program[1:]...)
	pod.command.Env = append(os.Environ(), environment(container.Env, name, namespace, pod.addresses[0], mounts)...)
	// The namespace ends with its process, and the process with this one: it is the first of a PID namespace.
	pod.command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	output, err := pod.command.StdoutPipe()
	if err != nil {
		return err
	}
	pod.command.Stderr = pod.command.Stdout
	if err := pod.command.Start(); err != nil {
		return err
	}
	go pod.read(output)
	if err := connect(number, pod.command.Process.Pid); err != nil {
		_ = pod.command.Process.Kill()
		return err
	}
	p.mutex.Lock()
	p.running[key] = pod
	p.mutex.Unlock()
	p.tell(namespace, pod, deployment, false)
	go func() {
		listening := func() bool { return listens(pod.command.Process.Pid) }
		if until(30*time.Second, listening) && p.get(key) == pod {
			p.tell(namespace, pod, deployment, true)
		}
	}()
	go func() { _ = pod.command.Wait() }()
	return nil
}

func (p *Pods) program(image string) ([]string, bool) {
	for part, program := range p.Programs {
		if strings.Contains(image, part) {
			return program, true
		}
	}
	return nil, false
}

func (p *Pods) stop(key string, pod *pod) {
	p.mutex.Lock()
	delete(p.running, key)
	p.mutex.Unlock()
	_ = pod.command.Process.Kill()
	namespace, _, _ := strings.Cut(key, "/")
	_ = p.Store.Delete(id{"", "Pod", namespace, pod.name})
}

// tell writes the Pod object, as a kubelet keeps it.
func (p *Pods) tell(namespace string, pod *pod, deployment *appsv1.Deployment, ready bool) {
	object := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: pod.name, Namespace: namespace, Labels: deployment.Spec.Template.Labels},
		Spec:       *deployment.Spec.Template.Spec.DeepCopy(),
	}
	object.Spec.NodeName = "lab"
	state := corev1.ConditionFalse
	if ready {
		state = corev1.ConditionTrue
	}
	object.Status = corev1.PodStatus{
		Phase:      corev1.PodRunning,
		PodIP:      pod.addresses[0],
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: state}},
	}
	for _, address := range pod.addresses {
		object.Status.PodIPs = append(object.Status.PodIPs, corev1.PodIP{IP: address})
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&object)
	if err == nil {
		p.Store.Apply(&unstructured.Unstructured{Object: content})
	}
}

// Log of a pod since a moment; API servers count in whole seconds.
func (p *Pods) Log(namespace, name string, since time.Time) (string, bool) {
	pod := p.get(namespace + "/" + name)
	if pod == nil {
		return "", false
	}
	pod.mutex.Lock()
	defer pod.mutex.Unlock()
	var text strings.Builder
	for _, line := range pod.log {
		if !line.at.Before(since) {
			text.WriteString(line.text + "\n")
		}
	}
	return text.String(), true
}

func (p *pod) read(output io.Reader) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mutex.Lock()
		p.log = append(p.log, line{time.Now(), lines.Text()})
		p.mutex.Unlock()
	}
}

// mount writes what Secrets and ConfigMaps hold where the pod finds it: instead of a file system of its own, paths in
// its environment and arguments are changed.
func (p *Pods) mount(
	key, namespace string, spec *corev1.PodSpec, mounts []corev1.VolumeMount,
) (map[string]string, error) {
	placed := map[string]string{}
	for _, mount := range mounts {
		for _, volume := range spec.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			files, err := p.files(namespace, &volume)
			if err != nil {
				return nil, err
			}
			folder := filepath.Join(p.Folder, strings.ReplaceAll(key, "/", "_"), mount.Name)
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return nil, err
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
					return nil, err
				}
			}
			placed[mount.MountPath] = folder
		}
	}
	return placed, nil
}

// files of a volume: those that its items name, or every key.
func (p *Pods) files(namespace string, volume *corev1.Volume) (map[string][]byte, error) {
	var which id
	var items []corev1.KeyToPath
	switch {
	case volume.Secret != nil:
		which, items = id{"", "Secret", namespace, volume.Secret.SecretName}, volume.Secret.Items
	case volume.ConfigMap != nil:
		which, items = id{"", "ConfigMap", namespace, volume.ConfigMap.Name}, volume.ConfigMap.Items
	default:
		return nil, nil
	}
	object := p.Store.Get(which)
	if object == nil {
		return nil, fmt.Errorf("%s %s is not there", which.kind, which.name)
	}
	data := map[string][]byte{}
	if which.kind == "Secret" {
		var secret corev1.Secret
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &secret); err != nil {
			return nil, err
		}
		data = secret.Data
	} else {
		var config corev1.ConfigMap
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &config); err != nil {
			return nil, err
		}
		for key, value := range config.Data {
			data[key] = []byte(value)
		}
	}
	if len(items) == 0 {
		return data, nil
	}
	files := map[string][]byte{}
	for _, item := range items {
		files[item.Path] = data[item.Key]
	}
	return files, nil
}

func environment(asked []corev1.EnvVar, name, namespace, address string, mounts map[string]string) []string {
	var all []string
	for _, variable := range asked {
		value := variable.Value
		if from := variable.ValueFrom; from != nil && from.FieldRef != nil {
			fields := map[string]string{
				"metadata.name": name, "metadata.namespace": namespace, "status.podIP": address, "spec.nodeName": "lab",
			}
			value = fields[from.FieldRef.FieldPath]
		}
		for path, folder := range mounts {
			if rest, below := strings.CutPrefix(value, path); below {
				value = folder + rest
			}
		}
		all = append(all, variable.Name+"="+value)
	}
	return all
}

// addressesOf a pod: one of each family.
func addressesOf(number int) []string {
	high, low := number/250, number%250+2
	return []string{fmt.Sprintf("10.88.%d.%d", high, low), fmt.Sprintf("fd00:88::%x:%x", high, low)}
}

// connect gives a process in a fresh network namespace a wire to the bridge of all pods.
func connect(number, pid int) error {
	host, addresses := fmt.Sprintf("pod%d", number), addressesOf(number)
	outside := fmt.Sprintf("link add %s type veth peer name eth0 netns %d\nlink set %s master pods up\n", host, pid, host)
	if err := ipBatch(nil, outside); err != nil {
		return err
	}
	inside := fmt.Sprintf(
		"link set lo up\naddr add %s/16 dev eth0\naddr add %s/64 dev eth0 nodad\nlink set eth0 up\nroute add default via 10.88.0.1\n",
		addresses[0], addresses[1],
	)
	return ipBatch([]string{"nsenter", "-n", "-t", fmt.Sprint(pid)}, inside)
}

func ipBatch(before []string, lines string) error {
	words := append(append([]string{}, before...), "ip", "-batch", "-")
	command := exec.Command(words[0], words[1:]...)
	command.Stdin = strings.NewReader(lines)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, output)
	}
	return nil
}

// listens says whether something in the namespace of a process takes connections or datagrams.
func listens(pid int) bool {
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for entry := range strings.SplitSeq(string(text), "\n") {
			fields := strings.Fields(entry)
			bound := len(fields) > 3 && (fields[3] == "0A" || (strings.HasPrefix(table, "udp") && fields[3] == "07"))
			if bound {
				return true
			}
		}
	}
	return false
}

// isV6 tells the family of an address.
func isV6(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Is6()
}
