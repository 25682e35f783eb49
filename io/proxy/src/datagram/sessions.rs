//! The sessions of a door, found by who asks whom, and by who was silent longest.
//!
//! Three queues in order of last use: those that nobody has answered yet (a forged source), those that were answered after
//! asking once (a DNS query), and all others. They make room in this order. Every operation takes constant time.

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

/// In the order in which they make room.
const QUEUES: [Queue; 3] = [Queue::Unanswered, Queue::Answered, Queue::Open];

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

    /// Who makes room: who was silent longest, of the queue that goes first.
    pub fn oldest(&self) -> Option<Handle> {
        QUEUES.into_iter().find_map(|queue| self.first(queue))
    }

    /// The same among those that `is_one` is true of, if one is among the first few.
    pub fn oldest_of(&self, is_one: impl Fn(&T) -> bool) -> Option<Handle> {
        QUEUES.into_iter().find_map(|queue| {
            let mut place = self.ends[queue as usize].0;
            for _ in 0..LOOKED_AT_MAX {
                let entry = self.entries.get(place)?;
                if is_one(&entry.value) {
                    return Some(Handle { place, serial: entry.serial });
                }
                place = entry.after;
            }
            None
        })
    }

    /// A session of the queue that was last used at `until` or before.
    pub fn silent_since(&self, queue: Queue, until: u64) -> Option<Handle> {
        self.first(queue).filter(|handle| self.entries[handle.place].used <= until)
    }

    fn first(&self, queue: Queue) -> Option<Handle> {
        let place = self.ends[queue as usize].0;
        self.entries.get(place).map(|entry| Handle { place, serial: entry.serial })
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
            let mut plain: Vec<(u16, Queue)> = Vec::new();
            let mut gone = Vec::new();
            for (now, (step, port)) in steps.into_iter().enumerate() {
                let queue = if step == 1 { Queue::Answered } else { Queue::Open };
                let known = sessions.find(&key(port));
                prop_assert_eq!(known.is_some(), plain.iter().any(|(known, _)| *known == port));
                match (step, known) {
                    (0, None) => {
                        sessions.insert(key(port), now as u64, |_| port);
                        plain.push((port, Queue::Unanswered));
                    }
                    (1 | 2, Some(handle)) => {
                        sessions.touch(handle, queue, now as u64);
                        plain.retain(|(known, _)| *known != port);
                        plain.push((port, queue));
                    }
                    (3, Some(handle)) => {
                        prop_assert_eq!(sessions.remove(handle), Some((key(port), port)));
                        plain.retain(|(known, _)| *known != port);
                        gone.push(handle);
                    }
                    _ => {}
                }
                let first = |wanted| plain.iter().find(|(_, queue)| *queue == wanted).map(|(port, _)| *port);
                let oldest = QUEUES.into_iter().find_map(first);
                let odd = plain.iter().filter(|(port, _)| port % 2 == 1);
                let odd = odd.min_by_key(|(_, queue)| *queue as usize).map(|(port, _)| *port);
                let found = sessions.oldest_of(|port| port % 2 == 1);
                prop_assert_eq!(found.and_then(|handle| sessions.get(handle).copied()), odd);
                let found = sessions.oldest().and_then(|handle| sessions.get(handle).copied());
                prop_assert_eq!(found, oldest);
                prop_assert!(gone.iter().all(|handle| sessions.get(*handle).is_none()));
            }
            let mut order = Vec::new();
            while let Some(handle) = sessions.oldest() {
                order.extend(sessions.remove(handle).map(|(_, port)| port));
            }
            plain.sort_by_key(|(_, queue)| *queue as usize);
            prop_assert_eq!(order, plain.iter().map(|(port, _)| *port).collect::<Vec<_>>());
            prop_assert!(sessions.is_empty() && sessions.places.is_empty());
        }
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
