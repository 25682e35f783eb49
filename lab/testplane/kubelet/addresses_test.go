package kubelet

import (
	"net/netip"
	"testing"
)

// Every address of a block but its first is given once; one that was given back is given again, after all others.
func TestAddresses(t *testing.T) {
	addresses := NewAddresses(netip.MustParsePrefix("10.244.0.64/29"))
	seen := map[netip.Addr]bool{}
	for range 7 {
		address, err := addresses.Take()
		if err != nil || seen[address] || address == netip.MustParseAddr("10.244.0.64") {
			t.Fatalf("%s, %v after %v", address, err, seen)
		}
		seen[address] = true
	}
	if address, err := addresses.Take(); err == nil {
		t.Fatalf("an eighth address: %s", address)
	}
	freed := netip.MustParseAddr("10.244.0.68")
	addresses.Free(freed)
	if address, err := addresses.Take(); address != freed {
		t.Fatalf("%s, %v", address, err)
	}
	addresses.Free(netip.MustParseAddr("10.244.0.66"))
	addresses.Free(netip.MustParseAddr("10.244.0.70"))
	if address, _ := addresses.Take(); address != netip.MustParseAddr("10.244.0.70") {
		t.Fatalf("%s, though a later one than the last was free", address)
	}
}
