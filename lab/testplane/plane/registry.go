package plane

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"tidegate.dev/lab/testplane/network"
)

// Root holds a folder for each plane that is not owned by somebody else.
const Root = "/run/tidegate-testplane"

const record = "plane.json"

// NewID for a plane.
func NewID() string {
	var bytes [2]byte
	_, _ = rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:])
}

// claim the folder of a plane. A lock says that its owner lives: the kernel drops it with the process.
func (p *Plane) claim() error {
	if err := os.MkdirAll(filepath.Dir(p.Home), 0o755); err != nil {
		return fmt.Errorf("a plane needs root: %w", err)
	}
	if err := os.Mkdir(p.Home, 0o700); err != nil {
		return fmt.Errorf("plane %s: %w", p.ID, err)
	}
	file, err := os.Create(p.path("lock"))
	if err != nil {
		return err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("plane %s: %w", p.ID, err)
	}
	p.lock = file
	text, err := json.Marshal(map[string]string{"prefix": p.Prefix})
	if err != nil {
		return err
	}
	return os.WriteFile(p.path(record), text, 0o600)
}

// Sweep away every plane whose owner is dead.
func Sweep() {
	folders, _ := filepath.Glob(filepath.Join(Root, "*"))
	for _, folder := range folders {
		removed, err := sweep(folder)
		if err != nil {
			log.Printf("plane %s: %v", filepath.Base(folder), err)
		} else if removed {
			log.Printf("removed plane %s: its owner was gone", filepath.Base(folder))
		}
	}
}

func sweep(folder string) (bool, error) {
	lock, err := os.Open(filepath.Join(folder, "lock"))
	if err != nil {
		return false, nil // It is being made, or removed, this moment.
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, nil // Its owner lives.
	}
	text, err := os.ReadFile(filepath.Join(folder, record))
	if err != nil {
		// It was claimed and got no further, or is being claimed: neither has namespaces yet.
		if about, err := os.Stat(folder); err != nil || time.Since(about.ModTime()) < time.Minute {
			return false, nil
		}
		return true, os.RemoveAll(folder)
	}
	var known struct{ Prefix string }
	if err := json.Unmarshal(text, &known); err != nil || known.Prefix == "" {
		return false, fmt.Errorf("its record says nothing: %w", err)
	}
	if err := clear(network.Beginning(known.Prefix)); err != nil {
		return false, err
	}
	return true, os.RemoveAll(folder)
}

// clear namespaces of processes, and remove them.
func clear(names []string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		running := network.Processes(names)
		for _, process := range running {
			_ = unix.Kill(process, unix.SIGKILL)
		}
		if len(running) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v in %v do not die", running, names)
		}
		time.Sleep(10 * time.Millisecond)
	}
	var failed []error
	for _, name := range names {
		failed = append(failed, network.Remove(name))
	}
	return errors.Join(failed...)
}
