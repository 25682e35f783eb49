package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// WriteManifests keeps a folder as the store is, one file for each object, each renamed into place: what `kubectl apply`
// would send to a cluster, with generation and age, and without status.
func WriteManifests(store *Store, folder string) {
	written := map[string]string{}
	for range store.Changes() {
		wanted := map[string]bool{}
		for _, object := range store.All("", "") {
			which := idOf(object)
			if !isOfSuite(which) || made(object) {
				continue
			}
			name := strings.ToLower(fmt.Sprintf("%s.%s.%s.yaml", which.kind, which.namespace, which.name))
			wanted[name] = true
			delete(object.Object, "status")
			object.SetResourceVersion("")
			object.SetManagedFields(nil)
			text, err := yaml.Marshal(object.Object)
			if err != nil || written[name] == string(text) {
				continue
			}
			if err := replace(folder, name, text); err != nil {
				fmt.Fprintln(os.Stderr, "manifests:", err)
				continue
			}
			written[name] = string(text)
		}
		for name := range written {
			if !wanted[name] {
				_ = os.Remove(filepath.Join(folder, name))
				delete(written, name)
			}
		}
	}
}

func replace(folder, name string, text []byte) error {
	half := filepath.Join(folder, "."+name+".half")
	if err := os.WriteFile(half, text, 0o600); err != nil {
		return err
	}
	return os.Rename(half, filepath.Join(folder, name))
}

// made says whether the lab made the object for a Gateway, at Tidegate's wish: it does not go back.
func made(object *unstructured.Unstructured) bool {
	_, made := object.GetLabels()[gatewayName]
	return made && object.GetKind() == "Service"
}
