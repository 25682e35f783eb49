//! One interface on which addresses are contested: its sockets, and who answers ARP there.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use tidegate_neighbor as neighbor;

use super::arp_socket::ArpSocket;
use super::vrrp_socket::VrrpSocket;
use crate::links::Link;

/// An interface with open sockets. Dropping it makes us silent there at once.
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) link: Link,
    pub(super) vrrp: VrrpSocket,
    pub(super) arp: ArpSocket,
    responder: neighbor::Session,
    held: BTreeSet<Ipv4Addr>,
}

impl Segment {
    /// Opens both sockets; needs `CAP_NET_RAW`.
    pub(super) fn open(name: &str, link: Link) -> io::Result<Self> {
        Ok(Segment {
            name: name.to_owned(),
            vrrp: VrrpSocket::open(name, link.index)?,
            arp: ArpSocket::open(link.index)?,
            responder: neighbor::Session::new(neighbor::Mac(link.mac)),
            held: BTreeSet::new(),
            link,
        })
    }

    /// Makes exactly these addresses answered for: what is new is announced, what is gone falls silent.
    pub(super) fn hold(&mut self, wanted: &BTreeSet<Ipv4Addr>, now: Instant) {
        for &address in self.held.difference(wanted) {
            self.responder.handle(neighbor::Input::Release(address), now);
        }
        for &address in wanted.difference(&self.held) {
            self.responder.handle(neighbor::Input::Hold(address), now);
        }
        self.held.clone_from(wanted);
        self.flush();
    }

    /// Announces these addresses again.
    pub(super) fn announce(&mut self, addresses: &[Ipv4Addr], now: Instant) {
        for &address in addresses {
            self.responder.handle(neighbor::Input::Announce(address), now);
        }
        self.flush();
    }

    /// The link went up or down, or got another address; its index and hardware address are the same.
    pub(super) fn relink(&mut self, link: Link, now: Instant) {
        if link.up != self.link.up {
            self.responder.handle(neighbor::Input::Link { up: link.up }, now);
        }
        self.link = link;
        self.flush();
    }

    /// Reads the ARP socket dry, and answers.
    pub(super) fn read_arp(&mut self, now: Instant) {
        let mut buffer = [0u8; 128];
        // Bounded, so that a flood of ARP delays adverts by no more than this.
        for _ in 0..512 {
            let Some(length) = self.arp.receive(&mut buffer) else { break };
            let frame = &buffer[..length.min(buffer.len())];
            self.responder.handle(neighbor::Input::Frame(frame), now);
            self.flush();
        }
    }

    /// Runs what is due.
    pub(super) fn run_timers(&mut self, now: Instant) {
        if self.responder.poll_timeout().is_some_and(|due| due <= now) {
            self.responder.handle(neighbor::Input::Timeout, now);
            self.flush();
        }
    }

    /// When something will be due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.responder.poll_timeout()
    }

    /// Sends one advert. One that the kernel does not take is lost like one on the wire: the link is down, or its queue
    /// is full, and the next is due soon.
    pub(super) fn send_advert(&self, destination: IpAddr, payload: &[u8]) {
        let _ = self.vrrp.send(destination, payload);
    }

    fn flush(&mut self) {
        while let Some(output) = self.responder.poll_output() {
            match output {
                neighbor::Output::Send(frame) => {
                    // As an advert: lost, and repeated soon.
                    let _ = self.arp.send(&frame);
                }
                neighbor::Output::Conflict { address, mac } => {
                    tracing::warn!(interface = self.name, %address, %mac, "another host claims an address that we hold; announced again");
                }
            }
        }
    }
}
