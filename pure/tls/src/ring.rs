//! Which keys session tickets are sealed with and opened with, when they turn, and what the other gateways are told of them.
//!
//! ```text
//!            told to all         seals           opens only      forgotten
//!  own key:  next ──── turn ───► current ─ turn ─► accepted ── a rotation later ─►
//!  others':  ──────────────── heard ─────────────► accepted ── when they say ────►
//! ```
//! Every gateway makes keys of its own, and opens what any gateway has sealed. Nobody has to agree on anything: a gateway that
//! is cut off goes on alone, and when it is back it hears what it missed. A key is told a whole rotation before it seals
//! anything, so a ticket is never at another gateway before its key. A ticket is good for a rotation at least, two at most.
//!
//! How long a key is accepted is told as what is left of that time, so clocks need not agree; a key that is known already is
//! never kept longer because someone tells of it again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_model::handover::Tickets;
use tidegate_model::peers::TicketKey;

use crate::ticket::{Dice, KeyId, Keys, Root, TicketKeys};

/// Keys turn this often at most.
pub const ROTATION_MIN: Duration = Duration::from_secs(1);

/// And this often at least (RFC 8446 section 4.6.1 allows a ticket seven days).
pub const ROTATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Keys that are accepted beside the own next and current one. Beyond that the one that ends first is forgotten.
const ACCEPTED_MAX: usize = 190;

/// Longer than any gateway accepts a key: the next one, just made.
const LEFT_MAX: Duration = ROTATION_MAX.saturating_mul(3);

/// Without dice keys turn later.
const DICE_AGAIN: Duration = Duration::from_secs(60);

/// What a ring is given.
#[derive(Debug)]
pub enum Input {
    /// Another gateway accepts these keys.
    Heard(Vec<TicketKey>),
    /// Strangers may have heard the keys: from now on there are others, and what was heard is forgotten.
    Renew,
    /// [`Ring::poll_timeout`] has come.
    Timeout,
}

/// The keys of this gateway, and those that it heard of.
pub struct Ring {
    rotation: Duration,
    next: Key,
    current: Key,
    turns_at: Instant,
    accepted: BTreeMap<KeyId, Accepted>,
    shared: TicketKeys,
    told: VecDeque<Vec<TicketKey>>,
    turns: u64,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    secret: [u8; 32],
    root: Arc<Root>,
}

struct Accepted {
    key: Key,
    until: Instant,
}

impl Key {
    fn of(key: &TicketKey) -> Key {
        Key { id: key.id, secret: key.secret, root: Root::new(&key.secret) }
    }

    fn thrown(dice: &dyn Dice) -> Option<Key> {
        let (mut id, mut secret) = (KeyId::default(), [0; 32]);
        (dice.fill(&mut id) && dice.fill(&mut secret)).then(|| Key { id, secret, root: Root::new(&secret) })
    }

    fn told(&self, left: Duration) -> TicketKey {
        let left_secs = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
        TicketKey { id: self.id, secret: self.secret, left_secs }
    }
}

impl Ring {
    /// With keys of its own, that turn after each `rotation` (kept within [`ROTATION_MIN`] and [`ROTATION_MAX`]). Nothing: there
    /// are no dice.
    pub fn new(rotation: Duration, dice: Arc<dyn Dice>, now: Instant) -> Option<Ring> {
        let (current, next) = (Key::thrown(&*dice)?, Key::thrown(&*dice)?);
        let turns_at = now + rotation.clamp(ROTATION_MIN, ROTATION_MAX);
        Some(Ring::with(rotation, (next, current), turns_at, dice))
    }

    /// Goes on with the keys of the process before.
    pub fn resume(before: &Tickets, rotation: Duration, dice: Arc<dyn Dice>, now: Instant) -> Ring {
        let left = Duration::from_secs(before.turns_in_secs.into());
        let turns_at = now + left.min(rotation.clamp(ROTATION_MIN, ROTATION_MAX));
        let own = (Key::of(&before.next), Key::of(&before.current));
        let mut ring = Ring::with(rotation, own, turns_at, dice);
        ring.handle(Input::Heard(before.accepted.clone()), now);
        ring
    }

    fn with(rotation: Duration, (next, current): (Key, Key), turns_at: Instant, dice: Arc<dyn Dice>) -> Ring {
        let rotation = rotation.clamp(ROTATION_MIN, ROTATION_MAX);
        let shared = TicketKeys::new(keys(rotation, &next, &current, &BTreeMap::new()), dice);
        let (accepted, told) = Default::default();
        Ring { rotation, next, current, turns_at, accepted, shared, told, turns: 0 }
    }

    /// What listeners seal and open tickets with; it follows the ring.
    pub fn keys(&self) -> &TicketKeys {
        &self.shared
    }

