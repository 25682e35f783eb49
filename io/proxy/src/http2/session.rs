//! One HTTP/2 connection, either role: a wire, the machine, and the tasks of its streams.
//!
//! One task, the driver, reads and writes; it holds a buffer only while there are bytes. Stream tasks put frames into the
//! machine's output and arm the driver: it runs after all of them, so that the frames of many streams leave in one write.
//! Nothing here waits for a stream: what a stream does not take stays in its inbox, which its window bounds.

mod deadlines;
mod goodbye;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tidegate_http2::{
    Connection, ErrorCode, Event, Fault, FieldWriter, Fields, Limits, OpenError, ResetBy, Role, StreamId,
};

use tokio::sync::Notify;

use self::goodbye::LINGER;
use super::stream::{Gone, Shared, Stream};
use crate::buffer::Size;
use crate::resting::Seat;
use crate::shares::Holder;
use crate::timer::{TICK, Watch};
use crate::turns::Place;
use crate::wire::Wire;
use crate::worker::Worker;

/// Reads in a row, and how long they may take where there is always more, before others get their turn.
const READS_MAX: usize = 4;
const READS: Duration = Duration::from_micros(200);

/// Streams that begin within a turn and are served at once; more of them wait for turns of their own.
const BEGUN_AT_ONCE: u32 = 10;

/// Streams of a connection that is over whose tasks end at once: each may close a connection to an endpoint.
const LOST_AT_ONCE: usize = 2;

/// Never, in ticks.
const NEVER: u64 = u64::MAX;

/// What a session asks of whom it belongs to; as a client only `is_closing` is asked.
pub trait Host {
    /// A new stream with its request's head.
    fn serve(&self, stream: Stream, head: Box<Fields>, end: bool);

    /// A stream that was turned away by the machine, for the metrics; a head too large was answered with 431.
    fn refused(&self, fault: Fault);

    /// A stream that was served, or is about to be, was reset.
    fn lost(&self, stream: StreamId);

    /// The session is over, and why; so many streams were reset by the peer, or because of it.
    fn ended(&self, end: End, resets: u32);

    /// Whether no more streams are wanted.
    fn is_closing(&self) -> bool;
}

/// How long a session waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the peer's SETTINGS and its word on ours.
    pub settle: Duration,
    /// For the end of a header block, from its beginning; nothing else can come meanwhile (RFC 9113 section 4.3).
    pub head: Duration,
    /// The tick from which on new streams are not taken; MAX: none.
    pub until: u64,
    /// Without a stream.
    pub idle: Duration,
    /// For the peer to read.
    pub stall: Duration,
    /// For its answer to our goodbye.
    pub grace: Duration,
    /// The tag under which the clock hastens the end.
    pub tag: u64,
    /// It makes room for others while it has no stream.
    pub rests: bool,
    /// The address that it counts for.
    pub holder: Option<Holder>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was said.
    Drained,
    /// The peer closed the connection, or it broke.
    Closed,
    /// The peer did not send or acknowledge SETTINGS in time.
    Unsettled,
    /// The peer began a header block and did not end it in time.
    SlowHead,
    /// The peer does not read.
    Stalled,
    /// The peer broke the protocol, or a budget.
    Fault(Fault),
}

/// A connection and its streams.
pub struct Session {
    pub worker: Rc<Worker>,
    wire: Wire,
    machine: RefCell<Connection>,
    /// The streams by slot, as long as their handles live.
    streams: RefCell<Vec<Option<Rc<Shared>>>>,
    driver: RefCell<Option<Waker>>,
    /// The driver is about to run.
    armed: Cell<bool>,
    /// The socket takes no more for now; it wakes the driver itself.
    blocked: Cell<bool>,
    /// It has more to read, and lets others go first.
    turn: Place,
    /// Streams that the peer began in this turn.
    begun: Cell<u32>,
    /// The machine's output has memory of the pool.
    lent: Cell<bool>,
    /// Handles that live.
    live: Cell<usize>,
    /// How often bytes have come.
    heard: Cell<u64>,
    /// As a client: streams that somebody is about to open, and those that may still be.
    reserved: Cell<usize>,
    left: Cell<usize>,
    /// The peer's settings have come, or never will.
    introduced: Notify,
    over: Cell<Option<End>>,
    /// How long a header block may take, and the tick at which one that has begun is to have ended.
    head_wait: Cell<Duration>,
    head_by: Cell<u64>,
    settle_by: Cell<u64>,
    stall_by: Cell<u64>,
    idle_by: Cell<u64>,
    shrink_by: Cell<u64>,
    finish_by: Cell<u64>,
}

