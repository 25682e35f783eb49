// Package kubelet is a small kubelet: it registers its node, runs the pods that are bound to it as processes in network
// namespaces, and tells the API server how they do. It has no images (a map names programs), no container runtime, no
// resource limits, and volumes only of the kinds that hold configuration. It never outlives its pods, nor they it: what a
// kubelet that ended had started ends with it, and a new one begins anew.
package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/netip"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Config of a kubelet; all of it is needed unless it says otherwise.
type Config struct {
	// Name of its node.
	Name string
	// Address of its node, which is also where it answers the API server.
	Address netip.Addr
	// Server is the API server's URL.
	Server string
	// CA is the file that vouches for the API server, and for whoever asks this kubelet.
	CA string
	// Certificate and Key of this kubelet's own server.
	Certificate, Key string
	// Token with which it speaks to the API server.
	Token string
	// Home is a folder of its own; what is in it is removed.
	Home string
	// Runner is the program that becomes a container.
	Runner string
	// Images by name.
	Images map[string]Image
	// Version of Kubernetes that the node claims.
	Version string
	// KubernetesService is the cluster's own Service, which pods find in their environment.
	KubernetesService netip.Addr
	// ClusterDNS is the name server of pods; it may be absent.
	ClusterDNS netip.Addr `json:",omitzero"`
	// Labels of its node, beside the usual ones; may be empty.
	Labels map[string]string
}

// ReadConfig from a file of JSON.
func ReadConfig(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config Config
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &config, nil
}

// Kubelet of one node.
type Kubelet struct {
	config    *Config
	client    kubernetes.Interface
	addresses *Addresses
	ca        []byte

	mutex sync.Mutex
	pods  map[types.UID]*Pod
}

// Run a kubelet until the context ends.
func Run(ctx context.Context, config *Config) error {
	// What a kubelet before this one left: its pods are gone, their files are not.
	if err := os.RemoveAll(config.Home); err != nil {
		return err
	}
	if err := os.MkdirAll(config.Home, 0o700); err != nil {
		return err
	}
	client, err := connect(config)
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(config.CA)
	if err != nil {
		return err
	}
	kubelet := &Kubelet{config: config, client: client, ca: ca, pods: map[types.UID]*Pod{}}
	if err := kubelet.serve(); err != nil {
		return err
	}
	block, err := kubelet.join(ctx)
	if err != nil {
		return err
	}
	kubelet.addresses = NewAddresses(block)
	go kubelet.renew(ctx)
	go kubelet.tellNode(ctx)
	log.Printf("node %s is ready, its pods are %s", config.Name, block)
	kubelet.follow(ctx)
	return nil
}

func connect(config *Config) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(&rest.Config{
		Host:            config.Server,
		BearerToken:     config.Token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: config.CA},
		ContentConfig:   rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + ",application/json"},
		UserAgent:       "tidegate-testplane-kubelet",
		QPS:             -1,
		Timeout:         0,
	})
}

// follow the pods that are bound to this node.
func (k *Kubelet) follow(ctx context.Context) {
	pods := k.client.CoreV1().Pods(metav1.NamespaceAll)
	mine := fields.OneTermEqualSelector("spec.nodeName", k.config.Name).String()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = mine
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = mine
			return pods.Watch(ctx, options)
		},
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { k.see(object.(*corev1.Pod)) },
			UpdateFunc: func(_, object any) { k.see(object.(*corev1.Pod)) },
			DeleteFunc: func(object any) {
				if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = last.Obj
				}
				if pod, ok := object.(*corev1.Pod); ok {
					k.lose(pod.UID)
				}
			},
		},
	})
	informer.RunWithContext(ctx)
}

// see a pod that is new or has changed.
func (k *Kubelet) see(object *corev1.Pod) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if pod := k.pods[object.UID]; pod != nil {
		pod.update(object)
		return
	}
	pod := newPod(k, object)
	k.pods[object.UID] = pod
	go func() {
		pod.live()
		k.mutex.Lock()
		defer k.mutex.Unlock()
		delete(k.pods, object.UID)
	}()
}

// lose a pod that the API server holds no more: whoever deleted it did not wait.
func (k *Kubelet) lose(uid types.UID) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if pod := k.pods[uid]; pod != nil {
		pod.abandon()
	}
}

// find a running pod by its name.
func (k *Kubelet) find(namespace, name string) *Pod {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for _, pod := range k.pods {
		if object := pod.object(); object.Namespace == namespace && object.Name == name {
			return pod
		}
	}
	return nil
}

// retry until it succeeds or the context ends, ever more slowly.
func retry(ctx context.Context, what string, work func() error) error {
	pause := 100 * time.Millisecond
	for {
		err := work()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Printf("%s: %v", what, err)
		sleep(ctx, pause)
		pause = min(2*pause, 2*time.Second)
	}
}

// sleep, unless the context ends before; whether it did not.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
