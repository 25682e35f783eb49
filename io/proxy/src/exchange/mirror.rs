//! Copies of requests for other backends (HTTPRequestMirrorFilter). Nobody waits for a mirror, and nobody hears its answer:
//! a copy that cannot be sent, or not fast enough, is dropped. Requests for tunnels are not copied: nobody would speak in them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_model::traffic::{Backend, HeaderChanges, HttpRule, Mirror, Target};
use tidegate_traffic::balance::Ended;
use tidegate_traffic::rewrite::Rewritten;
use tokio::task::spawn_local;

use crate::body::{Flow, Framing, RequestBody, Source, Trail, relay};
use crate::framing::BodyLength;
use crate::framing::chunked::Emit;
use crate::framing::request::RequestHead;
use crate::outgoing::{self, RequestPlan, TraceLines};
use crate::timer::Expired;
use crate::upstream::{Lease, OpenError, since_start};
use crate::wire::Approach;
use crate::worker::Worker;

use super::Exchange;
use super::copy::Copy;
use super::forward::Asked;
use super::shape::{self, Web};
use super::story::Story;

/// Copies under way, for each worker; more are dropped.
const MIRRORS_MAX: usize = 1024;

thread_local! {
    /// Copies under way on this thread, which is one worker's.
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// A copy under way.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let taken = UNDER_WAY.get();
        (taken < MIRRORS_MAX).then(|| {
            UNDER_WAY.set(taken + 1);
            Place
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get() - 1);
    }
}

/// How a copy was answered.
#[derive(Clone, Copy)]
struct Answered {
    status: u16,
    /// Whether the connection may serve another request.
    reusable: bool,
}

/// What a mirror needs of the request, which may be over before the mirror is.
struct Duplicate {
    worker: Rc<Worker>,
    head: RequestHead,
    rule: Arc<HttpRule>,
    matched: tidegate_model::traffic::PathMatch,
    told: Vec<u8>,
    trace: TraceLines,
    backend: Arc<Backend>,
    approach: Approach,
    copy: Option<Rc<Copy>>,
    web: Option<Web>,
}

/// Sends copies to those mirrors whose share the request falls into.
pub fn send(
    exchange: &Exchange<'_>,
    asked: &Asked<'_, '_>,
    mirrors: &[Mirror],
    told: &[u8],
    body: &mut RequestBody<'_>,
    web: Option<&Web>,
    story: &Story<'_>,
) {
    let Exchange { caller, client, head, .. } = exchange;
    if mirrors.is_empty() || head.upgrade().is_some() {
        return;
    }
    let matched = &asked.matched;
    for mirror in tidegate_traffic::mirror::chosen(mirrors, caller.worker.random()) {
        let Target::Backend(backend) = &mirror.target else { continue };
        let Some(place) = Place::take() else {
            caller.worker.metrics.mirror_drops.inc();
            continue;
        };
        let copy = (!head.is_bodiless()).then(|| Copy::new(&caller.worker.buffers));
        if let Some(copy) = &copy {
            body.copy_to(copy.clone());
        }
        let local = || caller.local(client.wire());
        let approach = Approach::of(&backend.policy, caller.client, local, asked.believed.origin.client);
        let duplicate = Duplicate {
            approach,
            worker: caller.worker.clone(),
            head: (*head).clone(),
            rule: matched.rule.clone(),
            matched: matched.matched.path.clone(),
            told: told.to_vec(),
            trace: story.trace_lines(),
            backend: backend.clone(),
            copy,
            web: web.cloned(),
        };
        let started = story.started;
        spawn_local(async move {
            if duplicate.run(started).await.is_none() {
                duplicate.worker.metrics.mirror_drops.inc();
            }
            drop(place);
        });
    }
}

