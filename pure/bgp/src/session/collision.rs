//! Which of two simultaneous connections is kept (RFC 4271, section 6.8; RFC 6286, section 2.3).
//! Both sides must come to the same answer without talking.

use super::Direction;
use std::net::Ipv4Addr;

/// One side of a collision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// BGP identifier.
    pub router_id: Ipv4Addr,
    /// Autonomous system.
    pub asn: u32,
}

/// The connection to keep, as `local` sees it: the one opened by the side with the higher
/// identifier; between equal identifiers, by the side with the higher AS.
pub fn keep(local: Speaker, remote: Speaker) -> Direction {
    let rank = |speaker: Speaker| (u32::from(speaker.router_id), speaker.asn);
    if rank(local) > rank(remote) { Direction::Outgoing } else { Direction::Incoming }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identifiers compare as numbers, the AS decides between equals, and the two sides agree.
    #[test]
    fn both_sides_keep_the_same_connection() {
        let speaker = |id: [u8; 4], asn| Speaker { router_id: Ipv4Addr::from(id), asn };
        let table = [
            (speaker([10, 0, 0, 1], 1), speaker([10, 0, 0, 2], 1), Direction::Incoming),
            (speaker([10, 0, 0, 2], 1), speaker([10, 0, 0, 1], 1), Direction::Outgoing),
            (speaker([9, 255, 255, 255], 9), speaker([10, 0, 0, 0], 1), Direction::Incoming),
            (speaker([200, 0, 0, 1], 1), speaker([100, 0, 0, 1], 2), Direction::Outgoing),
            (speaker([10, 0, 0, 1], 65001), speaker([10, 0, 0, 1], 65000), Direction::Outgoing),
            (speaker([10, 0, 0, 1], 64000), speaker([10, 0, 0, 1], 4_200_000_000), Direction::Incoming),
        ];
        for (local, remote, kept) in table {
            assert_eq!(keep(local, remote), kept, "{local:?} against {remote:?}");
            assert_eq!(keep(remote, local), kept.other(), "{remote:?} against {local:?}");
        }
    }
}
