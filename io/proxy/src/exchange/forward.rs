//! A request on its way to a backend: which one, which of its endpoints, how often, how long.
//!
//! What is repeated, and when, is decided by [`Attempts`]: without settings only what is certain not to have been carried
//! out, or may be twice.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tidegate_model::traffic::{Balancing, ClientPolicy, Retry, WeightedBackend};
use tidegate_traffic::balance::key::{self, FreshCookie};
use tidegate_traffic::balance::{Ended, Held, Pick};
use tidegate_traffic::client::Believed;
use tidegate_traffic::headers::names;
use tidegate_traffic::retry::{AttemptEnd, Attempts, Next, Repeatable, attempt_limit};
use tidegate_traffic::{Matched, Refusal, cors};

use crate::backends::Passage;
use crate::body::{RequestBody, Source, Tally};
use crate::buffer::Text;
use crate::connection::After;
use crate::outgoing::{RequestPlan, TRANSPORT_SECURITY, TraceLines};
use crate::reply::Reply;
use crate::timer::Expired;
use crate::upstream::{Lease, OpenError, since_start};
use crate::wire::Approach;
use crate::worker::Worker;

use super::attempt::{Attempt, Done, Earlier, Outcome, STALLED, TOO_SLOW};
use super::choice::Choice;
use super::express::{self, Arrival, Begun, Sent};
use super::shape::Web;
use super::story::Story;
use super::times::{ClientTimes, ResponseTimes};
use super::{Exchange, answer, body_bytes_max, mirror, recording};

/// Endpoints tried because they could not be connected to, where nothing is said about repeats.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// Bytes of a request's body that are kept for a repeat.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// nginx's number for a client that left before it was answered; only the log knows it.
const STATUS_CLIENT_GONE: u16 = 499;

/// A request that matched, and who sent it.
pub struct Asked<'a, 't> {
    pub matched: Matched<'t>,
    pub believed: &'a Believed<'a>,
    pub policy: &'a ClientPolicy,
}

/// How a request failed.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was answered yet: this is.
    Reply(Reply),
    /// Nobody is there to be answered.
    ClientGone,
    /// The response had begun; all one can do is close.
    Broken(&'static str),
}

/// Sends a request to one of these backends, and its answer to the client.
pub async fn forward<'t>(
    exchange: Exchange<'_>,
    asked: &Asked<'_, 't>,
    backends: &'t [WeightedBackend],
    source: Source<'_>,
    story: &mut Story<'t>,
) -> After {
    let choice = match Choice::of(&exchange, asked, backends, story) {
        Ok(choice) => choice,
        Err(refusal) => return answer::refuse(exchange, &refusal.into(), asked.believed, story).await,
    };
    // The lane writes no lines of the gateway's own.
    let begun = if story.transport_security.is_some() {
        None
    } else {
        express::set_out(&exchange, asked, &choice, story)
    };
    let begun = match begun {
        None => None,
        Some(begun) => match express::arrive(&exchange, asked, &choice, begun, story).await {
            Arrival::Served(after) => return after,
            Arrival::Broken(reason) => return give_up(&exchange, reason, story),
            Arrival::Leaves(begun) => Some(begun),
        },
    };
    go_on(exchange, asked, choice, begun, source, story).await
}