    /// Takes what came.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Heard(keys) => keys.iter().for_each(|key| self.hear(key, now)),
            Input::Renew => self.renew(now),
            Input::Timeout => {}
        }
        self.turn_all(now);
        self.accepted.retain(|_, accepted| accepted.until > now);
        self.shared.set(keys(self.rotation, &self.next, &self.current, &self.accepted));
    }

    /// Keys that every other gateway is to be told of; nothing, when all are.
    pub fn poll_output(&mut self) -> Option<Vec<TicketKey>> {
        self.told.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        let ends = self.accepted.values().map(|accepted| accepted.until).min();
        ends.map_or(self.turns_at, |ends| ends.min(self.turns_at))
    }

    /// All keys that a gateway must know of that was away: also its own, if it started anew and forgot them.
    pub fn all(&self, now: Instant) -> Vec<TicketKey> {
        let own = [&self.told_next(now), &self.told_current(now)].map(Clone::clone);
        own.into_iter().chain(self.told_accepted(now)).collect()
    }

    /// What the next process on this gateway goes on with.
    pub fn estate(&self, now: Instant) -> Tickets {
        let turns_in = self.turns_at.saturating_duration_since(now).as_secs();
        Tickets {
            turns_in_secs: u32::try_from(turns_in).unwrap_or(u32::MAX),
            next: self.told_next(now),
            current: self.told_current(now),
            accepted: self.told_accepted(now).collect(),
        }
    }

    /// How many keys open tickets.
    pub fn len(&self) -> usize {
        self.accepted.len() + 2
    }

    /// Never: there are always a next and a current key.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How often the keys have turned.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    fn until_turn(&self, now: Instant) -> Duration {
        self.turns_at.saturating_duration_since(now)
    }

    fn told_next(&self, now: Instant) -> TicketKey {
        self.next.told(self.until_turn(now) + 2 * self.rotation)
    }

    fn told_current(&self, now: Instant) -> TicketKey {
        self.current.told(self.until_turn(now) + self.rotation)
    }

    fn told_accepted(&self, now: Instant) -> impl Iterator<Item = TicketKey> {
        self.accepted.values().map(move |known| known.key.told(known.until.saturating_duration_since(now)))
    }

    /// Turns that are due. One that comes late is made as if it had come in time, for that is what others were told; of many
    /// that were missed the last three say everything.
    fn turn_all(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.turns_at).as_millis() / self.rotation.as_millis();
        let skipped = u32::try_from(late).unwrap_or(u32::MAX).saturating_sub(3);
        self.turns_at += self.rotation.saturating_mul(skipped);
        while now >= self.turns_at {
            let Some(fresh) = Key::thrown(self.shared.dice()) else {
                self.turns_at = now + DICE_AGAIN;
                return;
            };
            let next = std::mem::replace(&mut self.next, fresh);
            let before = std::mem::replace(&mut self.current, next);
            let due = self.turns_at;
            self.turns_at = due + self.rotation;
            self.accept(before, self.turns_at);
            self.turns += 1;
            self.told.push_back(vec![self.told_next(due)]);
        }
    }

    fn renew(&mut self, now: Instant) {
        let dice = self.shared.dice();
        let (Some(current), Some(next)) = (Key::thrown(dice), Key::thrown(dice)) else { return };
        self.accepted.clear();
        self.told.clear();
        (self.current, self.next, self.turns_at) = (current, next, now + self.rotation);
        self.told.push_back(vec![self.told_current(now), self.told_next(now)]);
    }

    fn hear(&mut self, key: &TicketKey, now: Instant) {
        let own = key.id == self.next.id || key.id == self.current.id;
        if own || key.left_secs == 0 || self.accepted.contains_key(&key.id) {
            return;
        }
        let left = Duration::from_secs(key.left_secs.into()).min(LEFT_MAX);
        self.accept(Key::of(key), now + left);
    }

    fn accept(&mut self, key: Key, until: Instant) {
        self.accepted.insert(key.id, Accepted { key, until });
        if self.accepted.len() > ACCEPTED_MAX {
            let first = self.accepted.iter().min_by_key(|(_, known)| known.until).map(|(id, _)| *id);
            first.and_then(|id| self.accepted.remove(&id));
        }
    }
}

/// The keys as listeners use them.
fn keys(rotation: Duration, next: &Key, current: &Key, accepted: &BTreeMap<KeyId, Accepted>) -> Keys {
    let all = accepted.values().map(|accepted| &accepted.key).chain([next, current]);
    Keys {
        sealing: current.id,
        lifetime_secs: u32::try_from(rotation.as_secs()).unwrap_or(u32::MAX),
        opening: all.map(|key| (key.id, key.root.clone())).collect::<HashMap<_, _>>(),
    }
}

#[cfg(test)]
mod tests;
