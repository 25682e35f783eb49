//! Processes that were taken over from: what each still holds, as it reports every second until it ends.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_handover::{Channel, ChannelError, Message};

/// Processes listened to; the others drain unheard.
const HEARD_MAX: usize = 64;

/// How often a listener looks whether it is still wanted.
const LOOK: Duration = Duration::from_secs(1);

/// Every process that still drains, by its id.
#[derive(Default)]
pub struct Draining {
    processes: Mutex<BTreeMap<u32, Process>>,
    stopped: AtomicBool,
}

struct Process {
    connections: u64,
    channel: OwnedFd,
}

impl Draining {
    /// Listens to a process, in a thread of its own that ends with it.
    pub fn listen(self: &Arc<Self>, pid: u32, channel: Channel) {
        let Ok(duplicate) = channel.duplicate() else { return };
        {
            let mut processes = self.lock();
            if processes.len() >= HEARD_MAX {
                return;
            }
            processes.insert(pid, Process { connections: 0, channel: duplicate });
        }
        let draining = self.clone();
        let listener = std::thread::Builder::new().name("draining".into());
        if listener.spawn(move || draining.hear(pid, &channel)).is_err() {
            self.lock().remove(&pid);
        }
    }

    fn hear(&self, pid: u32, channel: &Channel) {
        while !self.stopped.load(Ordering::Relaxed) {
            match channel.receive(LOOK) {
                Ok((Message::Draining { connections }, _)) => {
                    if let Some(process) = self.lock().get_mut(&pid) {
                        process.connections = connections;
                    }
                }
                Ok(_) | Err(ChannelError::Silent(_)) => {}
                Err(_) => {
                    self.lock().remove(&pid);
                    tracing::info!(pid, "the last connections of the process before have ended");
                    return;
                }
            }
        }
    }

    /// What each still holds.
    pub fn each(&self) -> Vec<(u32, u64)> {
        self.lock().iter().map(|(pid, process)| (*pid, process.connections)).collect()
    }

    /// A descriptor of each channel, for the next process.
    pub fn duplicate(&self) -> Vec<(u32, OwnedFd)> {
        let duplicate = |(pid, process): (&u32, &Process)| -> io::Result<(u32, OwnedFd)> {
            Ok((*pid, process.channel.try_clone()?))
        };
        self.lock().iter().map(duplicate).filter_map(Result::ok).collect()
    }

    /// Listens no more: another process does.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
