package kubelet

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment of a container, as NAME=VALUE and by name.
func (c *Container) environment(ctx context.Context, image Image) ([]string, map[string]string, error) {
	pod := c.pod.object()
	values := map[string]string{
		"PATH":                    path,
		"HOSTNAME":                hostname(pod),
		"KUBERNETES_SERVICE_HOST": c.pod.kubelet.config.KubernetesService.String(),
		"KUBERNETES_SERVICE_PORT": "443",
	}
	for _, variable := range image.Env {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	for _, source := range c.spec.EnvFrom {
		if err := c.pod.all(ctx, source, values); err != nil {
			return nil, nil, err
		}
	}
	for _, variable := range c.spec.Env {
		value := expand(variable.Value, values)
		if variable.ValueFrom != nil {
			found, present, err := c.value(ctx, variable.ValueFrom)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", variable.Name, err)
			}
			if !present {
				continue
			}
			value = found
		}
		values[variable.Name] = value
	}
	env := make([]string, 0, len(values))
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	sort.Strings(env)
	return env, values, nil
}

// all keys of a ConfigMap or Secret.
func (p *Pod) all(ctx context.Context, source corev1.EnvFromSource, values map[string]string) error {
	var found map[string][]byte
	var err error
	switch {
	case source.ConfigMapRef != nil:
		found, err = p.configMap(ctx, source.ConfigMapRef.Name, source.ConfigMapRef.Optional)
	case source.SecretRef != nil:
		found, err = p.secret(ctx, source.SecretRef.Name, source.SecretRef.Optional)
	}
	for key, value := range found {
		values[source.Prefix+key] = string(value)
	}
	return err
}

// value of a variable that names where it comes from; whether there is one.
func (c *Container) value(ctx context.Context, source *corev1.EnvVarSource) (string, bool, error) {
	var found map[string][]byte
	var err error
	var key string
	var optional *bool
	switch {
	case source.FieldRef != nil:
		value, err := c.pod.field(source.FieldRef.FieldPath)
		return value, true, err
	case source.ResourceFieldRef != nil:
		value, err := quantity(c.spec, source.ResourceFieldRef)
		return value, true, err
	case source.ConfigMapKeyRef != nil:
		key, optional = source.ConfigMapKeyRef.Key, source.ConfigMapKeyRef.Optional
		found, err = c.pod.configMap(ctx, source.ConfigMapKeyRef.Name, optional)
	case source.SecretKeyRef != nil:
		key, optional = source.SecretKeyRef.Key, source.SecretKeyRef.Optional
		found, err = c.pod.secret(ctx, source.SecretKeyRef.Name, optional)
	default:
		return "", false, fmt.Errorf("this kind of valueFrom is not served here")
	}
	value, present := found[key]
	if err == nil && !present && (optional == nil || !*optional) {
		err = fmt.Errorf("there is no key %q", key)
	}
	return string(value), present, err
}

// field of a pod that its containers may ask for.
func (p *Pod) field(name string) (string, error) {
	object := p.object()
	if head, key, found := strings.Cut(strings.TrimSuffix(name, "']"), "['"); found {
		switch head {
		case "metadata.labels":
			return object.Labels[key], nil
		case "metadata.annotations":
			return object.Annotations[key], nil
		}
	}
	address := ""
	if own := p.address(); own.IsValid() {
		address = own.String()
	}
	fields := map[string]string{
		"metadata.name":           object.Name,
		"metadata.namespace":      object.Namespace,
		"metadata.uid":            string(object.UID),
		"metadata.labels":         lines(object.Labels),
		"metadata.annotations":    lines(object.Annotations),
		"spec.nodeName":           object.Spec.NodeName,
		"spec.serviceAccountName": object.Spec.ServiceAccountName,
		"status.hostIP":           p.kubelet.config.Address.String(),
		"status.hostIPs":          p.kubelet.config.Address.String(),
		"status.podIP":            address,
		"status.podIPs":           address,
	}
	value, known := fields[name]
	if !known {
		return "", fmt.Errorf("the field %s is not served here", name)
	}
	return value, nil
}

// lines of labels as the downward API writes them: name="value", sorted.
func lines(labels map[string]string) string {
	var all []string
	for name, value := range labels {
		all = append(all, name+"="+strconv.Quote(value))
	}
	sort.Strings(all)
	return strings.Join(all, "\n")
}

// quantity of a resource; where a container has no limit, the node's.
func quantity(spec *corev1.Container, asked *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(asked.Resource, ".")
	list := spec.Resources.Limits
	if kind == "requests" {
		list = spec.Resources.Requests
	}
	amount, found := list[corev1.ResourceName(name)]
	if !found && kind == "limits" {
		switch name {
		case "cpu":
			amount = resource.MustParse("64")
		case "memory":
			amount = resource.MustParse("64Gi")
		}
	}
	divisor := asked.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	// Rounded up, as documented.
	parts := (amount.MilliValue() + divisor.MilliValue() - 1) / divisor.MilliValue()
	return strconv.FormatInt(parts, 10), nil
}

func (p *Pod) configMap(ctx context.Context, name string, optional *bool) (map[string][]byte, error) {
	found, err := p.kubelet.client.CoreV1().ConfigMaps(p.object().Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unless(optional, err)
	}
	data := map[string][]byte{}
	for key, value := range found.Data {
		data[key] = []byte(value)
	}
	for key, value := range found.BinaryData {
		data[key] = value
	}
	return data, nil
}

func (p *Pod) secret(ctx context.Context, name string, optional *bool) (map[string][]byte, error) {
	found, err := p.kubelet.client.CoreV1().Secrets(p.object().Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unless(optional, err)
	}
	return found.Data, nil
}

// unless it may be absent. Of what does not exist the node is told that it is forbidden, as long as the API server has not
// seen that the pod refers to it.
func unless(optional *bool, err error) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// expand $(NAME), as Kubernetes does: $$ is a $, and what is not known stays as it is.
func expand(text string, values map[string]string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		if strings.HasPrefix(after, "$") {
			out.WriteByte('$')
			text = after[1:]
			continue
		}
		text = after
		name, rest, closed := strings.Cut(after, ")")
		value, known := values[strings.TrimPrefix(name, "(")]
		if strings.HasPrefix(after, "(") && closed && known {
			out.WriteString(value)
			text = rest
		} else {
			out.WriteByte('$')
		}
	}
}

func expandAll(texts []string, values map[string]string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, expand(text, values))
	}
	return all
}

// hostname of a pod.
func hostname(pod *corev1.Pod) string {
	name := pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	// Names end at 63 bytes.
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

func splitZero(text []byte) []string {
	return strings.FieldsFunc(string(text), func(letter rune) bool { return letter == 0 })
}
