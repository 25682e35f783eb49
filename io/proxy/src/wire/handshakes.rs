//! What the TLS handshakes of one worker share: how many there may be, and how fast they go.
//!
//! A handshake costs as much as many requests. So that a flood of them does not delay everyone else, each waits for a turn.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::Buffers;
use crate::limits::Limits;
use crate::turns::Turns;
use crate::wire::connect::Clients;
use crate::wire::metrics::TlsMetrics;

/// The handshakes of one worker.
pub struct Handshakes {
    pub buffers: Rc<Buffers>,
    pub metrics: TlsMetrics,
    /// How long one may take.
    pub timeout: Duration,
    /// TLS towards backends.
    pub clients: Clients,
    under_way: Rc<Cell<usize>>,
    under_way_max: usize,
    turns: Turns,
}

/// A handshake under way.
pub struct UnderWay(Rc<Cell<usize>>);

impl Handshakes {
    /// None is under way.
    pub fn new(limits: &Limits, metrics: TlsMetrics, buffers: Rc<Buffers>, turns: Turns) -> Handshakes {
        Handshakes {
            buffers,
            metrics,
            timeout: limits.tls_handshake,
            clients: Clients::default(),
            under_way: Rc::default(),
            under_way_max: limits.tls_handshakes,
            turns,
        }
    }

    /// A place among the handshakes; none if there are too many.
    pub fn begin(&self) -> Option<UnderWay> {
        let count = self.under_way.get();
        if count >= self.under_way_max {
            return None;
        }
        self.under_way.set(count + 1);
        Some(UnderWay(self.under_way.clone()))
    }

    /// Waits for a turn to compute.
    pub async fn turn(&self) {
        self.turns.next_arrival().await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Makes the calling thread ready for handshakes: the library gathers randomness for each thread when the first is asked for,
/// 40 ms in which nobody else is served.
pub fn make_ready() {
    // Should it fail, a handshake will say so.
    let _ = aws_lc_rs::rand::fill(&mut [0; 32]);
}

/// The dice of this machine.
struct Machine;

impl tidegate_tls::Dice for Machine {
    fn fill(&self, bytes: &mut [u8]) -> bool {
        aws_lc_rs::rand::fill(bytes).is_ok()
    }
}

/// The dice of this machine, for whatever makes keys.
pub fn dice() -> Arc<dyn tidegate_tls::Dice> {
    Arc::new(Machine)
}
