package kubelet

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"tidegate.dev/lab/testplane/container"
)

// What is mounted is looked at again this often; kubelets do it once a minute.
const volumesEvery = 10 * time.Second

// Volumes of a pod: folders of files written before its containers start, and written anew when what they hold changes.
// Kinds: Secret, ConfigMap, downward API, projected, ServiceAccount tokens, emptyDir and hostPath.
type Volumes struct {
	pod    *Pod
	folder string

	mutex  sync.Mutex
	filled map[string]files
	token  map[string]token
}

// files of a volume, by their path inside.
type files map[string]file

type file struct {
	content []byte
	mode    os.FileMode
}

type token struct {
	text  string
	renew time.Time
}

// fill all of them.
func (v *Volumes) fill(ctx context.Context) error {
	pod := v.pod.object()
	for index := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[index]
		if err := v.fillOne(ctx, pod, volume); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

// keep them true until the context ends. What is gone meanwhile stays as it was.
func (v *Volumes) keep(ctx context.Context) {
	for sleep(ctx, volumesEvery) {
		if err := v.fill(ctx); err != nil && ctx.Err() == nil {
			log.Printf("pod %s: %v", v.pod.object().Name, err)
		}
	}
}

func (v *Volumes) fillOne(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	folder := filepath.Join(v.folder, volume.Name)
	if volume.EmptyDir != nil {
		return shared(folder, pod)
	}
	if volume.HostPath != nil {
		return hostPath(volume.HostPath)
	}
	content, err := v.content(ctx, pod, volume)
	if err != nil {
		return err
	}
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if reflect.DeepEqual(v.filled[volume.Name], content) {
		return nil
	}
	if err := write(folder, content, group(pod)); err != nil {
		return err
	}
	if v.filled == nil {
		v.filled = map[string]files{}
	}
	v.filled[volume.Name] = content
	return nil
}

func shared(folder string, pod *corev1.Pod) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := os.Chown(folder, -1, group(pod)); err != nil {
		return err
	}
	return os.Chmod(folder, 0o777)
}

// group that files belong to; -1: nobody's.
func group(pod *corev1.Pod) int {
	if context := pod.Spec.SecurityContext; context != nil && context.FSGroup != nil {
		return int(*context.FSGroup)
	}
	return -1
}

func hostPath(source *corev1.HostPathVolumeSource) error {
	if source.Type != nil && *source.Type == corev1.HostPathDirectoryOrCreate {
		return os.MkdirAll(source.Path, 0o755)
	}
	_, err := os.Stat(source.Path)
	return err
}

// content of a volume that holds what the API server knows.
func (v *Volumes) content(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (files, error) {
	into, mode := files{}, corev1.ConfigMapVolumeSourceDefaultMode
	var err error
	switch {
	case volume.Secret != nil:
		var data map[string][]byte
		data, err = v.pod.secret(ctx, volume.Secret.SecretName, volume.Secret.Optional)
		err = into.take(data, volume.Secret.Items, or(volume.Secret.DefaultMode, mode), volume.Secret.Optional, err)
	case volume.ConfigMap != nil:
		var data map[string][]byte
		data, err = v.pod.configMap(ctx, volume.ConfigMap.Name, volume.ConfigMap.Optional)
		err = into.take(data, volume.ConfigMap.Items, or(volume.ConfigMap.DefaultMode, mode), volume.ConfigMap.Optional, err)
	case volume.DownwardAPI != nil:
		err = v.downward(into, pod, volume.DownwardAPI.Items, or(volume.DownwardAPI.DefaultMode, mode))
	case volume.Projected != nil:
		for index := range volume.Projected.Sources {
			if err = v.project(ctx, into, pod, &volume.Projected.Sources[index], or(volume.Projected.DefaultMode, mode)); err != nil {
				break
			}
		}
	default:
		err = fmt.Errorf("its kind is not served here")
	}
	return into, err
}

func (v *Volumes) project(ctx context.Context, into files, pod *corev1.Pod, source *corev1.VolumeProjection, mode int32) error {
	switch {
	case source.Secret != nil:
		data, err := v.pod.secret(ctx, source.Secret.Name, source.Secret.Optional)
		return into.take(data, source.Secret.Items, mode, source.Secret.Optional, err)
	case source.ConfigMap != nil:
		data, err := v.pod.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Optional)
		return into.take(data, source.ConfigMap.Items, mode, source.ConfigMap.Optional, err)
	case source.DownwardAPI != nil:
		return v.downward(into, pod, source.DownwardAPI.Items, mode)
	case source.ServiceAccountToken != nil:
		text, err := v.accountToken(ctx, pod, source.ServiceAccountToken)
		into[source.ServiceAccountToken.Path] = file{[]byte(text), os.FileMode(mode)}
		return err
	}
	return fmt.Errorf("this projection is not served here")
}

