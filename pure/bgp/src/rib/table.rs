//! The table: paths of all peers, stale ones among them, and the difference to what was last
//! reported. Memory is bounded by the peers' `maximum_prefixes`.

use super::best::{Candidate, decide, install_set};
use super::explain::{ExplainedPath, Explanation, Verdict};
use super::intern::Interner;
use super::policy::{ImportPolicy, Rejection};
use super::{Ineligible, LocalFacts, NextHop, Path, PeerFacts, PeerId};
use crate::packet::{Attributes, Update};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many rejected prefixes of each peer are remembered by name; all are counted.
const REJECTED_REMEMBERED: usize = 256;

/// Routes learned from peers.
#[derive(Debug)]
pub struct Table {
    local: LocalFacts,
    peers: BTreeMap<PeerId, Peer>,
    prefixes: BTreeMap<Ipv4Net, Entry>,
    /// Prefixes whose install set may differ from what was reported.
    dirty: BTreeSet<Ipv4Net>,
    interner: Interner,
    arrivals: u64,
}

/// Where one peer stands, for status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerSummary {
    /// Prefixes held from it, stale and ineligible ones among them.
    pub held: usize,
    /// Of those, how many are stale.
    pub stale: usize,
    /// Announcements rejected as martians or by policy since the session came up.
    pub rejected_by_policy: u64,
    /// Announcements rejected because of `maximum_prefixes` since the session came up.
    pub rejected_by_maximum: u64,
    /// When what is stale will be removed.
    pub stale_until: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    facts: PeerFacts,
    policy: ImportPolicy,
    up: bool,
    summary: PeerSummary,
    /// Since when, and for how long at first, something of it is stale.
    retained: Option<(Instant, Duration)>,
    rejected: BTreeMap<Ipv4Net, Rejection>,
    /// Something was rejected for want of room since the peer last sent everything.
    crowded_out: bool,
    /// Something was rejected that would be accepted now; only the peer can repeat it.
    refresh_wanted: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// At most one of each peer, in the order of peers.
    paths: Vec<Path>,
    /// What `changes` last reported, ascending.
    reported: Vec<NextHop>,
}

impl Table {
    /// An empty table.
    pub fn new(local: LocalFacts) -> Table {
        Table {
            local,
            peers: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            interner: Interner::default(),
            arrivals: 0,
        }
    }

    // ---- peers ----

    /// A session has come up. What is stale from an earlier one gets the time it was given again,
    /// from now, to be repeated; but never more than twice that since the first loss.
    pub fn peer_up(&mut self, id: PeerId, facts: PeerFacts, policy: ImportPolicy, now: Instant) {
        if self.peers.get(&id).is_some_and(|peer| peer.up) {
            self.peer_down(id, now, Duration::ZERO);
        }
        let mut peer = Peer::new(facts, policy.clone());
        let Some(before) = self.peers.remove(&id) else {
            self.peers.insert(id, peer);
            return;
        };
        peer.summary.held = before.summary.held;
        peer.summary.stale = before.summary.stale;
        peer.retained = before.retained;
        peer.summary.stale_until =
            before.retained.map(|(since, retain)| (now + retain).min(since + retain * 2));
        self.peers.insert(id, peer);
        self.set_policy(id, policy);
        // The facts of a peer take part in every decision over its paths.
        let prefixes = self.prefixes_of(id);
        self.dirty.extend(prefixes);
    }

