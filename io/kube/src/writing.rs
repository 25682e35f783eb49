//! [`Errand`]: one write, from the look at what stands to the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tidegate_compile::writeback::{
    Concern, Item, Making, Outcome, Piece, Write, decide, event, event_path, is_made, make, repeated,
};
use tidegate_objects::{Key, Kind};
use tokio::time::Instant;

use crate::elector::micro_time;
use crate::scope::Served;
use crate::sending::{Ask, send};
use crate::trouble::Trouble;

/// Whatever a write needs.
#[derive(Clone)]
pub(crate) struct Errand {
    pub client: Client,
    /// The kinds that the cluster serves.
    pub served: Arc<BTreeMap<Kind, Served>>,
    /// Nothing is asked after that, and no answer counts.
    pub until: Instant,
    /// What Events about a source as a whole are about.
    pub lease: Key,
    /// Who tells them.
    pub instance: String,
}

/// What came of a write.
pub(crate) struct Wrote {
    pub outcome: Outcome,
    /// What went wrong; a sentence.
    pub trouble: Option<String>,
}

/// What came of an Event.
pub(crate) enum Told {
    /// It was written.
    Written,
    /// It stands already.
    Known,
    /// It could not be.
    Failed(String),
}

impl From<Outcome> for Wrote {
    fn from(outcome: Outcome) -> Self {
        Wrote { outcome, trouble: None }
    }
}

impl From<Trouble> for Wrote {
    fn from(trouble: Trouble) -> Self {
        let outcome = match &trouble {
            // It goes, or is gone; if that is not so, something will be seen of it.
            Trouble::Missing(_) => return Outcome::Gone.into(),
            Trouble::Conflict(_) => return Outcome::Overtaken.into(),
            Trouble::Forbidden(_) | Trouble::Answered(_) | Trouble::TooLarge(_) => Outcome::Refused,
            Trouble::Gone | Trouble::Later(..) | Trouble::Other(_) => Outcome::Failed,
        };
        Wrote { outcome, trouble: Some(trouble.text().to_owned()) }
    }
}

impl Errand {
    /// Has an item stand as it should; without a piece, nothing of ours.
    pub async fn write(&self, item: &Item, piece: Option<&Piece>) -> Wrote {
        let Some(served) = self.served.get(&item.object.kind) else { return Outcome::Gone.into() };
        let path = served.path_of(item.object.kind, &item.object.key);
        let wrote = match item.is_whole {
            false if !served.has_status => return Outcome::Gone.into(),
            false => self.write_status(item, piece, served, &path).await,
            true => match piece {
                Some(piece) => self.make(item, piece, served, &path).await,
                None => self.unmake(&path).await,
            },
        };
        wrote.unwrap_or_else(Wrote::from)
    }

    async fn ask(&self, path: &str, ask: Ask<'_>) -> Result<Value, Trouble> {
        send(&self.client, path, ask, self.until).await
    }

    async fn write_status(
        &self,
        item: &Item,
        piece: Option<&Piece>,
        served: &Served,
        path: &str,
    ) -> Result<Wrote, Trouble> {
        let (kind, key) = (item.object.kind, &item.object.key);
        let wanted = piece.map(|piece| (*piece.content).clone()).or_else(|| Wrote::nothing(kind));
        let Some(wanted) = wanted else { return Ok(Outcome::Same.into()) };
        let mut object = self.ask(path, Ask::Get).await?;
        let status_path = format!("{path}/status");
        let answer = match decide(&object, &wanted, &format!("{:.0}", Timestamp::now())) {
            None => return Ok(Outcome::Same.into()),
            Some(Write::Apply(status)) => {
                let mut body = named(kind, served, key);
                body["status"] = status;
                self.ask(&status_path, Ask::Apply(&body)).await?
            }
            Some(Write::Replace(status)) => {
                object["status"] = status;
                self.ask(&status_path, Ask::Replace(&object)).await?
            }
        };
        Ok(Outcome::Written(standing(item, &answer)).into())
    }