impl Duplicate {
    /// Sends the request and throws the response away; nothing if that fails.
    async fn run(&self, started: Instant) -> Option<()> {
        let worker = &self.worker;
        let now = since_start(started);
        let Backend { policy, .. } = &*self.backend;
        let service = worker.pool.service(&self.backend, &worker.shared.backends, worker.random(), now);
        let watch = worker.clock.watch();
        let connect = policy.connect_timeout.filter(|own| !own.is_zero());
        watch.set(connect.unwrap_or(worker.limits.upstream_connect));
        let place = watch.within(service.gate.admit()).await;
        let _place = place.unwrap_or_else(|_| Err(service.gate.give_up())).ok()?;
        let pick = service.balancer.pick(None, worker.random(), now, &[]).ok()?;
        let endpoint = pick.address();
        let kept =
            if self.approach.is_plain() { service.take(&worker.pool, endpoint, true, false) } else { None };
        let opened = match kept {
            Some(lease) => Ok(Ok(lease)),
            None => watch.within(service.open(worker, endpoint, &self.approach, false, &watch)).await,
        };
        let lease = match opened {
            Ok(Ok(lease)) => lease,
            // It had no place: that says nothing about the endpoint.
            Ok(Err(OpenError::Refused(_))) => return None,
            _ => {
                pick.finished(Ended::LocalFailure, started.elapsed(), since_start(Instant::now()));
                return None;
            }
        };
        watch.set(worker.limits.response_head);
        let answered = watch.within(self.exchange(&lease, &watch)).await.ok().flatten();
        let ended = answered.map_or(Ended::LocalFailure, |answered| Ended::with_status(answered.status));
        pick.finished(ended, started.elapsed(), since_start(Instant::now()));
        if answered?.reusable && !Approach::is_personal(policy) {
            service.put(worker, endpoint, lease);
        }
        Some(())
    }

    /// Sends the request and reads the answer to its end.
    async fn exchange(&self, lease: &Lease, watch: &crate::timer::Watch) -> Option<Answered> {
        let (worker, none) = (&self.worker, &HeaderChanges::default());
        let (taken, given) = (Cell::new(0), Cell::new(0));
        let stall = worker.limits.body_stall;
        let flow = Flow::at_any_pace(watch, stall, worker, &taken, &given);
        let plan = RequestPlan {
            changes: [&self.rule.filters.request_headers, none],
            rewritten: Rewritten::of(self.rule.filters.rewrite.as_ref(), None),
            matched: &self.matched,
            scheme: if self.backend.tls.is_some() { "https" } else { "http" },
            told: &self.told,
            trace: self.trace,
            host_fallback: "",
            content_type: self.web.as_ref().map(Web::request_type),
        };
        let length = shape::request_length(&self.head, self.web.as_ref());
        let mut room = worker.buffers.text();
        let framing = Framing::of(length, true);
        let mut sink = lease.upstream.request(&worker.buffers, framing, |out| {
            outgoing::request(&self.head, &plan, length, &mut room, out);
        });
        match &self.copy {
            None => sink.end(Trail::Raw(b""), &flow).await.ok()?,
            Some(copy) => {
                let mut source = Source::Copy { copy: copy.clone(), buffer: None, done: false };
                relay(&mut source, &mut sink, &flow).await.ok()?;
            }
        }
        let (mut outbox, mut sound) = (None, true);
        loop {
            let place = lease.upstream.await_head(&mut outbox, &worker.buffers, || usize::MAX).await.ok()?;
            let to_head = self.head.method() == "HEAD";
            let read = |response: &crate::framing::response::ResponseHead| {
                (response.status, response.body, response.is_persistent())
            };
            let (status, body, persistent) =
                lease.upstream.with_head(place, &mut outbox, to_head, read).ok()?;
            sound &= persistent;
            if matches!(status, 100..=199) {
                continue;
            }
            // An answer may go on for ever (SSE): it is heard for a while, and then its connection closed.
            watch.cap(worker.clock.after(self.patience()));
            let whole = match watch.within(self.throw_away(lease, &mut outbox, body, &flow)).await {
                Ok(end) => end.map(|()| true)?,
                Err(Expired) => false,
            };
            let left = outbox.as_ref().is_some_and(|rest| !rest.is_empty());
            let reusable = whole && sound && body != BodyLength::UntilClose && !left;
            return Some(Answered { status, reusable });
        }
    }

    /// How long an answer's body is listened to.
    fn patience(&self) -> Duration {
        let own = self.rule.timeouts.request.filter(|limit| !limit.is_zero());
        own.unwrap_or(self.worker.limits.response_head)
    }

    async fn throw_away(
        &self,
        lease: &Lease,
        outbox: &mut Option<crate::buffer::Buffer>,
        body: BodyLength,
        flow: &Flow<'_>,
    ) -> Option<()> {
        let mut source = lease.upstream.body(outbox, body, Emit::Content);
        loop {
            if let Some(step) = source.step(flow).ok()?
                && let Some(buffer) = source.buffer()
            {
                buffer.consume(step.consumed);
            }
            if source.is_done() || !source.fill(None, flow).await.ok()? {
                return Some(());
            }
        }
    }
}
