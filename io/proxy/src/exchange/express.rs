//! The express lane, which most requests take: no body, an endpoint with a connection at hand, an answer in one piece.
//!
//! What [`forward`](super::forward) does by futures that are ready to wait anywhere, this does in two strides with one wait
//! between them, so that a request under way holds little memory, and what it holds lies close together. Nothing is decided
//! here: who is not on this lane, or has to leave it, is taken on by `forward` from where it stands.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use tidegate_model::traffic::{BackendProtocol, Balancing, Filters, HeaderChanges};
use tidegate_traffic::balance::{Ended, Pick};
use tidegate_traffic::retry::attempt_limit;

use crate::backends::Passage;
use crate::body::{Flow, Framing, Sink, Trail};
use crate::buffer::{Buffer, Size};
use crate::connection::After;
use crate::framing::BodyLength;
use crate::framing::chunked::Step;
use crate::framing::response::{ResponseHead, ResponseReader};
use crate::outgoing::{self, HeadWriter, Persistence, ResponsePlan};
use crate::pace::Pace;
use crate::timer::Expired;
use crate::upstream::{Lease, since_start};
use crate::wire::Approach;

use super::Exchange;
use super::attempt::{STALLED, TOO_SLOW, broken};
use super::choice::Choice;
use super::forward::Asked;
use super::story::Story;
use super::times::ClientTimes;

/// A request that was begun on the lane.
pub struct Begun {
    /// Its endpoint.
    pub pick: Pick,
    /// Its place among the backend's requests.
    pub place: Passage,
    /// What was sent and what came; none: there was no connection for it.
    pub sent: Option<Sent>,
}

/// A request that was sent whole.
pub struct Sent {
    /// To where.
    pub lease: Lease,
    /// Bytes of it.
    pub bytes: u64,
    /// The tick at which its time is over.
    pub cap: u64,
    /// It was HEAD, and the response's headers are to be changed: known without another look at what has become cold
    /// meanwhile.
    to_head: bool,
    changes: bool,
    /// What has come of a response.
    pub outbox: Option<Buffer>,
}