impl Session {
    /// A session on a wire that is ready, as a server or a client.
    pub fn new(worker: Rc<Worker>, wire: Wire, role: Role, limits: Arc<Limits>) -> Rc<Session> {
        let machine = match role {
            Role::Server => Connection::server(limits),
            Role::Client => Connection::client(limits),
        };
        Rc::new(Session {
            worker,
            wire,
            machine: RefCell::new(machine),
            streams: RefCell::default(),
            driver: RefCell::default(),
            armed: Cell::new(false),
            blocked: Cell::new(false),
            turn: Place::default(),
            begun: Cell::new(0),
            lent: Cell::new(true),
            live: Cell::new(0),
            heard: Cell::new(0),
            reserved: Cell::new(0),
            left: Cell::new(usize::MAX),
            introduced: Notify::new(),
            over: Cell::new(None),
            head_wait: Cell::new(Duration::MAX),
            head_by: Cell::new(NEVER),
            settle_by: Cell::new(NEVER),
            stall_by: Cell::new(NEVER),
            idle_by: Cell::new(NEVER),
            shrink_by: Cell::new(NEVER),
            finish_by: Cell::new(NEVER),
        })
    }

    /// The wire below.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// How many streams share the connection.
    pub fn sharers(&self) -> usize {
        self.live.get()
    }

    /// As a server: whether the stream that is being begun is one of many.
    pub fn is_crowded(&self) -> bool {
        self.begun.get() > BEGUN_AT_ONCE
    }

    /// How often bytes have come from the peer: who finds the same number later has heard nothing of it meanwhile.
    pub fn heard(&self) -> u64 {
        self.heard.get()
    }

    /// As a client: how many streams may be opened now.
    pub fn open_room(&self) -> usize {
        if self.over.get().is_some() {
            return 0;
        }
        self.machine.borrow().open_room().min(self.left.get()).saturating_sub(self.reserved.get())
    }

    /// As a client: it ends with its `most`-th stream.
    pub fn open_at_most(&self, most: usize) {
        self.left.set(most);
    }

    /// As a client: somebody is about to open a stream.
    pub(super) fn reserve(&self) {
        self.reserved.set(self.reserved.get() + 1);
    }

    /// The stream is opened now, or not at all.
    pub(super) fn unreserve(&self) {
        self.reserved.set(self.reserved.get() - 1);
    }

    /// As a client: waits for the peer's settings; whether it takes extended CONNECT (RFC 8441 section 3).
    pub async fn takes_tunnels(&self) -> bool {
        loop {
            let introduced = self.introduced.notified();
            if self.over.get().is_some() {
                return false;
            }
            if self.machine.borrow().has_peer_settings() {
                return self.machine.borrow().peer_settings().extended_connect;
            }
            introduced.await;
        }
    }

    /// Whether no stream is open or about to be.
    pub fn is_idle(&self) -> bool {
        self.live.get() + self.reserved.get() == 0
    }

    /// Whether new streams cannot be opened any more.
    pub fn is_ending(&self) -> bool {
        self.over.get().is_some() || self.machine.borrow().is_closing()
    }

    /// As a client: opens a stream with the request's head, written whole by `fill`. `end`: no body follows.
    pub fn open(
        self: &Rc<Self>,
        method: &[u8],
        end: bool,
        fill: impl FnOnce(&mut FieldWriter<'_>),
    ) -> Result<Stream, OpenError> {
        if self.over.get().is_some() {
            return Err(OpenError::Ending);
        }
        let id = self.with(|machine| machine.open_with(method, end, fill))?;
        let handle = self.handle(id, end);
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.begin_shutdown();
        }
        Ok(handle)
    }

    /// Ends the session once its streams are done; new ones are not taken.
    pub fn begin_shutdown(&self) {
        if self.finish_by.get() == NEVER {
            self.finish_by.set(self.worker.clock.after(self.worker.limits.close_grace));
            self.with(Connection::begin_shutdown);
            self.nudge();
        }
    }

