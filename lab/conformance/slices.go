package conformance

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// managedBy marks the EndpointSlices made here.
const managedBy = "endpointslice.kubernetes.io/managed-by"

// FollowServices keeps an EndpointSlice of each family for every Service that selects pods.
func FollowServices(store *Store) {
	for range store.Changes() {
		wanted := map[id]bool{}
		for _, object := range store.All("", "Service") {
			var service corev1.Service
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &service); err != nil {
				continue
			}
			if len(service.Spec.Selector) == 0 {
				continue
			}
			for _, slice := range slicesOf(store, &service) {
				wanted[idOf(slice)] = true
				store.Apply(slice)
			}
		}
		for _, slice := range store.All("discovery.k8s.io", "EndpointSlice") {
			if _, ours := slice.GetLabels()[managedBy]; ours && !wanted[idOf(slice)] {
				_ = store.Delete(idOf(slice))
			}
		}
	}
}

func slicesOf(store *Store, service *corev1.Service) []*unstructured.Unstructured {
	families := map[bool]*discoveryv1.EndpointSlice{false: slice(service, "ipv4"), true: slice(service, "ipv6")}
	families[false].AddressType, families[true].AddressType = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	selector := labels.SelectorFromSet(service.Spec.Selector)
	for _, object := range store.All("", "Pod") {
		if object.GetNamespace() != service.Namespace || !selector.Matches(labels.Set(object.GetLabels())) {
			continue
		}
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &pod); err != nil {
			continue
		}
		ready := len(pod.Status.Conditions) > 0 && pod.Status.Conditions[0].Status == corev1.ConditionTrue
		for _, address := range pod.Status.PodIPs {
			slice := families[isV6(address.IP)]
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses:  []string{address.IP},
				Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name},
			})
		}
	}
	var all []*unstructured.Unstructured
	for _, slice := range families {
		// A Service is of the first family unless it asks for both, as in a cluster of two families.
		if slice.AddressType == discoveryv1.AddressTypeIPv6 && service.Spec.IPFamilyPolicy == nil {
			continue
		}
		if content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(slice); err == nil {
			all = append(all, &unstructured.Unstructured{Object: content})
		}
	}
	return all
}

func slice(service *corev1.Service, family string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: service.Name + "-" + family, Namespace: service.Namespace,
			Labels: map[string]string{discoveryv1.LabelServiceName: service.Name, managedBy: "lab"},
		},
		Endpoints: []discoveryv1.Endpoint{},
	}
	for _, port := range service.Spec.Ports {
		number := port.TargetPort.IntVal
		if number == 0 && (port.TargetPort.Type == intstr.Int || port.TargetPort.StrVal == "") {
			number = port.Port
		}
		protocol := port.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		name := port.Name
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &protocol})
	}
	return slice
}

// isOfSuite says whether an object is one that Tidegate reads.
func isOfSuite(which id) bool {
	switch which.kind {
	case "Pod", "Deployment", "ServiceAccount", "CustomResourceDefinition":
		return false
	}
	return which.group == "" || which.group == "discovery.k8s.io" || strings.HasPrefix(which.group, gatewayGroup)
}
