//! One request: routed, sent to an endpoint, answered. Both bodies move at once in one task.
//!
//! Retries: an endpoint that cannot be connected to is passed over (at most three are tried). A reused connection that
//! fails before any byte of the response is replaced once, if nothing of the request left, or if the method is
//! idempotent and the whole of what was sent is still here. Nothing else is ever sent twice.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use httparse::EMPTY_HEADER;
use tidegate_model::traffic::{Backend, HttpRule};
use tidegate_traffic::client::Origin;
use tidegate_traffic::{Decision, Matched, Outcome, Refusal, RequestView, balance};

use crate::body::{BodyState, Pipe, RelayError, RequestBody};
use crate::buffer::{Buffer, Buffers, Size};
use crate::connection::{After, Connection};
use crate::framing::chunked::Emit;
use crate::framing::request::RequestHead;
use crate::framing::response::ResponseHead;
use crate::framing::scan::HeadScan;
use crate::framing::{BodyLength, HEADER_LINES_MAX, Malformed};
use crate::outgoing::{self, Persistence, RequestContext};
use crate::reply::Reply;
use crate::wire::{Glance, Wire};
use crate::table::{ListenerEntry, Table};
use crate::timer::{Expired, Watch};
use crate::tunnel::Tunnel;
use crate::upstream::connect;
use crate::worker::Worker;

/// Endpoints tried for one request.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// Interim responses passed on for one request.
const INTERIM_RESPONSES_MAX: usize = 16;

/// nginx's number for a client that left before it was answered; only the log knows it.
const STATUS_CLIENT_GONE: u16 = 499;

/// What is known about a request once it is over.
pub struct Story<'t> {
    /// When its head was complete.
    pub started: Instant,
    /// The listener that decided.
    pub listener: &'t ListenerEntry,
    /// The rule.
    pub matched: Option<Matched<'t>>,
    /// The backend.
    pub backend: Option<&'t Arc<Backend>>,
    /// The endpoint it was sent to last.
    pub endpoint: Option<SocketAddr>,
    /// The status the client got.
    pub status: u16,
    /// Why, if no backend gave it, or what went wrong after it.
    pub reason: &'static str,
    /// What names it.
    pub request_id: String,
    /// From the first attempt to the head of the response, in microseconds.
    pub upstream_us: u64,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the response.
    pub sent: u64,
}

/// Serves one request whose head has arrived.
pub async fn serve(connection: &mut Connection, head: &RequestHead) -> After {
    let table = connection.door.table();
    let mut story = Story {
        started: Instant::now(),
        listener: table.entry(None),
        matched: None,
        backend: None,
        endpoint: None,
        status: 0,
        reason: "",
        request_id: connection.request_id(head),
        upstream_us: 0,
        received: 0,
        sent: 0,
    };
    let after = match choose(connection, head, &table, &mut story) {
        Ok((matched, backend)) => forward(connection, head, matched.rule, backend, &mut story).await,
        Err(refusal) => refuse(connection, head, &refusal.into(), &mut story).await,
    };
    connection.tell(head, &story);
    after
}

fn choose<'t>(
    connection: &Connection,
    head: &RequestHead,
    table: &'t Table,
    story: &mut Story<'t>,
) -> Result<(Matched<'t>, &'t Arc<Backend>), Refusal> {
    let view = RequestView {
        host: head.authority(),
        method: head.method(),
        path: head.path(),
        query: head.query(),
        server_name: None,
        headers: head,
    };
    let decision = table.router.route(&view);
    story.listener = table.entry(decision.listener());
    if let Decision::Matched(matched) = decision {
        story.matched = Some(matched);
    }
    let (matched, backends) = match decision.outcome() {
        Outcome::Forward(matched, backends) => (matched, backends),
        Outcome::Refuse(refusal) => return Err(refusal),
        Outcome::Redirect(..) | Outcome::Respond(..) => return Err(Refusal::broken("not served")),
    };
    let backend = balance::backend(backends, connection.worker.random())?;
    story.backend = Some(backend);
    Ok((matched, backend))
}