/// The same, for every request; `begun` is what has been done for this one.
async fn go_on<'t>(
    exchange: Exchange<'_>,
    asked: &Asked<'_, 't>,
    choice: Choice<'t>,
    begun: Option<Begun>,
    source: Source<'_>,
    story: &mut Story<'t>,
) -> After {
    let worker = &exchange.caller.worker;
    let (share, backend) = (choice.share, choice.backend);
    let tally = Tally::default();
    let mut body = RequestBody::new(source, &tally, &worker.buffers);
    if let Some(max) = body_bytes_max(asked.policy, Some(&asked.matched)) {
        body.limit(max);
    }
    let told = told(&exchange, asked, story);
    let web = Web::of(exchange.head, backend);
    if web.as_ref().is_some_and(Web::reads_text) {
        body.read_text();
    }
    for filters in [&*asked.matched.rule.filters, &*share.filters] {
        mirror::send(&exchange, asked, &filters.mirrors, &told, &mut body, web.as_ref(), story);
    }
    let filters = [&asked.matched.rule.filters, &share.filters];
    let named = filters.iter().any(|filters| names(&filters.response_headers, TRANSPORT_SECURITY));
    let transport_security = story.transport_security.filter(|_| !named);
    let retry = asked.matched.rule.retry.as_deref().or(backend.policy.retry.as_ref());
    let mut forward = Forward {
        exchange,
        asked,
        choice,
        told,
        trace: story.trace_lines(),
        transport_security,
        local_host: local_host(&exchange),
        retry,
        web,
        tally: &tally,
        sent: Cell::new(0),
        tried: Vec::new(),
        repeat: RefCell::default(),
        cookie: Cell::default(),
    };
    let result = forward.attempts(begun, &mut body, story).await;
    story.received = tally.received.get();
    story.sent += forward.sent.get();
    if story.recording.is_some() {
        let (status, reason) = match &result {
            Ok(_) => (story.status, ""),
            Err(Failure::Reply(reply)) => (0, reply.reason),
            Err(Failure::ClientGone) => (story.status, "ClientGone"),
            Err(Failure::Broken(reason)) => (story.status, *reason),
        };
        story.attempt_ended(status, reason);
    }
    match result {
        Ok(after) => after,
        Err(Failure::Reply(reply)) if reply.status == 408 => {
            worker.metrics.slow("request_body");
            answer::refuse(exchange, &reply, asked.believed, story).await
        }
        Err(Failure::Reply(reply)) => answer::refuse(exchange, &reply, asked.believed, story).await,
        Err(Failure::ClientGone) => {
            (story.status, story.reason) = (STATUS_CLIENT_GONE, "ClientGone");
            exchange.client.abort();
            After::Close
        }
        Err(Failure::Broken(reason)) => give_up(&exchange, reason, story),
    }
}

/// Gives up a response that has begun.
fn give_up(exchange: &Exchange<'_>, reason: &'static str, story: &mut Story<'_>) -> After {
    if matches!(reason, STALLED | TOO_SLOW) {
        exchange.caller.worker.metrics.slow("response_body");
    }
    story.reason = reason;
    exchange.client.abort();
    After::Close
}

fn local_host(exchange: &Exchange<'_>) -> String {
    match exchange.head.authority() {
        "" => exchange.caller.local(exchange.client.wire()).to_string(),
        _ => String::new(),
    }
}

/// What the gateway tells the backend about the request.
pub fn told(exchange: &Exchange<'_>, asked: &Asked<'_, '_>, story: &Story<'_>) -> Text {
    let mut told = exchange.caller.worker.buffers.text();
    asked.believed.write(asked.policy.forwarded, &mut told);
    story.request_id.write(exchange.head, &mut told);
    if story.trace_lines() != TraceLines::Kept {
        story.trace.write(&mut told);
    }
    told
}

/// A request that is being forwarded.
struct Forward<'f, 't> {
    exchange: Exchange<'f>,
    asked: &'f Asked<'f, 't>,
    choice: Choice<'t>,
    told: Text,
    trace: TraceLines,
    /// What the answer says of `Strict-Transport-Security`.
    transport_security: Option<&'t str>,
    /// The host that is told where the client names none.
    local_host: String,
    retry: Option<&'t Retry>,
    /// The client speaks gRPC-Web, the backend gRPC.
    web: Option<Web>,
    tally: &'f Tally,
    /// Bytes sent to the client.
    sent: Cell<u64>,
    /// Endpoints that failed.
    tried: Vec<SocketAddr>,
    /// The attempt under way counts among the repeats.
    repeat: RefCell<Option<Held>>,
    /// The client had no cookie to be told by.
    cookie: Cell<Option<FreshCookie>>,
}