    /// Has an object that belongs to a Gateway stand as a whole.
    async fn make(&self, item: &Item, piece: &Piece, served: &Served, path: &str) -> Result<Wrote, Trouble> {
        let Some((gateway, owner)) = piece.owner.as_ref().zip(self.served.get(&Kind::Gateway)) else {
            return Ok(Outcome::Gone.into());
        };
        let owner = self.ask(&owner.path_of(Kind::Gateway, gateway), Ask::Get).await?;
        let uid = owner["metadata"]["uid"].as_str().unwrap_or_default();
        let found = match self.ask(path, Ask::Get).await {
            Ok(found) => Some(found),
            Err(Trouble::Missing(_)) => None,
            Err(trouble) => return Err(trouble),
        };
        match make(found.as_ref(), &piece.content, &gateway.name, uid) {
            Making::Stands => Ok(Outcome::Same.into()),
            Making::Strange(why) => Ok(Wrote { outcome: Outcome::Refused, trouble: Some(why) }),
            Making::Apply(mut object) => {
                let named = named(item.object.kind, served, &item.object.key);
                object["apiVersion"] = named["apiVersion"].clone();
                let answer = self.ask(path, Ask::Apply(&object)).await?;
                Ok(Outcome::Written(standing(item, &answer)).into())
            }
        }
    }

    /// Takes away what was made for a Gateway.
    async fn unmake(&self, path: &str) -> Result<Wrote, Trouble> {
        let found = self.ask(path, Ask::Get).await?;
        if !is_made(&found) {
            return Ok(Outcome::Same.into());
        }
        let metadata = &found["metadata"];
        let only_this = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": only_this});
        self.ask(path, Ask::Delete(&options)).await?;
        Ok(Outcome::Written(0).into())
    }

    /// Tells a concern as an Event; `again`: it has gone and come again.
    pub async fn tell(&self, name: &str, concern: &Concern, again: bool) -> Told {
        match self.try_to_tell(name, concern, again).await {
            Ok(true) => Told::Written,
            Ok(false) | Err(Trouble::Conflict(_)) => Told::Known,
            // The namespace is gone, or going, and whatever was in it.
            Err(Trouble::Missing(_)) => Told::Known,
            Err(trouble) => Told::Failed(trouble.text().to_owned()),
        }
    }

    /// Whether it was written; else it stands.
    async fn try_to_tell(&self, name: &str, concern: &Concern, again: bool) -> Result<bool, Trouble> {
        let path = event_path(concern, &self.lease, name);
        match self.ask(&path, Ask::Get).await {
            Ok(_) if !again => return Ok(false),
            Ok(standing) => {
                self.ask(&path, Ask::Merge(&repeated(&standing, &micro_time()))).await?;
                return Ok(true);
            }
            Err(Trouble::Missing(_)) => {}
            Err(trouble) => return Err(trouble),
        }
        let mut uid = String::new();
        if let Some(object) = &concern.object
            && let Some(served) = self.served.get(&object.kind)
        {
            let found = self.ask(&served.path_of(object.kind, &object.key), Ask::Get).await?;
            uid = found["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        }
        let event = event(name, concern, &self.lease, &self.instance, &uid, &micro_time());
        self.ask(&event_path(concern, &self.lease, ""), Ask::Create(&event)).await?;
        Ok(true)
    }
}

/// An object by its name, and nothing in it.
fn named(kind: Kind, served: &Served, key: &Key) -> Value {
    let api_version = match kind.group() {
        "" => served.version.to_owned(),
        group => format!("{group}/{}", served.version),
    };
    let mut metadata = json!({"name": &*key.name});
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(&*key.namespace);
    }
    json!({"apiVersion": api_version, "kind": kind.name(), "metadata": metadata})
}

/// The sum of what stands of an item, as it will be seen.
fn standing(item: &Item, answer: &Value) -> u64 {
    let all = Item::standing(&item.object, answer);
    all.into_iter().find(|(stands, _)| stands == item).map_or(0, |(_, sum)| sum)
}