/// Answers in place of a backend.
async fn refuse(connection: &Connection, head: &RequestHead, reply: &Reply, story: &mut Story<'_>) -> After {
    let bodiless = matches!(head.body, BodyLength::None | BodyLength::Length(0));
    let keep = bodiless && head.persistent && !connection.is_closing();
    let bytes = reply.render(head.method() == "HEAD", Persistence::of(keep, head.http_1_0).line());
    (story.status, story.reason) = (reply.status, reply.reason);
    let stall = connection.worker.limits.body_stall;
    let written =
        connection.watch.within(connection.stream.write_all(&bytes, &connection.watch, stall)).await;
    match written {
        Ok(Ok(())) => story.sent += bytes.len() as u64,
        _ => return After::Close,
    }
    match (keep, bodiless) {
        (true, _) => After::KeepAlive,
        (false, true) => After::Close,
        (false, false) => After::Linger,
    }
}

async fn forward(
    connection: &mut Connection,
    head: &RequestHead,
    rule: &HttpRule,
    backend: &Arc<Backend>,
    story: &mut Story<'_>,
) -> After {
    let local = connection.door.address.port();
    let fallback = connection.stream.tcp().local_addr().map(|address| address.to_string()).unwrap_or_default();
    let origin = Origin { client: connection.peer.ip(), scheme: "http", host: head.authority(), port: local };
    let context = RequestContext { origin, request_id: &story.request_id, host_fallback: &fallback };
    let first = outgoing::request(head, &rule.filters.request_headers, &context);
    let mut body = match RequestBody::new(head.body, first, &mut connection.inbox) {
        Ok(body) => body,
        Err(malformed) => return refuse(connection, head, &malformed.into(), story).await,
    };
    let sent = Cell::new(0);
    let asked = Instant::now();
    let result = attempts(connection, head, rule, backend, &mut body, &sent, story).await;
    if story.upstream_us == 0 {
        story.upstream_us = micros(asked);
    }
    story.received = body.received.get();
    story.sent = sent.get();
    match result {
        Ok(after) => after,
        Err(Failure::Reply(reply)) => refuse(connection, head, &reply, story).await,
        Err(Failure::ClientGone) => {
            (story.status, story.reason) = (STATUS_CLIENT_GONE, "ClientGone");
            After::Close
        }
        Err(Failure::Broken(reason)) => {
            story.reason = reason;
            After::Close
        }
    }
}

