//! The elector: takes part in the election of a cluster's writer, and holds its Lease. Which rules hold is decided in
//! `pure/compile` (`writeback::Election`); here it is asked and answered.
//!
//! It also has the client by which everything is written: connections of its own, so that neither waits for what is read.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tidegate_compile::writeback::{Election, Record, Step};
use tidegate_objects::Key;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::access::Access;
use crate::patience::{Pace, chance};
use crate::sending::{Ask, send};
use crate::trouble::Trouble;

/// How long an answer about the Lease may take: a holder must have time for a second try.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// After a failure.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// After an answer that only a change of rights, or a namespace, can make another one.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// How it stands.
#[derive(Clone, Default)]
pub(crate) struct Office {
    /// Until when this process writes; none: another does, or nobody.
    pub until: Option<Instant>,
    /// Who holds the Lease; empty: nobody, as far as is known.
    pub holder: String,
    /// Why nothing is known of it.
    pub trouble: Option<String>,
    /// The client to write with.
    pub client: Option<Client>,
}

impl Office {
    /// Until when there may be writing, if now is before it.
    pub fn writes(&self) -> Option<(Client, Instant)> {
        let until = self.until.filter(|until| *until > Instant::now())?;
        Some((self.client.clone()?, until))
    }
}

pub(crate) struct Elector {
    pub source: Arc<str>,
    pub access: Access,
    pub pace: Pace,
    /// Where the Lease is.
    pub lease: Key,
    /// The name of this process in it.
    pub identity: String,
    /// Whether this process would write.
    pub may: watch::Receiver<bool>,
    pub office: watch::Sender<Office>,
}

impl Elector {
    /// Runs until nobody is left who would write. A Lease that it holds then runs out by itself.
    pub async fn run(mut self) {
        let mut election = Election::new(self.identity.clone(), chance());
        // The object as it was read last: what others have written on it stays.
        let mut object = Value::Null;
        let mut looked: Option<Instant> = None;
        let mut complained: Option<Instant> = None;
        let mut client: Option<Client> = None;
        loop {
            let now = Instant::now();
            if client.is_none() || looked.is_none_or(|at| at + self.pace.look <= now) {
                looked = Some(now);
                match self.access.look().await {
                    Ok(Some(reached)) => client = Some(reached.client),
                    Ok(None) => {}
                    // The source, which reads the same file, tells it.
                    Err(_) if client.is_some() => {}
                    Err(_) => {
                        tokio::select! {
                            () = sleep_until(now + self.pace.retry_most) => continue,
                            closed = closed(&mut self.may) => return closed,
                        }
                    }
                }
            }
            let Some(client) = client.clone() else { continue };
            let may = *self.may.borrow_and_update();
            let asked = Instant::now();
            let trouble = match election.step(may, asked.into(), &micro_time()) {
                Step::Wait(until) => {
                    tokio::select! {
                        () = sleep_until(until.into()) => {}
                        changed = self.may.changed() => if changed.is_err() { return },
                    }
                    continue;
                }
                step => self.take(&client, &mut election, step, &mut object, asked).await.err(),
            };
            self.publish(&election, trouble.as_ref(), client);
            if let Some(trouble) = trouble {
                let wait = if is_refusal(&trouble) { REFUSED_FOR } else { AGAIN_AFTER };
                election.failed((Instant::now() + wait).into());
                if complained.is_none_or(|at| at.elapsed() >= self.pace.complain) {
                    complained = Some(Instant::now());
                    let (lease, why) = (&self.lease, trouble.text());
                    warn!(source = &*self.source, "no status is written: Lease {lease}: {why}");
                }
            }
        }
    }

    /// Takes a step, and tells the election what came of it.
    async fn take(
        &self,
        client: &Client,
        election: &mut Election,
        step: Step,
        object: &mut Value,
        asked: Instant,
    ) -> Result<(), Trouble> {
        let root = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.lease.namespace);
        let path = format!("{root}/{}", self.lease.name);
        let until = asked + ANSWER_WITHIN;
        let (record, answer) = match step {
            Step::Wait(_) => return Ok(()),
            Step::Look => {
                let found = match send(client, &path, Ask::Get, until).await {
                    Ok(found) => Some(found),
                    Err(Trouble::Missing(_)) => None,
                    Err(trouble) => return Err(trouble),
                };
                election.found(found.as_ref().map(read), Instant::now().into());
                *object = found.unwrap_or_default();
                return Ok(());
            }
            Step::Create(record) => {
                *object = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"namespace": &*self.lease.namespace, "name": &*self.lease.name},
                });
                write(object, &record, "");
                (record, send(client, &root, Ask::Create(object), until).await)
            }
            Step::Replace(record, version) => {
                write(object, &record, &version);
                (record, send(client, &path, Ask::Replace(object), until).await)
            }
        };
        match answer {
            Ok(answer) => {
                let (_, version) = read(&answer);
                *object = answer;
                election.written(record, version, asked.into());
                Ok(())
            }
            // Somebody was faster, or took it away.
            Err(Trouble::Conflict(_)) => {
                election.overtaken();
                Ok(())
            }
            Err(trouble) => {
                // It may have been written all the same.
                election.overtaken_unless_held();
                Err(trouble)
            }
        }
    }

    fn publish(&self, election: &Election, trouble: Option<&Trouble>, client: Client) {
        let until = election.writes_until().map(Instant::from);
        self.office.send_modify(|office| {
            let now = Instant::now();
            let holds = |until: Option<Instant>| until.is_some_and(|until| until > now);
            if holds(office.until) != holds(until) {
                let lease = &self.lease;
                match holds(until) {
                    true => info!(source = &*self.source, %lease, "statuses are written by this gateway"),
                    false => info!(source = &*self.source, %lease, "statuses are not written by this gateway any more"),
                }
            }
            *office = Office {
                until,
                holder: election.holder().to_owned(),
                trouble: trouble.map(|trouble| trouble.text().to_owned()),
                client: Some(client),
            };
        });
    }
}

/// Waits until nobody is left who would write.
async fn closed(may: &mut watch::Receiver<bool>) {
    while may.changed().await.is_ok() {}
}

/// Whether asking again soon is of no use.
fn is_refusal(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Forbidden(_) | Trouble::Missing(_) | Trouble::Answered(_))
}

/// The Lease that an object is, and its version.
fn read(object: &Value) -> (Record, String) {
    let (spec, text) = (&object["spec"], |value: &Value| value.as_str().unwrap_or_default().to_owned());
    let record = Record {
        holder: text(&spec["holderIdentity"]),
        duration_secs: spec["leaseDurationSeconds"].as_u64().unwrap_or_default(),
        acquired: text(&spec["acquireTime"]),
        renewed: text(&spec["renewTime"]),
        transitions: spec["leaseTransitions"].as_u64().unwrap_or_default(),
    };
    (record, text(&object["metadata"]["resourceVersion"]))
}

fn write(object: &mut Value, record: &Record, version: &str) {
    if !version.is_empty() {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    let time = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    object["spec"]["holderIdentity"] = json!(record.holder);
    object["spec"]["leaseDurationSeconds"] = json!(record.duration_secs.max(1));
    object["spec"]["acquireTime"] = json!(time(&record.acquired));
    object["spec"]["renewTime"] = json!(time(&record.renewed));
    object["spec"]["leaseTransitions"] = json!(record.transitions);
}

/// The time of day as Leases and Events have it.
pub(crate) fn micro_time() -> String {
    format!("{:.6}", Timestamp::now())
}
