//! Gives memory that was freed back to the kernel. The allocator keeps what a flood or a busy hour made it fetch; it is asked
//! to let go now and then, by a thread of its own, because it may hold its locks for milliseconds. When is decided by [`Slack`].

use std::sync::Mutex;
use std::thread::Builder;
use std::time::Duration;

use tidegate_traffic::slack::Slack;

/// Memory given back, for the process.
#[derive(Default)]
pub struct Trim(Mutex<Slack>);

impl Trim {
    /// Looks whether it is time; any thread may, and one of them begins. `now`: since any moment.
    pub fn look(&self, now: Duration, resident_bytes: u64) {
        // Who finds another thread looking need not look.
        if self.0.try_lock().is_ok_and(|mut slack| slack.is_due(now, resident_bytes)) {
            // Without a thread it waits for the next time.
            let _ = Builder::new().name("trim".into()).spawn(release);
        }
    }
}

#[cfg(target_env = "gnu")]
fn release() {
    // SAFETY: malloc_trim takes the allocator's own locks and touches only memory that nobody has; any thread may call it.
    unsafe { libc::malloc_trim(0) };
}

/// Other libraries give back what they do on their own.
#[cfg(not(target_env = "gnu"))]
fn release() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The allocator does as it is asked.
    #[test]
    fn freed_memory_is_given_back() {
        let held: Vec<Vec<u8>> = (0..20_000).map(|_| vec![7; 4000]).collect();
        drop(held);
        release();
    }
}
