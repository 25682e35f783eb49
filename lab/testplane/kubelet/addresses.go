package kubelet

import (
	"fmt"
	"net/netip"
	"sync"
)

// Addresses of a node's pods, from its block. One that was given back is the last to be given again.
type Addresses struct {
	mutex sync.Mutex
	block netip.Prefix
	next  netip.Addr
	taken map[netip.Addr]bool
}

// NewAddresses of a block, all free. Its first address is left out: some programs take it for the network's.
func NewAddresses(block netip.Prefix) *Addresses {
	block = block.Masked()
	return &Addresses{block: block, next: block.Addr().Next(), taken: map[netip.Addr]bool{}}
}

// Take a free address.
func (a *Addresses) Take() (netip.Addr, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for begin, first := a.next, true; first || a.next != begin; first = false {
		address := a.next
		a.next = address.Next()
		if !a.block.Contains(a.next) {
			a.next = a.block.Addr().Next()
		}
		if !a.taken[address] {
			a.taken[address] = true
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address of %s is free", a.block)
}

// Free an address again.
func (a *Addresses) Free(address netip.Addr) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.taken, address)
}
