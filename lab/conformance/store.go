package conformance

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// id names an object whatever version of its kind is asked for.
type id struct {
	group, kind, namespace, name string
}

func idOf(object *unstructured.Unstructured) id {
	gvk := object.GroupVersionKind()
	return id{gvk.Group, gvk.Kind, object.GetNamespace(), object.GetName()}
}

// Store holds objects as an API server does: it gives uid, generation, resource version and defaults, and keeps status
// apart from the rest. Every change wakes those who wait for one; they look at everything, so nothing queues up.
type Store struct {
	mutex    sync.Mutex
	objects  map[id]*unstructured.Unstructured
	version  int64
	schemas  *Schemas
	wakeable []chan struct{}
}

// NewStore is empty.
func NewStore(schemas *Schemas) *Store {
	return &Store{objects: map[id]*unstructured.Unstructured{}, schemas: schemas}
}

// Changes is woken by every change, once for any number of them.
func (s *Store) Changes() <-chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	wake := make(chan struct{}, 1)
	wake <- struct{}{}
	s.wakeable = append(s.wakeable, wake)
	return wake
}

// Get is nil where there is no such object.
func (s *Store) Get(which id) *unstructured.Unstructured {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if object, ok := s.objects[which]; ok {
		return object.DeepCopy()
	}
	return nil
}

// All objects of a kind, in order of namespace and name; an empty kind means every one.
func (s *Store) All(group, kind string) []*unstructured.Unstructured {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var found []*unstructured.Unstructured
	for which, object := range s.objects {
		if kind == "" || (which.group == group && which.kind == kind) {
			found = append(found, object.DeepCopy())
		}
	}
	slices.SortFunc(found, func(a, b *unstructured.Unstructured) int {
		return compare(idOf(a), idOf(b))
	})
	return found
}

func compare(a, b id) int {
	left := []string{a.group, a.kind, a.namespace, a.name}
	return slices.Compare(left, []string{b.group, b.kind, b.namespace, b.name})
}

// Problem is what the API answers instead of an object.
type Problem struct {
	Code            int
	Reason, Message string
}

func (p *Problem) Error() string { return p.Message }

// Create adds an object; status is left out where its kind keeps it apart.
func (s *Store) Create(object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	object = object.DeepCopy()
	if object.GetName() == "" && object.GetGenerateName() != "" {
		object.SetName(object.GetGenerateName() + string(uuid.NewUUID())[:5])
	}
	which := idOf(object)
	if _, exists := s.objects[which]; exists {
		return nil, &Problem{409, "AlreadyExists", fmt.Sprintf("%s %s already exists", which.kind, which.name)}
	}
	object.SetUID(uuid.NewUUID())
	object.SetGeneration(1)
	object.SetCreationTimestamp(now())
	if which.kind == "Namespace" {
		labels := maps.Clone(object.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		labels["kubernetes.io/metadata.name"] = which.name
		object.SetLabels(labels)
	}
	if s.schemas.KeepsStatusApart(which) {
		delete(object.Object, "status")
	}
	s.schemas.Default(object)
	return s.keep(which, object), nil
}

// Update replaces all of an object but its status, or only its status.
func (s *Store) Update(object *unstructured.Unstructured, onlyStatus bool) (*unstructured.Unstructured, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	which := idOf(object)
	known, ok := s.objects[which]
	if !ok {
		return nil, notFound(which)
	}
	if version := object.GetResourceVersion(); version != "" && version != known.GetResourceVersion() {
		message := fmt.Sprintf("%s %s has been changed meanwhile", which.kind, which.name)
		return nil, &Problem{409, "Conflict", message}
	}
	updated := object.DeepCopy()
	switch apart := s.schemas.KeepsStatusApart(which); {
	case onlyStatus:
		updated = known.DeepCopy()
		updated.Object["status"] = object.DeepCopy().Object["status"]
	case apart:
		delete(updated.Object, "status")
		if status, ok := known.Object["status"]; ok {
			updated.Object["status"] = status
		}
	}
	updated.SetUID(known.GetUID())
	updated.SetCreationTimestamp(known.GetCreationTimestamp())
	updated.SetGeneration(known.GetGeneration())
	s.schemas.Default(updated)
	if !reflect.DeepEqual(asked(known), asked(updated)) {
		updated.SetGeneration(known.GetGeneration() + 1)
	}
	updated.SetResourceVersion(known.GetResourceVersion())
	if reflect.DeepEqual(known.Object, updated.Object) {
		return known.DeepCopy(), nil
	}
	return s.keep(which, updated), nil
}

// Delete takes an object out at once: nothing here has finalizers. A namespace takes along what is in it.
func (s *Store) Delete(which id) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if _, ok := s.objects[which]; !ok {
		return notFound(which)
	}
	delete(s.objects, which)
	if which.group == "" && which.kind == "Namespace" {
		for inside := range s.objects {
			if inside.namespace == which.name {
				delete(s.objects, inside)
			}
		}
	}
	s.wake()
	return nil
}

// Apply creates or replaces, status included; for what the lab makes itself.
func (s *Store) Apply(object *unstructured.Unstructured) {
	status, has := object.Object["status"]
	if s.Get(idOf(object)) == nil {
		_, _ = s.Create(object)
	} else {
		_, _ = s.Update(object, false)
	}
	if has && s.schemas.KeepsStatusApart(idOf(object)) {
		whole := object.DeepCopy()
		whole.Object["status"] = status
		whole.SetResourceVersion("")
		_, _ = s.Update(whole, true)
	}
}

func (s *Store) keep(which id, object *unstructured.Unstructured) *unstructured.Unstructured {
	s.version++
	object.SetResourceVersion(strconv.FormatInt(s.version, 10))
	s.objects[which] = object
	s.wake()
	return object.DeepCopy()
}

func (s *Store) wake() {
	for _, wake := range s.wakeable {
		select {
		case wake <- struct{}{}:
		default: // It is awake already.
		}
	}
}

func notFound(which id) error {
	return &Problem{404, "NotFound", fmt.Sprintf("%s %s/%s not found", which.kind, which.namespace, which.name)}
}

// asked is what an object asks for: a change of it makes a new generation.
func asked(object *unstructured.Unstructured) map[string]any {
	rest := maps.Clone(object.Object)
	for _, field := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(rest, field)
	}
	return rest
}

// uidOf tells an object from a later one of the same name.
func uidOf(object *unstructured.Unstructured) types.UID { return object.GetUID() }

func until(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return true
		}
	}
	return holds()
}
