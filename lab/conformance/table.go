package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// profiles whose tests are run. Mesh is not Tidegate's.
var profiles = []suite.ConformanceProfile{
	suite.GatewayHTTPConformanceProfile,
	suite.GatewayGRPCConformanceProfile,
	suite.GatewayTLSConformanceProfile,
	suite.GatewayTCPConformanceProfile,
	suite.GatewayUDPConformanceProfile,
}

// Table collects what became of each test.
type Table struct {
	mutex sync.Mutex
	rows  map[string]row
	start time.Time
}

type row struct {
	test   suite.ConformanceTest
	result string
}

// NewTable is empty.
func NewTable() *Table { return &Table{rows: map[string]row{}, start: time.Now()} }

// Note is called after each test.
func (t *Table) Note(test *testing.T, which suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	result := "pass"
	switch {
	case test.Failed():
		result = "**fail**"
	case test.Skipped():
		result = "skip"
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.rows[which.ShortName] = row{which, result}
}

// marker stands before the part of the page that a run writes.
const marker = "<!-- what follows is written by `make conformance` -->\n"

// Write puts it on a page, in place of what stood behind the marker there; tests of meshes are left out.
func (t *Table) Write(file string) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, _, found := strings.Cut(string(page), marker)
	if !found {
		return fmt.Errorf("%s has no line %q", file, strings.TrimSpace(marker))
	}
	var text strings.Builder
	text.WriteString(head + marker + "\n")
	text.WriteString("| profile | core: passed of all | extended: passed of all |\n|---|---|---|\n")
	for _, profile := range profiles {
		counts := map[string][2]int{}
		for _, row := range t.rows {
			level := levelIn(profile, row.test)
			count := counts[level]
			count[1]++
			if row.result == "pass" {
				count[0]++
			}
			counts[level] = count
		}
		fmt.Fprintf(&text, "| %s | %d of %d | %d of %d |\n", profile.Name,
			counts["core"][0], counts["core"][1], counts["extended"][0], counts["extended"][1])
	}
	text.WriteString("\n| test | features | result |\n|---|---|---|\n")
	var names []string
	for name, row := range t.rows {
		if !ofMesh(row.test) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		var features []string
		for _, feature := range t.rows[name].test.Features {
			features = append(features, string(feature))
		}
		fmt.Fprintf(&text, "| %s | %s | %s |\n", name, strings.Join(features, ", "), t.rows[name].result)
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}

// levelIn says whether a test is core or extended in a profile; empty where it is not part of it.
func levelIn(profile suite.ConformanceProfile, test suite.ConformanceTest) string {
	level := "core"
	for _, feature := range test.Features {
		switch {
		case profile.CoreFeatures.Has(feature):
		case profile.ExtendedFeatures.Has(feature):
			level = "extended"
		default:
			return ""
		}
	}
	return level
}

func ofMesh(test suite.ConformanceTest) bool {
	for _, feature := range test.Features {
		if strings.HasPrefix(string(feature), "Mesh") {
			return true
		}
	}
	return false
}
