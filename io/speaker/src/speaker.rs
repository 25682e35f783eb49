//! The door: both threads as one thing that follows the Model.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use tidegate_model::handover;
use tidegate_model::speaker::{Group, Peer};
use tokio::sync::{oneshot, watch};

use crate::elections::{self, Election, Elections};
use crate::sessions::{self, Learned, LearnedRoute, Sessions, SessionsObserved};

/// BGP, VRRP and ARP of this gateway.
#[derive(Debug)]
pub struct Speaker {
    elections: Elections,
    sessions: Sessions,
}

impl Speaker {
    /// Starts both threads; nothing is spoken until something is declared.
    pub fn start() -> io::Result<Self> {
        Ok(Speaker { elections: Elections::start()?, sessions: Sessions::start()? })
    }

    /// Makes the speaker like this part of the Model; `own` are the addresses that gateways hold, whoever does now.
    /// Elections and sessions that did not change are not disturbed.
    pub async fn declare(
        &self,
        groups: &BTreeMap<String, Group>,
        peers: &BTreeMap<String, Peer>,
        own: BTreeSet<Ipv4Addr>,
    ) {
        // Sessions first: with the first peer declared, this gateway carries nothing until it has learned something, and
        // the elections must not begin with what was true before.
        let (answer, answered) = oneshot::channel();
        self.sessions.tell(sessions::Command::Declare(peers.clone(), own, answer)).await;
        let _ = answered.await;
        if !self.sessions.learned().borrow().carries {
            self.set_eligible(false);
        }
        self.elections.tell(elections::Command::Declare(groups.clone()));
    }

    /// Before anything is declared: these elections begin as another process of this machine knew them. Its masters are
    /// ours too from then on, and both speak for a moment.
    pub fn inherit(&self, elections: Vec<handover::Election>, groups: &BTreeMap<String, Group>) {
        self.elections.tell(elections::Command::Inherit(elections));
        self.elections.tell(elections::Command::Declare(groups.clone()));
    }

    /// What another process must know to go on with the elections.
    pub async fn remember(&self) -> Vec<handover::Election> {
        let (answer, answered) = oneshot::channel();
        self.elections.tell(elections::Command::Remember(answer));
        answered.await.unwrap_or_default()
    }

    /// Leaves everything to another process of this machine: no farewell for addresses, which it holds already; BGP sessions
    /// end, and it opens its own.
    pub async fn fall_silent(&self) {
        self.elections.fall_silent();
        self.sessions.stop().await;
    }

    /// Whether this gateway may hold addresses: one that may not leaves them to those that may.
    pub fn set_eligible(&self, eligible: bool) {
        self.elections.tell(elections::Command::Ready(eligible));
    }

    /// Whether this gateway can carry what it attracts: until then it announces no route to itself.
    pub async fn set_ready(&self, ready: bool) {
        self.sessions.tell(sessions::Command::Ready(ready)).await;
    }

    /// What was learned over BGP.
    pub fn learned(&self) -> watch::Receiver<Arc<Learned>> {
        self.sessions.learned()
    }

    /// Every election, as it is now.
    pub fn elections(&self) -> watch::Receiver<Arc<Vec<Election>>> {
        self.elections.observed()
    }

    /// Every session, as it is now.
    pub fn sessions(&self) -> watch::Receiver<Arc<SessionsObserved>> {
        self.sessions.observed()
    }

    /// Every path to `prefix`, line by line, and whether one of them is used.
    pub async fn explain_route(&self, prefix: Ipv4Net) -> (bool, Vec<(String, String)>) {
        let (answer, answered) = oneshot::channel();
        self.sessions.tell(sessions::Command::Explain(prefix, answer)).await;
        answered.await.unwrap_or_else(|_| (false, vec![("no answer".into(), "BGP has stopped".into())]))
    }

    /// Every learned route in use, with who told us.
    pub async fn routes(&self) -> Vec<LearnedRoute> {
        let (answer, answered) = oneshot::channel();
        self.sessions.tell(sessions::Command::List(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// Says farewell everywhere: addresses first, so that the heir has them before routes are withdrawn.
    pub async fn stop(&self) {
        self.elections.stop();
        self.sessions.stop().await;
    }
}
