//! A client that speaks HTTP/2: its session, and a task for each of its requests.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidegate_http2::{Fault, Fields, Role, StreamId};
use tokio::task::spawn_local;

use super::session::{End, Host, Patience, Session};
use super::stream::Stream;
use crate::access_log::Record;
use crate::body::{Flow, Framing, Source, Trail};
use crate::buffer::Buffer;
use crate::census::Place;
use crate::exchange::client::{Caller, Client};
use crate::exchange::{self, Exchange};
use crate::framing::request::{Pseudo, RequestHead};
use crate::framing::{BodyLength, Malformed};
use crate::outgoing::Persistence;
use crate::reply::Reply;
use crate::shares::Holder;
use crate::timer::{Watch, unless_zero};
use crate::upstream::since_start;
use crate::wire::Wire;

use super::TAG;
use super::message::Receiver;
use super::runner::Job;
use super::waiting::Waiting;
use super::websocket;

/// What the connection preface is to an HTTP/1 parser: a head (RFC 9113 section 3.4).
pub const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// A client that has begun, or agreed, to speak HTTP/2.
pub struct Newcomer {
    caller: Caller,
    wire: Wire,
    /// What was read already.
    first: Option<Buffer>,
}

impl Newcomer {
    /// Somebody new; `first` is what was read already.
    pub fn new(caller: Caller, wire: Wire, first: Option<Buffer>) -> Newcomer {
        Newcomer { caller, wire, first }
    }

    /// Serves it in a task of its own; gives the place back at its end.
    pub fn settle(self, place: Place) {
        spawn_local(async move {
            self.run(place.holder()).await;
            drop(place);
        });
    }

    /// Serves requests until the connection is over.
    async fn run(self, holder: Option<Holder>) {
        let Newcomer { caller, wire, first } = self;
        let worker = caller.worker.clone();
        let (limits, patience) = {
            let table = caller.door.table();
            let policy = &table.entrance.client;
            let idle = policy.timeouts.idle.map(unless_zero);
            let received = policy.timeouts.request_received.map(unless_zero);
            let head = policy.timeouts.head.map_or(worker.limits.request_head, unless_zero);
            let patience = Patience {
                settle: worker.limits.request_head,
                head: received.map_or(head, |limit| limit.min(head)),
                until: caller.old_at(),
                idle: idle.unwrap_or(worker.limits.keep_alive),
                // As of its streams: else each of them would be given up, and the connection kept.
                stall: policy.timeouts.stream_idle.map_or(worker.limits.body_stall, unless_zero),
                grace: worker.limits.close_grace,
                tag: caller.door.id | TAG,
                rests: true,
                holder,
            };
            (worker.http2.limits(policy), patience)
        };
        let session = Session::new(worker.clone(), wire, Role::Server, limits);
        let front = Front { caller: Rc::new(caller), waiting: Rc::default() };
        let end = {
            let bytes = first.as_ref().map_or(&[][..], Buffer::filled);
            session.begin(bytes, &front, &patience)
        };
        drop(first);
        session.drive(end, &front, &patience).await;
    }
}

/// What a session asks of its client's side.
struct Front {
    caller: Rc<Caller>,
    waiting: Rc<Waiting>,
}

impl Front {
    fn account(&self, end: End) {
        let metrics = &self.caller.worker.metrics;
        match end {
            End::Fault(Fault::Flood(flood)) => metrics.flood(flood.name()),
            End::Fault(_) | End::Unsettled => drop(metrics.http2_errors.inc()),
            End::Stalled => metrics.flood("slow_read"),
            End::SlowHead => metrics.slow("head"),
            End::Drained | End::Closed => {}
        }
        let reason = match end {
            End::Fault(Fault::Flood(_)) => "Http2Flood",
            End::Fault(_) => "Http2Error",
            End::Unsettled => "Http2Settings",
            End::Stalled => "SlowRead",
            End::SlowHead => "RequestTimeout",
            End::Drained | End::Closed => return,
        };
        self.log(reason, 0);
    }

    /// A request that no listener saw is counted and logged all the same.
    fn turned_away(&self, reason: &'static str, status: u16) {
        self.caller.door.table().entry(None).metrics.record(status, Duration::ZERO);
        self.log(reason, status);
    }

    fn log(&self, reason: &'static str, status: u16) {
        let caller = &self.caller;
        if caller.worker.logs() {
            caller.worker.log(&Record {
                client: Some(caller.client.ip()),
                peer: Some(caller.peer),
                protocol: "HTTP/2",
                status,
                reason,
                tls: caller.tls.as_ref().map_or("", |tls| tls.version),
                ..Record::default()
            });
        }
    }
}

impl Host for Front {
    fn serve(&self, stream: Stream, head: Box<Fields>, end: bool) {
        let worker = &self.caller.worker;
        let waits = stream.session().is_crowded() || !worker.turns.are_open();
        let job = Job { caller: self.caller.clone(), stream, fields: head, end };
        match waits {
            true => self.waiting.add(job),
            false => worker.http2.runners.run(job),
        }
    }

