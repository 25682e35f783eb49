//! Session tickets (RFC 5077, RFC 8446 section 4.6.1): sealed with one key, opened with any that is known.
//!
//! Which keys those are is decided by a [`Ring`](crate::Ring); here they are used. What seals a ticket is derived
//! (HKDF-SHA-256) from the key that it names and from how the listener checks clients: so a ticket given by a listener that
//! asks nothing of clients opens no session where a certificate is asked for. Who learns a key can read tickets of its time,
//! and no others; sessions of TLS 1.3 stay secret all the same, as each begins with a key exchange of its own.
//!
//! ```text
//!  ticket = 2 | name of the key (16 bytes) | nonce (12 bytes) | AES-256-GCM(session, aad = 2 | name)
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use rustls::server::ProducesTickets;

const VERSION: u8 = 2;
const ID_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + ID_BYTES;

/// The name of a key.
pub(crate) type KeyId = [u8; ID_BYTES];

/// The dice that this room does not have.
pub trait Dice: Send + Sync {
    /// Fills `bytes` with what nobody can guess; false if there is nothing to do so with.
    fn fill(&self, bytes: &mut [u8]) -> bool;
}

/// The keys that hold now, shared by every listener. Cheap to clone.
#[derive(Clone)]
pub struct TicketKeys {
    now: Arc<ArcSwap<Keys>>,
    dice: Arc<dyn Dice>,
}

/// Keys of one moment.
pub(crate) struct Keys {
    /// Names the key that seals; it is among the others.
    pub sealing: KeyId,
    /// How long clients are told to keep what it seals.
    pub lifetime_secs: u32,
    /// All keys that open.
    pub opening: HashMap<KeyId, Arc<Root>>,
}

/// What the keys of all listeners follow from.
pub(crate) struct Root(Prk);

impl Root {
    pub fn new(secret: &[u8]) -> Arc<Root> {
        Arc::new(Root(Salt::new(HKDF_SHA256, b"tidegate session tickets").extract(secret)))
    }

    fn key(&self, context: &[u8]) -> Option<LessSafeKey> {
        let info = [context];
        let key = self.0.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl TicketKeys {
    /// One key, made of a secret, that never turns: for whoever is given no ring. Tickets last for a day.
    pub fn fixed(secret: &[u8], dice: Arc<dyn Dice>) -> TicketKeys {
        let sealing = [0; ID_BYTES];
        let opening = HashMap::from([(sealing, Root::new(secret))]);
        TicketKeys::new(Keys { sealing, lifetime_secs: 86_400, opening }, dice)
    }

    pub(crate) fn new(keys: Keys, dice: Arc<dyn Dice>) -> TicketKeys {
        TicketKeys { now: Arc::new(ArcSwap::from_pointee(keys)), dice }
    }

    pub(crate) fn set(&self, keys: Keys) {
        self.now.store(Arc::new(keys));
    }

    pub(crate) fn dice(&self) -> &dyn Dice {
        &*self.dice
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

fn header(id: KeyId) -> [u8; HEADER_BYTES] {
    let mut header = [VERSION; HEADER_BYTES];
    header[1..].copy_from_slice(&id);
    header
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.keys.now.load().lifetime_secs
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.now.load();
        let header = header(keys.sealing);
        // Random nonces are safe for 2^32 tickets of one key: 49,000 a second for a day.
        let mut nonce = [0; NONCE_LEN];
        if !self.keys.dice.fill(&mut nonce) {
            return None;
        }
        let mut ticket = Vec::with_capacity(HEADER_BYTES + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&header);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[HEADER_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = keys.opening.get(&keys.sealing)?.key(&self.context)?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (&found, rest) = ticket.split_first_chunk::<HEADER_BYTES>()?;
        let (&nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (&VERSION, id) = found.split_first()? else { return None };
        let key = self.keys.now.load().opening.get(id)?.key(&self.context)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = key.open_in_place(nonce, Aad::from(found), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::TestDice;

    fn ticketer(secret: &str, context: &str) -> Ticketer {
        TicketKeys::fixed(secret.as_bytes(), Arc::new(TestDice::default())).ticketer(context.as_bytes())
    }

    /// What is sealed with a key is opened with it; with another key, or where clients are checked otherwise, nobody opens it.
    #[test]
    fn of_one_key_and_one_context() {
        let ticket = ticketer("s", "none").encrypt(b"session").unwrap();
        assert_eq!(ticketer("s", "none").decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        for (secret, context) in [("t", "none"), ("s", "mutual"), ("s", ""), ("", "none")] {
            assert_eq!(ticketer(secret, context).decrypt(&ticket), None);
        }
    }

    /// Without chance no ticket is made.
    #[test]
    fn no_chance_no_ticket() {
        let keys = TicketKeys::fixed(b"s", Arc::new(TestDice::none()));
        assert_eq!(keys.ticketer(b"").encrypt(b"session"), None);
    }

    proptest! {
        /// A ticket with any bit changed, and any bytes at all, are refused without panic.
        #[test]
        fn forged(noise in prop::collection::vec(any::<u8>(), 0..100), bit in any::<prop::sample::Index>()) {
            let ticketer = ticketer("s", "");
            prop_assert_eq!(ticketer.decrypt(&noise), None);
            let mut ticket = ticketer.encrypt(&noise).unwrap();
            let bit = bit.index(ticket.len() * 8);
            ticket[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(ticketer.decrypt(&ticket), None);
        }
    }
}