/// How an exchange failed.
enum Failure {
    /// Nothing was answered yet: this is.
    Reply(Reply),
    /// Nobody is there to be answered.
    ClientGone,
    /// The response had begun; all one can do is close.
    Broken(&'static str),
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Failure {
        Failure::Reply(malformed.into())
    }
}

async fn attempts(
    connection: &mut Connection,
    head: &RequestHead,
    rule: &HttpRule,
    backend: &Arc<Backend>,
    body: &mut RequestBody,
    sent: &Cell<u64>,
    story: &mut Story<'_>,
) -> Result<After, Failure> {
    let worker = connection.worker.clone();
    let turn = worker.turn(backend);
    let (mut unreachable, mut stale) = (0, false);
    loop {
        let (endpoint, known) = {
            let endpoints = backend.endpoints.load();
            let endpoint = balance::round_robin(&endpoints, turn.wrapping_add(unreachable));
            (endpoint.map_err(|refusal| Failure::Reply(refusal.into()))?, endpoints.usable.len())
        };
        story.endpoint = Some(endpoint);
        let kept = if stale { None } else { worker.pool.take(endpoint, !head.is_idempotent()) };
        let reused = kept.is_some();
        let upstream = match kept {
            Some(stream) => {
                worker.metrics.upstream_reuses.inc();
                stream
            }
            None => match open(connection, endpoint).await {
                Ok(stream) => stream,
                Err(reply) => {
                    unreachable += 1;
                    if unreachable >= known.min(ENDPOINTS_TRIED_MAX) {
                        return Err(Failure::Reply(reply));
                    }
                    continue;
                }
            },
        };
        let run = Run { head, rule, upstream: &upstream, sent, asked: Instant::now() };
        match run.exchange(connection, body, story).await {
            Ok(Done { after, reuse }) => {
                if reuse {
                    worker.pool.put(
                        endpoint,
                        backend,
                        upstream,
                        worker.clock.after(worker.limits.upstream_idle),
                    );
                }
                return Ok(after);
            }
            Err(RunError::Silent) => {
                let intact = body.sent.get() == 0 || (head.is_idempotent() && !body.streamed.get());
                if !reused || stale || !intact {
                    return Err(Failure::Reply(Reply::upstream_closed()));
                }
                stale = true;
            }
            Err(RunError::Failed(failure)) => return Err(failure),
        }
    }
}

async fn open(connection: &Connection, endpoint: SocketAddr) -> Result<Wire, Reply> {
    let Connection { worker, watch, .. } = connection;
    watch.set(worker.limits.upstream_connect);
    let opened = match watch.within(connect(endpoint)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(_)) => Err(Reply::unreachable()),
        Err(Expired) => Err(Reply::connect_timeout()),
    };
    match opened {
        Ok(_) => worker.metrics.upstream_connects.inc(),
        Err(_) => worker.metrics.upstream_connect_failures.inc(),
    };
    opened
}

/// One attempt on one upstream connection.
struct Run<'r> {
    head: &'r RequestHead,
    rule: &'r HttpRule,
    upstream: &'r Wire,
    /// Bytes sent to the client.
    sent: &'r Cell<u64>,
    asked: Instant,
}

/// The client's side of an exchange.
struct Side<'s> {
    client: &'s Wire,
    watch: &'s Watch,
    worker: &'s Worker,
}

struct Done {
    after: After,
    /// Whether the upstream connection may serve another request.
    reuse: bool,
}

enum RunError {
    /// The upstream closed without a byte of response.
    Silent,
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for RunError {
    fn from(failure: F) -> RunError {
        RunError::Failed(failure.into())
    }
}

/// A final response's head, translated.
struct Final {
    out: Vec<u8>,
    status: u16,
    body: BodyState,
    persistent: bool,
    keep: bool,
}

enum Incoming {
    Interim(Vec<u8>),
    Switching(Vec<u8>),
    Final(Final),
}

/// A request's body on its way upstream, in the same task as the response.
struct Pump<F> {
    future: F,
    /// Whether all of it was sent, once it is over.
    sent: Option<bool>,
}

impl<F: Future<Output = Result<(), RelayError>> + Unpin> Pump<F> {
    /// Moves it on. True when it has just ended; an error when that ends the exchange too.
    fn poll(&mut self, context: &mut Context<'_>) -> Result<bool, Failure> {
        if self.sent.is_some() {
            return Ok(false);
        }
        let Poll::Ready(result) = Pin::new(&mut self.future).poll(context) else { return Ok(false) };
        match result {
            Ok(()) => self.sent = Some(true),
            // An upstream that stops reading may have answered early: its response decides.
            Err(RelayError::To) => self.sent = Some(false),
            Err(RelayError::From) => return Err(Failure::ClientGone),
            Err(RelayError::Malformed(malformed)) => return Err(malformed.into()),
        }
        Ok(true)
    }
}

impl Run<'_> {
    async fn exchange(
        &self,
        connection: &mut Connection,
        body: &mut RequestBody,
        story: &mut Story<'_>,
    ) -> Result<Done, RunError> {
        let Connection { worker, door, stream: client, watch, inbox, .. } = connection;
        let side = Side { client, watch, worker };
        let mut outbox = None;
        watch.set(worker.limits.body_stall);
        let switching = {
            let future =
                body.pump(inbox, client, self.upstream, watch, worker.limits.body_stall, &worker.buffers);
            let mut pump = Pump { future: pin!(future), sent: None };
            let mut interim = 0;
            loop {
                let length = self.await_head(&side, &mut pump, &mut outbox).await?;
                let Some(buffer) = outbox.as_mut() else { return Err(RunError::Silent) };
                let may_keep = !door.is_closing() && pump.sent == Some(true);
                let incoming = self.translate(&buffer.filled()[..length], may_keep)?;
                buffer.consume(length);
                match incoming {
                    Incoming::Interim(_) if interim == INTERIM_RESPONSES_MAX => {
                        return Err(Failure::Reply(Reply::upstream_malformed()).into());
                    }
                    Incoming::Interim(out) => {
                        interim += 1;
                        self.write(&side, &out).await?;
                    }
                    Incoming::Switching(out) => break out,
                    Incoming::Final(response) => {
                        (story.status, story.upstream_us) = (response.status, micros(self.asked));
                        return Ok(self.relay(&side, &mut pump, &mut outbox, response).await?);
                    }
                }
            }
        };
        (story.status, story.upstream_us) = (101, micros(self.asked));
        self.write(&side, &switching).await?;
        let tunnel = Tunnel {
            client,
            upstream: self.upstream,
            buffers: &worker.buffers,
            watch,
            idle: worker.limits.tunnel_idle,
            received: &body.received,
            sent: self.sent,
        };
        // However a tunnel ends, both connections end with it.
        let _ = tunnel.run(inbox.take(), outbox).await;
        Ok(Done { after: After::Close, reuse: false })
    }

