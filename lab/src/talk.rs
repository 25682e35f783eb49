//! Something that goes on beside a story, from inside a namespace, until it is told to end: a conversation, a look that is
//! taken again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;

use crate::netns::Netns;

/// It, and what will come of it.
pub struct Talk<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Talk<T> {
    /// Begins; `talk` is to end soon after it finds what it is given true.
    pub fn start(from: Netns, talk: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static) -> Talk<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            from.enter()?;
            talk(&stopped)
        });
        Talk { stop, thread }
    }

    /// Tells it to end; what came of it, or what broke it.
    pub fn end(self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