    fn refused(&self, fault: Fault) {
        match fault {
            Fault::StreamLimit => drop(self.caller.worker.metrics.http2_refused.inc()),
            Fault::HeaderList => self.turned_away("HeadTooLarge", 431),
            Fault::Malformed(_) => self.turned_away("Http2Malformed", 400),
            _ => {}
        }
    }

    fn lost(&self, stream: StreamId) {
        if self.waiting.leave(stream) {
            self.caller.worker.metrics.http2_taken_back.inc();
        }
    }

    fn ended(&self, end: End, resets: u32) {
        self.account(end);
        self.caller.worker.metrics.http2_taken_back.inc_by(self.waiting.clear() as u64);
        // Who stopped reading may only have lost its network.
        let cut = matches!(end, End::Fault(Fault::Flood(_)));
        if cut || resets > 0 {
            let client = self.caller.client.ip();
            self.caller.worker.shared.offenders.note(client, cut, resets, since_start(Instant::now()));
        }
    }

    fn is_closing(&self) -> bool {
        self.caller.is_closing()
    }
}

/// Serves one request.
pub(super) async fn serve(job: Job, watch: &Watch) {
    let Job { caller, stream, fields, end, .. } = job;
    let (caller, stream) = (&*caller, &stream);
    // Taken back in the bytes that brought it, as a flood of resets does: nothing is dialled or logged for it.
    let head = (!stream.is_gone()).then(|| request_head(caller, &fields, end));
    let to_head = fields.method() == Some(b"HEAD");
    // Not held while the request is under way: the next one finds it warm.
    caller.worker.http2.keep_fields(fields);
    match head {
        None => drop(caller.worker.metrics.http2_taken_back.inc()),
        Some(Ok(head)) => {
            let source = Source::Http2(Receiver::new(stream));
            let exchange = Exchange { caller, client: Client::Http2(stream), watch, head: &head };
            exchange::serve(exchange, source).await;
            caller.worker.buffers.give_back(head.into_fields());
        }
        Some(Err(malformed)) => turn_away(caller, stream, watch, &malformed.into(), to_head).await,
    }
}

/// The head of a request, as every version of HTTP has it.
fn request_head(caller: &Caller, fields: &Fields, end: bool) -> Result<RequestHead, Malformed> {
    let body = match (end, fields.content_length()) {
        (true, _) => BodyLength::None,
        (false, Some(length)) => BodyLength::Length(length),
        (false, None) => BodyLength::Chunked,
    };
    let protocol = fields.protocol();
    let method = fields.method().unwrap_or_default();
    if protocol.is_some_and(|protocol| protocol != websocket::PROTOCOL)
        || (method == b"CONNECT" && protocol.is_none())
    {
        return Err(Malformed::METHOD);
    }
    // Whoever ends TLS before this gateway says https on a connection in the clear.
    let scheme = fields.scheme().unwrap_or_default();
    if ![&b"http"[..], b"https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(Malformed::TARGET);
    }
    let pseudo = Pseudo {
        method,
        authority: fields.authority().unwrap_or_default(),
        path: fields.path().unwrap_or_default(),
        protocol,
        body,
        bytes: fields.list_bytes() as usize,
    };
    // The key is HTTP/1's; over HTTP/2 a client sends none (RFC 8441 section 5).
    let key = protocol.map(|_| websocket::key(caller.worker.random(), caller.worker.random()));
    let key = key.as_ref().map(|key| (&b"sec-websocket-key"[..], &key[..]));
    let lines = fields.lines().map(|line| (line.name, line.value));
    let lines = lines.filter(|(name, _)| key.is_none() || *name != b"sec-websocket-key");
    let run = key.is_none().then(|| fields.text(0..fields.len()));
    RequestHead::from_http2(&pseudo, run, lines.chain(key), caller.worker.buffers.fields())
}

/// Answers what is no request.
async fn turn_away(caller: &Caller, stream: &Stream, watch: &Watch, reply: &Reply, to_head: bool) {
    let worker = &caller.worker;
    let (taken, given) = Default::default();
    let stall = worker.limits.body_stall;
    watch.set(stall);
    let flow = Flow::at_any_pace(watch, stall, worker, &taken, &given);
    let mut sink = Client::Http2(stream)
        .respond(&worker.buffers, Framing::AsIs, |out| reply.write_head(Persistence::Silent, out));
    // No answer to HEAD has content (RFC 9110 section 9.3.2).
    if !to_head {
        let mut content = worker.buffers.text();
        reply.write_content(&mut content);
        sink.hold(&content);
    }
    let _ = watch.within(sink.end(Trail::Raw(b""), &flow)).await;
    caller.door.table().entry(None).metrics.record(reply.status, Duration::ZERO);
    worker.metrics.sent.inc_by(given.get());
    if worker.logs() {
        worker.log(&Record {
            client: Some(caller.client.ip()),
            peer: Some(caller.peer),
            protocol: "HTTP/2",
            status: reply.status,
            reason: reply.reason,
            bytes_out: given.get(),
            tls: caller.tls.as_ref().map_or("", |tls| tls.version),
            ..Record::default()
        });
    }
}
