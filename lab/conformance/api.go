package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kinds that clients may ask for. The plural is the name in the path.
var kinds = []struct {
	plural     string
	kind       schema.GroupVersionKind
	namespaced bool
}{
	{"namespaces", core("Namespace"), false},
	{"services", core("Service"), true},
	{"serviceaccounts", core("ServiceAccount"), true},
	{"secrets", core("Secret"), true},
	{"configmaps", core("ConfigMap"), true},
	{"pods", core("Pod"), true},
	{"deployments", schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, true},
	{"endpointslices", schema.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}, true},
	{"customresourcedefinitions", schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, false},
	{"gatewayclasses", gateway("GatewayClass"), false},
	{"gateways", gateway("Gateway"), true},
	{"listenersets", gateway("ListenerSet"), true},
	{"httproutes", gateway("HTTPRoute"), true},
	{"grpcroutes", gateway("GRPCRoute"), true},
	{"tlsroutes", gateway("TLSRoute"), true},
	{"tcproutes", gateway("TCPRoute"), true},
	{"udproutes", gateway("UDPRoute"), true},
	{"backendtlspolicies", gateway("BackendTLSPolicy"), true},
	{"referencegrants", gateway("ReferenceGrant"), true},
}

const gatewayGroup = "gateway.networking.k8s.io"

func core(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Version: "v1", Kind: kind}
}

func gateway(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: gatewayGroup, Version: "v1", Kind: kind}
}

// Logs of a pod since a moment.
type Logs func(namespace, pod string, since time.Time) (string, bool)

// API answers the requests of Kubernetes clients from a Store. It is a transport, so no socket is between; of the API it
// knows what the suite uses: get, list by label, create, update, merge patch, delete, status, and the logs of pods.
type API struct {
	Store *Store
	Logs  Logs
}

// path of a request, taken apart.
type path struct {
	gvk                      schema.GroupVersionKind
	namespace, name, beneath string
}

// RoundTrip implements http.RoundTripper.
func (a *API) RoundTrip(request *http.Request) (*http.Response, error) {
	code, contentType, body := a.answer(request)
	return &http.Response{
		StatusCode: code,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {contentType}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       request,
	}, nil
}

func (a *API) answer(request *http.Request) (int, string, []byte) {
	const asJSON = "application/json"
	where, ok := parse(request.URL.Path)
	if !ok {
		return fail(&Problem{404, "NotFound", "no such path: " + request.URL.Path})
	}
	if where.beneath == "log" {
		text, ok := a.Logs(where.namespace, where.name, since(request.URL.Query()))
		if !ok {
			return fail(&Problem{404, "NotFound", "no such pod: " + where.name})
		}
		return 200, "text/plain", []byte(text)
	}
	result, err := a.serve(request, where)
	if err != nil {
		return fail(err)
	}
	code := 200
	if request.Method == http.MethodPost {
		code = 201
	}
	body, err := json.Marshal(result)
	if err != nil {
		return fail(err)
	}
	return code, asJSON, body
}

func (a *API) serve(request *http.Request, where path) (any, error) {
	which := id{where.gvk.Group, where.gvk.Kind, where.namespace, where.name}
	switch {
	case request.Method == http.MethodGet && where.name == "":
		return a.list(request.URL.Query(), where)
	case request.Method == http.MethodGet:
		if object := a.Store.Get(which); object != nil {
			return as(where, object), nil
		}
		return nil, notFound(which)
	case request.Method == http.MethodPost:
		object, err := read(request, where)
		if err != nil {
			return nil, err
		}
		created, err := a.Store.Create(object)
		return as(where, created), err
	case request.Method == http.MethodPut:
		object, err := read(request, where)
		if err != nil {
			return nil, err
		}
		updated, err := a.Store.Update(object, where.beneath == "status")
		return as(where, updated), err
	case request.Method == http.MethodPatch:
		patched, err := a.patch(request, which, where)
		return as(where, patched), err
	case request.Method == http.MethodDelete:
		if err := a.Store.Delete(which); err != nil {
			return nil, err
		}
		return metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Success"}, nil
	}
	return nil, &Problem{405, "MethodNotAllowed", request.Method + " is not served"}
}

func (a *API) list(query url.Values, where path) (any, error) {
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, &Problem{400, "BadRequest", err.Error()}
	}
	items := []any{}
	for _, object := range a.Store.All(where.gvk.Group, where.gvk.Kind) {
		inside := where.namespace == "" || object.GetNamespace() == where.namespace
		if inside && selector.Matches(labels.Set(object.GetLabels())) {
			items = append(items, as(where, object).Object)
		}
	}
	apiVersion, kind := where.gvk.ToAPIVersionAndKind()
	metadata := map[string]any{"resourceVersion": "1"}
	return map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "metadata": metadata, "items": items}, nil
}

func (a *API) patch(request *http.Request, which id, where path) (*unstructured.Unstructured, error) {
	known := a.Store.Get(which)
	if known == nil {
		return nil, notFound(which)
	}
	if kind := request.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/merge-patch+json") {
		return nil, &Problem{415, "UnsupportedMediaType", "no patch of type " + kind + " is served"}
	}
	patch, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	whole, err := json.Marshal(as(where, known).Object)
	if err != nil {
		return nil, err
	}
	merged, err := jsonpatch.MergePatch(whole, patch)
	if err != nil {
		return nil, &Problem{400, "BadRequest", err.Error()}
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(merged); err != nil {
		return nil, &Problem{400, "BadRequest", err.Error()}
	}
	return a.Store.Update(object, where.beneath == "status")
}

// as shows an object in the version that was asked for: those served here differ in name only.
func as(where path, object *unstructured.Unstructured) *unstructured.Unstructured {
	if object != nil {
		object.SetGroupVersionKind(where.gvk)
	}
	return object
}

func read(request *http.Request, where path) (*unstructured.Unstructured, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(body, &object.Object); err != nil {
		return nil, &Problem{400, "BadRequest", err.Error()}
	}
	object.SetGroupVersionKind(where.gvk)
	if where.namespace != "" {
		object.SetNamespace(where.namespace)
	}
	return object, nil
}

func parse(text string) (path, bool) {
	parts := strings.Split(strings.Trim(text, "/"), "/")
	var where path
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		where.gvk.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		where.gvk.Group, where.gvk.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return where, false
	}
	if parts[0] == "namespaces" && len(parts) >= 3 {
		where.namespace, parts = parts[1], parts[2:]
	}
	for _, known := range kinds {
		if known.plural == parts[0] && known.kind.Group == where.gvk.Group {
			where.gvk.Kind = known.kind.Kind
		}
	}
	if len(parts) > 1 {
		where.name = parts[1]
	}
	if len(parts) > 2 {
		where.beneath = parts[2]
	}
	return where, where.gvk.Kind != ""
}

func since(query url.Values) time.Time {
	moment, _ := time.Parse(time.RFC3339, query.Get("sinceTime"))
	return moment
}

func fail(err error) (int, string, []byte) {
	var problem *Problem
	if !errors.As(err, &problem) {
		problem = &Problem{500, "InternalError", err.Error()}
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   "Failure",
		Message:  problem.Message,
		Reason:   metav1.StatusReason(problem.Reason),
		Code:     int32(problem.Code),
	}
	body, _ := json.Marshal(status)
	return problem.Code, "application/json", body
}
