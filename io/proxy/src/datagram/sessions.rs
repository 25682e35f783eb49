//! The sessions of a door, found by who asks whom, and by who was silent longest.
//!
//! Three queues in order of last use: those that nobody has answered yet, those that were answered after asking once (a DNS
//! query), and all others. Room is made by questions that wait in vain (a forged source), then by those that have their
//! answer, then by young questions, and last by all others. Every operation takes constant time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

/// Who asks, and the address asked.
pub type Key = (SocketAddr, IpAddr);

/// Which queue a session waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Never answered.
    Unanswered = 0,
    /// Asked once, and answered.
    Answered = 1,
    /// Everything else.
    Open = 2,
}

/// Names a session, also after it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    place: usize,
    serial: u64,
}

/// Sessions, and the order in which they were used.
pub struct Sessions<T> {
    entries: Slab<Entry<T>>,
    places: HashMap<Key, usize>,
    /// Used longest ago and last, of each queue.
    ends: [(usize, usize); 3],
    serial: u64,
}

struct Entry<T> {
    key: Key,
    serial: u64,
    queue: Queue,
    used: u64,
    before: usize,
    after: usize,
    value: T,
}

/// Ticks after which a question is taken to stay without an answer: a second.
const IN_VAIN_TICKS: u64 = 10;

/// Sessions of a queue looked at to find one of a client.
const LOOKED_AT_MAX: usize = 64;

/// No place.
const NONE: usize = usize::MAX;

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Sessions { entries: Slab::new(), places: HashMap::new(), ends: [(NONE, NONE); 3], serial: 0 }
    }
}

