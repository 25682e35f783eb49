//! [`Sightings`]: what reflectors have seen standing of what we write, as short sums; shared with the writer.
//!
//! One sum for each object with a status: what the objects themselves say need not be kept for it, and who begins to write
//! need not ask for everything again. The list of what has changed holds each item once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tidegate_compile::writeback::Item;
use tidegate_objects::{Kind, ObjectRef};
use tokio::sync::Notify;

use crate::scope::{Scope, Served};

/// What was seen. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sightings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The kinds that the cluster serves, once it is known.
    served: Arc<BTreeMap<Kind, Served>>,
    seen: BTreeMap<Item, u64>,
    changed: BTreeSet<Item>,
}

/// What changed since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The kinds that the cluster serves.
    pub served: Arc<BTreeMap<Kind, Served>>,
    /// The items, with what stands of them; 0: nothing.
    pub seen: Vec<(Item, u64)>,
}

/// Whether anything is ever written to objects of this kind.
pub(crate) fn is_written(kind: Kind) -> bool {
    kind.states_intent()
}

impl Sightings {
    /// The cluster serves these kinds.
    pub fn serve(&self, served: &BTreeMap<Kind, Served>) {
        let mut inner = self.lock();
        if *inner.served != *served {
            inner.served = Arc::new(served.clone());
            drop(inner);
            self.0.changed.notify_one();
        }
    }

    /// An object came or changed.
    pub fn see(&self, object: &ObjectRef, value: &Value) {
        self.note(object, Item::standing(object, value));
    }

    /// An object is gone.
    pub fn lose(&self, object: &ObjectRef) {
        self.note(object, Vec::new());
    }

    /// All of a scope: what it covers and is not among them is gone.
    pub fn list(&self, scope: &Scope, standing: Vec<(Item, u64)>) {
        let standing: BTreeMap<Item, u64> = standing.into_iter().collect();
        let mut inner = self.lock();
        let covered = |item: &&Item| scope.covers(item.object.kind, &item.object.key);
        let known: Vec<Item> = inner.seen.keys().filter(covered).cloned().collect();
        for item in known.into_iter().filter(|item| !standing.contains_key(item)) {
            inner.set(item, 0);
        }
        standing.into_iter().for_each(|(item, sum)| inner.set(item, sum));
        drop(inner);
        self.0.changed.notify_one();
    }

    fn note(&self, object: &ObjectRef, standing: Vec<(Item, u64)>) {
        let mut inner = self.lock();
        for is_whole in [false, true] {
            let item = Item { object: object.clone(), is_whole };
            let sum = standing.iter().find(|(stands, _)| *stands == item).map_or(0, |(_, sum)| *sum);
            if is_whole && sum == 0 && !inner.seen.contains_key(&item) {
                continue;
            }
            // Also where the sum is as before: the object may be another one of the same name.
            inner.set(item, sum);
        }
        drop(inner);
        self.0.changed.notify_one();
    }

    /// Everything that was seen. What has changed until now is in it.
    pub fn everything(&self) -> News {
        let mut inner = self.lock();
        inner.changed.clear();
        let seen = inner.seen.iter().map(|(item, sum)| (item.clone(), *sum)).collect();
        News { served: inner.served.clone(), seen }
    }

    /// What has changed since this, or everything, was asked last. Waits until something has.
    pub async fn changes(&self) -> News {
        self.0.changed.notified().await;
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changed);
        let sum = |item: &Item| inner.seen.get(item).copied().unwrap_or_default();
        let seen =
            changed.into_iter().map(|item| (sum(&item), item)).map(|(sum, item)| (item, sum)).collect();
        News { served: inner.served.clone(), seen }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set(&mut self, item: Item, sum: u64) {
        match sum {
            0 => self.seen.remove(&item),
            sum => self.seen.insert(item.clone(), sum),
        };
        // Nobody may ask for a long time; then there is no more in it than there are objects.
        self.changed.insert(item);
    }
}
