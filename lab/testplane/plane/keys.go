package plane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// authority of a plane: whoever trusts it trusts the API server and every kubelet of this plane, and nobody else's.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

// newAuthority writes its certificate to a file.
func newAuthority(path string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(1, pkix.Name{CommonName: "testplane"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key, 1}, writePEM(path, "CERTIFICATE", der)
}

func template(serial int64, subject pkix.Name) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: subject,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
}

// sign a certificate for a server or client, and write it to PATH.crt and its key to PATH.key.
func (a *authority) sign(path string, subject pkix.Name, names []string, addresses ...netip.Addr) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	a.serial++
	template := template(a.serial, subject)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = names
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(address.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writePEM(path+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(path+".key", key)
}

// writeKey as EC PRIVATE KEY: the API server reads no other form of this kind.
func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// keys of a plane: everything that the API server and its clients know each other by.
func (p *Plane) keys() error {
	ca, err := newAuthority(p.path("ca.crt"))
	if err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(p.path("accounts.key"), accounts); err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	err = ca.sign(p.path("server"), pkix.Name{CommonName: "kube-apiserver"}, names, loopback, p.controlAddress(), p.firstService())
	if err != nil {
		return err
	}
	if err := ca.sign(p.path("kubelet-client"), pkix.Name{CommonName: "kube-apiserver-kubelet-client"}, nil); err != nil {
		return err
	}
	var tokens strings.Builder
	p.tokens = map[string]string{}
	add := func(user, groups string) {
		p.tokens[user] = token()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", p.tokens[user], user, user, groups)
	}
	add("admin", "system:masters")
	add("system:kube-controller-manager", "")
	add("system:kube-scheduler", "")
	add("system:kube-proxy", "")
	for index := range p.Nodes {
		name := p.nodeName(index)
		add("system:node:"+name, "system:nodes")
		if err := os.MkdirAll(p.path(name), 0o700); err != nil {
			return err
		}
		subject := pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
		if err := ca.sign(p.path(name, "kubelet"), subject, []string{name}, p.nodeAddress(index)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.path("tokens.csv"), []byte(tokens.String()), 0o600); err != nil {
		return err
	}
	for _, user := range []string{"system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"} {
		file := p.path(strings.TrimPrefix(user, "system:") + ".kubeconfig")
		if err := p.kubeconfig(file, p.server(), user); err != nil {
			return err
		}
	}
	return p.kubeconfig(p.path("inside.kubeconfig"), p.server(), "admin")
}

func token() string {
	var bytes [16]byte
	_, _ = rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:])
}

// kubeconfig for a user; whoever has it needs no other file.
func (p *Plane) kubeconfig(path, server, user string) error {
	ca, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return err
	}
	// JSON is YAML.
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "plane",
 "clusters": [{"name": "plane", "cluster": {"server": %q, "certificate-authority-data": %q}}],
 "users": [{"name": %q, "user": {"token": %q}}],
 "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": %q}}]}
`, server, base64Of(ca), user, p.tokens[user], user)
	return os.WriteFile(path, []byte(text), 0o600)
}
