//! What a session waits for, and what happens when it has waited long enough.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_http2::{Connection, ErrorCode};

use super::{End, NEVER, Patience, Session};
use crate::resting::Seat;
use crate::timer::Watch;

/// Without a stream for so long, a connection lets go of its memory.
const REST: Duration = Duration::from_millis(300);

impl Session {
    /// Looks after the deadlines.
    pub(super) fn watch_over(
        &self,
        context: &Context<'_>,
        patience: &Patience,
        watch: &Watch,
        seat: Option<&Seat>,
    ) -> Poll<End> {
        loop {
            let clock = &self.worker.clock;
            match self.live.get() {
                // Its place is wanted, and everything was said.
                0 if watch.is_capped() && self.machine.borrow().output().is_empty() => {
                    self.machine.borrow_mut().go_away(ErrorCode::NO_ERROR);
                    return Poll::Ready(End::Drained);
                }
                0 if self.idle_by.get() == NEVER => {
                    self.idle_by.set(clock.after(patience.idle));
                    self.shrink_by.set(clock.after(REST));
                }
                0 => {}
                _ => {
                    seat.inspect(|seat| seat.work());
                    watch.cap(NEVER);
                    self.idle_by.set(NEVER);
                    self.shrink_by.set(NEVER);
                }
            }
            if self.live.get() == 0 && self.machine.borrow().output().is_empty() {
                seat.inspect(|seat| seat.rest(clock.now()));
            }
            let due = |cell: &Cell<u64>| cell.get() <= clock.now();
            if due(&self.shrink_by) {
                self.shrink_by.set(NEVER);
                self.shrink();
            }
            if due(&self.settle_by) {
                self.machine.borrow_mut().go_away(ErrorCode::SETTINGS_TIMEOUT);
                return Poll::Ready(End::Unsettled);
            }
            if due(&self.head_by) {
                self.machine.borrow_mut().go_away(ErrorCode::ENHANCE_YOUR_CALM);
                return Poll::Ready(End::SlowHead);
            }
            if due(&self.stall_by) {
                return Poll::Ready(End::Stalled);
            }
            if due(&self.finish_by) && !self.machine.borrow().is_drained() {
                self.finish_by.set(NEVER - 1);
                self.with(Connection::finish_shutdown);
            }
            let goes_on = self.finish_by.get() == NEVER;
            if goes_on && patience.until <= clock.now() {
                self.begin_shutdown();
            } else if due(&self.idle_by) {
                if !goes_on {
                    return Poll::Ready(End::Drained);
                }
                if patience.rests {
                    self.worker.metrics.slow("idle");
                }
                self.idle_by.set(clock.after(patience.grace * 2));
                self.begin_shutdown();
            }
            let Session { settle_by, head_by, stall_by, idle_by, shrink_by, finish_by, .. } = self;
            let deadlines = [settle_by, head_by, stall_by, idle_by, shrink_by, finish_by];
            let next = deadlines.into_iter().map(Cell::get).min().unwrap_or(NEVER);
            let until = if finish_by.get() == NEVER { patience.until } else { NEVER };
            watch.set_at(next.min(until), patience.tag);
            if watch.poll_expired(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Lets go of all memory that a connection at rest does not need.
    fn shrink(&self) {
        let mut machine = self.machine.borrow_mut();
        machine.shrink();
        self.lent.set(!machine.output().is_empty());
        *self.streams.borrow_mut() = Vec::new();
    }
}
