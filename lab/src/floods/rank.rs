//! Who goes first on the core that load and origins share: what is measured is how long the gateway lets an honest client
//! wait, so neither that client nor its origin may wait for the attackers beside them.

/// Of which kind a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The honest client and its origin: a real-time policy, ahead of every ordinary thread.
    First,
    /// Attackers, and the origin that only they ask: what is left of the core, all of it if there is much to send.
    Last,
}

impl Rank {
    /// Gives the calling thread its rank. Where the kernel refuses the first, the bench's raised priority remains.
    pub fn take(self) {
        let (policy, param) = match self {
            Rank::First => (libc::SCHED_FIFO, libc::sched_param { sched_priority: 1 }),
            Rank::Last => (libc::SCHED_OTHER, libc::sched_param { sched_priority: 0 }),
        };
        // SAFETY: sched_setscheduler(2) reads the one structure it is given; gettid(2) and setpriority(2) take integers.
        unsafe {
            libc::sched_setscheduler(0, policy, &raw const param);
            if self == Rank::Last {
                libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, ATTACKERS);
            }
        }
    }
}

/// The attackers' niceness: that of ordinary programs, so that no other program of the machine makes a flood harmless.
const ATTACKERS: libc::c_int = 0;