impl<T> Sessions<T> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The session of a key.
    pub fn find(&self, key: &Key) -> Option<Handle> {
        let &place = self.places.get(key)?;
        Some(Handle { place, serial: self.entries.get(place)?.serial })
    }

    /// A session, if it is still there.
    pub fn get(&mut self, handle: Handle) -> Option<&mut T> {
        let entry = self.entries.get_mut(handle.place)?;
        (entry.serial == handle.serial).then_some(&mut entry.value)
    }

    /// Adds a session under a key that has none; `make` is told its name.
    pub fn insert(&mut self, key: Key, now: u64, make: impl FnOnce(Handle) -> T) -> Handle {
        self.serial += 1;
        let handle = Handle { place: self.entries.vacant_key(), serial: self.serial };
        let value = make(handle);
        let (queue, serial) = (Queue::Unanswered, self.serial);
        self.entries.insert(Entry { key, serial, queue, used: now, before: NONE, after: NONE, value });
        self.places.insert(key, handle.place);
        self.append(handle.place, queue);
        handle
    }

    /// Says that it was used now, and where it waits from now on.
    pub fn touch(&mut self, handle: Handle, queue: Queue, now: u64) {
        if self.get(handle).is_some() {
            self.unlink(handle.place);
            self.entries[handle.place].used = now;
            self.append(handle.place, queue);
        }
    }

    /// Takes a session out.
    pub fn remove(&mut self, handle: Handle) -> Option<(Key, T)> {
        self.get(handle)?;
        self.unlink(handle.place);
        let entry = self.entries.remove(handle.place);
        self.places.remove(&entry.key);
        Some((entry.key, entry.value))
    }

    /// Shows each, with the queue it waits in and when it was used last.
    pub fn for_each(&self, mut show: impl FnMut(Queue, u64, &T)) {
        self.entries.iter().for_each(|(_, entry)| show(entry.queue, entry.used, &entry.value));
    }

    /// Who makes room: who was silent longest, of those that go first.
    pub fn oldest(&self, now: u64) -> Option<Handle> {
        self.oldest_of(now, |_| true)
    }

    /// The same among those that `is_one` is true of, if one is among the first few.
    pub fn oldest_of(&self, now: u64, is_one: impl Fn(&T) -> bool) -> Option<Handle> {
        let in_vain = now.checked_sub(IN_VAIN_TICKS);
        in_vain
            .and_then(|until| self.look(Queue::Unanswered, until, &is_one))
            .or_else(|| self.look(Queue::Answered, u64::MAX, &is_one))
            .or_else(|| self.look(Queue::Unanswered, u64::MAX, &is_one))
            .or_else(|| self.look(Queue::Open, u64::MAX, &is_one))
    }

    /// Among the first few of the queue that were last used at `until` or before.
    fn look(&self, queue: Queue, until: u64, is_one: &impl Fn(&T) -> bool) -> Option<Handle> {
        let mut place = self.ends[queue as usize].0;
        for _ in 0..LOOKED_AT_MAX {
            let entry = self.entries.get(place).filter(|entry| entry.used <= until)?;
            if is_one(&entry.value) {
                return Some(Handle { place, serial: entry.serial });
            }
            place = entry.after;
        }
        None
    }

    /// Any, if there is one.
    pub fn any(&self) -> Option<Handle> {
        self.entries.iter().next().map(|(place, entry)| Handle { place, serial: entry.serial })
    }

    /// A session of the queue that was last used at `until` or before.
    pub fn silent_since(&self, queue: Queue, until: u64) -> Option<Handle> {
        self.look(queue, until, &|_| true)
    }

    fn append(&mut self, place: usize, queue: Queue) {
        let last = std::mem::replace(&mut self.ends[queue as usize].1, place);
        match self.entries.get_mut(last) {
            Some(entry) => entry.after = place,
            None => self.ends[queue as usize].0 = place,
        }
        let entry = &mut self.entries[place];
        (entry.queue, entry.before, entry.after) = (queue, last, NONE);
    }

    fn unlink(&mut self, place: usize) {
        let Entry { queue, before, after, .. } = self.entries[place];
        match self.entries.get_mut(before) {
            Some(entry) => entry.after = after,
            None => self.ends[queue as usize].0 = after,
        }
        match self.entries.get_mut(after) {
            Some(entry) => entry.before = before,
            None => self.ends[queue as usize].1 = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(port: u16) -> Key {
        (([192, 0, 2, 1], port).into(), [192, 0, 2, 2].into())
    }

    proptest! {
        /// After any history the queues hold what a plain list would, in its order, and stale names find nothing.
        #[test]
        fn as_a_plain_list_would(steps in prop::collection::vec((0u8..4, 0u16..12), 1..200)) {
            let mut sessions = Sessions::default();
            let mut plain: Vec<Known> = Vec::new();
            let mut gone = Vec::new();
            for (now, (step, port)) in (0u64..).zip(steps) {
                let queue = if step == 1 { Queue::Answered } else { Queue::Open };
                let known = sessions.find(&key(port));
                prop_assert_eq!(known.is_some(), plain.iter().any(|known| known.port == port));
                match (step, known) {
                    (0, None) => {
                        sessions.insert(key(port), now, |_| port);
                        plain.push(Known { port, queue: Queue::Unanswered, used: now });
                    }
                    (1 | 2, Some(handle)) => {
                        sessions.touch(handle, queue, now);
                        plain.retain(|known| known.port != port);
                        plain.push(Known { port, queue, used: now });
                    }
                    (3, Some(handle)) => {
                        prop_assert_eq!(sessions.remove(handle), Some((key(port), port)));
                        plain.retain(|known| known.port != port);
                        gone.push(handle);
                    }
                    _ => {}
                }
                let goes = |known: &&Known| known.turn(now);
                let found = sessions.oldest(now).and_then(|handle| sessions.get(handle).copied());
                prop_assert_eq!(found, plain.iter().min_by_key(goes).map(|known| known.port));
                let odd = plain.iter().filter(|known| known.port % 2 == 1).min_by_key(goes).map(|known| known.port);
                let found = sessions.oldest_of(now, |port| port % 2 == 1);
                prop_assert_eq!(found.and_then(|handle| sessions.get(handle).copied()), odd);
                prop_assert!(gone.iter().all(|handle| sessions.get(*handle).is_none()));
            }
            while let Some(handle) = sessions.any() {
                let removed = sessions.remove(handle).map(|(_, port)| port);
                prop_assert!(plain.iter().any(|known| Some(known.port) == removed));
                plain.retain(|known| Some(known.port) != removed);
            }
            prop_assert!(plain.is_empty() && sessions.is_empty() && sessions.places.is_empty());
        }
    }

    /// A session of the plain list, which is in order of last use.
    struct Known {
        port: u16,
        queue: Queue,
        used: u64,
    }

    impl Known {
        /// Lower ones make room first.
        fn turn(&self, now: u64) -> u8 {
            match self.queue {
                Queue::Unanswered if now - self.used >= IN_VAIN_TICKS => 0,
                Queue::Answered => 1,
                Queue::Unanswered => 2,
                Queue::Open => 3,
            }
        }
    }

    /// Who has just asked keeps the session while others have their answers, however full it is: at the limit every new
    /// question ended one that was on its way.
    #[test]
    fn a_young_question_outlives_answers() {
        let mut sessions = Sessions::default();
        let answered = sessions.insert(key(1), 0, |_| ());
        sessions.touch(answered, Queue::Answered, 100);
        let asking = sessions.insert(key(2), 100, |_| ());
        assert_eq!(sessions.oldest(100), Some(answered));
        assert_eq!(sessions.oldest(100 + IN_VAIN_TICKS), Some(asking));
    }

    /// Who was used at the time asked for or before is found, later ones are not.
    #[test]
    fn silence() {
        let mut sessions = Sessions::default();
        let handle = sessions.insert(key(1), 5, |_| ());
        assert_eq!(sessions.silent_since(Queue::Unanswered, 4), None);
        assert_eq!(sessions.silent_since(Queue::Unanswered, 5), Some(handle));
        sessions.touch(handle, Queue::Answered, 9);
        assert_eq!(sessions.silent_since(Queue::Open, 9), None);
        assert_eq!(sessions.silent_since(Queue::Answered, 9), Some(handle));
    }
}
