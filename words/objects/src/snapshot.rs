//! How a [`Snapshot`] holds the objects of one kind, and how two snapshots are compared.
//!
//! The maps are persistent: a changed copy shares all but one path with the original, so holding the state before costs
//! nothing, and what differs between two states is found without looking at what they share.

use std::sync::Arc;

use imbl::OrdMap;
pub use imbl::ordmap::DiffItem;

pub use crate::kind::Snapshot;
use crate::{Key, Resource};

/// The objects of one kind, by identity. Objects are shared between snapshots: an unchanged one is the same pointer.
pub type Objects<T> = OrdMap<Key, Arc<Resource<T>>>;

/// Whether both hold the very same objects, compared by pointer first and by value where pointers differ.
pub fn same<T: PartialEq>(a: &Objects<T>, b: &Objects<T>) -> bool {
    a.ptr_eq(b) || a.len() == b.len() && a.diff(b).next().is_none()
}

/// Makes `target` differ from what it was as `now` differs from `before`; an object that is equal keeps its pointer.
/// Costs what differs.
pub fn follow<T: PartialEq>(target: &mut Objects<T>, before: &Objects<T>, now: &Objects<T>) {
    // Nearly every kind, whenever something has changed: not even a cursor is needed.
    if before.ptr_eq(now) {
        return;
    }
    for change in before.diff(now) {
        match change {
            DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => {
                target.insert(key.clone(), object.clone());
            }
            DiffItem::Remove(key, _) => {
                target.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Namespace;
    use crate::{Metadata, Object, ObjectRef};

    fn namespace(source: &str, number: usize, generation: i64) -> Object {
        let key = Key::new(source, "", &format!("n{number}"));
        let (labels, annotations) = Default::default();
        let metadata = Metadata { key, labels, annotations, created_secs: 0, generation };
        Resource { metadata, spec: Namespace {} }.into()
    }

    /// Two sources that change at random, each followed by its difference, give what putting them together gives.
    #[test]
    fn followed_is_joined() {
        let mut sources = [Snapshot::default(), Snapshot::default()];
        let mut joined = Snapshot::default();
        // A plain linear congruence; the step is printed on failure.
        let mut seed = 11_u32;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        for step in 0..500 {
            let which = next(2);
            let name = ["a", "b"][which];
            let before = sources[which].clone();
            for _ in 0..=next(20) {
                let object = namespace(name, next(200), next(3) as i64);
                if next(3) == 0 {
                    sources[which].remove(&object.reference());
                } else {
                    sources[which].insert(object);
                }
            }
            joined.follow(&before, &sources[which]);
            let mut whole = sources[0].clone();
            sources[1].objects().for_each(|object| whole.insert(object));
            assert_eq!(joined, whole, "step {step}");
            assert!(joined.same_intent(&whole), "step {step}");
        }
    }

    /// An object that comes again with the same content is no difference, and the pointer that was there stays.
    #[test]
    fn equal_keeps_its_pointer() {
        let (mut before, mut now) = (Snapshot::default(), Snapshot::default());
        before.insert(namespace("a", 1, 1));
        now.insert(namespace("a", 1, 1));
        let mut joined = before.clone();
        joined.follow(&before, &now);
        assert!(joined.namespaces.ptr_eq(&before.namespaces));
        assert!(same(&before.namespaces, &now.namespaces));
        let reference = ObjectRef { kind: crate::Kind::Namespace, key: Key::new("a", "", "n1") };
        assert_eq!(joined.get(&reference), Some(namespace("a", 1, 1)));
        assert_eq!(joined.len(), 1);
    }
}
