package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Schemas are the CustomResourceDefinitions of Gateway API as its module ships them: what an API server would fill in by
// default is filled in here too, since routes and Gateways reach Tidegate that way in a cluster.
type Schemas struct {
	Definitions []*unstructured.Unstructured
	byKind      map[string]map[string]any
}

// LoadSchemas reads every definition of a folder.
func LoadSchemas(folder string) (*Schemas, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no definitions in %q: %v", folder, err)
	}
	schemas := &Schemas{byKind: map[string]map[string]any{}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if object.GetKind() == "CustomResourceDefinition" {
				schemas.add(object)
			}
		}
	}
	return schemas, nil
}

func (s *Schemas) add(definition *unstructured.Unstructured) {
	s.Definitions = append(s.Definitions, definition)
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	for _, version := range versions {
		version, ok := version.(map[string]any)
		if !ok {
			continue
		}
		schema, found, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema")
		if name, _ := version["name"].(string); found {
			s.byKind[group+"/"+name+"/"+kind] = schema
		}
	}
}

// KeepsStatusApart says whether only the status sub-resource changes the status of such an object: true of all kinds of
// Gateway API, and of the core kinds that have one here.
func (s *Schemas) KeepsStatusApart(which id) bool {
	return strings.HasSuffix(which.group, "gateway.networking.k8s.io") || which.kind == "Pod" || which.kind == "Deployment"
}

// Default fills in what the object's definition says.
func (s *Schemas) Default(object *unstructured.Unstructured) {
	gvk := object.GroupVersionKind()
	if schema, ok := s.byKind[gvk.Group+"/"+gvk.Version+"/"+gvk.Kind]; ok {
		fill(object.Object, schema)
	}
}

// fill goes through a value with its structural schema (apiextensions, "defaulting").
func fill(value any, schema map[string]any) {
	switch value := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			property, ok := property.(map[string]any)
			if !ok {
				continue
			}
			if standard, has := property["default"]; has {
				if _, given := value[name]; !given {
					value[name] = runtime.DeepCopyJSONValue(standard)
				}
			}
			if below, given := value[name]; given {
				fill(below, property)
			}
		}
		if additional, ok := schema["additionalProperties"].(map[string]any); ok {
			for _, below := range value {
				fill(below, additional)
			}
		}
	case []any:
		if items, ok := schema["items"].(map[string]any); ok {
			for _, below := range value {
				fill(below, items)
			}
		}
	}
}

func now() metav1.Time { return metav1.Now().Rfc3339Copy() }
