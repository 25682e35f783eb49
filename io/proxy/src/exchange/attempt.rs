//! One attempt: a request sent to one endpoint, and its response to the client. Both bodies move at once in one task.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidegate_model::traffic::{HeaderChanges, ResponsePolicy};
use tidegate_traffic::balance::Ended;
use tidegate_traffic::client::Believed;
use tidegate_traffic::retry::AttemptEnd;

use crate::body::{Flow, Framing, RelayError, RequestBody, Sink, Tally, Trail};
use crate::buffer::Buffer;
use crate::connection::After;
use crate::framing::BodyLength;
use crate::framing::chunked::Emit;
use crate::framing::lines::list_items;
use crate::framing::response::ResponseHead;
use crate::outgoing::{self, HeadWriter, Persistence, RequestPlan, ResponsePlan};
use crate::pace::Pace;
use crate::reply::Reply;
use crate::timer::Expired;
use crate::tunnel;
use crate::upstream::{HeadPlace, Lease, NoResponse, Upstream};

use super::Exchange;
use super::forward::Failure;
use super::shape::{self, Shape, Web};
use super::story::Story;
use super::times::ClientTimes;

/// Interim responses passed on for one request.
const INTERIM_RESPONSES_MAX: usize = 16;

/// A key of HTTP/1's handshake: 16 bytes in base64 (RFC 6455 section 4.1).
const WEBSOCKET_KEY_BYTES: usize = 24;

/// One attempt on one upstream connection or stream.
pub struct Attempt<'a> {
    pub exchange: Exchange<'a>,
    pub lease: &'a Lease,
    pub plan: RequestPlan<'a>,
    /// What becomes of the response: the rule's changes, then the backend's.
    pub response_changes: [&'a HeaderChanges; 2],
    /// Lines that the gateway adds to the response.
    pub added: &'a [u8],
    pub left_out: fn(&str) -> bool,
    /// What becomes of the response; none: it goes out as it is.
    pub responses: Option<&'a ResponsePolicy>,
    /// The client speaks gRPC-Web, the backend gRPC.
    pub web: Option<&'a Web>,
    pub believed: &'a Believed<'a>,
    pub tally: &'a Tally,
    /// Bytes sent to the client.
    pub sent: &'a Cell<u64>,
    pub began: Instant,
    /// Statuses that may be repeated, and those of gRPC where a call of it is asked for.
    pub codes: Option<&'a BTreeSet<u16>>,
    pub grpc_codes: Option<&'a BTreeSet<u16>>,
    /// How long the client is waited for.
    pub times: ClientTimes,
    /// From the end of the request to the end of the response's head.
    pub head_limit: Duration,
    /// The tick at which the attempt's own time is over.
    pub cap: u64,
}

/// What an attempt has done before: the request was sent, and has no body.
pub struct Earlier {
    /// Bytes of it.
    pub bytes: u64,
    /// What has come of a response.
    pub outbox: Option<Buffer>,
}

/// How an attempt ended.
pub enum Outcome {
    /// The client has its response.
    Done(Done),
    /// It has failed, and must not be repeated.
    Failed(Failure, Ended),
    /// A response with this status came, and is thrown away for another attempt.
    Repeat(u16),
    /// The upstream closed without a byte of response.
    Silent,
    /// The upstream says that it did nothing for the request.
    Refused,
    /// The attempt's time was over before a response began.
    Late,
}

/// A response that was passed on.
pub struct Done {
    pub after: After,
    /// Whether the upstream connection may serve another request.
    pub reuse: bool,
    pub ended: Ended,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        let ended = match failure {
            Failure::ClientGone => Ended::Abandoned,
            _ => Ended::LocalFailure,
        };
        Outcome::Failed(failure, ended)
    }
}

/// A final response's head, written but not sent.
struct Final<'c> {
    sink: Sink<'c>,
    /// What the client gets, and what the backend said.
    status: u16,
    original: u16,
    shape: Shape<'c>,
    body: BodyLength,
    emit: Emit,
    persistent: bool,
    keep: bool,
    /// Only the end of the connection ends it.
    endless: bool,
}

