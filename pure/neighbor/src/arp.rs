//! An ARP packet in its Ethernet frame, as bytes.
//!
//! Owns the codec and the three frames we send; never decides whether to send one.
//!
//! ```text
//! destination MAC 6 | source MAC 6 | 08 06                                    Ethernet II
//! 00 01 | 08 00 | 06 | 04 | operation 2 | sender MAC 6 | sender IP 4 | target MAC 6 | target IP 4
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use crate::error::DecodeError;

/// EtherType of ARP.
pub const ETHERTYPE: u16 = 0x0806;
/// Length of the frames we send. The driver pads them to Ethernet's least length.
pub const FRAME_BYTES: usize = 42;

const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Nobody: the target of a request.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether it can be one interface's own: neither a group address nor zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self != Self::ZERO
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What an ARP packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Who has the target address? Also the form of a gratuitous announcement.
    Request,
    /// The sender has the sender address.
    Reply,
}

/// One ARP frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// Ethernet destination.
    pub destination: Mac,
    /// Ethernet source.
    pub source: Mac,
    /// Request or reply.
    pub operation: Operation,
    /// Who speaks.
    pub sender_mac: Mac,
    /// The address the sender claims; unspecified (0.0.0.0) in a probe (RFC 5227 section 2.1.1).
    pub sender: Ipv4Addr,
    /// Who is spoken to; zero in a request.
    pub target_mac: Mac,
    /// The address asked about, or spoken to.
    pub target: Ipv4Addr,
}

impl Arp {
    /// The frame that moves every neighbour's entry for `address` to `mac`: a broadcast request for itself. Linux
    /// takes it for entries it has already (`arp_accept=0`), routers and switches likewise.
    pub fn gratuitous(mac: Mac, address: Ipv4Addr) -> Self {
        Self {
            destination: Mac::BROADCAST,
            source: mac,
            operation: Operation::Request,
            sender_mac: mac,
            sender: address,
            target_mac: Mac::ZERO,
            target: address,
        }
    }

    /// Our answer to this request, to its sender alone.
    pub fn reply(&self, mac: Mac) -> Self {
        Self {
            destination: self.sender_mac,
            source: mac,
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// Whether it asks if an address is free, without claiming it (RFC 5227 section 2.1.1).
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender.is_unspecified()
    }

    /// Read one frame; padding behind it is ignored.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let truncated = DecodeError::Truncated { found: frame.len(), needed: FRAME_BYTES };
        let frame: &[u8; FRAME_BYTES] = frame.first_chunk().ok_or(truncated)?;
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let (ethertype, hardware, protocol, lengths) = (word(12), word(14), word(16), (frame[18], frame[19]));
        if ethertype != ETHERTYPE {
            return Err(DecodeError::EtherType { found: ethertype });
        }
        if (hardware, protocol, lengths) != (HARDWARE_ETHERNET, PROTOCOL_IPV4, (6, 4)) {
            return Err(DecodeError::Kind { hardware, protocol, lengths });
        }
        let operation = match word(20) {
            1 => Operation::Request,
            2 => Operation::Reply,
            found => return Err(DecodeError::Operation { found }),
        };
        let mac = |at: usize| Mac(std::array::from_fn(|byte| frame[at + byte]));
        let ip = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
        Ok(Self {
            destination: mac(0),
            source: mac(6),
            operation,
            sender_mac: mac(22),
            sender: ip(28),
            target_mac: mac(32),
            target: ip(38),
        })
    }

    /// The frame as it goes on the wire.
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let mut frame = [0; FRAME_BYTES];
        frame[0..6].copy_from_slice(&self.destination.0);
        frame[6..12].copy_from_slice(&self.source.0);
        frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        frame[14..16].copy_from_slice(&HARDWARE_ETHERNET.to_be_bytes());
        frame[16..18].copy_from_slice(&PROTOCOL_IPV4.to_be_bytes());
        frame[18..20].copy_from_slice(&[6, 4]);
        frame[20..22].copy_from_slice(&operation.to_be_bytes());
        frame[22..28].copy_from_slice(&self.sender_mac.0);
        frame[28..32].copy_from_slice(&self.sender.octets());
        frame[32..38].copy_from_slice(&self.target_mac.0);
        frame[38..42].copy_from_slice(&self.target.octets());
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);
    const ASKER: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);

    #[test]
    fn a_gratuitous_announcement_has_these_bytes() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x0a, 0x08, 0x06, // Ethernet
            0, 1, 0x08, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
            0x02, 0, 0, 0, 0, 0x0a, 10, 0, 50, 20, // sender
            0, 0, 0, 0, 0, 0, 10, 0, 50, 20, // target
        ];
        assert_eq!(Arp::gratuitous(MAC, Ipv4Addr::new(10, 0, 50, 20)).encode(), expected);
    }

    #[test]
    fn a_reply_goes_to_the_asker_alone() {
        let request = Arp {
            source: ASKER,
            sender_mac: ASKER,
            sender: Ipv4Addr::new(10, 0, 0, 1),
            ..Arp::gratuitous(MAC, Ipv4Addr::new(10, 0, 50, 20))
        };
        let expected = [
            0x02, 0, 0, 0, 0, 0x0b, 0x02, 0, 0, 0, 0, 0x0a, 0x08, 0x06, // Ethernet
            0, 1, 0x08, 0, 6, 4, 0, 2, // Ethernet, IPv4, reply
            0x02, 0, 0, 0, 0, 0x0a, 10, 0, 50, 20, // sender
            0x02, 0, 0, 0, 0, 0x0b, 10, 0, 0, 1, // target
        ];
        assert_eq!(request.reply(MAC).encode(), expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = Arp::gratuitous(MAC, Ipv4Addr::new(10, 0, 50, 20)).encode();
        let edit = |at: usize, value: u8| {
            let mut frame = good;
            frame[at] = value;
            Arp::decode(&frame)
        };
        assert_eq!(Arp::decode(&good[..41]), Err(DecodeError::Truncated { found: 41, needed: 42 }));
        assert_eq!(edit(12, 0x86), Err(DecodeError::EtherType { found: 0x8606 }));
        let kind = |hardware, protocol, lengths| Err(DecodeError::Kind { hardware, protocol, lengths });
        assert_eq!(edit(15, 6), kind(6, 0x0800, (6, 4)));
        assert_eq!(edit(16, 0x86), kind(1, 0x8600, (6, 4)));
        assert_eq!(edit(18, 8), kind(1, 0x0800, (8, 4)));
        assert_eq!(edit(19, 16), kind(1, 0x0800, (6, 16)));
        assert_eq!(edit(21, 3), Err(DecodeError::Operation { found: 3 }));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(
            macs: [[u8; 6]; 4], ips: [[u8; 4]; 2], reply: bool, padding in 0..30usize,
        ) {
            let arp = Arp {
                destination: Mac(macs[0]),
                source: Mac(macs[1]),
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac: Mac(macs[2]),
                sender: ips[0].into(),
                target_mac: Mac(macs[3]),
                target: ips[1].into(),
            };
            let mut frame = arp.encode().to_vec();
            frame.resize(FRAME_BYTES + padding, 0);
            prop_assert_eq!(Arp::decode(&frame), Ok(arp));
        }

        #[test]
        fn random_bytes_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..80), start: bool) {
            if start && frame.len() >= 22 {
                frame[12..21].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0]);
            }
            let _ = Arp::decode(&frame);
        }
    }
}