    /// The session has ended: what it brought is kept for `retain` and is used only where nothing
    /// fresher is. Zero removes it at once. What was stale before keeps its deadline.
    pub fn peer_down(&mut self, id: PeerId, now: Instant, retain: Duration) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.up = false;
        if retain.is_zero() {
            self.remove_paths(id, |_, _| true);
            return;
        }
        if peer.summary.stale == 0 && peer.summary.held > 0 {
            peer.retained = Some((now, retain));
            peer.summary.stale_until = Some(now + retain);
        }
        peer.summary.stale = peer.summary.held;
        for (prefix, entry) in &mut self.prefixes {
            for path in entry.paths.iter_mut().filter(|path| path.peer == id) {
                path.stale = true;
                self.dirty.insert(*prefix);
            }
        }
    }

    /// The peer is no longer configured: everything of it goes.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.remove_paths(id, |_, _| true);
        self.peers.remove(&id);
    }

    /// The peer has sent all it has: what it did not repeat goes.
    pub fn end_of_rib(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.up && peer.summary.stale > 0 {
            peer.refresh_wanted |= peer.crowded_out;
            self.remove_paths(id, |_, path| path.stale);
        }
    }

    /// Another policy for a peer. Paths it does not admit go at once; what it newly admits has to be
    /// asked for (`take_refresh_wanted`).
    pub fn set_policy(&mut self, id: PeerId, policy: ImportPolicy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let changed = peer.policy != policy;
        peer.refresh_wanted |= changed && peer.up;
        peer.policy = policy.clone();
        let mut room = policy.maximum_prefixes;
        self.remove_paths(id, |prefix, _| {
            let stays = policy.judge(prefix).is_ok() && room > 0;
            room -= usize::from(stays);
            !stays
        });
        if changed {
            let prefixes = self.prefixes_of(id);
            self.dirty.extend(prefixes);
        }
    }

    /// The addresses of this host have changed.
    pub fn set_local(&mut self, local: LocalFacts) {
        self.local = local;
        for (prefix, entry) in &mut self.prefixes {
            for path in &mut entry.paths {
                let ineligible = eligibility(&self.local, prefix, path.next_hop, &path.attributes);
                if path.ineligible != ineligible {
                    path.ineligible = ineligible;
                    self.dirty.insert(*prefix);
                }
            }
        }
    }

    /// Peers to be asked for everything again (`session::Input::Refresh`): they have announced what
    /// was rejected then and would be accepted now. Each is named once.
    pub fn take_refresh_wanted(&mut self) -> Vec<PeerId> {
        let mut wanted = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.up && std::mem::take(&mut peer.refresh_wanted) {
                peer.crowded_out = false;
                wanted.push(*id);
            }
        }
        wanted
    }

    // ---- routes ----

    /// Applies an UPDATE of a peer that is up; of others it is ignored.
    pub fn apply(&mut self, id: PeerId, update: &Update) {
        if !self.peers.get(&id).is_some_and(|peer| peer.up) {
            return;
        }
        for prefix in &update.withdrawn {
            self.withdraw(id, prefix);
        }
        if update.announced.is_empty() {
            return;
        }
        let attributes = self.interner.intern(&update.attributes);
        for announced in &update.announced {
            for prefix in &announced.prefixes {
                self.announce(id, *prefix, announced.next_hop, &attributes);
            }
        }
    }

    fn withdraw(&mut self, id: PeerId, prefix: &Ipv4Net) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.rejected.remove(prefix);
        let Some(entry) = self.prefixes.get_mut(prefix) else { return };
        let Some(at) = entry.paths.iter().position(|path| path.peer == id) else { return };
        let path = entry.paths.remove(at);
        peer.forget(&path);
        self.touched(*prefix);
    }

    fn announce(&mut self, id: PeerId, prefix: Ipv4Net, next_hop: NextHop, attributes: &Arc<Attributes>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Err(rejection) = peer.policy.judge(&prefix) {
            return self.reject(id, prefix, rejection);
        }
        let entry = self.prefixes.get(&prefix);
        let at = entry.map(|entry| entry.paths.binary_search_by_key(&id, |path| path.peer));
        let known = matches!(at, Some(Ok(_)));
        if !known && peer.summary.held >= peer.policy.maximum_prefixes {
            return self.reject(id, prefix, Rejection::MaximumPrefixes);
        }
        peer.rejected.remove(&prefix);
        self.arrivals += 1;
        let ineligible = eligibility(&self.local, &prefix, next_hop, attributes);
        let attributes = Arc::clone(attributes);
        let path = Path { peer: id, attributes, next_hop, stale: false, age: self.arrivals, ineligible };
        let paths = &mut self.prefixes.entry(prefix).or_default().paths;
        match at {
            Some(Ok(at)) => peer.replace(&mut paths[at], path),
            Some(Err(at)) => paths.insert(at, path),
            None => paths.push(path),
        }
        peer.summary.held += usize::from(!known);
        self.dirty.insert(prefix);
    }

    /// A rejected announcement takes the place of what the peer had announced before: nothing.
    fn reject(&mut self, id: PeerId, prefix: Ipv4Net, rejection: Rejection) {
        self.withdraw(id, &prefix);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match rejection {
            Rejection::MaximumPrefixes => {
                peer.crowded_out = true;
                peer.summary.rejected_by_maximum += 1;
            }
            Rejection::Martian | Rejection::Policy => peer.summary.rejected_by_policy += 1,
        }
        if peer.rejected.len() < REJECTED_REMEMBERED {
            peer.rejected.insert(prefix, rejection);
        }
    }

    /// Removes those paths of a peer that `goes` names.
    fn remove_paths(&mut self, id: PeerId, mut goes: impl FnMut(&Ipv4Net, &Path) -> bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut touched = Vec::new();
        for (prefix, entry) in &mut self.prefixes {
            let before = entry.paths.len();
            entry.paths.retain(|path| {
                let stays = path.peer != id || !goes(prefix, path);
                if !stays {
                    peer.forget(path);
                }
                stays
            });
            if entry.paths.len() != before {
                touched.push(*prefix);
            }
        }
        for prefix in touched {
            self.touched(prefix);
        }
    }

    /// A path of this prefix has gone. An entry nobody was told of goes with its last path.
    fn touched(&mut self, prefix: Ipv4Net) {
        let forgotten =
            self.prefixes.get(&prefix).is_some_and(|e| e.paths.is_empty() && e.reported.is_empty());
        if forgotten {
            self.prefixes.remove(&prefix);
            self.dirty.remove(&prefix);
        } else {
            self.dirty.insert(prefix);
        }
    }

    fn prefixes_of(&self, id: PeerId) -> Vec<Ipv4Net> {
        let has = |entry: &Entry| entry.paths.iter().any(|path| path.peer == id);
        self.prefixes.iter().filter(|(_, entry)| has(entry)).map(|(prefix, _)| *prefix).collect()
    }

    // ---- time ----

    /// When stale paths are to be removed next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.summary.stale_until).min()
    }

    /// Removes stale paths whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        let over = |peer: &Peer| peer.summary.stale_until.is_some_and(|until| until <= now);
        let due: Vec<PeerId> = self.peers.iter().filter(|(_, p)| over(p)).map(|(id, _)| *id).collect();
        for id in due {
            self.remove_paths(id, |_, path| path.stale);
        }
    }

    // ---- answers ----

    /// The prefixes whose next hops differ from those last reported here, with the new ones in
    /// ascending order; None: to be removed.
    pub fn changes(&mut self) -> BTreeMap<Ipv4Net, Option<Vec<NextHop>>> {
        let mut changes = BTreeMap::new();
        for prefix in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.prefixes.get(&prefix) else { continue };
            let wanted = self.next_hops(entry);
            if wanted != entry.reported {
                changes.insert(prefix, Some(wanted.clone()).filter(|wanted| !wanted.is_empty()));
            }
            if entry.paths.is_empty() {
                self.prefixes.remove(&prefix);
            } else if let Some(entry) = self.prefixes.get_mut(&prefix) {
                entry.reported = wanted;
            }
        }
        changes
    }

    /// Everything about one prefix; None: no path and no rejection is known.
    pub fn explain(&self, prefix: Ipv4Net) -> Option<Explanation> {
        let prefix = prefix.trunc();
        let rejected: Vec<_> =
            self.peers.iter().filter_map(|(id, p)| p.rejected.get(&prefix).map(|why| (*id, *why))).collect();
        let entry = self.prefixes.get(&prefix).filter(|entry| !entry.paths.is_empty());
        if entry.is_none() && rejected.is_empty() {
            return None;
        }
        let paths = entry.map(|entry| self.verdicts(entry)).unwrap_or_default();
        let next_hops = entry.map(|entry| self.next_hops(entry)).unwrap_or_default();
        Some(Explanation { prefix, next_hops, paths, rejected })
    }

    fn verdicts(&self, entry: &Entry) -> Vec<ExplainedPath> {
        let candidates = self.candidates(entry);
        let decision = decide(&candidates);
        let installed =
            install_set(&candidates, &decision.equal, self.multipath(&candidates, &decision.equal));
        let is_installed = |next_hop| installed.iter().any(|i| candidates[*i].path.next_hop == next_hop);
        let verdict = |index: usize, path: &Path| match (path.ineligible, decision.lost[index]) {
            (Some(reason), _) => Verdict::Ineligible(reason),
            (None, None) => Verdict::Best,
            (None, Some(_)) if installed.contains(&index) => Verdict::Multipath,
            (None, Some(step)) if decision.equal.contains(&index) && !is_installed(path.next_hop) => {
                Verdict::Lost(step)
            }
            (None, Some(_)) if decision.equal.contains(&index) => Verdict::SameNextHop,
            (None, Some(step)) => Verdict::Lost(step),
        };
        let explained = |(index, candidate): (usize, &Candidate<'_>)| ExplainedPath {
            path: candidate.path.clone(),
            peer: *candidate.peer,
            verdict: verdict(index, candidate.path),
        };
        let mut paths: Vec<ExplainedPath> = candidates.iter().enumerate().map(explained).collect();
        paths.sort_by_key(|explained| explained.verdict != Verdict::Best);
        paths
    }

    /// Where a peer stands.
    pub fn summary(&self, id: PeerId) -> Option<PeerSummary> {
        self.peers.get(&id).map(|peer| peer.summary)
    }

    /// Every prefix with its paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = (Ipv4Net, &[Path])> {
        let held = self.prefixes.iter().filter(|(_, entry)| !entry.paths.is_empty());
        held.map(|(prefix, entry)| (*prefix, entry.paths.as_slice()))
    }

    /// Whether no prefix and no pending change is in memory.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.dirty.is_empty()
    }

    /// How many different sets of attributes are in memory.
    #[cfg(test)]
    pub(super) fn interned(&self) -> usize {
        self.interner.len()
    }

    // ---- decisions ----

    fn next_hops(&self, entry: &Entry) -> Vec<NextHop> {
        let candidates = self.candidates(entry);
        let equal = decide(&candidates).equal;
        let chosen = install_set(&candidates, &equal, self.multipath(&candidates, &equal));
        let mut next_hops: Vec<NextHop> =
            chosen.iter().map(|index| candidates[*index].path.next_hop).collect();
        next_hops.sort_unstable();
        next_hops
    }

    fn candidates<'a>(&'a self, entry: &'a Entry) -> Vec<Candidate<'a>> {
        let known = |path: &'a Path| Some(Candidate { path, peer: &self.peers.get(&path.peer)?.facts });
        entry.paths.iter().filter_map(known).collect()
    }

    fn multipath(&self, candidates: &[Candidate<'_>], equal: &[usize]) -> usize {
        let best = equal.first().and_then(|best| self.peers.get(&candidates[*best].path.peer));
        best.map_or(1, |peer| peer.policy.multipath)
    }
}