/// How the lane ends.
pub enum Arrival {
    /// The request is served.
    Served(After),
    /// The response had begun, and cannot be ended.
    Broken(&'static str),
    /// It goes on elsewhere.
    Leaves(Begun),
}

/// Whether the lane is open to a request that goes there; then it is sent, if there is a connection for it.
pub fn set_out(
    exchange: &Exchange<'_>,
    asked: &Asked<'_, '_>,
    choice: &Choice<'_>,
    story: &mut Story<'_>,
) -> Option<Begun> {
    if !is_open(exchange, asked, choice, story) {
        return None;
    }
    let Exchange { caller, watch, head, .. } = *exchange;
    let worker = &caller.worker;
    let service = &choice.service;
    let place = service.gate.try_admit()?;
    let pick = service.balancer.pick(None, worker.random(), since_start(story.started), &[]).ok()?;
    let endpoint = pick.address();
    let Some(lease) = service.take(&worker.pool, endpoint, !head.is_idempotent(), false) else {
        return Some(Begun { pick, place, sent: None });
    };
    worker.metrics.upstream_reuses.inc();
    let timeouts = &asked.matched.rule.timeouts;
    let times = choice.response_times(asked, worker);
    let limit = attempt_limit(None, timeouts, times.total);
    let cap = limit.map_or(u64::MAX, |limit| worker.clock.after(limit));
    watch.cap(cap);
    watch.set(times.head);
    let told = super::forward::told(exchange, asked, story);
    let plan = choice.plan(asked, &told, story.trace_lines(), "", None);
    let (mut text, mut room) = (worker.buffers.text(), worker.buffers.text());
    outgoing::request(head, &plan, head.body, &mut room, &mut HeadWriter::Http1(&mut text));
    // A head that leaves in part was no request; its connection is closed, and another one tried.
    let sent = matches!(lease.upstream.wire().try_write(&text), Ok(count) if count == text.len());
    let to_head = head.method() == "HEAD";
    let changes = response_changes(asked, choice).iter().any(|changes| !changes.is_empty());
    let sent = sent.then(|| Sent { lease, bytes: text.len() as u64, cap, to_head, changes, outbox: None });
    story.endpoint = Some(endpoint);
    Some(Begun { pick, place, sent })
}

fn is_open(exchange: &Exchange<'_>, asked: &Asked<'_, '_>, choice: &Choice<'_>, story: &Story<'_>) -> bool {
    let (head, rule, policy) = (exchange.head, asked.matched.rule, &choice.backend.policy);
    let as_they_are = |filters: &Filters| filters.mirrors.is_empty() && filters.cors.is_none();
    head.is_bodiless()
        && head.upgrade().is_none()
        && !head.authority().is_empty()
        && story.recording.is_none()
        && story.responses.is_none()
        && rule.retry.is_none()
        && rule.session.is_none()
        && as_they_are(&rule.filters)
        && as_they_are(&choice.share.filters)
        && choice.backend.protocol == BackendProtocol::Http1
        && choice.backend.tls.is_none()
        && policy.retry.is_none()
        && !matches!(policy.balancing, Balancing::ConsistentHash { .. })
        && !Approach::is_personal(policy)
}

/// Waits for the response to a request that was sent, and passes it on.
pub async fn arrive(
    exchange: &Exchange<'_>,
    asked: &Asked<'_, '_>,
    choice: &Choice<'_>,
    mut begun: Begun,
    story: &mut Story<'_>,
) -> Arrival {
    let Some(sent) = &mut begun.sent else { return Arrival::Leaves(begun) };
    if !something_came(exchange, &sent.lease).await {
        return Arrival::Leaves(begun);
    }
    let Some(mut answer) = take_in(exchange, asked, choice, sent) else { return Arrival::Leaves(begun) };
    let whole = answer.sink.whole(&mut answer.outbox, &answer.given);
    story.status = answer.status;
    story.upstream = story.started.elapsed();
    let result = match whole {
        Ok(true) => Ok(()),
        Ok(false) => Box::pin(send_rest(exchange, &mut answer, ClientTimes::of(exchange, asked))).await,
        Err(error) => Err(broken(error)),
    };
    story.sent += answer.given.get();
    let (keep, reuse) = (answer.keep, answer.reuse);
    let ended = Ended::with_status(answer.status);
    drop(answer);
    begun.pick.finished(ended, story.upstream, since_start(story.started) + story.upstream);
    if let Err(reason) = result {
        if reason == TOO_SLOW && exchange.client.is_http1() {
            exchange.client.wire().cut();
        }
        return Arrival::Broken(reason);
    }
    drop(begun.place);
    if let (Some(sent), true) = (begun.sent, reuse) {
        choice.keep(&exchange.caller.worker, begun.pick.address(), sent.lease);
    }
    Arrival::Served(if keep { After::KeepAlive } else { exchange.ending() })
}

/// Waits until the endpoint sends something, or closes; false if it has taken too long, or the client is gone.
async fn something_came(exchange: &Exchange<'_>, lease: &Lease) -> bool {
    let wire = lease.upstream.wire();
    let mut watching = true;
    poll_fn(|context| {
        if wire.poll_readable(context).is_ready() {
            return Poll::Ready(true);
        }
        if watching && exchange.client.poll_gone(context, &mut watching).is_ready() {
            return Poll::Ready(false);
        }
        exchange.watch.poll_expired(context).map(|Expired| false)
    })
    .await
}

/// A response that came whole, on its way to the client.
struct Answer<'x> {
    sink: Sink<'x>,
    /// Its body.
    outbox: Buffer,
    /// Bytes that the client has taken.
    given: Cell<u64>,
    status: u16,
    /// Whether the client's connection may go on.
    keep: bool,
    /// Whether the endpoint's may.
    reuse: bool,
}

