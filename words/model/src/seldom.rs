//! Settings that few objects have.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A setting that most objects leave at its default. Where it is the default nothing is stored but that; then it reads as
/// the one default there is.
///
/// A rule has dozens of such settings, a gateway has thousands of rules, and every request looks at all settings of its own:
/// what does not lie there cannot miss the cache.
pub struct Seldom<T>(Option<Arc<T>>);

/// What has one default for all.
pub trait Usual: Default + PartialEq + 'static {
    /// The default.
    fn usual() -> &'static Self;
}

impl<T: Usual> Seldom<T> {
    /// Whether it is the default.
    pub fn is_usual(&self) -> bool {
        self.0.as_ref().is_none_or(|value| **value == *T::usual())
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom(None)
    }
}

impl<T> Clone for Seldom<T> {
    fn clone(&self) -> Self {
        Seldom(self.0.clone())
    }
}

impl<T: Usual> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Seldom((value != *T::usual()).then(|| Arc::new(value)))
    }
}

impl<T: Usual> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::usual(),
        }
    }
}

/// What is changed is stored from then on.
impl<T: Usual + Clone> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(self.0.get_or_insert_with(Arc::default))
    }
}

impl<T: Usual> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Usual + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Usual + Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    impl Usual for u32 {
        fn usual() -> &'static u32 {
            static USUAL: LazyLock<u32> = LazyLock::new(u32::default);
            &USUAL
        }
    }

    /// However it was made, the default is stored as nothing, equal to itself, and reads as what it is.
    #[test]
    fn the_default_is_nothing() {
        let (made, none, mut other) = (Seldom::from(0u32), Seldom::<u32>::default(), Seldom::from(7u32));
        assert!(made.is_usual() && made.0.is_none() && none.is_usual() && !other.is_usual());
        assert!(made == none && made != other && other == Seldom::from(7));
        assert_eq!((*made, *other), (0, 7));
        assert_eq!(serde_json::to_string(&[made.clone(), other.clone()]).unwrap(), "[0,7]");
        *other = 0;
        assert!(other.is_usual() && other == made);
        assert_eq!(size_of::<Seldom<[u64; 32]>>(), size_of::<usize>());
    }
}