impl<'t> Forward<'_, 't> {
    async fn attempts(
        &mut self,
        begun: Option<Begun>,
        body: &mut RequestBody<'_>,
        story: &mut Story<'_>,
    ) -> Result<After, Failure> {
        let worker = self.exchange.caller.worker.clone();
        let backend = self.choice.service.backend.clone();
        // Who has begun has a place, and its time is running.
        let (place, mut begun) = match begun {
            Some(Begun { pick, place, sent }) => (place, Some((pick, sent))),
            None => (self.admit(&worker).await?, None),
        };
        let mut attempts = Attempts::new(self.retry);
        if attempts.may_repeat() && self.retry.is_some() {
            body.keep(KEPT_BYTES_MAX);
        }
        let timeouts = &self.asked.matched.rule.timeouts;
        let ResponseTimes { total, head: head_limit } = self.choice.response_times(self.asked, &worker);
        let times = ClientTimes::of(&self.exchange, self.asked);
        let started = story.started;
        let mut fresh = false;
        loop {
            let (pick, sent) = match begun.take() {
                Some(begun) => begun,
                None => (self.pick(&worker, started)?, None),
            };
            let endpoint = pick.address();
            story.endpoint = Some(endpoint);
            let remaining = total.map(|total| total.saturating_sub(started.elapsed()));
            let began = if total.is_some() || !self.tried.is_empty() { Instant::now() } else { started };
            if let Some(recording) = &mut story.recording {
                let span_id = worker.random().max(1).to_be_bytes();
                let url = recording::url(self.exchange.head, &self.plan());
                recording.begin(&story.trace, started.elapsed(), (endpoint, span_id, url), &mut self.told);
            }
            let mut refused = false;
            let limit = attempt_limit(self.retry, timeouts, remaining);
            let cap = match &sent {
                Some(sent) => sent.cap,
                None => limit.map_or(u64::MAX, |limit| worker.clock.after(limit)),
            };
            self.exchange.watch.cap(cap);
            let (leased, earlier) = match sent {
                Some(Sent { lease, bytes, outbox, .. }) => (Ok(lease), Some(Earlier { bytes, outbox })),
                None => (self.lease(&worker, endpoint, fresh).await, None),
            };
            let outcome = match leased {
                Ok(lease) => {
                    let reused = lease.is_used;
                    if let Some(recording) = &mut story.recording {
                        recording.connected(lease.upstream.is_http1());
                    }
                    let mut asked_repeat = None;
                    let judge = |end: AttemptEnd| {
                        let request = Repeatable::of(self.exchange.head.method(), !self.tally.streamed.get());
                        let next = self.next(&mut attempts, end, request, remaining_of(total, started));
                        asked_repeat = next;
                        next.is_some()
                    };
                    let attempt = Attempt {
                        exchange: self.exchange,
                        lease: &lease,
                        plan: self.plan(),
                        response_changes: [
                            &self.asked.matched.rule.filters.response_headers,
                            &self.choice.share.filters.response_headers,
                        ],
                        added: &self.added(endpoint),
                        left_out: self.left_out(),
                        responses: story.responses,
                        web: self.web.as_ref(),
                        believed: self.asked.believed,
                        tally: self.tally,
                        sent: &self.sent,
                        began,
                        codes: self.retry.map(|retry| &retry.codes),
                        grpc_codes: self.grpc_codes(),
                        times,
                        head_limit,
                        cap,
                    };
                    match attempt.run(earlier, body, judge, story).await {
                        Outcome::Done(Done { after, reuse, ended }) => {
                            pick.finished(ended, story.upstream, since_start(began) + story.upstream);
                            drop(place);
                            if reuse && !Approach::is_personal(&backend.policy) {
                                self.choice.keep(&worker, endpoint, lease);
                            }
                            return Ok(after);
                        }
                        Outcome::Failed(failure, ended) => {
                            pick.finished(ended, began.elapsed(), since_start(Instant::now()));
                            return Err(failure);
                        }
                        Outcome::Repeat(status) => {
                            story.attempt_ended(status, "");
                            pick.finished(
                                Ended::with_status(status),
                                began.elapsed(),
                                since_start(Instant::now()),
                            );
                            drop(pick);
                            self.tried.push(endpoint);
                            self.pause(asked_repeat.unwrap_or_default()).await?;
                            continue;
                        }
                        Outcome::Refused => {
                            refused = true;
                            (AttemptEnd::StaleConnection, Reply::upstream_closed())
                        }
                        Outcome::Silent if reused => (AttemptEnd::StaleConnection, Reply::upstream_closed()),
                        Outcome::Silent => (AttemptEnd::Broken, Reply::upstream_closed()),
                        Outcome::Late if is_over(total, started) => {
                            pick.finished(Ended::LocalFailure, began.elapsed(), since_start(Instant::now()));
                            return Err(Failure::Reply(Reply::request_timeout()));
                        }
                        Outcome::Late => (AttemptEnd::TimedOut, Reply::attempt_timeout()),
                    }
                }
                Err(Unopened::Refused(refusal)) => return Err(Failure::Reply(refusal.into())),
                Err(Unopened::Failed(reply)) => (AttemptEnd::NotConnected, reply),
            };
            let (end, reply) = outcome;
            story.attempt_ended(0, reply.reason);
            let stale = end == AttemptEnd::StaleConnection;
            if !stale {
                pick.finished(Ended::LocalFailure, began.elapsed(), since_start(Instant::now()));
                self.tried.push(endpoint);
            }
            drop(pick);
            // A new connection to the endpoint that closed the old one, and no third.
            fresh = stale;
            let untouched = refused || self.tally.sent.get() == 0;
            let request = Repeatable::of(self.exchange.head.method(), !self.tally.streamed.get());
            let request = Repeatable { idempotent: request.idempotent || untouched, ..request };
            let unopened = end == AttemptEnd::NotConnected && self.retry.is_none();
            let next = if unopened {
                (self.tried.len() < ENDPOINTS_TRIED_MAX.min(backend.endpoints.load().usable.len()))
                    .then_some(Duration::ZERO)
            } else {
                self.next(&mut attempts, end, request, remaining_of(total, started))
            };
            match next {
                Some(pause) => self.pause(pause).await?,
                None => return Err(Failure::Reply(reply)),
            }
        }
    }

    /// A place among the backend's requests, waited for as long as for a response, and while the client is there.
    async fn admit(&self, worker: &Worker) -> Result<Passage, Failure> {
        let Exchange { client, watch, .. } = self.exchange;
        let own = self.choice.response_times(self.asked, worker).total;
        watch.set(own.unwrap_or(worker.limits.response_head));
        let gate = &self.choice.service.gate;
        let mut place = pin!(gate.admit());
        let mut watching = true;
        poll_fn(|context| {
            if let Poll::Ready(place) = place.as_mut().poll(context) {
                return Poll::Ready(place.map_err(|refusal| Failure::Reply(refusal.into())));
            }
            if watching && client.poll_gone(context, &mut watching).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            watch.poll_expired(context).map(|Expired| Err(Failure::Reply(gate.give_up().into())))
        })
        .await
    }

    fn connect_timeout(&self, worker: &Worker) -> Duration {
        let own = self.choice.service.backend.policy.connect_timeout;
        own.filter(|own| !own.is_zero()).unwrap_or(worker.limits.upstream_connect)
    }

    /// The endpoint of the next attempt.
    fn pick(&self, worker: &Worker, started: Instant) -> Result<Pick, Failure> {
        let now = since_start(started);
        if let Some(address) = self.choice.kept_endpoint()
            && self.tried.is_empty()
            && let Some(pick) = self.choice.service.balancer.stay(address, now)
        {
            return Ok(pick);
        }
        let key = self.hash_key(worker);
        self.choice
            .service
            .balancer
            .pick(key, worker.random(), now, &self.tried)
            .map_err(|refusal| Failure::Reply(refusal.into()))
    }

    /// What a consistent hash is taken over; a client without the cookie is given one.
    fn hash_key(&self, worker: &Worker) -> Option<u64> {
        let Balancing::ConsistentHash { key, .. } = &self.choice.service.backend.policy.balancing else {
            return None;
        };
        let head = self.exchange.head;
        let hash = key::of_request(key, (head.path(), head.query()), head, self.asked.believed);
        hash.or_else(|| {
            let cookie = self.cookie.get().or_else(|| FreshCookie::new(key, worker.random()));
            self.cookie.set(cookie);
            cookie.map(|cookie| cookie.hash())
        })
    }

    /// A connection to the endpoint: one that is kept, or a new one.
    async fn lease(&self, worker: &Rc<Worker>, endpoint: SocketAddr, fresh: bool) -> Result<Lease, Unopened> {
        let service = &self.choice.service;
        let tunnel = self.exchange.head.upgrade().is_some();
        // A connection that speaks for one client serves no other.
        let Exchange { caller, client, .. } = self.exchange;
        let policy = &service.backend.policy;
        let believed = self.asked.believed.origin.client;
        let approach = Approach::of(policy, caller.client, || caller.local(client.wire()), believed);
        let kept = if fresh || !approach.is_plain() {
            None
        } else {
            service.take(&worker.pool, endpoint, !self.exchange.head.is_idempotent(), tunnel)
        };
        if let Some(lease) = kept {
            worker.metrics.upstream_reuses.inc();
            return Ok(lease);
        }
        let watch = self.exchange.watch;
        watch.set(self.connect_timeout(worker));
        // In a box: most requests find a connection, and are not to carry the room for making one. The watch ends TLS too:
        // connecting sets it anew for the handshake.
        let opened = Box::pin(service.open(worker, endpoint, &approach, tunnel, watch));
        match watch.within(opened).await {
            Ok(Ok(lease)) => {
                // It may have been opened for somebody else.
                if lease.is_used {
                    worker.metrics.upstream_reuses.inc();
                }
                Ok(lease)
            }
            Ok(Err(OpenError::Refused(refusal))) => Err(Unopened::Refused(refusal)),
            Ok(Err(OpenError::Failed(error))) => {
                tracing::debug!(%endpoint, %error, "an endpoint cannot be reached");
                Err(Unopened::Failed(Reply::unreachable()))
            }
            Ok(Err(OpenError::Insecure(error))) => {
                tracing::debug!(%endpoint, ?error, "no TLS with an endpoint");
                Err(Unopened::Failed(Reply::insecure(error.reason())))
            }
            Err(Expired) => Err(Unopened::Failed(Reply::connect_timeout())),
        }
    }

    /// Statuses of gRPC that may be repeated, of a call.
    fn grpc_codes(&self) -> Option<&'t BTreeSet<u16>> {
        let codes = self.retry.map(|retry| &retry.grpc_codes).filter(|codes| !codes.is_empty())?;
        (self.web.is_some() || self.exchange.head.is_grpc()).then_some(codes)
    }

    /// The pause before another attempt, if there is to be one.
    fn next(
        &self,
        attempts: &mut Attempts<'_>,
        end: AttemptEnd,
        request: Repeatable,
        remaining: Option<Duration>,
    ) -> Option<Duration> {
        let budget = || match self.retry {
            Some(retry) => {
                let held = self.choice.service.repeat(retry, since_start(Instant::now()));
                let may = held.is_some();
                self.repeat.replace(held);
                may
            }
            None => true,
        };
        match attempts.after(end, request, self.exchange.caller.worker.random(), remaining, budget) {
            Next::Repeat(pause) => Some(pause),
            Next::GiveUp(_) => None,
        }
    }

    /// Waits before another attempt, while the client is there.
    async fn pause(&self, pause: Duration) -> Result<(), Failure> {
        if pause.is_zero() {
            return Ok(());
        }
        let client = self.exchange.client;
        let mut over = pin!(tokio::time::sleep(pause));
        let mut watching = true;
        poll_fn(|context| {
            if watching && client.poll_gone(context, &mut watching).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            over.as_mut().poll(context).map(Ok)
        })
        .await
    }

    fn plan(&self) -> RequestPlan<'_> {
        self.choice.plan(self.asked, &self.told, self.trace, &self.local_host, self.web.as_ref())
    }

    /// Lines that the gateway adds to the response.
    fn added(&self, endpoint: SocketAddr) -> Text {
        let Exchange { caller, head, .. } = self.exchange;
        let mut added = caller.worker.buffers.text();
        for filters in [&self.asked.matched.rule.filters, &self.choice.share.filters] {
            if let Some(cors) = &filters.cors {
                cors::write_response_lines(cors, cors::origin(head), &mut added);
            }
        }
        if let Some(value) = self.transport_security {
            for part in [TRANSPORT_SECURITY, ": ", value, "\r\n"] {
                added.extend_from_slice(part.as_bytes());
            }
        }
        self.choice.write_session(self.exchange, self.asked, endpoint, &mut added);
        if let (Some(cookie), Balancing::ConsistentHash { key, .. }) =
            (self.cookie.get(), &self.choice.service.backend.policy.balancing)
        {
            cookie.write_line(key, self.asked.believed.origin.scheme == "https", &mut added);
        }
        added
    }

    fn left_out(&self) -> fn(&str) -> bool {
        let filters = [&self.asked.matched.rule.filters, &self.choice.share.filters];
        let cors = filters.iter().any(|filters| filters.cors.is_some());
        match (cors, self.transport_security.is_some()) {
            (false, false) => |_| false,
            (true, false) => cors::is_cors_line,
            (false, true) => is_transport_security,
            (true, true) => |name| is_transport_security(name) || cors::is_cors_line(name),
        }
    }
}

/// Whether a backend says what the gateway is to say: once (RFC 6797 section 6.1).
fn is_transport_security(name: &str) -> bool {
    name.eq_ignore_ascii_case(TRANSPORT_SECURITY)
}

/// Why there is no connection.
enum Unopened {
    Refused(Refusal),
    Failed(Reply),
}

fn remaining_of(total: Option<Duration>, started: Instant) -> Option<Duration> {
    total.map(|total| total.saturating_sub(started.elapsed()))
}

fn is_over(total: Option<Duration>, started: Instant) -> bool {
    remaining_of(total, started).is_some_and(|left| left.is_zero())
}
