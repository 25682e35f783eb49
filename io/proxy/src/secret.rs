//! The secret that the gateways of a set share, and the keys that follow from it.

use aws_lc_rs::hmac;
use tidegate_traffic::session::SessionKey;

/// The key that names endpoints in persistent sessions: the same on every gateway with the same secret; without one, of
/// this process alone.
pub fn session_key(shared: &[u8]) -> SessionKey {
    let mut key = [0; 32];
    if shared.is_empty() {
        // The library fails only where the machine has no randomness; then nothing of TLS works either.
        let _ = aws_lc_rs::rand::fill(&mut key);
    } else {
        let sealed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, shared), b"tidegate session persistence");
        key.copy_from_slice(sealed.as_ref());
    }
    SessionKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gateways with one secret name an endpoint alike; those without one, and those with another, do not.
    #[test]
    fn a_secret_makes_gateways_agree() {
        let endpoint = "10.0.0.1:80".parse().unwrap();
        let tag = |secret: &[u8]| session_key(secret).tag(endpoint);
        assert_eq!(tag(b"one"), tag(b"one"));
        assert_ne!(tag(b"one"), tag(b"two"));
        assert_ne!(tag(b""), tag(b""));
    }
}
