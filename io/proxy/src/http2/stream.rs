//! One stream, as its task sees it, in either role: what came, what may be sent, and that it is gone.
//!
//! One task drives a stream, so that one waker serves everything it waits for. Bytes that came stay in the inbox until they
//! are taken, and count against the peer's window until what was taken is used.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tidegate_http2::{Connection, ErrorCode, FieldWriter, Fields, ResetBy, Role, SendError, StreamId};

use super::session::Session;
use crate::buffer::{Buffer, Buffers, Size};

/// So many buffers of a stream are small ones, if what comes fits into them.
const SMALL_PIECES_MAX: usize = 2;

/// Places that a list of a stream keeps when it is over.
const PLACES_KEPT_MAX: usize = 4;

/// A stream ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It was reset.
    Reset(ResetBy),
    /// Its connection is over, or what was sent was out of order.
    Closed,
}

impl Gone {
    /// Whether the peer says that it did nothing for the request, so that it may be sent again (RFC 9113 section 8.7).
    pub fn retry_is_safe(self) -> bool {
        matches!(self, Gone::Reset(by) if by.retry_is_safe())
    }
}

/// What the driver and the stream's task share.
pub(super) struct Shared {
    pub id: StreamId,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    waker: Option<Waker>,
    /// Body bytes; all buffers but the last are full.
    inbox: VecDeque<Buffer>,
    /// Bytes that the peer may not send again yet: in the inbox, and taken last.
    owed: usize,
    taken: usize,
    /// As a client: interim responses and the final one, each with whether it is all.
    heads: VecDeque<(Box<Fields>, bool)>,
    trailers: Option<Box<Fields>>,
    /// The peer ended its side.
    ended: bool,
    gone: Option<Gone>,
}

impl Shared {
    pub fn new(id: StreamId) -> Shared {
        Shared { id, state: RefCell::default() }
    }

    /// Makes it as new, and keeps the memory of lists that are short.
    pub fn clear(&self) {
        let mut state = self.state.borrow_mut();
        let (mut inbox, mut heads) = (mem::take(&mut state.inbox), mem::take(&mut state.heads));
        inbox.clear();
        inbox.shrink_to(PLACES_KEPT_MAX);
        heads.clear();
        heads.shrink_to(PLACES_KEPT_MAX);
        *state = State { inbox, heads, ..State::default() };
    }

    /// A response's head came.
    pub fn head(&self, head: Box<Fields>, end: bool) {
        let mut state = self.state.borrow_mut();
        state.heads.push_back((head, end));
        state.ended |= end;
        state.wake();
    }

