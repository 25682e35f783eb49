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
//! There is room for so many keys. When it is full, whoever has the most in it loses the one that ends first: a gateway, for the
//! keys that it said are its own, or hearsay, which is every key that nobody linked here has said is its own. So a gateway that
//! starts over and over, with new keys each time, costs nobody else a key; what this gateway itself sealed with is never lost.
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

/// Keys that are accepted beside the own next and current one. Beyond that whoever has the most of them loses one.
const ACCEPTED_MAX: usize = 190;

/// So many of the keys that a gateway tells are its own, and they come first: the next and the current one.
const OWN_FIRST: usize = 2;

/// So many of the accepted keys that a process hands over may be its own, and they come first. They end within a rotation
/// each, so there is one, or two after the rotation was made shorter; one of another gateway that is taken for one is kept
/// longer than it must be, no more.
const RETIRED_FIRST: usize = 2;

/// Longer than any gateway accepts a key: the next one, just made.
const LEFT_MAX: Duration = ROTATION_MAX.saturating_mul(3);

/// Without dice keys turn later.
const DICE_AGAIN: Duration = Duration::from_secs(60);

/// What a ring is given.
#[derive(Debug)]
pub enum Input {
    /// Another gateway accepts these keys, its own first.
    Heard {
        /// Its name.
        from: String,
        /// The keys.
        keys: Vec<TicketKey>,
    },
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
    of: Owner,
}

/// Whose a key is, as far as is known here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// This gateway's.
    Own,
    /// That of the gateway with this name, which said so.
    Peer(Arc<str>),
    /// Somebody's.
    Hearsay,
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
        for (at, key) in before.accepted.iter().enumerate() {
            let of = if at < RETIRED_FIRST { Owner::Own } else { Owner::Hearsay };
            ring.hear(key, &of, now);
        }
        ring.handle(Input::Timeout, now);
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
            Input::Heard { from, keys } => {
                let peer = Owner::Peer(from.into());
                for (at, key) in keys.iter().enumerate() {
                    self.hear(key, if at < OWN_FIRST { &peer } else { &Owner::Hearsay }, now);
                }
            }
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

    /// All keys that a gateway must know of that was away, those of this one first: also its own, if it started anew and
    /// forgot them.
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

    /// Own ones first, and of these the ones that end first: one of another gateway that was taken for one lasts longer.
    fn told_accepted(&self, now: Instant) -> impl Iterator<Item = TicketKey> {
        let mut own: Vec<_> = self.accepted.values().filter(|known| known.of == Owner::Own).collect();
        own.sort_by_key(|known| known.until);
        let others = self.accepted.values().filter(|known| known.of != Owner::Own);
        let told = move |known: &Accepted| known.key.told(known.until.saturating_duration_since(now));
        own.into_iter().chain(others).map(told)
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
            self.accept(before, self.turns_at, Owner::Own);
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

    fn hear(&mut self, key: &TicketKey, of: &Owner, now: Instant) {
        let own = key.id == self.next.id || key.id == self.current.id;
        if own || key.left_secs == 0 {
            return;
        }
        match self.accepted.get_mut(&key.id) {
            // Its gateway says so itself.
            Some(known) if known.of == Owner::Hearsay => known.of = of.clone(),
            Some(_) => {}
            None => {
                let left = Duration::from_secs(key.left_secs.into()).min(LEFT_MAX);
                self.accept(Key::of(key), now + left, of.clone());
            }
        }
    }

    fn accept(&mut self, key: Key, until: Instant, of: Owner) {
        self.accepted.insert(key.id, Accepted { key, until, of });
        if self.accepted.len() > ACCEPTED_MAX
            && let Some(id) = self.dispensable()
        {
            self.accepted.remove(&id);
        }
    }

    /// The key that is forgotten when there are too many.
    fn dispensable(&self) -> Option<KeyId> {
        let others = || self.accepted.iter().filter(|(_, known)| known.of != Owner::Own);
        let mut counts: BTreeMap<&Owner, usize> = BTreeMap::new();
        others().for_each(|(_, known)| *counts.entry(&known.of).or_default() += 1);
        let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let first = others().filter(|(_, known)| known.of == *most).min_by_key(|(_, known)| known.until);
        first.map(|(id, _)| *id)
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
