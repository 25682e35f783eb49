//! After `101 Switching Protocols`: bytes both ways until one side is done. A quiet tunnel holds no buffer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::body::{Flow, RelayError, Sink, Source, relay};
use crate::timer::{Expired, Watch};

/// One direction of a tunnel.
pub type Direction<'d, 's> = (&'d mut Source<'s>, &'d mut Sink<'s>, Flow<'d>);

/// Passes on what each side has sent already, then runs until both sides are done, one breaks, or nothing moves.
pub async fn run(watch: &Watch, up: Direction<'_, '_>, down: Direction<'_, '_>) -> Result<(), Expired> {
    watch.set(up.2.stall);
    let (mut up, mut down) = (pin!(one_way(up)), pin!(one_way(down)));
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
        if up_done && down_done { Poll::Ready(Ok(())) } else { watch.poll_expired(context).map(Err) }
    })
    .await
}

/// One direction; its end is told to the receiver, who may still send.
async fn one_way((source, sink, flow): Direction<'_, '_>) -> Result<(), RelayError> {
    relay(source, sink, &flow).await?;
    sink.close()
}