enum Incoming<'c> {
    Interim(Option<Sink<'c>>),
    Switching(Sink<'c>),
    Final(Final<'c>),
    Repeat(u16),
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
        self.sent = Some(result.is_ok());
        match result {
            // An upstream that stops reading may have answered early: its response decides.
            Ok(()) | Err(RelayError::To) => Ok(true),
            Err(error) => Err(of_request(error)),
        }
    }
}

/// What a request's body that fails comes to.
fn of_request(error: RelayError) -> Failure {
    match error {
        RelayError::From => Failure::ClientGone,
        RelayError::Malformed(malformed) => Failure::Reply(malformed.into()),
        RelayError::TooLarge => Failure::Reply(Reply::body_too_large()),
        RelayError::To => Failure::Reply(Reply::upstream_closed()),
        RelayError::TooSlow => Failure::Reply(Reply::client_too_slow()),
        RelayError::Unchanged => Failure::Reply(Reply::overloaded()),
    }
}

impl<'a> Attempt<'a> {
    /// Sends the request and passes its response on. `judge` says whether an end that may be repeated is.
    pub async fn run(
        &self,
        earlier: Option<Earlier>,
        body: &mut RequestBody<'_>,
        judge: impl FnOnce(AttemptEnd) -> bool,
        story: &mut Story<'_>,
    ) -> Outcome {
        let Exchange { caller, client, watch, head } = self.exchange;
        let (upstream, buffers) = (&self.lease.upstream, &caller.worker.buffers);
        // A gRPC call may last for days with a message now and then.
        let window =
            if head.is_grpc() || self.web.is_some() { Duration::MAX } else { self.times.pace_window };
        let upload = Pace::new(caller.worker.limits.body_bytes_per_sec, window);
        let flow = Flow { sender: Some(&upload), ..self.flow(&self.tally.received, &self.tally.sent) };
        match body.begin(client.is_http1() && upstream.is_http1(), &flow) {
            Ok(true) => {}
            Ok(false) => return Failure::Reply(Reply::upstream_closed()).into(),
            Err(error) => return Outcome::Failed(of_request(error), Ended::Abandoned),
        }
        if let Err(reply) = self.may_tunnel().await {
            return Outcome::Failed(Failure::Reply(reply), Ended::Abandoned);
        }
        let length = shape::request_length(head, self.web);
        let framing = Framing::of(length, body.is_content());
        let is_sent = earlier.is_some().then_some(true);
        let mut outbox = None;
        let mut sink = match earlier {
            Some(earlier) => {
                // The time for its response is running.
                self.tally.sent.set(earlier.bytes);
                outbox = earlier.outbox;
                upstream.request(buffers, framing, |_| {})
            }
            None => {
                watch.set(self.times.stall);
                let mut room = buffers.text();
                let sink = upstream.request(buffers, framing, |out| {
                    outgoing::request(head, &self.plan, length, &mut room, out);
                });
                // A head on a stream leaves with the session's next write, and no sink counts it.
                if upstream.has_opened() {
                    self.tally.sent.set(1);
                }
                sink
            }
        };
        let mut switching = {
            let mut pump = Pump { future: pin!(body.pump(&mut sink, &flow)), sent: is_sent };
            let received_by = watch.clock().after(self.times.received_within);
            let mut judge = Some(judge);
            let mut interim = 0;
            let mut persistent = true;
            loop {
                let place = match self.await_head(&mut pump, &mut outbox, received_by).await {
                    Ok(place) => place,
                    Err(outcome) => return outcome,
                };
                let sent = pump.sent == Some(true);
                let incoming = upstream.with_head(place, &mut outbox, head.method() == "HEAD", |response| {
                    persistent &= response.is_persistent();
                    let failed = self.failed(response);
                    if failed.is_some_and(|end| judge.take().is_some_and(|judge| judge(end))) {
                        return Ok(Incoming::Repeat(response.status));
                    }
                    self.translate(response, sent)
                });
                match incoming {
                    Err(_) | Ok(Err(_)) => return Failure::Reply(Reply::upstream_malformed()).into(),
                    Ok(Ok(Incoming::Repeat(status))) => return Outcome::Repeat(status),
                    Ok(Ok(Incoming::Interim(_))) if interim == INTERIM_RESPONSES_MAX => {
                        return Failure::Reply(Reply::upstream_malformed()).into();
                    }
                    Ok(Ok(Incoming::Interim(out))) => {
                        interim += 1;
                        // It may have waited for leave to send its body.
                        upload.restart(watch.clock().now());
                        if let Some(out) = out
                            && let Err(failure) = self.send(out).await
                        {
                            return failure.into();
                        }
                    }
                    Ok(Ok(Incoming::Switching(out))) => break out,
                    Ok(Ok(Incoming::Final(mut response))) => {
                        response.persistent = persistent;
                        // Who was answered may be in a conversation.
                        upload.release();
                        (story.status, story.upstream) = (response.status, self.began.elapsed());
                        return self.relay(&mut pump, &mut outbox, response).await;
                    }
                }
            }
        };
        (story.status, story.upstream) = (101, self.began.elapsed());
        watch.cap(u64::MAX);
        let from = Cell::new(0);
        let down = self.flow(&from, self.sent).with_stall(self.times.tunnel_stall);
        if switching.flush(&down).await.is_err() {
            return Failure::ClientGone.into();
        }
        let mut from_upstream = upstream.body(&mut outbox, BodyLength::UntilClose, Emit::Content);
        let up = flow.with_stall(self.times.tunnel_stall);
        let mut from_client = body.tunnel();
        let (up, down) = ((&mut from_client, &mut sink, up), (&mut from_upstream, &mut switching, down));
        // However a tunnel ends, both connections end with it. In a box: few requests become one.
        let _ = Box::pin(tunnel::run(watch, up, down)).await;
        Outcome::Done(Done { after: After::Close, reuse: false, ended: Ended::Served })
    }

    /// How the attempt ended, if this head says that it may be repeated. A gRPC call that failed before it had an answer has
    /// its status there (Trailers-Only).
    fn failed(&self, response: &ResponseHead) -> Option<AttemptEnd> {
        if self.codes.is_some_and(|codes| codes.contains(&response.status)) {
            return Some(AttemptEnd::Status(response.status));
        }
        let codes = self.grpc_codes?;
        let (_, status) = response.lines().find(|(name, _)| name.eq_ignore_ascii_case("grpc-status"))?;
        let status = std::str::from_utf8(status).ok()?.parse().ok()?;
        codes.contains(&status).then_some(AttemptEnd::Grpc(status))
    }

    /// Whether a request for a WebSocket can be sent on a connection of HTTP/2: only if the endpoint said so (RFC 8441).
    async fn may_tunnel(&self) -> Result<(), Reply> {
        let Exchange { caller, client, watch, head } = self.exchange;
        let (Upstream::Http2(call), Some(_)) = (&self.lease.upstream, head.websocket()) else {
            return Ok(());
        };
        let key = head.header("sec-websocket-key");
        if client.is_http1() && key.is_none_or(|key| key.trim_ascii().len() != WEBSOCKET_KEY_BYTES) {
            return Err(Reply::bad_handshake());
        }
        watch.set(caller.worker.limits.request_head);
        match watch.within(call.takes_tunnels()).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(Expired) => Err(Reply::no_tunnel()),
        }
    }

    fn flow<'f>(&self, taken: &'f Cell<u64>, given: &'f Cell<u64>) -> Flow<'f>
    where
        'a: 'f,
    {
        let Exchange { caller, watch, .. } = self.exchange;
        Flow::at_any_pace(watch, self.times.stall, &caller.worker, taken, given)
    }

    /// Waits for a response's head while the request's body is sent, all of which must come by a tick.
    async fn await_head(
        &self,
        pump: &mut Pump<impl Future<Output = Result<(), RelayError>> + Unpin>,
        outbox: &mut Option<Buffer>,
        received_by: u64,
    ) -> Result<HeadPlace, Outcome> {
        let Exchange { caller, client, watch, .. } = self.exchange;
        let mut head = pin!(self.lease.upstream.await_head(outbox, &caller.worker.buffers, || client.room()));
        let mut watching = true;
        if pump.sent.is_none() {
            watch.cap(self.cap.min(received_by));
        }
        poll_fn(|context| {
            match pump.poll(context) {
                Ok(true) => {
                    watch.cap(self.cap);
                    watch.set(self.head_limit);
                }
                Ok(false) => {}
                Err(failure) => return Poll::Ready(Err(Outcome::Failed(failure, Ended::Abandoned))),
            }
            if let Poll::Ready(result) = head.as_mut().poll(context) {
                return Poll::Ready(result.map_err(|error| match error {
                    NoResponse::Silent => Outcome::Silent,
                    NoResponse::Refused => Outcome::Refused,
                    NoResponse::Cut => Failure::Reply(Reply::upstream_closed()).into(),
                    NoResponse::Malformed(malformed) => {
                        tracing::debug!(reason = malformed.reason, "a backend's answer is no HTTP");
                        Failure::Reply(Reply::upstream_malformed()).into()
                    }
                }));
            }
            if pump.sent.is_some() && watching && client.poll_gone(context, &mut watching).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone.into()));
            }
            watch.poll_expired(context).map(|Expired| Err(self.expired(pump.sent.is_some())))
        })
        .await
    }

    /// What an end of patience comes to before a response has begun.
    fn expired(&self, is_sent: bool) -> Outcome {
        if is_sent && let Upstream::Http2(call) = &self.lease.upstream {
            call.waited_in_vain();
        }
        if self.exchange.watch.clock().now() >= self.cap {
            return Outcome::Late;
        }
        if is_sent {
            return Failure::Reply(Reply::upstream_timeout()).into();
        }
        Outcome::Failed(Failure::Reply(Reply::client_timeout()), Ended::Abandoned)
    }

    /// Writes a response's head for the client; nothing is sent yet. `sent`: all of the request has left.
    fn translate(&self, response: &ResponseHead, sent: bool) -> Result<Incoming<'a>, Unexpected> {
        let Exchange { caller, client, head, .. } = self.exchange;
        let buffers = &caller.worker.buffers;
        let none = &HeaderChanges::default();
        let plain = ResponsePlan {
            status: None,
            changes: [none; 3],
            left_out: [|_| false; 2],
            added: [b""; 2],
            body: BodyLength::None,
            persistence: Persistence::Silent,
        };
        match response.status {
            101 => {
                if !response.upgrade || !head.upgrade().is_some_and(|offer| switches_within(response, offer))
                {
                    return Err(Unexpected);
                }
                let [rule, backend] = self.response_changes;
                let plan = ResponsePlan {
                    persistence: Persistence::Upgrade,
                    changes: [rule, backend, none],
                    ..plain
                };
                let write = |out: &mut HeadWriter<'_>| outgoing::response(response, &plan, out);
                Ok(Incoming::Switching(client.respond(buffers, Framing::AsIs, write)))
            }
            // To a client of HTTP/2 each of these says that the tunnel stands (RFC 8441 section 5).
            200..=299 if head.http_2 && head.upgrade().is_some() => Err(Unexpected),
            100..=199 if head.http_1_0 => Ok(Incoming::Interim(None)),
            100..=199 => {
                let write = |out: &mut HeadWriter<'_>| outgoing::response(response, &plain, out);
                Ok(Incoming::Interim(Some(client.respond(buffers, Framing::AsIs, write))))
            }
            status => {
                let shape = Shape::of(self, response);
                let body = shape.length.unwrap_or(response.body);
                let strip = head.http_1_0 && body == BodyLength::Chunked;
                let raw = client.is_http1() && self.lease.upstream.is_http1() && !strip && shape.keeps_body();
                let body = if strip { BodyLength::UntilClose } else { body };
                let endless = body == BodyLength::UntilClose && client.is_http1();
                let keep = sent && !endless && self.exchange.may_keep();
                let [rule, backend] = self.response_changes;
                let status_now = shape.status.unwrap_or(status);
                let plan = ResponsePlan {
                    status: shape.status,
                    changes: [rule, backend, shape.changes.unwrap_or(none)],
                    left_out: [self.left_out, shape.left_out],
                    added: [self.added, &shape.lines],
                    body,
                    persistence: Persistence::of(keep, head.http_1_0),
                };
                let write = |out: &mut HeadWriter<'_>| outgoing::response(response, &plan, out);
                Ok(Incoming::Final(Final {
                    sink: client.respond(buffers, Framing::of(body, !raw), write),
                    status: status_now,
                    original: status,
                    shape,
                    body: response.body,
                    emit: if raw { Emit::Chunks } else { Emit::Content },
                    persistent: response.is_persistent(),
                    keep,
                    endless,
                }))
            }
        }
    }

    /// Passes on the final response, while what is left of the request's body is sent.
    async fn relay(
        &self,
        pump: &mut Pump<impl Future<Output = Result<(), RelayError>> + Unpin>,
        outbox: &mut Option<Buffer>,
        mut response: Final<'_>,
    ) -> Outcome {
        let watch = self.exchange.watch;
        watch.cap(self.cap);
        watch.set(self.times.stall);
        let taken = Cell::new(0);
        let limits = &self.exchange.caller.worker.limits;
        let download = Pace::new(limits.body_bytes_per_sec, self.times.pace_window);
        let flow = Flow { receiver: Some(&download), ..self.flow(&taken, self.sent) };
        let ended = Ended::with_status(response.original);
        let sent_before = self.sent.get();
        let exhausted;
        {
            let mut source = self.lease.upstream.body(outbox, response.body, response.emit);
            let mut relay = pin!(response.shape.pass(&mut source, &mut response.sink, &flow));
            let result = poll_fn(|context| {
                if pump.poll(context).is_err() {
                    return Poll::Ready(Err("ClientGone"));
                }
                if let Poll::Ready(result) = relay.as_mut().poll(context) {
                    return Poll::Ready(result.map_err(broken));
                }
                watch.poll_expired(context).map(|Expired| {
                    Err(if watch.clock().now() >= self.cap { "RequestTimeout" } else { STALLED })
                })
            });
            let result = result.await;
            exhausted = result == Ok(true);
            if let Err(reason) = result {
                // Nothing has left yet, so that the client can be told.
                if reason == MALFORMED && self.sent.get() == sent_before {
                    return Failure::Reply(Reply::upstream_malformed()).into();
                }
                // An end like any other would pass a part off as whole; and what a slow client has not taken would wait for it
                // in the kernel.
                let client = self.exchange.client;
                if response.endless || (reason == TOO_SLOW && client.is_http1()) {
                    client.wire().cut();
                }
                return Outcome::Failed(Failure::Broken(reason), ended);
            }
        }
        let whole = pump.sent == Some(true);
        let surplus = outbox.as_ref().is_some_and(|buffer| !buffer.is_empty());
        let after = match (whole, response.keep) {
            (false, _) => After::Linger,
            (true, true) => After::KeepAlive,
            (true, false) => self.exchange.ending(),
        };
        Outcome::Done(Done { after, reuse: whole && exhausted && response.persistent && !surplus, ended })
    }

    /// Sends an interim response.
    async fn send(&self, mut sink: Sink<'_>) -> Result<(), Failure> {
        let taken = Cell::new(0);
        let flow = self.flow(&taken, self.sent);
        match self.exchange.watch.within(sink.end(Trail::Raw(b""), &flow)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::ClientGone),
        }
    }
}

/// Whether a 101 switches to nothing but what was offered (RFC 9110 section 7.8).
fn switches_within(response: &ResponseHead, offer: &[u8]) -> bool {
    let lines = response.lines().filter(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
    let mut chosen = lines.flat_map(|(_, value)| list_items(value)).peekable();
    chosen.peek().is_some()
        && chosen.all(|protocol| list_items(offer).any(|item| item.eq_ignore_ascii_case(protocol)))
}

/// A response that does not answer the request.
struct Unexpected;

/// Reasons for the log.
const MALFORMED: &str = "UpstreamMalformed";
pub const TOO_SLOW: &str = "ClientTooSlow";
pub const STALLED: &str = "BodyStalled";

/// What the log says of a body that broke.
pub fn broken(error: RelayError) -> &'static str {
    match error {
        RelayError::From => "UpstreamClosed",
        RelayError::Malformed(_) | RelayError::TooLarge => MALFORMED,
        RelayError::To => "ClientGone",
        RelayError::TooSlow => TOO_SLOW,
        RelayError::Unchanged => "CodingFailed",
    }
}
