//! A reflector: one scope listed in pages, then watched; whatever ends that is told, and it goes on from where it was.
//!
//! ```text
//!   list ──► Listed ──► watch from its version ──► Changed, Gone …
//!    ▲ 410: too old,          │ ended by the server, cut, or a new client: again from the last version
//!    │ or another server      │
//!    └────────────────────────┘
//! ```
//! It holds one object at a time (of a list, one page), and keeps none. It may be ended anywhere.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use serde_json::Value;
use tidegate_compile::writeback::Item;
use tidegate_decode::{Document, EMPTIED_MIN, Outcome, SliceEvent, SlicePage};
use tidegate_objects::{Key, Kind, ObjectRef};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::access::Reached;
use crate::body;
use crate::keeper::News;
use crate::patience::{Backoff, Pace, cut_short};
use crate::scope::{Scope, Served};
use crate::sightings::{Sightings, is_written};
use crate::trouble::Trouble;

/// How many objects a page of a list has.
const PAGE: usize = 500;
/// How many objects of one kind are read; more are an error, and what was there before stays.
const OBJECTS_MAX: usize = 500_000;

/// What a reflector reads, and whom it tells.
pub(crate) struct Reflector {
    pub source: Arc<str>,
    pub scope: Scope,
    pub served: Served,
    pub pace: Pace,
    pub clients: watch::Receiver<Option<Reached>>,
    pub news: mpsc::Sender<News>,
    /// Its number changes when somebody has confirmed what is held.
    pub confirmed: watch::Receiver<u64>,
    /// How many objects are in force.
    pub known: usize,
    /// Told what stands of what is written, where anything is.
    pub sightings: Option<Sightings>,
}

/// A page of a list, as far as it is looked at.
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    /// `null` where there is none.
    items: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(rename = "continue", default)]
    token: String,
}

/// A line of a watch.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    what: String,
    object: Value,
}

/// Everything of a scope, what stands of what is written there, and the version of it.
type Pages = (Vec<Document>, Vec<(Item, u64)>, String);

/// The keeper has gone.
struct Ended;

/// Why a round ended early.
enum Stop {
    Trouble(Trouble),
    Ended,
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Stop::Trouble(trouble)
    }
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Stop::Ended
    }
}