    /// Does something with the machine, and has the driver write what came of it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Connection) -> T) -> T {
        let mut machine = self.machine.borrow_mut();
        if !self.lent.replace(true) {
            machine.lend_output_buffer(self.worker.http2.take_output());
        }
        let outcome = act(&mut machine);
        let idle = machine.output().is_empty();
        drop(machine);
        if !idle && !self.blocked.get() {
            self.nudge();
        }
        outcome
    }

    /// Body bytes that a stream may send now.
    pub(super) fn data_room(&self, id: StreamId) -> usize {
        self.machine.borrow().data_room(id)
    }

    /// Has the driver run soon.
    fn nudge(&self) {
        if !self.armed.replace(true)
            && let Some(driver) = self.driver.borrow().as_ref()
        {
            driver.wake_by_ref();
        }
    }

    fn handle(self: &Rc<Self>, id: StreamId, sent_end: bool) -> Stream {
        let shared = self.worker.http2.take_stream(id);
        let mut streams = self.streams.borrow_mut();
        if streams.len() <= id.slot() {
            streams.resize(id.slot() + 1, None);
        }
        streams[id.slot()] = Some(shared.clone());
        self.live.set(self.live.get() + 1);
        Stream::new(self.clone(), shared, sent_end)
    }

    /// A handle is gone.
    pub(super) fn forget(&self, id: StreamId) {
        if let Some(slot) = self.streams.borrow_mut().get_mut(id.slot())
            && let Some(shared) = slot.take_if(|shared| shared.id == id)
        {
            self.worker.http2.keep_stream(shared);
        }
        self.live.set(self.live.get() - 1);
        if self.live.get() == 0 {
            self.nudge();
        }
    }

    fn find(&self, id: StreamId) -> Option<Rc<Shared>> {
        self.streams.borrow().get(id.slot())?.as_ref().filter(|shared| shared.id == id).cloned()
    }

    /// Begins with what was read already; an end at once is to be passed to `drive`.
    pub fn begin(self: &Rc<Self>, first: &[u8], host: &impl Host, patience: &Patience) -> Option<End> {
        self.settle_by.set(self.worker.clock.after(patience.settle));
        self.head_wait.set(patience.head);
        self.take_in(first, host).err()
    }

    /// Runs the session to its end.
    pub async fn drive(self: Rc<Self>, end: Option<End>, host: &impl Host, patience: &Patience) -> End {
        let watch = self.worker.clock.watch();
        let seat = patience.rests.then(|| self.worker.resting.seat(&watch, patience.holder));
        let end = match end {
            Some(end) => end,
            None => poll_fn(|context| self.poll(context, host, patience, &watch, seat.as_ref())).await,
        };
        drop(seat);
        self.over.set(Some(end));
        // Not borrowed while the host lets go of streams.
        let resets = self.machine.borrow().resets();
        host.ended(end, resets);
        self.introduced.notify_waiters();
        let left: Vec<_> = self.streams.borrow().iter().flatten().cloned().collect();
        for (count, shared) in left.into_iter().enumerate() {
            if count % LOST_AT_ONCE == LOST_AT_ONCE - 1 {
                self.worker.turns.next().await;
            }
            shared.lose(Gone::Closed);
        }
        match end {
            End::Closed => {}
            // The peer takes nothing, and the kernel would keep for minutes what it was sent.
            End::Stalled => self.wire.cut(),
            End::Drained | End::Unsettled | End::SlowHead | End::Fault(_) => {
                watch.set(LINGER);
                let _ = watch.within(self.say_goodbye()).await;
            }
        }
        end
    }

    fn poll(
        self: &Rc<Self>,
        context: &mut Context<'_>,
        host: &impl Host,
        patience: &Patience,
        watch: &Watch,
        seat: Option<&Seat>,
    ) -> Poll<End> {
        self.register(context);
        self.armed.set(false);
        if let Err(end) = self.write(context, patience) {
            return Poll::Ready(end);
        }
        if host.is_closing() {
            self.begin_shutdown();
        }
        if let Err(end) = self.read(context, host) {
            return Poll::Ready(end);
        }
        if self.machine.borrow().is_drained() {
            return Poll::Ready(End::Drained);
        }
        self.watch_over(context, patience, watch, seat)
    }

    fn register(&self, context: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *driver = Some(context.waker().clone());
        }
    }

    /// Writes as much as the socket takes.
    fn write(&self, context: &mut Context<'_>, patience: &Patience) -> Result<(), End> {
        loop {
            let written = {
                let machine = self.machine.borrow();
                if machine.output().is_empty() {
                    break;
                }
                self.wire.try_write(machine.output())
            };
            match written {
                Ok(count) => {
                    self.machine.borrow_mut().advance_output(count);
                    self.wake_writable();
                    self.stall_by.set(NEVER);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wire.poll_writable(context).is_pending() {
                        self.blocked.set(true);
                        if self.stall_by.get() == NEVER {
                            self.stall_by.set(self.worker.clock.after(patience.stall));
                        }
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Closed),
            }
        }
        self.blocked.set(false);
        if let Some(memory) = self.machine.borrow_mut().take_output_buffer() {
            self.worker.http2.keep_output(memory);
        }
        self.lent.set(false);
        Ok(())
    }

    /// Reads what there is and shows it to the machine; who sends without end waits for a turn.
    fn read(self: &Rc<Self>, context: &mut Context<'_>, host: &impl Host) -> Result<(), End> {
        let worker = &self.worker;
        if self.turn.is_waiting(&worker.turns) {
            return Ok(());
        }
        self.begun.set(0);
        // A clock is looked at only by those of whom there is more than one read.
        let mut began = self.turn.leave().then(Instant::now);
        for _ in 0..READS_MAX {
            if !self.machine.borrow().wants_input() {
                return Ok(());
            }
            match self.wire.poll_readable(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(End::Closed),
            }
            let mut buffer = worker.buffers.take(Size::Large);
            match self.wire.try_read(buffer.space()) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    buffer.advance(count);
                    let is_full = buffer.space().is_empty();
                    self.take_in(buffer.filled(), host)?;
                    if is_full && began.get_or_insert_with(Instant::now).elapsed() >= READS {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Closed),
            }
        }
        worker.turns.queue(&self.turn, context);
        Ok(())
    }

    /// Shows bytes to the machine, and hands out what it says.
    fn take_in(self: &Rc<Self>, mut input: &[u8], host: &impl Host) -> Result<(), End> {
        let worker = &self.worker;
        self.heard.set(self.heard.get() + 1);
        let mut fields = worker.http2.take_fields();
        let now = TICK.saturating_mul(u32::try_from(worker.clock.now()).unwrap_or(u32::MAX));
        let outcome = loop {
            // Borrowed anew for each event: who hears of one may ask the machine.
            let event = self.machine.borrow_mut().receive(&mut input, &mut fields, now);
            match event {
                Ok(Some(event)) => {
                    // Amid a header block there is nothing to hear of.
                    self.head_by.set(NEVER);
                    self.hear(event, &mut fields, host);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(End::Fault(error.fault)),
            }
        };
        worker.http2.keep_fields(fields);
        match self.machine.borrow().is_amid_head() {
            true if self.head_by.get() == NEVER => self.head_by.set(worker.clock.after(self.head_wait.get())),
            true => {}
            false => self.head_by.set(NEVER),
        }
        self.wake_writable();
        if !self.machine.borrow().output().is_empty() && !self.blocked.get() {
            self.nudge();
        }
        outcome
    }

    fn hear(self: &Rc<Self>, event: Event<'_>, fields: &mut Box<Fields>, host: &impl Host) {
        match event {
            Event::Head { stream, end } => {
                let head = std::mem::replace(fields, self.worker.http2.take_fields());
                match self.find(stream) {
                    Some(shared) => shared.head(head, end),
                    None => {
                        let handle = self.handle(stream, false);
                        handle.begin(end);
                        self.begun.set(self.begun.get() + 1);
                        host.serve(handle, head, end);
                    }
                }
            }
            Event::Interim { stream } => {
                let head = std::mem::replace(fields, self.worker.http2.take_fields());
                if let Some(shared) = self.find(stream) {
                    shared.head(head, false);
                }
            }
            Event::Data { stream, data, end } => match self.find(stream) {
                Some(shared) => shared.data(data, end, &self.worker.buffers),
                None => self.with(|machine| machine.release(stream, data.len())),
            },
            Event::Trailers { stream } => {
                if let Some(shared) = self.find(stream) {
                    shared.trailers(std::mem::replace(fields, self.worker.http2.take_fields()));
                }
            }
            Event::Reset { stream, by } => {
                // Whose exchange is under way tells its own story.
                match (self.find(stream), by) {
                    (Some(shared), _) => {
                        shared.lose(Gone::Reset(by));
                        host.lost(stream);
                    }
                    (None, ResetBy::Us(fault)) => host.refused(fault),
                    (None, ResetBy::Peer(_) | ResetBy::GoAway) => {}
                }
            }
            Event::HeadTooLarge { stream, end } => {
                host.refused(Fault::HeaderList);
                self.with(|machine| {
                    let _ = machine.respond(stream, 431, true, |_| {});
                    if !end {
                        machine.reset(stream, ErrorCode::NO_ERROR);
                    }
                });
            }
            Event::Refused { fault, .. } => host.refused(fault),
            Event::SettingsAcked | Event::Settings => self.settled(),
            Event::GoAway { .. } | Event::Pong { .. } => {}
        }
    }

    /// The peer's settings, or its word on ours, have come.
    fn settled(&self) {
        if self.machine.borrow().is_settled() {
            self.settle_by.set(NEVER);
        }
        self.introduced.notify_waiters();
    }

    fn wake_writable(&self) {
        let mut machine = self.machine.borrow_mut();
        while let Some(id) = machine.next_writable() {
            if let Some(shared) = self.find(id) {
                shared.wake();
            }
        }
    }
}
