package kubelet

import (
	"os"
	"path/filepath"
	"testing"
)

// Files are replaced all at once, through one link; what is gone is gone, and nothing of before is left.
func TestWrite(t *testing.T) {
	folder := t.TempDir()
	if err := write(folder, files{"a": {[]byte("1"), 0o644}, "b/c": {[]byte("2"), 0o600}}, -1); err != nil {
		t.Fatal(err)
	}
	if err := write(folder, files{"a": {[]byte("3"), 0o640}, "d": {nil, 0o644}}, -1); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "a"))
	if err != nil || string(text) != "3" {
		t.Errorf("%q, %v", text, err)
	}
	about, err := os.Stat(filepath.Join(folder, "a"))
	if err != nil || about.Mode() != 0o640 {
		t.Errorf("%v, %v", about, err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 4 { // The folder of now, the link to it, a and d.
		t.Errorf("%v, %v", entries, err)
	}
}
