//! UDP through the gateway: sessions of clients, each with a socket of its own towards an endpoint.
//!
//! ```text
//!            door (SO_REUSEPORT: a client stays on one worker)        one connected socket for each session
//!  client ◄──────────────────► Hall ──── sessions by (client, address asked) ──────────────────────► endpoint
//! ```
//!
//! Datagrams come and leave in batches, and in trains of equal size where the kernel offers that (UDP_GRO, UDP_SEGMENT). A
//! reply leaves from the address that was asked. Nothing is sent that an endpoint did not send, and only to who asked it,
//! so that a forged source gets no more from us than from the endpoint itself. Datagrams that find no room are dropped
//! and counted; nothing here waits for a slow receiver.

mod batch;
mod hall;
mod session;
mod sessions;

use std::rc::Rc;
use std::time::Duration;

pub use batch::Batch;
pub use hall::Hall;

/// Between two looks for sessions that are over.
const SWEEP: Duration = Duration::from_millis(500);

/// Batches between two turns of whoever else is ready.
const BATCHES: u32 = 4;

/// Serves a UDP door until it closes; then replies that are on their way have the grace of an idle connection.
pub async fn serve(hall: Rc<Hall>) {
    let door = hall.door().clone();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut batches = 0;
    loop {
        if batches == BATCHES {
            batches = 0;
            hall.turns().next().await;
        }
        tokio::select! {
            biased;
            () = door.closed() => break,
            _ = sweep.tick() => hall.sweep(),
            () = hall.readable() => {
                batches += 1;
                hall.take_in();
            }
        }
    }
    if door.is_retired() {
        hall.let_go();
    } else if !hall.is_empty() {
        tokio::time::sleep(hall.grace()).await;
        hall.end_all("SocketClosed");
    }
}