impl Peer {
    fn new(facts: PeerFacts, policy: ImportPolicy) -> Peer {
        Peer {
            facts,
            policy,
            up: true,
            summary: PeerSummary::default(),
            retained: None,
            rejected: BTreeMap::new(),
            crowded_out: false,
            refresh_wanted: false,
        }
    }

    /// Keeps the books when a path of this peer goes. What was crowded out is asked for once a
    /// tenth is free: a peer that is always over its limit must not be asked all the time.
    fn forget(&mut self, path: &Path) {
        self.summary.held = self.summary.held.saturating_sub(1);
        self.refreshed(path);
        let maximum = self.policy.maximum_prefixes;
        self.refresh_wanted |= self.crowded_out && self.summary.held <= maximum - maximum.div_ceil(10);
    }

    /// Puts a newer path in the place of an older. Without change, it keeps its age.
    fn replace(&mut self, old: &mut Path, mut new: Path) {
        self.refreshed(old);
        if old.attributes == new.attributes && old.next_hop == new.next_hop {
            new.age = old.age;
        }
        *old = new;
    }

    /// A path is gone or replaced; should it have been stale, there is one less.
    fn refreshed(&mut self, old: &Path) {
        self.summary.stale = self.summary.stale.saturating_sub(usize::from(old.stale));
        if self.summary.stale == 0 {
            self.summary.stale_until = None;
            self.retained = None;
        }
    }
}

/// Why this path may never be used, if so.
fn eligibility(
    local: &LocalFacts,
    prefix: &Ipv4Net,
    next_hop: NextHop,
    attributes: &Attributes,
) -> Option<Ineligible> {
    if attributes.as_path.contains(local.asn) {
        Some(Ineligible::AsLoop)
    } else if attributes.originator_id == Some(local.router_id) {
        Some(Ineligible::OriginatedHere)
    } else if attributes.cluster_list.contains(&local.cluster_id) {
        Some(Ineligible::ClusterLoop)
    } else if local.addresses.contains(&next_hop) {
        Some(Ineligible::OwnNextHop)
    } else if prefix.prefix_len() == 32 && prefix.addr() == next_hop {
        Some(Ineligible::NextHopIsDestination)
    } else {
        None
    }
}
