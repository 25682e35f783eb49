//! Classes: the distinct lists of policies that select some pod, and their numbers.

use std::collections::BTreeMap;

use tidegate_model::egress::EgressPolicy;

use crate::destination::{Decided, decide_intervals};

/// The number of a class, 1 to [`CLASSES_MAX`].
pub type ClassId = u16;

/// How many classes there may be at one time. Pods of a class beyond that are left unknown, and so are dropped.
pub const CLASSES_MAX: usize = 65_535;

/// A list of policies, in order of precedence, and what they make of destinations.
#[derive(Debug)]
pub(crate) struct Class {
    pub policies: Vec<usize>,
    pub intervals: Vec<Decided>,
    /// How many pods are of this class; a class without any is forgotten.
    pods: usize,
}

/// The classes in use.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    by_id: BTreeMap<ClassId, Class>,
    ids: BTreeMap<Vec<usize>, ClassId>,
}

impl Classes {
    /// The class of one more pod; none when all numbers are in use.
    ///
    /// The number follows from the names of the policies, so that a gateway that starts again finds in the kernel what
    /// it is about to write.
    pub fn join(&mut self, policies: &[EgressPolicy], selected: Vec<usize>) -> Option<ClassId> {
        if let Some(id) = self.ids.get(&selected) {
            let id = *id;
            if let Some(class) = self.by_id.get_mut(&id) {
                class.pods += 1;
            }
            return Some(id);
        }
        if self.by_id.len() >= CLASSES_MAX {
            return None;
        }
        let id = self.free_id(hash(policies, &selected))?;
        let intervals = decide_intervals(policies, &selected);
        self.by_id.insert(id, Class { policies: selected.clone(), intervals, pods: 1 });
        self.ids.insert(selected, id);
        Some(id)
    }

    /// One pod less.
    pub fn leave(&mut self, id: ClassId) {
        let Some(class) = self.by_id.get_mut(&id) else { return };
        class.pods -= 1;
        if class.pods == 0
            && let Some(class) = self.by_id.remove(&id)
        {
            self.ids.remove(&class.policies);
        }
    }

    pub fn get(&self, id: ClassId) -> Option<&Class> {
        self.by_id.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        self.by_id.iter().map(|(id, class)| (*id, class))
    }

    fn free_id(&self, start: u32) -> Option<ClassId> {
        let places = 0..CLASSES_MAX as u32;
        let ids = places.map(|step| 1 + (start % CLASSES_MAX as u32 + step) % CLASSES_MAX as u32);
        ids.filter_map(|id| ClassId::try_from(id).ok()).find(|id| !self.by_id.contains_key(id))
    }
}

/// FNV-1a, 32 bits, over the policies' names and sources.
fn hash(policies: &[EgressPolicy], selected: &[usize]) -> u32 {
    let names = selected.iter().filter_map(|index| policies.get(*index)).map(|policy| {
        format!(
            "{}\0{}\0{}\0{}\n",
            policy.name.kind, policy.name.key.source, policy.name.key.namespace, policy.name.key.name
        )
    });
    names
        .flat_map(String::into_bytes)
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
