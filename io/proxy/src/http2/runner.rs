//! Tasks that serve one request after the other: the future of an exchange is large, and to make, move and free one for each
//! request cost more than a tenth of it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tidegate_http2::Fields;
use tokio::task::spawn_local;

use super::stream::Stream;
use crate::exchange::client::Caller;
use crate::turns::Place;
use crate::worker::Worker;

/// Tasks that may rest, for each worker; more end with their request.
const RESTING_MAX: usize = 256;

/// A request on its stream.
pub struct Job {
    pub caller: Rc<Caller>,
    pub stream: Stream,
    pub fields: Box<Fields>,
    pub end: bool,
}

impl Job {
    /// Lets it go unserved, and keeps the memory of its header list.
    pub fn forget(self) {
        self.caller.worker.http2.keep_fields(self.fields);
    }
}

/// Tasks that rest, the last used on top.
#[derive(Default)]
pub struct Runners(RefCell<Vec<Rc<Runner>>>);

/// A task, and the request it is given while it rests.
#[derive(Default)]
struct Runner {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
}

impl Runners {
    /// Serves a request, in a task that rests or a new one.
    pub fn run(&self, job: Job) {
        let resting = self.0.borrow_mut().pop();
        match resting {
            Some(runner) => {
                runner.job.set(Some(job));
                if let Some(waker) = runner.waker.take() {
                    waker.wake();
                }
            }
            None => drop(spawn_local(serve(job.caller.worker.clone(), job))),
        }
    }

    /// Lets all that rest go.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// Takes a task among those that rest; false if there are enough.
    fn rest(&self, runner: &Rc<Runner>) -> bool {
        let mut resting = self.0.borrow_mut();
        let has_room = resting.len() < RESTING_MAX;
        if has_room {
            resting.push(runner.clone());
        }
        has_room
    }
}

/// A task's life. A panic ends it, and resets the stream that it served.
async fn serve(worker: Rc<Worker>, first: Job) {
    let watch = worker.clock.watch();
    let (runner, place) = (Rc::new(Runner::default()), Place::default());
    let mut next = Some(first);
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => {
                poll_fn(|context| match runner.job.take() {
                    Some(job) => Poll::Ready(job),
                    None => {
                        runner.waker.set(Some(context.waker().clone()));
                        Poll::Pending
                    }
                })
                .await
            }
        };
        {
            let mut serving = pin!(super::server::serve(job, &watch));
            let mut begins = true;
            // A client has as many requests under way as its connections have streams: all may become ready in one moment.
            // That it may begin was decided before.
            poll_fn(|context| match std::mem::take(&mut begins) || worker.turns.admit(&place, context) {
                true => serving.as_mut().poll(context),
                false => Poll::Pending,
            })
            .await;
        }
        watch.cap(u64::MAX);
        watch.set_at(u64::MAX, u64::MAX);
        if !worker.http2.runners.rest(&runner) {
            return;
        }
    }
}
