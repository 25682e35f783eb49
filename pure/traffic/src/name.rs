//! Keys of the maps on the way to a rule: short ones lie in the map itself, so that to compare one is no further miss of the
//! cache.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Longer names lie elsewhere.
const INLINE_BYTES: usize = 22;

/// A name that is looked up as a `str`.
pub(crate) struct Name(Place);

enum Place {
    Inline(u8, [u8; INLINE_BYTES]),
    Elsewhere(Box<str>),
}

impl Name {
    fn as_str(&self) -> &str {
        match &self.0 {
            // What went in was a whole `str`.
            Place::Inline(len, bytes) => std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default(),
            Place::Elsewhere(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Place::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Place::Elsewhere(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Name(Place::Inline(text.len() as u8, bytes))
            }
            None => Name(Place::Elsewhere(text.into())),
        }
    }
}

/// Looked up by bytes, so that nothing needs to be known of them.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::hash::Quick;

    /// Names of every length are found by their text, and by no other.
    #[test]
    fn every_length() {
        let text = |len: usize| "abcdefgé".chars().cycle().take(len).collect::<String>();
        let map: HashMap<Name, usize, Quick> =
            (0..40).map(|len| (Name::from(text(len).as_str()), len)).collect();
        for len in 0..40 {
            assert_eq!(map.get(text(len).as_bytes()), Some(&len));
            assert_eq!(map.get((text(len) + "x").as_bytes()), None);
            assert_eq!(format!("{:?}", Name::from(text(len).as_str())), format!("{:?}", text(len)));
        }
        assert_eq!(size_of::<(Name, u32)>(), 32);
    }
}
