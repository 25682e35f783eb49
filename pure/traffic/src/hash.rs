//! A hash that costs a multiplication for each eight bytes, for maps whose keys no client chooses: what operators write
//! (hosts and paths of routes), and addresses of memory and of endpoints.
//!
//! It has no key. Who looks up cannot make others collide: only what is stored can, and no request stores anything in
//! such a map. Never use it for what a client puts in, such as sessions and addresses of peers.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds a [`QuickHasher`].
pub type Quick = BuildHasherDefault<QuickHasher>;

/// The hasher: each word is mixed in by an exclusive or and multiplied by an odd number near 2^64 over the golden ratio.
#[derive(Debug, Default)]
pub struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        // The low bits of a product know only the low bits of its factors, and choose the place in a map.
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for &word in words {
            self.write_u64(u64::from_le_bytes(word));
        }
        if !rest.is_empty() {
            // The one in front tells lengths apart.
            self.write_u64(rest.iter().fold(1, |word, &byte| word << 8 | u64::from(byte)));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::*;

    /// Names as routes have them fall into the places of a map about as evenly as by chance.
    #[test]
    fn names_are_spread() {
        const PLACES: u64 = 1024;
        for pattern in
            ["route-#", "#.example.com", "aaaaaaaaaaaaaaaa#", "#-aaaaaaaaaaaaaaaa", "/api/v1/#/items"]
        {
            let hash = |number| Quick::default().hash_one(pattern.replace('#', &format!("{number:x}")));
            let low: BTreeSet<u64> = (0..PLACES).map(|number| hash(number) % PLACES).collect();
            let high: BTreeSet<u64> = (0..PLACES).map(|number| hash(number) >> 54).collect();
            // By chance 632 of 1,024 places are taken.
            assert!(low.len() > 560 && high.len() > 400, "{pattern}: {} and {}", low.len(), high.len());
        }
    }

    /// What differs in its length only has another hash.
    #[test]
    fn lengths_count() {
        let hash = |text: &str| Quick::default().hash_one(text);
        assert_ne!(hash("a"), hash("a\0"));
        assert_ne!(hash(""), hash("\0"));
        assert_ne!(hash("aaaaaaaa"), hash("aaaaaaaa\0"));
    }
}
