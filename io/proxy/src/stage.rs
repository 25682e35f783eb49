//! Stages: the futures in which requests of HTTP/1 connections are served. One is large, more than ten kilobytes, and each
//! is made once: a connection borrows it while a request is under way, so that it costs nothing to open and little to keep.
//!
//! A stage runs in the task of the connection that has it. A panic on it is that connection's, and the stage is lost with it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::connection::{Connection, Pause};

/// Stages that may stand empty, for each worker; more are given back to the allocator.
const FREE_MAX: usize = 256;

/// The stages of one worker that stand empty, the last used on top.
#[derive(Default)]
pub struct Stages(RefCell<Vec<Stage>>);

struct Stage {
    play: Pin<Box<dyn Future<Output = ()>>>,
    entrance: Rc<Entrance>,
}

/// Where connections come and go.
#[derive(Default)]
struct Entrance {
    enters: Cell<Option<Box<Connection>>>,
    leaves: Cell<Option<(Box<Connection>, Pause)>>,
}

impl Stages {
    /// Serves what has come in on a connection.
    pub async fn serve(&self, connection: Box<Connection>) -> (Box<Connection>, Pause) {
        let free = self.0.borrow_mut().pop();
        let mut stage = free.unwrap_or_else(Stage::new);
        stage.entrance.enters.set(Some(connection));
        let served = poll_fn(|context| {
            // It has no end: when one has left it waits for the next.
            let _ = stage.play.as_mut().poll(context);
            stage.entrance.leaves.take().map_or(Poll::Pending, Poll::Ready)
        });
        let served = served.await;
        let mut free = self.0.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(stage);
        }
        served
    }
}

impl Stage {
    fn new() -> Stage {
        let entrance = Rc::<Entrance>::default();
        Stage { play: Box::pin(play(entrance.clone())), entrance }
    }
}

/// One connection after the other.
async fn play(entrance: Rc<Entrance>) {
    loop {
        let entered = || entrance.enters.take().map_or(Poll::Pending, Poll::Ready);
        let mut connection = poll_fn(|_| entered()).await;
        let pause = connection.work().await;
        entrance.leaves.set(Some((connection, pause)));
    }
}
