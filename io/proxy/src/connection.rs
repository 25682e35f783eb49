//! A client's HTTP/1 connection: waits for a request, reads its head, has it served, goes on or closes.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::task::spawn_local;

use crate::access_log::Record;
use crate::body::{BodyState, Source};
use crate::buffer::{Buffer, Size};
use crate::census::Place;
use crate::exchange::client::{Caller, Client};
use crate::exchange::{self, Exchange};
use crate::framing::chunked::Emit;
use crate::framing::request::{RequestHead, RequestReader};
use crate::framing::{HEAD_BYTES_MAX, HEAD_CEILING, HEADER_LINES_MAX, Malformed};
use crate::http2::{Newcomer, PREFACE_HEAD};
use crate::outgoing::{HeadWriter, Persistence};
use crate::reply::Reply;
use crate::resting::Seat;
use crate::shares::Holder;
use crate::timer::{Expired, Watch, unless_zero};
use crate::wire::{Alpn, Wire};

/// Empty lines skipped before a request.
const EMPTY_LINES_MAX: usize = 4;

/// Bytes of an unread request that are still taken before a connection is closed, so that the answer is not lost in a reset.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How long that may take.
const LINGER: Duration = Duration::from_secs(2);

/// Requests that came in together and are served before others get their turn.
const SERVED_MAX: u32 = 16;

/// A client's connection.
pub struct Connection {
    caller: Caller,
    wire: Wire,
    watch: Watch,
    /// Bytes received and not used yet; none while the connection is idle.
    inbox: Option<Buffer>,
    /// Where it rests between requests.
    seat: Seat,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may follow.
    KeepAlive,
    /// It is closed.
    Close,
    /// It is closed once what the client still sends has been thrown away.
    Linger,
}

/// Why a connection leaves the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Every request that came in was served.
    Idle,
    /// It is to be closed.
    Over,
    /// It is HTTP/2 that is spoken.
    Http2,
}

/// Why no head arrived.
enum NoHead {
    /// Nothing has come in.
    Nothing,
    /// The client closed, or was idle for too long: nothing to say.
    Over,
    /// A part of a head arrived, and then nothing.
    Late,
    /// It is HTTP/2 that is spoken (RFC 9113 section 3.3).
    Http2,
    Malformed(Malformed),
}

impl Connection {
    /// A connection that was just opened; it counts for this address.
    pub fn new(caller: Caller, wire: Wire, holder: Option<Holder>) -> Connection {
        let watch = caller.worker.clock.watch();
        let seat = caller.worker.resting.seat(&watch, holder);
        Connection { caller, wire, watch, inbox: None, seat }
    }

    /// Serves it in a task of its own, to the end; gives the place back then. A panic in it ends this connection only: the
    /// runtime catches it.
    pub fn settle(self, place: Place) {
        if self.wire.tls().is_some_and(|facts| facts.alpn == Alpn::Http2) {
            return self.into_newcomer().settle(place);
        }
        let connection = Box::new(self);
        spawn_local(async move {
            if let Some(newcomer) = connection.run().await {
                newcomer.settle(place);
            }
        });
    }

    fn into_newcomer(self) -> Newcomer {
        Newcomer::new(self.caller, self.wire, self.inbox)
    }

    /// Serves requests until the connection is over, or HTTP/2 turns out to be spoken. While it rests it is this small future
    /// and itself; what a request needs is on a stage.
    async fn run(mut self: Box<Self>) -> Option<Newcomer> {
        let worker = self.caller.worker.clone();
        while self.wait_idle().await {
            let (connection, pause) = worker.stages.serve(self).await;
            self = connection;
            match pause {
                Pause::Idle => {}
                Pause::Over => return None,
                Pause::Http2 => return Some(self.into_newcomer()),
            }
        }
        None
    }

