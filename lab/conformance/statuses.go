package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// gatewayName is the label of everything made for a Gateway.
const gatewayName = gatewayGroup + "/gateway-name"

// answer of Tidegate's admin address under /api/v1/statuses.
type answer struct {
	Statuses []struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Namespace  string         `json:"namespace"`
		Name       string         `json:"name"`
		Status     map[string]any `json:"status"`
	} `json:"statuses"`
	Infrastructure []map[string]any `json:"infrastructure"`
}

// CopyStatuses asks Tidegate for the statuses of all objects, again and again, and writes them into the store as a
// status writer in a cluster would. It decides nothing: it knows the time, and that other controllers' words stay.
func CopyStatuses(store *Store, admin string, end <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		answer, err := ask(admin)
		if err != nil {
			select {
			case <-end:
				return
			default:
			}
			if err.Error() != last {
				fmt.Fprintln(os.Stderr, "statuses:", err)
				last = err.Error()
			}
			continue
		}
		for _, found := range answer.Statuses {
			group, _, _ := cut(found.APIVersion)
			object := store.Get(id{group, found.Kind, found.Namespace, found.Name})
			if object == nil {
				continue
			}
			before, _ := object.Object["status"].(map[string]any)
			object.Object["status"] = merged(before, found.Status)
			// Whoever changed it meanwhile is met by the next round.
			_, _ = store.Update(object, true)
		}
		makeInfrastructure(store, answer.Infrastructure)
	}
}

func ask(admin string) (*answer, error) {
	response, err := http.Get("http://" + admin + "/api/v1/statuses")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer := &answer{}
	return answer, json.NewDecoder(response.Body).Decode(answer)
}

func cut(apiVersion string) (group, version string, ok bool) {
	for place := range apiVersion {
		if apiVersion[place] == '/' {
			return apiVersion[:place], apiVersion[place+1:], true
		}
	}
	return "", apiVersion, false
}

// merged is the new status with the times of what stood there: a condition keeps its time while its status stays.
func merged(before, after map[string]any) map[string]any {
	times := map[string]string{}
	collect(before, "", func(where string, condition map[string]any) {
		at, _ := condition["lastTransitionTime"].(string)
		times[fmt.Sprintf("%s %v %v", where, condition["type"], condition["status"])] = at
	})
	collect(after, "", func(where string, condition map[string]any) {
		at := times[fmt.Sprintf("%s %v %v", where, condition["type"], condition["status"])]
		if at == "" {
			at = now().Format(time.RFC3339)
		}
		condition["lastTransitionTime"] = at
	})
	if parents, ok := after["parents"].([]any); ok {
		after["parents"] = append(parents, foreign(before["parents"])...)
	}
	if ancestors, ok := after["ancestors"].([]any); ok {
		after["ancestors"] = append(ancestors, foreign(before["ancestors"])...)
	}
	return after
}

// foreign are the entries of other controllers.
func foreign(entries any) []any {
	all, _ := entries.([]any)
	var others []any
	for _, entry := range all {
		if entry, ok := entry.(map[string]any); ok && entry["controllerName"] != controllerName {
			others = append(others, entry)
		}
	}
	return others
}

// collect visits every condition, with a name for where it stands.
func collect(value any, where string, visit func(string, map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		conditions, _ := value["conditions"].([]any)
		for _, condition := range conditions {
			if condition, ok := condition.(map[string]any); ok {
				visit(where, condition)
			}
		}
		for _, list := range []string{"listeners", "parents", "ancestors"} {
			entries, _ := value[list].([]any)
			for _, entry := range entries {
				if entry, ok := entry.(map[string]any); ok {
					name := fmt.Sprint(entry["name"], entry["parentRef"], entry["ancestorRef"])
					collect(entry, where+"/"+list+"/"+name, visit)
				}
			}
		}
	}
}

func makeInfrastructure(store *Store, asked []map[string]any) {
	wanted := map[id]bool{}
	for _, content := range asked {
		object := &unstructured.Unstructured{Object: content}
		wanted[idOf(object)] = true
		store.Apply(object)
	}
	for _, object := range store.All("", "Service") {
		if made(object) && !wanted[idOf(object)] {
			_ = store.Delete(idOf(object))
		}
	}
}
