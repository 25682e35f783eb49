package kubelet

import (
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"tidegate.dev/lab/testplane/container"
)

// capabilities by name. Those that container runtimes leave to a container that asks for nothing are marked.
var capabilities = map[string]struct {
	number int
	usual  bool
}{
	"CHOWN": {unix.CAP_CHOWN, true}, "DAC_OVERRIDE": {unix.CAP_DAC_OVERRIDE, true}, "FOWNER": {unix.CAP_FOWNER, true},
	"FSETID": {unix.CAP_FSETID, true}, "KILL": {unix.CAP_KILL, true}, "MKNOD": {unix.CAP_MKNOD, true},
	"NET_BIND_SERVICE": {unix.CAP_NET_BIND_SERVICE, true}, "NET_RAW": {unix.CAP_NET_RAW, true},
	"SETFCAP": {unix.CAP_SETFCAP, true}, "SETGID": {unix.CAP_SETGID, true}, "SETPCAP": {unix.CAP_SETPCAP, true},
	"SETUID": {unix.CAP_SETUID, true}, "SYS_CHROOT": {unix.CAP_SYS_CHROOT, true}, "AUDIT_WRITE": {unix.CAP_AUDIT_WRITE, true},
	"NET_ADMIN": {unix.CAP_NET_ADMIN, false}, "SYS_ADMIN": {unix.CAP_SYS_ADMIN, false}, "SYS_NICE": {unix.CAP_SYS_NICE, false},
	"SYS_PTRACE": {unix.CAP_SYS_PTRACE, false}, "SYS_RESOURCE": {unix.CAP_SYS_RESOURCE, false}, "SYS_TIME": {unix.CAP_SYS_TIME, false},
	"IPC_LOCK": {unix.CAP_IPC_LOCK, false}, "BPF": {unix.CAP_BPF, false}, "PERFMON": {unix.CAP_PERFMON, false},
	"DAC_READ_SEARCH": {unix.CAP_DAC_READ_SEARCH, false}, "SYSLOG": {unix.CAP_SYSLOG, false}, "SYS_MODULE": {unix.CAP_SYS_MODULE, false},
}

// secure a container as its pod and itself ask for.
func secure(spec *container.Spec, pod *corev1.Pod, own *corev1.Container) {
	common, asked := pod.Spec.SecurityContext, own.SecurityContext
	if common == nil {
		common = &corev1.PodSecurityContext{}
	}
	if asked == nil {
		asked = &corev1.SecurityContext{}
	}
	spec.User = int(or(asked.RunAsUser, or(common.RunAsUser, 0)))
	spec.Group = int(or(asked.RunAsGroup, or(common.RunAsGroup, 0)))
	for _, group := range common.SupplementalGroups {
		spec.Groups = append(spec.Groups, int(group))
	}
	if common.FSGroup != nil {
		spec.Groups = append(spec.Groups, int(*common.FSGroup))
	}
	spec.ReadOnlyRoot = or(asked.ReadOnlyRootFilesystem, false)
	spec.NoNewPrivileges = !or(asked.AllowPrivilegeEscalation, true)
	spec.Devices = or(asked.Privileged, false)
	spec.Capabilities = allowed(asked)
}

// allowed capabilities: the usual ones, less those dropped, and those added.
func allowed(asked *corev1.SecurityContext) uint64 {
	if or(asked.Privileged, false) {
		return ^uint64(0)
	}
	var mask uint64
	for _, capability := range capabilities {
		if capability.usual {
			mask |= 1 << capability.number
		}
	}
	if asked.Capabilities == nil {
		return mask
	}
	for _, name := range asked.Capabilities.Drop {
		if name == "ALL" {
			mask = 0
		}
		mask &^= bit(name)
	}
	for _, name := range asked.Capabilities.Add {
		if name == "ALL" {
			mask = ^uint64(0)
		}
		mask |= bit(name)
	}
	return mask
}

func bit(name corev1.Capability) uint64 {
	capability, known := capabilities[strings.TrimPrefix(string(name), "CAP_")]
	if !known {
		return 0
	}
	return 1 << capability.number
}
