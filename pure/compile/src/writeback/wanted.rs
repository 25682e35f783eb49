//! [`Wanted`]: everything that is to stand in one cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_model::{StatusOf, Verdict};
use tidegate_objects::{Key, Kind, ObjectRef};

use super::concern::{Concern, concerns};
use super::made::{essence, is_made};
use super::{digest, of_standing};
use crate::status::Made;

/// Something that is written: the status of an object, or an object of ours as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// The object.
    pub object: ObjectRef,
    /// All of it, because we made it; else its status.
    pub is_whole: bool,
}

/// What is to be written there.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Of the content.
    pub digest: u64,
    /// The status, or the object.
    pub content: Arc<Value>,
    /// The Gateway that an object is made for.
    pub owner: Option<Key>,
    /// What users wait for goes first: 0 is first.
    pub rank: u8,
}

/// What is to stand in one cluster.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Statuses, and objects that are made.
    pub pieces: BTreeMap<Item, Piece>,
    /// What a human must act on, by the name of its Event.
    pub concerns: BTreeMap<String, Concern>,
}

impl Wanted {
    /// Of all that is said, what is about one cluster, the source of this name. `held` is what that source holds back.
    pub fn of(
        source: &str,
        statuses: &[StatusOf],
        made: &[Made],
        verdicts: &BTreeMap<ObjectRef, Verdict>,
        held: &[String],
    ) -> Wanted {
        let mut wanted = Wanted { concerns: concerns(source, verdicts, held), ..Wanted::default() };
        for status in statuses.iter().filter(|status| status.source == source) {
            let group = status.api_version.split_once('/').map_or("", |(group, _)| group);
            let Some(kind) = Kind::find(group, &status.kind) else { continue };
            // What cannot be spelled could not be shown either.
            let Ok(content) = serde_json::to_value(&status.status) else { continue };
            let object = ObjectRef { kind, key: Key::new(source, &status.namespace, &status.name) };
            let item = Item { object, is_whole: false };
            let piece =
                Piece { digest: digest(&content), content: content.into(), owner: None, rank: rank(kind) };
            wanted.pieces.insert(item, piece);
        }
        for Made { gateway, object } in made.iter().filter(|made| &*made.gateway.source == source) {
            let metadata = &object["metadata"];
            let part = |name: &str| metadata[name].as_str().unwrap_or_default();
            let key = gateway.sibling(part("namespace"), part("name"));
            let item = Item { object: ObjectRef { kind: Kind::Service, key }, is_whole: true };
            let (content, owner) = (Arc::new(object.clone()), Some(gateway.clone()));
            let piece = Piece { digest: digest(&essence(object)), content, owner, rank: 2 };
            wanted.pieces.insert(item, piece);
        }
        wanted
    }
}

impl Item {
    /// What of an object that stands in a cluster is ours to write, with its sum; nothing where nothing stands.
    pub fn standing(object: &ObjectRef, value: &Value) -> Vec<(Item, u64)> {
        let item = |is_whole| Item { object: object.clone(), is_whole };
        let status = of_standing(&value["status"]);
        let whole = (object.kind == Kind::Service && is_made(value)).then(|| digest(&essence(value)));
        let status = (status != 0).then(|| (item(false), status));
        status.into_iter().chain(whole.map(|whole| (item(true), whole))).collect()
    }
}

/// Addresses before conditions of what they are for, and those before the rest.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::GatewayClass => 0,
        Kind::Gateway | Kind::Service => 1,
        Kind::ListenerSet => 2,
        Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute | Kind::UDPRoute => 3,
        _ => 4,
    }
}
