//! After `101 Switching Protocols`: bytes both ways until one side is done. A quiet tunnel holds no buffer.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::body::{BodyState, Pipe, RelayError};
use crate::buffer::{Buffer, Buffers};
use crate::timer::{Expired, Watch};
use crate::wire::Wire;

/// The two sides of a tunnel.
pub struct Tunnel<'a> {
    pub client: &'a Wire,
    pub upstream: &'a Wire,
    pub buffers: &'a Rc<Buffers>,
    pub watch: &'a Watch,
    /// Without a byte in either direction for so long it ends.
    pub idle: Duration,
    /// Bytes received from the client.
    pub received: &'a Cell<u64>,
    /// Bytes sent to the client.
    pub sent: &'a Cell<u64>,
}

impl Tunnel<'_> {
    /// Passes on what each side has sent already, then runs until both sides are done, one breaks, or nothing moves.
    pub async fn run(self, mut inbox: Option<Buffer>, mut outbox: Option<Buffer>) -> Result<(), Expired> {
        let (ignored_up, ignored_down) = (Cell::new(0), Cell::new(0));
        self.watch.set(self.idle);
        let up = self.pipe(self.client, self.upstream, self.received, &ignored_up);
        let down = self.pipe(self.upstream, self.client, &ignored_down, self.sent);
        let (mut up, mut down) = (pin!(one_way(&up, &mut inbox)), pin!(one_way(&down, &mut outbox)));
        let (mut up_done, mut down_done) = (false, false);
        poll_fn(|context| {
            if !up_done && let Poll::Ready(result) = up.as_mut().poll(context) {
                up_done = true;
                down_done |= result.is_err();
            }
            if !down_done && let Poll::Ready(result) = down.as_mut().poll(context) {
                down_done = true;
                up_done |= result.is_err();
            }
            if up_done && down_done { Poll::Ready(Ok(())) } else { self.watch.poll_expired(context).map(Err) }
        })
        .await
    }

    fn pipe<'p>(
        &'p self,
        from: &'p Wire,
        to: &'p Wire,
        taken: &'p Cell<u64>,
        given: &'p Cell<u64>,
    ) -> Pipe<'p> {
        Pipe { from, to, watch: self.watch, stall: self.idle, buffers: self.buffers, taken, given }
    }
}

/// One direction; its end is told to the receiver, who may still send.
async fn one_way(pipe: &Pipe<'_>, buffer: &mut Option<Buffer>) -> Result<(), RelayError> {
    pipe.relay(&mut BodyState::UntilClose, buffer, Vec::new()).await?;
    pipe.to.shutdown_write().map_err(|_| RelayError::To)
}