    /// Waits for a response's head while the request's body is sent; its length in the outbox.
    async fn await_head(
        &self,
        side: &Side<'_>,
        pump: &mut Pump<impl Future<Output = Result<(), RelayError>> + Unpin>,
        outbox: &mut Option<Buffer>,
    ) -> Result<usize, RunError> {
        let mut head = pin!(read_head(self.upstream, outbox, &side.worker.buffers));
        let mut watching = true;
        poll_fn(|context| {
            match pump.poll(context) {
                Ok(true) => side.watch.set(side.worker.limits.response_head),
                Ok(false) => {}
                Err(failure) => return Poll::Ready(Err(failure.into())),
            }
            if let Poll::Ready(length) = head.as_mut().poll(context) {
                return Poll::Ready(length);
            }
            if pump.sent.is_some() && watching && poll_gone(side.client, context, &mut watching).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone.into()));
            }
            let late = if pump.sent.is_some() { Reply::upstream_timeout } else { Reply::client_timeout };
            side.watch.poll_expired(context).map(|Expired| Err(Failure::Reply(late()).into()))
        })
        .await
    }

    /// Passes on the final response, while what is left of the request's body is sent.
    async fn relay(
        &self,
        side: &Side<'_>,
        pump: &mut Pump<impl Future<Output = Result<(), RelayError>> + Unpin>,
        outbox: &mut Option<Buffer>,
        mut response: Final,
    ) -> Result<Done, Failure> {
        let stall = side.worker.limits.body_stall;
        side.watch.set(stall);
        let taken = Cell::new(0);
        let pipe = Pipe {
            from: self.upstream,
            to: side.client,
            watch: side.watch,
            stall,
            buffers: &side.worker.buffers,
            taken: &taken,
            given: self.sent,
        };
        {
            let mut relay = pin!(pipe.relay(&mut response.body, outbox, response.out));
            poll_fn(|context| {
                if pump.poll(context).is_err() {
                    return Poll::Ready(Err(Failure::Broken("ClientGone")));
                }
                if let Poll::Ready(result) = relay.as_mut().poll(context) {
                    return Poll::Ready(result.map_err(broken));
                }
                side.watch.poll_expired(context).map(|Expired| Err(Failure::Broken("BodyStalled")))
            })
            .await?;
        }
        let whole = pump.sent == Some(true);
        let surplus = outbox.as_ref().is_some_and(|buffer| !buffer.is_empty());
        let after = match (whole, response.keep) {
            (false, _) => After::Linger,
            (true, true) => After::KeepAlive,
            (true, false) => After::Close,
        };
        Ok(Done { after, reuse: whole && response.persistent && !surplus })
    }

    /// Writes to the client outside of a body.
    async fn write(&self, side: &Side<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let stall = side.worker.limits.body_stall;
        match side.watch.within(side.client.write_all(bytes, side.watch, stall)).await {
            Ok(Ok(())) => self.sent.set(self.sent.get() + bytes.len() as u64),
            _ => return Err(Failure::ClientGone),
        }
        Ok(())
    }

    /// Reads a response's head and writes the client's. `may_keep`: whether the client's connection may go on.
    fn translate(&self, bytes: &[u8], may_keep: bool) -> Result<Incoming, Failure> {
        let malformed = |_| Failure::Reply(Reply::upstream_malformed());
        let mut headers = [EMPTY_HEADER; HEADER_LINES_MAX];
        let response =
            ResponseHead::parse(bytes, &mut headers, self.head.method() == "HEAD").map_err(malformed)?;
        let changes = &self.rule.filters.response_headers;
        let old = self.head.http_1_0;
        match response.status {
            101 if self.head.upgrade().is_some() && response.upgrade => {
                let out = outgoing::response(&response, changes, BodyLength::None, Persistence::Upgrade);
                Ok(Incoming::Switching(out))
            }
            101 => Err(Failure::Reply(Reply::upstream_malformed())),
            100..=199 if old => Ok(Incoming::Interim(Vec::new())),
            100..=199 => {
                let out =
                    outgoing::response(&response, &Default::default(), BodyLength::None, Persistence::Silent);
                Ok(Incoming::Interim(out))
            }
            status => {
                let strip = old && response.body == BodyLength::Chunked;
                let framed = if strip { BodyLength::UntilClose } else { response.body };
                let keep = may_keep && self.head.persistent && framed != BodyLength::UntilClose;
                Ok(Incoming::Final(Final {
                    out: outgoing::response(&response, changes, framed, Persistence::of(keep, old)),
                    status,
                    body: BodyState::new(response.body, if strip { Emit::Content } else { Emit::Chunks }),
                    persistent: response.persistent,
                    keep,
                }))
            }
        }
    }
}

