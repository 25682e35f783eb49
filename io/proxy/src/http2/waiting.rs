//! Requests of one client that came in together and wait to begin: one in each turn of their connection, so that a client with
//! a hundred is as one with one to others. One that is taken back meanwhile leaves at once, with its memory: those who wait
//! are never more than the connection's streams, whatever is sent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tidegate_http2::StreamId;
use tokio::task::spawn_local;

use super::runner::Job;
use crate::worker::Worker;

/// Those of one connection, in the order of arrival.
#[derive(Default)]
pub struct Waiting {
    jobs: RefCell<VecDeque<Job>>,
    /// A task takes turns for them.
    ushered: Cell<bool>,
}

impl Waiting {
    /// Takes one more, behind the others.
    pub fn add(self: &Rc<Self>, job: Job) {
        let worker = job.caller.worker.clone();
        self.jobs.borrow_mut().push_back(job);
        if !self.ushered.replace(true) {
            drop(spawn_local(usher(worker, self.clone())));
        }
    }

    /// Lets the request of a stream that is over go; whether it waited.
    pub fn leave(&self, stream: StreamId) -> bool {
        // What is taken back at once came last.
        let place = self.jobs.borrow().iter().rposition(|job| job.stream.id() == stream);
        let left = place.and_then(|place| self.jobs.borrow_mut().remove(place));
        left.map(Job::forget).is_some()
    }

    /// Lets all go, since their connection is over; how many there were.
    pub fn clear(&self) -> usize {
        let jobs = std::mem::take(&mut *self.jobs.borrow_mut());
        let count = jobs.len();
        jobs.into_iter().for_each(Job::forget);
        count
    }

    fn next(&self) -> Option<Job> {
        self.jobs.borrow_mut().pop_front()
    }

    fn is_empty(&self) -> bool {
        self.jobs.borrow().is_empty()
    }
}

/// Takes turns for as long as somebody waits.
async fn usher(worker: Rc<Worker>, waiting: Rc<Waiting>) {
    while !waiting.is_empty() {
        worker.turns.next().await;
        if let Some(job) = waiting.next() {
            worker.http2.runners.run(job);
        }
    }
    waiting.ushered.set(false);
}
