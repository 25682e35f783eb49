//! Keys for session tickets (RFC 5077, RFC 8446 section 4.6.1), the same in every gateway that holds the same secret.
//!
//! A key is derived from the secret (HKDF-SHA-256), from how the listener checks clients, and from the epoch: six hours
//! of the clock. Tickets of the epoch before and, as clocks differ, of the one after are accepted. So keys roll without
//! anyone sending them, and a ticket given by a listener that asks nothing of clients opens no session where a
//! certificate is asked for. Who learns the secret can read the tickets of the past; sessions of TLS 1.3 stay secret
//! all the same, as each begins with a key exchange of its own.
//!
//! ```text
//!  ticket = 1 | epoch (4 bytes) | nonce (12 bytes) | AES-256-GCM(session, aad = 1 | epoch)
//! ```

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use rustls::server::ProducesTickets;

/// How long tickets are made with one key.
pub const EPOCH_SECS: u64 = 6 * 3600;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// The clock and the dice that this room does not have.
pub trait World: Send + Sync {
    /// Seconds since 1970.
    fn now_secs(&self) -> u64;

    /// Fills `bytes` with what nobody can guess; false if there is nothing to do so with.
    fn fill(&self, bytes: &mut [u8]) -> bool;
}

/// Where the keys of all tickets come from.
#[derive(Clone)]
pub struct TicketKeys {
    root: Arc<Prk>,
    world: Arc<dyn World>,
}

impl TicketKeys {
    /// Keys from a secret: that of `peers.keyFile`, or 32 random bytes of this process.
    pub fn new(secret: &[u8], world: Arc<dyn World>) -> TicketKeys {
        let root = Salt::new(HKDF_SHA256, b"tidegate session tickets").extract(secret);
        TicketKeys { root: Arc::new(root), world }
    }

    /// Tickets that are good only where the context (how clients are checked) is the same.
    pub fn ticketer(&self, context: &[u8]) -> Ticketer {
        Ticketer { keys: self.clone(), context: context.into() }
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys(…)")
    }
}

/// Seals and opens tickets.
#[derive(Clone, Debug)]
pub struct Ticketer {
    keys: TicketKeys,
    context: Box<[u8]>,
}

impl Ticketer {
    fn epoch(&self) -> u32 {
        u32::try_from(self.keys.world.now_secs() / EPOCH_SECS).unwrap_or(u32::MAX)
    }

    fn key(&self, epoch: u32) -> Option<LessSafeKey> {
        let (length, epoch) = ((self.context.len() as u64).to_be_bytes(), epoch.to_be_bytes());
        let info = [&length, &*self.context, &epoch];
        let key = self.keys.root.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

fn header(epoch: u32) -> [u8; HEADER_BYTES] {
    let mut header = [VERSION; HEADER_BYTES];
    header[1..].copy_from_slice(&epoch.to_be_bytes());
    header
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    /// A ticket made at the end of an epoch is good for one more.
    fn lifetime(&self) -> u32 {
        EPOCH_SECS as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let epoch = self.epoch();
        let header = header(epoch);
        // Random nonces are safe for 2^32 tickets of one key: 198,000 a second for six hours.
        let mut nonce = [0; NONCE_LEN];
        if !self.keys.world.fill(&mut nonce) {
            return None;
        }
        let mut ticket = Vec::with_capacity(HEADER_BYTES + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&header);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[HEADER_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key(epoch)?.seal_in_place_separate_tag(nonce, Aad::from(header), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (&found, rest) = ticket.split_first_chunk::<HEADER_BYTES>()?;
        let (&nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let epoch = u32::from_be_bytes([found[1], found[2], found[3], found[4]]);
        if found != header(epoch) || self.epoch().abs_diff(epoch) > 1 {
            return None;
        }
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.key(epoch)?.open_in_place(nonce, Aad::from(found), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::TestWorld;

    fn ticketer(secret: &str, context: &str, now_secs: u64) -> Ticketer {
        TicketKeys::new(secret.as_bytes(), Arc::new(TestWorld::at(now_secs))).ticketer(context.as_bytes())
    }

    /// What one gateway seals, another with the same secret opens; with another secret, or where clients are checked
    /// otherwise, nobody does.
    #[test]
    fn shared_by_those_with_the_secret() {
        let ticket = ticketer("s", "none", 1_000_000).encrypt(b"session").unwrap();
        assert_eq!(ticketer("s", "none", 1_000_000).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        for (secret, context) in [("t", "none"), ("s", "mutual"), ("s", ""), ("", "none")] {
            assert_eq!(ticketer(secret, context, 1_000_000).decrypt(&ticket), None);
        }
    }

    /// A ticket lives through its own epoch and the next, never longer, and a gateway whose clock is behind takes it.
    #[test]
    fn epochs() {
        let start = 100 * EPOCH_SECS;
        let ticket = ticketer("s", "", start).encrypt(b"session").unwrap();
        for (at, good) in [
            (start - 1, true),
            (start - EPOCH_SECS, true),
            (start - EPOCH_SECS - 1, false),
            (start + EPOCH_SECS, true),
            (start + 2 * EPOCH_SECS - 1, true),
            (start + 2 * EPOCH_SECS, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(ticketer("s", "", at).decrypt(&ticket).is_some(), good, "{at}");
        }
    }

    /// Without chance no ticket is made.
    #[test]
    fn no_chance_no_ticket() {
        let keys = TicketKeys::new(b"s", Arc::new(TestWorld { now_secs: 7, dice: false }));
        assert_eq!(keys.ticketer(b"").encrypt(b"session"), None);
    }

    proptest! {
        /// A ticket with any bit changed, and any bytes at all, are refused without panic.
        #[test]
        fn forged(noise in prop::collection::vec(any::<u8>(), 0..100), bit in any::<prop::sample::Index>()) {
            let ticketer = ticketer("s", "", 1_000_000);
            prop_assert_eq!(ticketer.decrypt(&noise), None);
            let mut ticket = ticketer.encrypt(&noise).unwrap();
            let bit = bit.index(ticket.len() * 8);
            ticket[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(ticketer.decrypt(&ticket), None);
        }
    }
}