fn broken(error: RelayError) -> Failure {
    Failure::Broken(match error {
        RelayError::From => "UpstreamClosed",
        RelayError::Malformed(_) => "UpstreamMalformed",
        RelayError::To => "ClientGone",
    })
}

/// Ready when the client has left; `watching` ends when it sends something instead.
fn poll_gone(client: &Wire, context: &mut Context<'_>, watching: &mut bool) -> Poll<()> {
    while client.poll_readable(context).is_ready() {
        match client.glance() {
            Glance::Quiet => {}
            Glance::Over => return Poll::Ready(()),
            Glance::Bytes => {
                *watching = false;
                return Poll::Pending;
            }
        }
    }
    Poll::Pending
}

/// Reads until a whole head is in the buffer; its length.
async fn read_head(
    upstream: &Wire,
    outbox: &mut Option<Buffer>,
    buffers: &Rc<Buffers>,
) -> Result<usize, RunError> {
    let malformed = |_| Failure::Reply(Reply::upstream_malformed());
    let mut scan = HeadScan::default();
    loop {
        if let Some(buffer) = outbox.as_ref()
            && let Some(length) = scan.advance(buffer.filled()).map_err(malformed)?
        {
            return Ok(length);
        }
        let ready = upstream.readable().await;
        let buffer = outbox.get_or_insert_with(|| buffers.take(Size::Large));
        match (ready, upstream.read(buffer).await) {
            (Ok(()), Ok(count)) if count > 0 => {}
            _ if buffer.is_empty() => return Err(RunError::Silent),
            _ => return Err(Failure::Reply(Reply::upstream_closed()).into()),
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