    /// A part of the body came.
    pub fn data(&self, mut data: &[u8], end: bool, buffers: &Rc<Buffers>) {
        let mut state = self.state.borrow_mut();
        state.owed += data.len();
        while !data.is_empty() {
            if state.inbox.back_mut().is_none_or(|last| last.space().is_empty()) {
                let size = if data.len() <= Size::Small.bytes() && state.inbox.len() < SMALL_PIECES_MAX {
                    Size::Small
                } else {
                    Size::Large
                };
                state.inbox.push_back(buffers.take(size));
            }
            let Some(last) = state.inbox.back_mut() else { break };
            let space = last.space();
            let (now, later) = data.split_at(data.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            last.advance(now.len());
            data = later;
        }
        state.ended |= end;
        state.wake();
    }

    /// Trailers came; they are the end.
    pub fn trailers(&self, trailers: Box<Fields>) {
        let mut state = self.state.borrow_mut();
        state.trailers = Some(trailers);
        state.ended = true;
        state.wake();
    }

    /// The stream is gone.
    pub fn lose(&self, gone: Gone) {
        let mut state = self.state.borrow_mut();
        state.gone.get_or_insert(gone);
        state.wake();
    }

    pub fn wake(&self) {
        self.state.borrow_mut().wake();
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// A stream. Dropped before both sides ended, it is reset.
pub struct Stream {
    session: Rc<Session>,
    shared: Rc<Shared>,
    sent_end: Cell<bool>,
}

impl Stream {
    pub(super) fn new(session: Rc<Session>, shared: Rc<Shared>, sent_end: bool) -> Stream {
        Stream { session, shared, sent_end: Cell::new(sent_end) }
    }

    /// As a server: notes whether the head was all.
    pub(super) fn begin(&self, end: bool) {
        self.shared.state.borrow_mut().ended = end;
    }

    /// Which one it is.
    pub fn id(&self) -> StreamId {
        self.shared.id
    }

    /// Its connection.
    pub fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// Whether the peer has ended its side and all of it was taken.
    pub fn is_received(&self) -> bool {
        let state = self.shared.state.borrow();
        state.ended && state.inbox.is_empty()
    }

    /// Whether our side has ended.
    pub fn is_sent(&self) -> bool {
        self.sent_end.get()
    }

    /// As a client: the next response's head, interim or final, and whether it is all.
    pub fn poll_head(&self, context: &Context<'_>) -> Poll<Result<(Box<Fields>, bool), Gone>> {
        let mut state = self.shared.state.borrow_mut();
        match (state.heads.pop_front(), state.gone) {
            (Some(head), _) => Poll::Ready(Ok(head)),
            (None, Some(gone)) => Poll::Ready(Err(gone)),
            (None, None) => state.wait(context),
        }
    }

    /// The next piece of the body; nothing at its end. What was taken before is used up by now.
    pub fn poll_take(&self, context: &Context<'_>) -> Poll<Result<Option<Buffer>, Gone>> {
        if let Some(piece) = self.take() {
            return Poll::Ready(Ok(Some(piece)));
        }
        let mut state = self.shared.state.borrow_mut();
        match (state.ended, state.gone) {
            (true, _) => Poll::Ready(Ok(None)),
            (false, Some(gone)) => Poll::Ready(Err(gone)),
            (false, None) => state.wait(context),
        }
    }

    /// The next piece, if it has come. What was taken before is used up by now.
    pub fn take(&self) -> Option<Buffer> {
        let (piece, used) = {
            let mut state = self.shared.state.borrow_mut();
            let used = mem::take(&mut state.taken);
            state.owed -= used;
            let piece = state.inbox.pop_front();
            state.taken = piece.as_ref().map_or(0, |piece| piece.filled().len());
            (piece, used)
        };
        if used > 0 {
            self.session.with(|machine| machine.release(self.shared.id, used));
        }
        piece
    }

    /// The trailers, once the body has ended; none if there were none, or if they were taken.
    pub fn take_trailers(&self) -> Option<Box<Fields>> {
        self.shared.state.borrow_mut().trailers.take()
    }

    /// Whether the stream is gone.
    pub fn is_gone(&self) -> bool {
        self.shared.state.borrow().gone.is_some()
    }

    /// Ready when the stream is gone, even if there is more to read.
    pub fn poll_gone(&self, context: &Context<'_>) -> Poll<Gone> {
        let mut state = self.shared.state.borrow_mut();
        match state.gone {
            Some(gone) => Poll::Ready(gone),
            None => state.wait(context),
        }
    }

    /// As a server: sends a response's head; interim ones before the final one. `end`: no body follows.
    pub fn respond(
        &self,
        status: u16,
        end: bool,
        fill: impl FnOnce(&mut FieldWriter<'_>),
    ) -> Result<(), Gone> {
        self.send(end, |machine, id| machine.respond(id, status, end, fill))
    }

    /// Sends body bytes: as many as both windows and the output have room for. Ready with at least one, or at once if
    /// `bytes` is empty. `end` counts if all were taken.
    pub fn poll_send(&self, context: &Context<'_>, bytes: &[u8], end: bool) -> Poll<Result<usize, Gone>> {
        let mut taken = 0;
        let outcome = self.send(false, |machine, id| {
            taken = machine.send_data(id, bytes, end)?;
            Ok(())
        });
        match outcome {
            Err(gone) => Poll::Ready(Err(gone)),
            Ok(()) if taken == 0 && !bytes.is_empty() => self.shared.state.borrow_mut().wait(context),
            Ok(()) => {
                self.sent_end.set(end && taken == bytes.len());
                Poll::Ready(Ok(taken))
            }
        }
    }

    /// Body bytes that would be sent now.
    pub fn room(&self) -> usize {
        self.session.data_room(self.shared.id)
    }

    /// Ready when at least one body byte would be sent, with how many.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut room = 0;
        let outcome = self.send(false, |machine, id| {
            room = machine.await_room(id)?;
            Ok(())
        });
        match outcome {
            Err(gone) => Poll::Ready(Err(gone)),
            Ok(()) if room == 0 => self.shared.state.borrow_mut().wait(context),
            Ok(()) => Poll::Ready(Ok(room)),
        }
    }

    /// Sends trailers, and ends our side.
    pub fn send_trailers(&self, fill: impl FnOnce(&mut FieldWriter<'_>)) -> Result<(), Gone> {
        self.send(true, |machine, id| machine.send_trailers(id, fill))
    }

    /// Ends the stream in both directions.
    pub fn reset(&self, code: ErrorCode) {
        self.session.with(|machine| machine.reset(self.shared.id, code));
        self.shared.state.borrow_mut().gone.get_or_insert(Gone::Closed);
    }

    fn send(
        &self,
        end: bool,
        act: impl FnOnce(&mut Connection, StreamId) -> Result<(), SendError>,
    ) -> Result<(), Gone> {
        let gone = self.shared.state.borrow().gone;
        if let Some(gone) = gone {
            return Err(gone);
        }
        self.session.with(|machine| act(machine, self.shared.id)).map_err(|_| Gone::Closed)?;
        if end {
            self.sent_end.set(true);
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let id = self.shared.id;
        let owed = self.shared.state.borrow().owed;
        self.session.with(|machine| {
            let code = match machine.role() {
                Role::Client => ErrorCode::CANCEL,
                Role::Server if self.sent_end.get() => ErrorCode::NO_ERROR,
                Role::Server => ErrorCode::INTERNAL_ERROR,
            };
            machine.reset(id, code);
            machine.release(id, owed);
        });
        self.session.forget(id);
    }
}
