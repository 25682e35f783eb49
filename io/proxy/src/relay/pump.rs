//! Both directions of a relay, in one task.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::metrics::FlowMetrics;
use crate::relay::flow::{Broken, Flow, Home};
use crate::timer::Watch;
use crate::wire::Wire;
use crate::worker::Worker;

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides said that they were done.
    Done,
    /// The client's connection broke.
    Client,
    /// The endpoint's connection broke.
    Upstream,
    /// Nothing moved for too long.
    Idle,
}

impl Ending {
    /// As the access log has it; empty: as it should be.
    pub fn reason(self) -> &'static str {
        match self {
            Ending::Done => "",
            Ending::Client => "ClientReset",
            Ending::Upstream => "UpstreamReset",
            Ending::Idle => "IdleTimeout",
        }
    }
}

/// Two connections, joined.
pub struct Pump<'a> {
    client: &'a Wire,
    upstream: &'a Wire,
    up: Flow<'a>,
    down: Flow<'a>,
    up_done: bool,
    down_done: bool,
}

impl<'a> Pump<'a> {
    /// Joins them.
    pub fn new(
        worker: &'a Worker,
        client: &'a Wire,
        upstream: &'a Wire,
        metrics: &'a FlowMetrics,
    ) -> Pump<'a> {
        let home = |bytes| Home {
            buffers: &worker.buffers,
            stock: &worker.stock,
            bytes,
            spliced: &worker.metrics.spliced,
            turns: &worker.turns,
        };
        let up = Flow::new(client, upstream, home(&metrics.received));
        let down = Flow::new(upstream, client, home(&metrics.sent));
        Pump { client, upstream, up, down, up_done: false, down_done: false }
    }

    /// Bytes received from the client, and from the endpoint.
    pub fn moved(&self) -> (u64, u64) {
        (self.up.moved(), self.down.moved())
    }

    /// Sends `first` to the endpoint, then moves bytes both ways. A connection that broke breaks the other too, so that
    /// nobody takes a part for the whole.
    pub async fn run(&mut self, watch: &mut Watch, idle: Duration, first: &[u8]) -> Ending {
        watch.set(idle);
        let ending = match self.send_first(watch, idle, first).await {
            Some(ending) => ending,
            None => poll_fn(|context| self.poll(context, watch, idle)).await,
        };
        match ending {
            Ending::Done => {}
            Ending::Client => self.upstream.cut(),
            Ending::Upstream => self.client.cut(),
            Ending::Idle => {
                self.upstream.cut();
                self.client.cut();
            }
        }
        ending
    }

    async fn send_first(&mut self, watch: &Watch, idle: Duration, first: &[u8]) -> Option<Ending> {
        if first.is_empty() {
            return None;
        }
        self.up.count(first.len() as u64);
        match watch.within(self.upstream.write_all(first, watch, idle)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(Ending::Upstream),
            Err(_) => Some(Ending::Idle),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, watch: &Watch, idle: Duration) -> Poll<Ending> {
        let before = self.moved();
        if !self.up_done
            && let Poll::Ready(result) = self.up.poll(context)
        {
            match result {
                Ok(()) => self.up_done = true,
                Err(Broken::From) => return Poll::Ready(Ending::Client),
                Err(Broken::To) => return Poll::Ready(Ending::Upstream),
            }
        }
        if !self.down_done
            && let Poll::Ready(result) = self.down.poll(context)
        {
            match result {
                Ok(()) => self.down_done = true,
                Err(Broken::From) => return Poll::Ready(Ending::Upstream),
                Err(Broken::To) => return Poll::Ready(Ending::Client),
            }
        }
        if self.up_done && self.down_done {
            return Poll::Ready(Ending::Done);
        }
        if self.moved() != before {
            watch.set(idle);
        }
        watch.poll_expired(context).map(|_| Ending::Idle)
    }
}