    /// Serves the requests that have come in, one after the other.
    pub async fn work(&mut self) -> Pause {
        let mut served = 0;
        loop {
            served += 1;
            if served == SERVED_MAX {
                served = 0;
                self.caller.worker.turns.next().await;
            }
            let after = match self.next_head().await {
                Ok(head) => self.serve(head).await,
                Err(NoHead::Nothing) => {
                    self.inbox = None;
                    return Pause::Idle;
                }
                Err(NoHead::Over) => return Pause::Over,
                Err(NoHead::Http2) => return Pause::Http2,
                // Its place is wanted: nothing is cut.
                Err(NoHead::Late) if self.watch.is_capped() => return Pause::Over,
                Err(NoHead::Late) => {
                    self.caller.worker.metrics.slow("head");
                    self.turn_away(&Reply::client_timeout()).await
                }
                Err(NoHead::Malformed(malformed)) => self.turn_away(&malformed.into()).await,
            };
            match after {
                After::KeepAlive if self.inbox.as_ref().is_none_or(Buffer::is_empty) => {
                    self.inbox = None;
                    return Pause::Idle;
                }
                After::KeepAlive => {}
                After::Close => {
                    // The end of a response may be that of the connection: within TLS it has to be said.
                    if self.wire.tls().is_some() {
                        let _ = self.watch.within(self.wire.shutdown()).await;
                    }
                    return Pause::Over;
                }
                After::Linger => {
                    self.linger().await;
                    return Pause::Over;
                }
            }
        }
    }

    async fn serve(&mut self, head: RequestHead) -> After {
        let Connection { caller, wire, watch, inbox, seat } = self;
        seat.work();
        // Somebody may have wanted its place a moment before the request came.
        watch.cap(u64::MAX);
        // While its request is under way the next one can use the buffer, which is warm.
        inbox.take_if(|inbox| inbox.is_empty());
        let source = Source::Http1 { wire, state: BodyState::new(head.body, Emit::Chunks), buffer: inbox };
        let exchange = Exchange { caller, client: Client::Http1(wire), watch, head: &head };
        let after = exchange::serve(exchange, source).await;
        self.caller.worker.buffers.give_back(head.into_fields());
        after
    }

    /// Reads the head of a request that has begun to come in.
    async fn next_head(&mut self) -> Result<RequestHead, NoHead> {
        let table = self.caller.door.table();
        let policy = &table.entrance.client;
        let Connection { caller, wire, watch, inbox, .. } = self;
        let worker = &caller.worker;
        let limits = &worker.limits;
        let received = policy.timeouts.request_received.filter(|limit| !limit.is_zero());
        let head = policy.timeouts.head.map_or(limits.request_head, unless_zero);
        watch.set(received.map_or(head, |limit| limit.min(head)));
        let limit = |own: Option<u32>, default: usize, ceiling: usize| {
            own.map_or(default, |own| usize::try_from(own).unwrap_or(ceiling).min(ceiling))
        };
        let bytes_max = limit(policy.limits.header_bytes, HEAD_BYTES_MAX, HEAD_CEILING.0);
        let lines_max = limit(policy.limits.header_lines, HEADER_LINES_MAX, HEAD_CEILING.1);
        let began = watch.clock().now();
        let mut reader = None;
        let mut empty_lines = 0;
        loop {
            let inbox = inbox.get_or_insert_with(|| worker.buffers.take(Size::Small));
            // An empty line before a request is skipped (RFC 9112 section 2.2); who sends no end of them is no client.
            while inbox.filled().starts_with(b"\r\n") {
                empty_lines += 1;
                if empty_lines > EMPTY_LINES_MAX {
                    return Err(NoHead::Malformed(Malformed::SYNTAX));
                }
                inbox.consume(2);
            }
            if !matches!(inbox.filled(), [] | [b'\r']) {
                let reader = reader
                    .get_or_insert_with(|| RequestReader::new(worker.buffers.fields(), bytes_max, lines_max));
                // What is no head stays: the answer depends on its method.
                let head = reader.advance(inbox.filled());
                if let Some(mut head) =
                    head.map_err(|fault| no_head(fault, inbox.filled(), caller.is_new()))?
                {
                    if head.http_1_0
                        && head.authority().is_empty()
                        && let Some(host) =
                            table.default_hosts.meant(caller.tls.as_ref().map(|tls| tls.server_name.as_str()))
                    {
                        head.suppose_authority(host);
                    }
                    if !head.scheme.is_none_or(|scheme| caller.may_be_asked_for(scheme, policy)) {
                        return Err(NoHead::Malformed(Malformed::SCHEME));
                    }
                    inbox.consume(head.len());
                    caller.head_came(watch.clock().now() - began);
                    return Ok(head);
                }
            }
            if inbox.space().is_empty() {
                inbox.grow();
            }
            let untouched = inbox.is_empty() && empty_lines == 0;
            let read = match wire.try_read(inbox.space()) {
                Ok(count) => {
                    inbox.advance(count);
                    Ok(Ok(count))
                }
                // Nothing is there after all: a silent client is to hold no buffer, and is not late.
                Err(error) if error.kind() == ErrorKind::WouldBlock && untouched => {
                    return Err(NoHead::Nothing);
                }
                Err(_) => watch.within(wire.read(inbox)).await,
            };
            match read {
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Err(NoHead::Over),
                Err(Expired) => return Err(NoHead::Late),
            }
        }
    }

