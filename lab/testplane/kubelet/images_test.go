package kubelet

import (
	"slices"
	"testing"
)

// An image is found without registry, tag and digest, and no other is.
func TestFindImage(t *testing.T) {
	images := map[string]Image{"echo": {Program: "/a"}, "gateway-api/echo-basic": {Program: "/b"}}
	for reference, wanted := range map[string]string{
		"echo":                         "/a",
		"lab/echo:1":                   "/a",
		"host:5000/x/echo@sha256:12ab": "/a",
		"host:5000/echo":               "/a",
		"gcr.io/k8s-staging/gateway-api/echo-basic:v20": "/b",
		"echo-basic":          "",
		"other/echo-advanced": "",
		"echo/other":          "",
	} {
		if image, _ := FindImage(images, reference); image.Program != wanted {
			t.Errorf("%s is %q", reference, image.Program)
		}
	}
}

// A pod's arguments replace the image's, its command replaces the program, unless it names that one by another path.
func TestArgv(t *testing.T) {
	image := Image{Program: "/cache/coredns", Args: []string{"-default"}}
	for _, one := range []struct{ command, args, wanted []string }{
		{nil, nil, []string{"/coredns", "-default"}},
		{nil, []string{"-conf", "x"}, []string{"/coredns", "-conf", "x"}},
		{[]string{"/usr/bin/coredns"}, []string{"-a"}, []string{"/coredns", "-a"}},
		{[]string{"/bin/sh", "-c"}, []string{"true"}, []string{"/bin/sh", "-c", "true"}},
	} {
		if argv := image.argv(one.command, one.args); !slices.Equal(argv, one.wanted) {
			t.Errorf("%v %v became %v", one.command, one.args, argv)
		}
	}
}

// $(NAME) is what the variable holds, $$ a dollar, and what is not known stays.
func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "EMPTY": ""}
	for text, wanted := range map[string]string{
		"$(A)-$(A)": "1-1", "$(EMPTY)": "", "$(B)": "$(B)", "$$(A)": "$(A)", "$A": "$A", "$(A": "$(A", "": "", "5$": "5$",
	} {
		if found := expand(text, values); found != wanted {
			t.Errorf("%q became %q", text, found)
		}
	}
}