/// Reads what has come; a final response that is all there is written for the client. Of others nothing is used up.
fn take_in<'x>(
    exchange: &Exchange<'x>,
    asked: &Asked<'_, '_>,
    choice: &Choice<'_>,
    sent: &mut Sent,
) -> Option<Answer<'x>> {
    let Exchange { caller, client, .. } = *exchange;
    let (worker, none) = (&caller.worker, &HeaderChanges::default());
    let most = client.room().max(Size::Tiny.bytes());
    let size = if most <= Size::Tiny.bytes() { Size::Tiny } else { Size::Large };
    let mut outbox = worker.buffers.take(size);
    let space = outbox.space();
    let most = space.len().min(most);
    let count = sent.lease.upstream.wire().try_read(&mut space[..most]).ok().filter(|&count| count > 0)?;
    outbox.advance(count);
    let head = ResponseReader::new(worker.buffers.fields()).advance(outbox.filled()).ok().flatten();
    let answer = head.and_then(|head| {
        let response = if sent.to_head { head.into_answer_to_head() } else { head };
        let length = response.len();
        let changes = if sent.changes { response_changes(asked, choice) } else { [none, none] };
        let answer = translate(exchange, changes, &response, outbox.filled().len() - length);
        worker.buffers.give_back(response.into_fields());
        answer.map(|answer| (length, answer))
    });
    match answer {
        Some((length, (sink, status, keep, reuse))) => {
            outbox.consume(length);
            Some(Answer { sink, outbox, given: Cell::new(0), status, keep, reuse })
        }
        None => {
            sent.outbox = Some(outbox);
            None
        }
    }
}

/// What becomes of the response's headers: the rule's changes, then the backend's.
fn response_changes<'c>(asked: &'c Asked<'_, '_>, choice: &'c Choice<'_>) -> [&'c HeaderChanges; 2] {
    [&asked.matched.rule.filters.response_headers, &choice.share.filters.response_headers]
}

/// Writes a response's head, if it is one of the lane: final, and all of its body behind it.
fn translate<'x>(
    exchange: &Exchange<'x>,
    [rule, backend]: [&HeaderChanges; 2],
    response: &ResponseHead,
    behind: usize,
) -> Option<(Sink<'x>, u16, bool, bool)> {
    let Exchange { caller, client, head, .. } = *exchange;
    let is_whole = match response.body {
        BodyLength::None => behind == 0,
        BodyLength::Length(length) => length == behind as u64,
        BodyLength::Chunked | BodyLength::UntilClose => false,
    };
    if response.status < 200 || !is_whole {
        return None;
    }
    let keep = exchange.may_keep();
    let plan = ResponsePlan {
        status: None,
        changes: [rule, backend, &HeaderChanges::default()],
        left_out: [|_| false; 2],
        added: [b""; 2],
        body: response.body,
        persistence: Persistence::of(keep, head.http_1_0),
    };
    let write = |out: &mut HeadWriter<'_>| outgoing::response(response, &plan, out);
    let sink = client.respond(&caller.worker.buffers, Framing::AsIs, write);
    Some((sink, response.status, keep, response.is_persistent()))
}

/// Sends what the client did not take at once.
async fn send_rest(
    exchange: &Exchange<'_>,
    answer: &mut Answer<'_>,
    times: ClientTimes,
) -> Result<(), &'static str> {
    let Exchange { caller, watch, .. } = *exchange;
    let worker = &caller.worker;
    let (taken, pace) = (Cell::new(0), Pace::new(worker.limits.body_bytes_per_sec, times.pace_window));
    let given = &answer.given;
    let flow = Flow::at_any_pace(watch, times.stall, worker, &taken, given);
    let flow = Flow { receiver: Some(&pace), ..flow };
    watch.set(times.stall);
    let (sink, outbox) = (&mut answer.sink, &mut answer.outbox);
    let rest = async {
        let count = outbox.filled().len();
        if count > 0 {
            sink.piece(outbox, Step { consumed: count, kept: count }, true, &flow).await?;
        }
        sink.end(Trail::Raw(b""), &flow).await
    };
    match watch.within(rest).await {
        Ok(result) => result.map_err(broken),
        Err(Expired) if watch.is_capped() => Err("RequestTimeout"),
        Err(Expired) => Err(STALLED),
    }
}