    /// Waits for a request, without a buffer or anything else that one needs; false if none comes.
    async fn wait_idle(&self) -> bool {
        let closing = self.caller.door.is_closed();
        let wait = {
            let limits = &self.caller.worker.limits;
            let table = self.caller.door.table();
            let idle = table.entrance.client.timeouts.idle;
            let idle = idle.map(unless_zero);
            let idle = if closing { limits.close_grace } else { idle.unwrap_or(limits.keep_alive) };
            // Who connects comes with a request.
            let head = table.entrance.client.timeouts.head.map_or(limits.request_head, unless_zero);
            let idle = idle.min(self.caller.life_left());
            if self.caller.is_new() { idle.min(head) } else { idle }
        };
        self.seat.rest(self.watch.clock().now());
        self.watch.set_idle(wait, self.caller.door.id);
        match self.watch.within(self.wire.readable()).await {
            Ok(readable) => readable.is_ok(),
            Err(Expired) => {
                if !closing && !self.watch.is_capped() && !self.caller.is_old() {
                    self.caller.worker.metrics.slow("idle");
                }
                false
            }
        }
    }

    /// Answers what is no request.
    async fn turn_away(&self, reply: &Reply) -> After {
        let Connection { caller, wire, watch, .. } = self;
        let worker = &caller.worker;
        let table = caller.door.table();
        let mut bytes = worker.buffers.text();
        reply.write_head(Persistence::Close, &mut HeadWriter::Http1(&mut bytes));
        // No answer to HEAD has content (RFC 9110 section 9.3.2), and a client that asked so would misread it.
        if !self.inbox.as_ref().is_some_and(|inbox| inbox.filled().starts_with(b"HEAD ")) {
            reply.write_content(&mut bytes);
        }
        let _ = watch.within(wire.write_all(&bytes, watch, worker.limits.body_stall)).await;
        table.entry(None).metrics.record(reply.status, Duration::ZERO);
        worker.metrics.sent.inc_by(bytes.len() as u64);
        if worker.logs() {
            worker.log(&Record {
                client: Some(caller.client.ip()),
                peer: Some(caller.peer),
                status: reply.status,
                reason: reply.reason,
                bytes_out: bytes.len() as u64,
                tls: caller.tls.as_ref().map_or("", |tls| tls.version),
                ..Record::default()
            });
        }
        After::Linger
    }

    /// Says that no more is coming, and throws away what still arrives, so that the client can read the answer.
    async fn linger(&mut self) {
        let shut = self.wire.shutdown_write();
        self.inbox = None;
        self.watch.set(LINGER);
        let mut left = if shut.is_ok() { LINGER_BYTES_MAX } else { 0 };
        while left > 0 {
            // A client that is silent holds no buffer.
            let Ok(Ok(())) = self.watch.within(self.wire.readable()).await else { return };
            let worker = &self.caller.worker;
            worker.turns.next().await;
            let mut inbox = worker.buffers.take(Size::Small);
            match self.wire.try_read(inbox.space()) {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}

/// What becomes of a connection whose `bytes` begin with no head.
#[cold]
fn no_head(fault: Malformed, bytes: &[u8], is_new: bool) -> NoHead {
    let is_whole = !matches!(fault, Malformed::BARE_LF | Malformed::HEAD_TOO_LARGE);
    if is_new && is_whole && bytes.starts_with(PREFACE_HEAD) {
        return NoHead::Http2;
    }
    // Who begins with another protocol would not understand an answer (RFC 9113 section 3.4).
    if is_new && is_whole && is_foreign(bytes) { NoHead::Over } else { NoHead::Malformed(fault) }
}

/// Whether the first line of what came looks like that of another protocol: three words, but the second is no target and the
/// others name no version. A request with one of them wrong gets its 400 (RFC 9112 section 3).
fn is_foreign(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (first, second, third, more) = (words.next(), words.next(), words.next(), words.next());
    let plain = |word: Option<&[u8]>| {
        word.is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric))
    };
    plain(first) && plain(second) && plain(third) && more.is_none()
}