// accountToken of the pod, renewed when four fifths of its time are over.
func (v *Volumes) accountToken(ctx context.Context, pod *corev1.Pod, source *corev1.ServiceAccountTokenProjection) (string, error) {
	v.mutex.Lock()
	known := v.token[source.Path]
	v.mutex.Unlock()
	if time.Now().Before(known.renew) {
		return known.text, nil
	}
	seconds := int64(3600)
	if source.ExpirationSeconds != nil {
		seconds = *source.ExpirationSeconds
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	accounts := v.pod.kubelet.client.CoreV1().ServiceAccounts(pod.Namespace)
	answer, err := accounts.CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.token == nil {
		v.token = map[string]token{}
	}
	left := time.Until(answer.Status.ExpirationTimestamp.Time)
	v.token[source.Path] = token{answer.Status.Token, time.Now().Add(left * 4 / 5)}
	return answer.Status.Token, nil
}

func (v *Volumes) downward(into files, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode int32) error {
	for _, item := range items {
		var value string
		var err error
		if item.FieldRef != nil {
			value, err = v.pod.field(item.FieldRef.FieldPath)
		} else if container := v.pod.container(item.ResourceFieldRef.ContainerName); container != nil {
			value, err = quantity(container.spec, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		into[item.Path] = file{[]byte(value), os.FileMode(or(item.Mode, mode))}
	}
	return nil
}

// take data into files: the items asked for, or every key.
func (f files) take(data map[string][]byte, items []corev1.KeyToPath, mode int32, optional *bool, err error) error {
	if err != nil {
		return err
	}
	if len(items) == 0 {
		for key, value := range data {
			f[key] = file{value, os.FileMode(mode)}
		}
		return nil
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found && (optional == nil || !*optional) {
			return fmt.Errorf("there is no key %q", item.Key)
		}
		f[item.Path] = file{value, os.FileMode(or(item.Mode, mode))}
	}
	return nil
}

func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}

// write a folder of files as kubelets do: readers see all of the old or all of the new, because names lead through one
// link, which is renamed over its predecessor.
func write(folder string, content files, group int) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	now, err := os.MkdirTemp(folder, "..data-")
	if err != nil {
		return err
	}
	if err := os.Chmod(now, 0o755); err != nil {
		return err
	}
	for name, file := range content {
		path := filepath.Join(now, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, file.content, file.mode); err != nil {
			return err
		}
		// A group's files can be read by it, whatever their mode says otherwise.
		mode := file.mode
		if group >= 0 {
			mode |= 0o440
		}
		if err := os.Chown(path, -1, group); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	data, draft := filepath.Join(folder, "..data"), filepath.Join(folder, "..draft")
	before, _ := os.Readlink(data)
	if err := os.Symlink(filepath.Base(now), draft); err != nil {
		return err
	}
	if err := os.Rename(draft, data); err != nil {
		return err
	}
	if err := link(folder, content); err != nil {
		return err
	}
	if before != "" {
		return os.RemoveAll(filepath.Join(folder, before))
	}
	return nil
}

// link the first part of every name to what lies behind the one link, and take away links to what is gone.
func link(folder string, content files) error {
	wanted := map[string]bool{}
	for name := range content {
		first, _, _ := strings.Cut(name, "/")
		wanted[first] = true
		err := os.Symlink(filepath.Join("..data", first), filepath.Join(folder, first))
		if err != nil && !os.IsExist(err) {
			return err
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); !wanted[name] && !strings.HasPrefix(name, "..") {
			if err := os.Remove(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// mounts of a container.
func (v *Volumes) mounts(spec *corev1.Container) ([]container.Mount, error) {
	var mounts []container.Mount
	for _, mount := range spec.VolumeMounts {
		for _, volume := range v.pod.object().Spec.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			from := filepath.Join(v.folder, volume.Name)
			readOnly := mount.ReadOnly || (volume.EmptyDir == nil && volume.HostPath == nil)
			if volume.HostPath != nil {
				from = volume.HostPath.Path
			}
			if mount.SubPath != "" {
				from = filepath.Join(from, filepath.Clean("/"+mount.SubPath))
				if volume.EmptyDir != nil {
					if err := os.MkdirAll(from, 0o777); err != nil {
						return nil, err
					}
				}
			}
			mounts = append(mounts, container.Mount{From: from, To: mount.MountPath, ReadOnly: readOnly})
		}
	}
	return mounts, nil
}

// names that every container can look up: /etc/hosts and /etc/resolv.conf.
func (p *Pod) names() ([]container.Mount, error) {
	object := p.object()
	hosts := "127.0.0.1 localhost\n"
	if address := p.address(); address.IsValid() {
		hosts += address.String() + " " + hostname(object) + "\n"
	}
	for _, alias := range object.Spec.HostAliases {
		hosts += alias.IP + " " + strings.Join(alias.Hostnames, " ") + "\n"
	}
	resolver := ""
	if server := p.kubelet.config.ClusterDNS; server.IsValid() && object.Spec.DNSPolicy != corev1.DNSNone {
		resolver = fmt.Sprintf("nameserver %s\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", server, object.Namespace)
	}
	if asked := object.Spec.DNSConfig; asked != nil {
		for _, server := range asked.Nameservers {
			resolver += "nameserver " + server + "\n"
		}
		if len(asked.Searches) > 0 {
			resolver += "search " + strings.Join(asked.Searches, " ") + "\n"
		}
	}
	folder := filepath.Join(p.folder, "etc")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var mounts []container.Mount
	for name, text := range map[string]string{"hosts": hosts, "resolv.conf": resolver} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
		mounts = append(mounts, container.Mount{From: path, To: "/etc/" + name})
	}
	return mounts, nil
}