impl Reflector {
    /// Runs until the keeper, or the scout with its clients, is gone.
    pub async fn reflect(mut self) {
        let mut backoff = Backoff::new(self.pace);
        let (mut version, mut page) = (None, PAGE);
        let mut asked = None;
        loop {
            let reached = match self.clients.wait_for(Option::is_some).await {
                Ok(reached) => reached.clone(),
                Err(_) => return,
            };
            let Some(Reached { client, place }) = reached else { continue };
            if asked.as_ref() != Some(&place) {
                (version, page) = (None, PAGE);
                asked = Some(place);
            }
            let mut other = self.clients.clone();
            let began = Instant::now();
            let round = self.round(&client, &mut version, page);
            let ended = tokio::select! {
                ended = round => ended,
                // Whatever was read goes on from its version with the new client, where that asks the same server.
                changed = other.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let lasted = began.elapsed() >= self.pace.retry_most.min(self.pace.watch / 2);
            if lasted {
                backoff.reset();
            }
            let wait = match ended {
                Ok(()) if lasted => continue,
                // Ended at once: as good as a failure, but nothing to tell.
                Ok(()) => backoff.next(),
                Err(Stop::Ended) => return,
                // In a watch, as happens. In a list it is a trouble like others: a page took longer than the server keeps
                // what the next would go on from.
                Err(Stop::Trouble(Trouble::Gone)) if version.is_some() => {
                    version = None;
                    backoff.next()
                }
                Err(Stop::Trouble(Trouble::TooLarge(_))) if page > 1 => {
                    page = (page / 8).max(1);
                    continue;
                }
                Err(Stop::Trouble(trouble)) => {
                    let wait = match &trouble {
                        Trouble::Later(_, wait) => *wait,
                        _ => backoff.next(),
                    };
                    if self.say(News::Failed(self.scope.clone(), trouble)).await.is_err() {
                        return;
                    }
                    wait
                }
            };
            sleep(wait).await;
        }
    }

    async fn say(&self, news: News) -> Result<(), Ended> {
        self.news.send(news).await.map_err(|_| Ended)
    }

    async fn round(
        &mut self,
        client: &Client,
        version: &mut Option<String>,
        page: usize,
    ) -> Result<(), Stop> {
        if version.is_none() {
            *version = Some(self.list(client, page).await?);
        }
        match version {
            Some(version) => self.watch(client, version).await,
            None => Ok(()),
        }
    }

    /// Lists everything, and tells it; the version that it was listed at.
    async fn list(&mut self, client: &Client, page: usize) -> Result<String, Stop> {
        let (mut documents, mut standing, mut version) = self.pages(client, page).await?;
        if documents.is_empty() && self.known >= EMPTIED_MIN {
            // Somebody may have restored an empty store, or pointed a name at another cluster.
            self.confirmed.mark_unchanged();
            self.say(News::Emptied(self.scope.clone(), self.known)).await?;
            tokio::select! {
                () = sleep(self.pace.emptied) => {}
                Ok(()) = self.confirmed.changed() => {}
            }
            (documents, standing, version) = self.pages(client, page).await?;
        }
        if let Some(sightings) = &self.sightings {
            sightings.list(&self.scope, standing);
        }
        self.known = documents.len();
        self.say(News::Listed(self.scope.clone(), documents)).await?;
        Ok(version)
    }

    /// Everything, what stands of it, and the version of it.
    async fn pages(&self, client: &Client, page: usize) -> Result<Pages, Trouble> {
        let (mut documents, mut standing) = (Vec::new(), Vec::new());
        let mut token = String::new();
        loop {
            let path = format!("{}limit={page}{token}", self.scope.path(&self.served));
            let fetched = timeout(self.pace.grace, body::fetch_bytes(client, &path)).await;
            let bytes = fetched.map_err(|_| self.silent())??;
            let metadata = match self.slices(&bytes) {
                Some(SlicePage { version, token, documents: slices }) => {
                    documents.extend(slices);
                    PageMetadata { resource_version: version, token }
                }
                None => {
                    let Page { metadata, items } = body::parse(&bytes)?;
                    for item in items.into_iter().flatten() {
                        if self.sightings.is_some()
                            && let Some(object) = self.identity_of(&item)
                        {
                            standing.extend(Item::standing(&object, &item));
                        }
                        documents.extend(self.decode(item));
                    }
                    metadata
                }
            };
            if documents.len() > OBJECTS_MAX {
                return Err(Trouble::Answered(format!("there are more than {OBJECTS_MAX} objects")));
            }
            if metadata.token.is_empty() {
                return Ok((documents, standing, metadata.resource_version));
            }
            token = format!("&continue={}", escaped(&metadata.token));
        }
    }

    /// A page of EndpointSlices, where all of it is plain: of those nothing is written, and nobody names them.
    fn slices(&self, page: &[u8]) -> Option<SlicePage> {
        if !self.is_of_slices() {
            return None;
        }
        tidegate_decode::slice_page(&self.source, page)
    }

    fn is_of_slices(&self) -> bool {
        self.scope.kind == Kind::EndpointSlice && self.served.version == "v1"
    }

    fn silent(&self) -> Trouble {
        Trouble::Other(format!("no answer within {} s", self.pace.grace.as_secs()))
    }

    /// Follows changes until the server ends the watch, or says nothing any more: an idle server without bookmarks and a
    /// dead connection look the same, and asking again, by a new connection, tells them apart. `version` is what to go on
    /// from.
    async fn watch(&mut self, client: &Client, version: &mut String) -> Result<(), Stop> {
        let secs = cut_short(self.pace.watch).as_secs().max(1);
        let end = Instant::now() + Duration::from_secs(secs) + self.pace.grace;
        let path = format!(
            "{}watch=1&allowWatchBookmarks=true&timeoutSeconds={secs}&resourceVersion={}",
            self.scope.path(&self.served),
            escaped(version)
        );
        let asked = timeout(self.pace.grace, body::ask(client, &path)).await;
        let mut stream = asked.map_err(|_| self.silent())??;
        self.say(News::Well(self.scope.clone())).await?;
        let mut line = Vec::new();
        loop {
            let until = end.min(Instant::now() + self.pace.silence);
            let next = timeout_at(until, body::next_line(&mut stream, &mut line)).await;
            if !next.unwrap_or(Ok(false))? {
                return Ok(());
            }
            if !line.is_empty() {
                self.event(&line, version).await?;
            }
        }
    }

    async fn event(&mut self, line: &[u8], version: &mut String) -> Result<(), Stop> {
        if self.is_of_slices()
            && let Some(event) = tidegate_decode::slice_event(&self.source, line)
        {
            let SliceEvent { what, version: now_at, document } = event;
            self.tell(&what, document).await?;
            if !now_at.is_empty() {
                *version = now_at;
            }
            return Ok(());
        }
        let Event { what, object } = serde_json::from_slice(line)
            .map_err(|error| Trouble::Other(format!("an event cannot be read: {error}")))?;
        if what == "ERROR" {
            let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            let after = object["details"]["retryAfterSeconds"].as_u64();
            let message = object["message"].as_str().unwrap_or_default();
            return Err(Trouble::of_status(code, message, after).into());
        }
        let now_at = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if let Some(sightings) = &self.sightings
            && let Some(seen) = self.identity_of(&object).filter(|_| what != "BOOKMARK")
        {
            match what.as_str() {
                "DELETED" => sightings.lose(&seen),
                _ => sightings.see(&seen, &object),
            }
        }
        if what != "BOOKMARK"
            && let Some(document) = self.decode(object)
        {
            self.tell(&what, document).await?;
        }
        // Last, so that what was not told is asked for again.
        if !now_at.is_empty() {
            *version = now_at;
        }
        Ok(())
    }

    /// Tells what an event says of an object.
    async fn tell(&mut self, what: &str, document: Document) -> Result<(), Ended> {
        let scope = self.scope.clone();
        match (what, identity(&document)) {
            ("DELETED", Some(gone)) => {
                self.known = self.known.saturating_sub(1);
                self.say(News::Gone(scope, gone)).await
            }
            ("DELETED", None) => Ok(()),
            _ => {
                self.known += usize::from(what == "ADDED");
                self.say(News::Changed(scope, Box::new(document))).await
            }
        }
    }

    /// Which object this is, where anything of it is written. One that cannot be decoded is written to all the same.
    fn identity_of(&self, value: &Value) -> Option<ObjectRef> {
        let kind = Some(self.scope.kind).filter(|kind| is_written(*kind))?;
        let part = |name: &str| value["metadata"][name].as_str();
        let key = Key::new(&self.source, part("namespace").unwrap_or_default(), part("name")?);
        self.scope.covers(kind, &key).then_some(ObjectRef { kind, key })
    }

    /// An object, decoded; none where nothing names it.
    fn decode(&self, value: Value) -> Option<Document> {
        let document = tidegate_decode::value(&self.source, self.scope.kind, self.served.version, value);
        let covered = |object: ObjectRef| self.scope.covers(object.kind, &object.key);
        identity(&document).is_none_or(covered).then_some(document)
    }
}

/// Which object a document is, or was meant to be.
pub(crate) fn identity(document: &Document) -> Option<ObjectRef> {
    match &document.outcome {
        Outcome::Object { object, .. } => Some(object.reference()),
        Outcome::Refused { reference, .. } => reference.clone(),
        Outcome::Ignored { .. } => None,
    }
}

/// As a value of a query: tokens and versions are opaque, and go back as they came.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
