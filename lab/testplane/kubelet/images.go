package kubelet

import (
	"debug/elf"
	"path/filepath"
	"strings"

	"tidegate.dev/lab/testplane/container"
)

// Image stands for what a registry would give: a program of this machine, or a folder that holds several.
type Image struct {
	// Program is a path outside; inside it lies at "/" under its own name.
	Program string
	// Folder, if given, is what "/" holds beside it; read-only, level by level.
	Folder string
	// Args before those of the pod.
	Args []string
	// Env as NAME=VALUE.
	Env []string
}

// FindImage in a map of images. Names match without registry, tag and digest: `registry.k8s.io/x/echo:v1` is found under
// `registry.k8s.io/x/echo`, `x/echo` or `echo`.
func FindImage(images map[string]Image, reference string) (Image, bool) {
	name, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	for {
		if image, found := images[name]; found {
			return image, true
		}
		_, rest, longer := strings.Cut(name, "/")
		if !longer {
			return Image{}, false
		}
		name = rest
	}
}

// argv of a container: a pod's command replaces the program, unless it names this very program.
func (i Image) argv(command, args []string) []string {
	inside := "/" + filepath.Base(i.Program)
	if len(command) > 0 {
		if filepath.Base(command[0]) == filepath.Base(i.Program) {
			command = append([]string{inside}, command[1:]...)
		}
		return append(append([]string{}, command...), args...)
	}
	if len(args) > 0 {
		return append([]string{inside}, args...)
	}
	return append([]string{inside}, i.Args...)
}

// mounts that its program needs: itself, and the machine's libraries if it is linked with them.
func (i Image) mounts() ([]container.Mount, error) {
	var mounts []container.Mount
	if i.Folder != "" {
		entries, err := filepath.Glob(filepath.Join(i.Folder, "*"))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			mounts = append(mounts, container.Mount{From: entry, To: "/" + filepath.Base(entry), ReadOnly: true})
		}
	}
	if i.Program == "" {
		return mounts, nil
	}
	mounts = append(mounts, container.Mount{From: i.Program, To: "/" + filepath.Base(i.Program), ReadOnly: true})
	linked, err := dynamic(i.Program)
	if err != nil {
		return nil, err
	}
	if linked {
		for _, folder := range []string{"/usr", "/lib", "/lib64"} {
			if matches, _ := filepath.Glob(folder); len(matches) > 0 {
				mounts = append(mounts, container.Mount{From: folder, To: folder, ReadOnly: true})
			}
		}
	}
	return mounts, nil
}

func dynamic(program string) (bool, error) {
	file, err := elf.Open(program)
	if err != nil {
		return false, err
	}
	defer file.Close()
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}
