//! Backends as a worker uses them: whose turn it is, connections opened when needed and kept for the next request, and
//! what is spoken on them.
//!
//! What the process knows of a backend (health, limits, repeats) is in its [`Slot`](crate::backends::Slot), shared by all
//! workers; a worker's own [`Service`] has its turns and its unused connections. Two routes may use one Service port with different settings:
//! each combination is a service of its own, so connections that differ in what protects them are never mixed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tidegate_model::traffic::{Backend, BackendProtocol, Retry, Transport};
use tidegate_traffic::Refusal;
use tidegate_traffic::balance::{Balancer, Held};
use tidegate_traffic::hash::Quick;

use crate::backends::{Backends, Gate, Passage, address};
use crate::body::{BodyState, Framing, Sink, Source};
use crate::buffer::{Buffer, Buffers, Size};
use crate::framing::chunked::Emit;
use crate::framing::response::{ResponseHead, ResponseReader};
use crate::framing::{BodyLength, Malformed};
use crate::http2::{Call, Session, Sessions, Wear};
use crate::metrics::Metrics;
use crate::outgoing::HeadWriter;
use crate::timer::Watch;
use crate::wire::{Alpn, Approach, ConnectError, Offer, Wire, connect};
use crate::worker::Worker;

/// Connections that a worker keeps over all endpoints.
const IDLE_TOTAL_MAX: usize = 4096;

/// A service that nobody has asked for so long is forgotten.
const SERVICE_UNUSED_MAX: Duration = Duration::from_secs(300);

/// The time that balancing goes by: since the first call in this process.
pub fn since_start(now: Instant) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    now.saturating_duration_since(*START.get_or_init(|| now))
}

/// The upstream's side of one attempt.
pub enum Upstream {
    /// A whole connection, for as long as the attempt lasts.
    Http1(Wire),
    /// A stream of a shared connection; in a box, because a lease is handed around for every request.
    Http2(Box<Call>),
}

/// Why no head of a response came.
#[derive(Debug)]
pub enum NoResponse {
    /// The upstream closed without a byte of it.
    Silent,
    /// It says that it did nothing for the request, or was not asked at all.
    Refused,
    /// It closed in the middle of the head.
    Cut,
    /// What it sent is no head.
    Malformed(Malformed),
}

impl Upstream {
    /// Whether bodies may pass with HTTP/1's framing.
    pub fn is_http1(&self) -> bool {
        matches!(self, Upstream::Http1(_))
    }

    /// The connection below.
    pub fn wire(&self) -> &Wire {
        match self {
            Upstream::Http1(wire) => wire,
            Upstream::Http2(call) => call.session().wire(),
        }
    }

    /// Writes the head of a request. It leaves with what follows it in the sink.
    pub fn request(
        &self,
        buffers: &Rc<Buffers>,
        framing: Framing,
        write: impl FnOnce(&mut HeadWriter<'_>),
    ) -> Sink<'_> {
        match self {
            Upstream::Http1(wire) => {
                let mut first = buffers.text();
                write(&mut HeadWriter::Http1(&mut first));
                Sink::Http1 { wire, first, framing }
            }
            Upstream::Http2(call) => Sink::Http2(call.request(buffers, write)),
        }
    }

    /// Whether a request's head has left, or is as good as gone: there is a stream for it. Of HTTP/1 the sink knows.
    pub fn has_opened(&self) -> bool {
        matches!(self, Upstream::Http2(call) if call.has_opened())
    }

    /// Waits for the head of a response, interim or final. `room`: what of a body the client would take now; little more is
    /// read with the head.
    pub async fn await_head(
        &self,
        outbox: &mut Option<Buffer>,
        buffers: &Rc<Buffers>,
        room: impl Fn() -> usize,
    ) -> Result<HeadPlace, NoResponse> {
        let wire = match self {
            Upstream::Http1(wire) => wire,
            Upstream::Http2(call) => return call.await_head().await.map(|()| HeadPlace(None)),
        };
        let mut reader = None;
        loop {
            if let Some(buffer) = outbox.as_ref().filter(|buffer| !buffer.is_empty()) {
                let reader = reader.get_or_insert_with(|| ResponseReader::new(buffers.fields()));
                let head = reader.advance(buffer.filled()).map_err(NoResponse::Malformed)?;
                if head.is_some() {
                    return Ok(HeadPlace(head));
                }
            }
            let ready = wire.readable().await;
            let most = room().max(Size::Tiny.bytes());
            let size = if most <= Size::Tiny.bytes() { Size::Tiny } else { Size::Large };
            let buffer = outbox.get_or_insert_with(|| buffers.take(size));
            if buffer.space().is_empty() {
                buffer.grow();
            }
            match (ready, wire.read_most(buffer, most).await) {
                (Ok(()), Ok(count)) if count > 0 => {}
                _ if buffer.is_empty() => return Err(NoResponse::Silent),
                _ => return Err(NoResponse::Cut),
            }
        }
    }

    /// Reads the head that came and takes it off the buffer.
    pub fn with_head<T>(
        &self,
        place: HeadPlace,
        outbox: &mut Option<Buffer>,
        to_head: bool,
        read: impl FnOnce(&ResponseHead) -> T,
    ) -> Result<T, Malformed> {
        if let Upstream::Http2(call) = self {
            return call.with_head(to_head, read);
        }
        let (Some(buffer), Some(head)) = (outbox.as_mut(), place.0) else { return Err(Malformed::SYNTAX) };
        buffer.consume(head.len());
        let head = if to_head { head.into_answer_to_head() } else { head };
        let result = read(&head);
        buffer.home().give_back(head.into_fields());
        Ok(result)
    }

    /// The body behind the head of a final response.
    pub fn body<'u>(&'u self, outbox: &'u mut Option<Buffer>, length: BodyLength, emit: Emit) -> Source<'u> {
        match self {
            Upstream::Http1(wire) => {
                Source::Http1 { wire, state: BodyState::new(length, emit), buffer: outbox }
            }
            Upstream::Http2(call) => match call.body() {
                Some(receiver) => Source::Http2(receiver),
                // No head comes without a stream.
                None => Source::Http1 { wire: call.session().wire(), state: BodyState::Done, buffer: outbox },
            },
        }
    }
}

/// A head that has come and was not read yet; HTTP/2 keeps its own.
#[derive(Debug)]
pub struct HeadPlace(Option<ResponseHead>);

/// A connection that an attempt uses, or that is kept.
pub struct Lease {
    pub upstream: Upstream,
    /// Whether it has served a request before.
    pub is_used: bool,
    requests: u32,
    /// The tick from which on it takes no new request; a shared one has its own.
    old_at: u64,
    /// None: the connection is shared, and has its own.
    place: Option<Passage>,
}

impl Lease {
    fn of(session: Rc<Session>, is_used: bool) -> Lease {
        Lease {
            upstream: Upstream::Http2(Box::new(Call::new(session))),
            is_used,
            requests: 0,
            old_at: u64::MAX,
            place: None,
        }
    }

    /// Whether somebody, perhaps in another worker, waits for its place.
    fn is_wanted(&self) -> bool {
        self.place.as_ref().is_some_and(Passage::is_wanted)
    }
}

/// A backend as one worker uses it.
pub struct Service {
    /// As the route that came first names it; others that are equal share the service.
    pub backend: Arc<Backend>,
    pub balancer: Balancer,
    pub gate: Gate,
    used: Cell<Duration>,
    idle: RefCell<HashMap<SocketAddr, Shelf, Quick>>,
    sessions: Sessions,
}

struct Idle {
    lease: Lease,
    until_tick: u64,
}

/// The unused connections to one endpoint.
#[derive(Default)]
struct Shelf {
    idle: Vec<Idle>,
    /// The version of the endpoints that it was last found among, plus one.
    found_in: u64,
}

impl Service {
    /// Whether another attempt is within the budget, and within what may be repeated at once; held until it is over.
    pub fn repeat(&self, retry: &Retry, now: Duration) -> Option<Held> {
        let held = self.gate.repeat()?;
        self.balancer.may_repeat(retry.budget_percent, retry.budget_min_per_sec, now).then_some(held)
    }

    /// Whether a request for a tunnel had better have a connection of HTTP/1, which any server upgrades: where the backend
    /// did not ask for HTTP/2, though it may take it.
    fn needs_own(&self, tunnel: bool) -> bool {
        tunnel && self.backend.protocol == BackendProtocol::Http1
    }

    /// How long connections may be used.
    fn wear(&self, worker: &Worker) -> Wear {
        let policy = &self.backend.policy;
        let idle = policy.idle_timeout.filter(|idle| !idle.is_zero());
        Wear {
            idle: idle.unwrap_or(worker.limits.upstream_idle),
            life: policy.connection_max,
            requests: policy.breaker.requests_per_connection,
            http2: policy.http2,
        }
    }

    /// An unused connection that was alive a moment ago; `thorough` asks the kernel, which is for requests that cannot
    /// be repeated. `tunnel`: for a request that asks for one.
    pub fn take(&self, pool: &Pool, endpoint: SocketAddr, thorough: bool, tunnel: bool) -> Option<Lease> {
        if !self.needs_own(tunnel)
            && let Some(session) = self.sessions.find(endpoint)
        {
            return Some(Lease::of(session, true));
        }
        let mut idle = self.idle.borrow_mut();
        let shelf = idle.get_mut(&endpoint)?;
        while let Some(Idle { lease, .. }) = shelf.idle.pop() {
            // A service that was forgotten meanwhile is not counted any more.
            pool.total.set(pool.total.get().saturating_sub(1));
            if lease.upstream.wire().is_alive(thorough) {
                return Some(lease);
            }
        }
        None
    }

    /// Opens a connection, or shares one that was opened meanwhile. The watch runs with the limit for
    /// connecting, and is set anew for TLS. `tunnel` as of [`take`](Self::take).
    pub async fn open(
        &self,
        worker: &Rc<Worker>,
        endpoint: SocketAddr,
        approach: &Approach,
        tunnel: bool,
        watch: &Watch,
    ) -> Result<Lease, OpenError> {
        if self.backend.protocol == BackendProtocol::Http1 || !approach.is_plain() {
            return self.open_one(worker, endpoint, approach, tunnel, watch).await;
        }
        loop {
            let dial = self.sessions.join(endpoint, self.wear(worker)).await.map_err(OpenError::Failed)?;
            if let Some(session) = self.sessions.find(endpoint) {
                return Ok(Lease::of(session, true));
            }
            let Some(mut dial) = dial else { continue };
            let opened = self.open_one(worker, endpoint, approach, tunnel, watch).await;
            match &opened {
                Err(OpenError::Failed(error)) => dial.fail(error),
                Err(OpenError::Insecure(error)) => dial.fail(&io::Error::other(error.reason())),
                Ok(_) | Err(OpenError::Refused(_)) => {}
            }
            return opened;
        }
    }

    async fn open_one(
        &self,
        worker: &Rc<Worker>,
        endpoint: SocketAddr,
        approach: &Approach,
        tunnel: bool,
        watch: &Watch,
    ) -> Result<Lease, OpenError> {
        // Who waits in vain for a place says nothing about the endpoint.
        let place = watch.within(self.gate.connection(approach.on_behalf)).await;
        let place = place.unwrap_or_else(|_| Err(self.gate.give_up())).map_err(OpenError::Refused)?;
        if worker.shared.own.lead_back(Transport::Tcp, endpoint) {
            return Err(OpenError::Failed(io::Error::other("the endpoint is this gateway itself")));
        }
        // A connection that speaks for one client is not shared.
        let offer = match self.backend.protocol {
            _ if !approach.is_plain() || self.needs_own(tunnel) => Offer::Http1,
            BackendProtocol::Http1 => Offer::Http,
            BackendProtocol::Http2 => Offer::Http2,
        };
        let mut dialled = Dialled { metrics: &worker.metrics, is_open: false };
        let opened = connect(&self.backend, endpoint, offer, approach, &worker.handshakes, watch).await;
        dialled.is_open = opened.is_ok();
        drop(dialled);
        let wire = opened.map_err(|error| match error {
            ConnectError::Io(error) => OpenError::Failed(error),
            error => OpenError::Insecure(error),
        })?;
        let is_http2 = match wire.tls() {
            Some(facts) => facts.alpn == Alpn::Http2,
            None => self.backend.protocol == BackendProtocol::Http2,
        };
        if is_http2 {
            return Ok(Lease::of(
                self.sessions.begin(worker, endpoint, wire, place, self.wear(worker)),
                false,
            ));
        }
        let life = self.backend.policy.connection_max;
        let old_at = life.map_or(u64::MAX, |life| worker.clock.after(life));
        Ok(Lease { upstream: Upstream::Http1(wire), is_used: false, requests: 0, old_at, place: Some(place) })
    }

    /// Keeps a connection that has served a request, unless its endpoint is gone or enough are kept: then it is closed.
    pub fn put(&self, worker: &Worker, endpoint: SocketAddr, mut lease: Lease) {
        if !lease.upstream.is_http1() {
            return;
        }
        lease.requests += 1;
        lease.is_used = true;
        let (pool, wear) = (&worker.pool, self.wear(worker));
        let worn =
            wear.requests.is_some_and(|max| lease.requests >= max) || lease.old_at <= worker.clock.now();
        let until_tick = worker.clock.after(wear.idle).min(lease.old_at);
        if let Some(place) = &mut lease.place {
            place.settle();
        }
        let unwanted =
            worn || lease.is_wanted() || self.gate.is_short() || pool.total.get() >= IDLE_TOTAL_MAX;
        if unwanted {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let shelf = idle.entry(endpoint).or_default();
        let version = self.backend.endpoints.version() + 1;
        if shelf.found_in != version {
            if !self.backend.endpoints.load().contains(endpoint) {
                return;
            }
            shelf.found_in = version;
        }
        if shelf.idle.len() < pool.per_endpoint {
            shelf.idle.push(Idle { lease, until_tick });
            pool.total.set(pool.total.get() + 1);
        }
    }

    /// Closes what is too old, what the other side closed, and what leads to endpoints that are gone; how many unused
    /// connections and how many sessions are left.
    fn sweep(&self, now_tick: u64) -> (usize, usize) {
        let endpoints = self.backend.endpoints.load();
        let mut left = 0;
        self.idle.borrow_mut().retain(|endpoint, shelf| {
            if !endpoints.contains(*endpoint) {
                return false;
            }
            // Who waits for a place to connect goes before who may come.
            let stays =
                |idle: &Idle| idle.until_tick > now_tick && !idle.lease.is_wanted() && !self.gate.is_short();
            shelf.idle.retain(|idle| stays(idle) && idle.lease.upstream.wire().is_alive(false));
            left += shelf.idle.len();
            !shelf.idle.is_empty()
        });
        (left, self.sessions.sweep(|endpoint| endpoints.contains(endpoint)))
    }
}

/// A connection that is being opened, to be counted once however many requests wait for it: at its end, or when its time is over.
struct Dialled<'m> {
    metrics: &'m Metrics,
    is_open: bool,
}

impl Drop for Dialled<'_> {
    fn drop(&mut self) {
        let Metrics { upstream_connects, upstream_connect_failures, .. } = self.metrics;
        if self.is_open {
            upstream_connects.inc()
        } else {
            upstream_connect_failures.inc()
        };
    }
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The backend has all connections that it may have.
    Refused(Refusal),
    /// The endpoint cannot be reached.
    Failed(io::Error),
    /// TLS did not come about.
    Insecure(ConnectError),
}

/// Services by the address of the backend, which is held so that no other comes to stand there.
type ByBackend = HashMap<usize, (Arc<Backend>, Rc<Service>), Quick>;

/// The services of one worker, and the number of unused connections over all of them.
pub struct Pool {
    by_backend: RefCell<ByBackend>,
    /// By the address of the slot: equal backends share one.
    services: RefCell<HashMap<usize, Rc<Service>, Quick>>,
    total: Cell<usize>,
    per_endpoint: usize,
}

impl Pool {
    /// An empty pool that keeps so many connections for each endpoint.
    pub fn new(per_endpoint: usize) -> Pool {
        Pool {
            by_backend: RefCell::default(),
            services: RefCell::default(),
            total: Cell::new(0),
            per_endpoint,
        }
    }

    /// The service of a backend.
    pub fn service(&self, backend: &Arc<Backend>, all: &Backends, random: u64, now: Duration) -> Rc<Service> {
        if let Some((_, service)) = self.by_backend.borrow().get(&address(backend)) {
            service.used.set(now);
            return service.clone();
        }
        self.first(backend, all, random, now)
    }

    #[cold]
    fn first(&self, backend: &Arc<Backend>, all: &Backends, random: u64, now: Duration) -> Rc<Service> {
        let gate = all.gate(backend);
        let mut services = self.services.borrow_mut();
        let service = services.entry(address(gate.slot())).or_insert_with(|| {
            let balancer = Balancer::new(gate.shared().clone(), random, now);
            let (backend, used) = (backend.clone(), Cell::new(now));
            Rc::new(Service {
                backend,
                balancer,
                gate,
                used,
                idle: RefCell::default(),
                sessions: Sessions::default(),
            })
        });
        service.used.set(now);
        self.by_backend.borrow_mut().insert(address(backend), (backend.clone(), service.clone()));
        service.clone()
    }

    /// Closes what is too old or leads nowhere, and forgets services that nobody has asked for lately.
    pub fn sweep(&self, now_tick: u64) {
        let now = since_start(Instant::now());
        let mut total = 0;
        self.retain(|service| {
            let (unused, sessions) = service.sweep(now_tick);
            total += unused;
            unused + sessions > 0 || now.saturating_sub(service.used.get()) < SERVICE_UNUSED_MAX
        });
        self.total.set(total);
    }

    /// Follows a new Traffic: backends that it does not have, as they are, lose their connections.
    pub fn follow(&self, all: &Backends) {
        self.by_backend.borrow_mut().clear();
        let mut total = 0;
        self.retain(|service| {
            let stays = all.has(service.gate.slot());
            if stays {
                total += service.idle.borrow().values().map(|shelf| shelf.idle.len()).sum::<usize>();
            }
            stays
        });
        self.total.set(total);
    }

    /// Forgets everything, before the worker ends: sessions hold their worker, and must not keep it.
    pub fn clear(&self) {
        self.by_backend.borrow_mut().clear();
        self.services.borrow_mut().clear();
        self.total.set(0);
    }

    fn retain(&self, mut stays: impl FnMut(&Service) -> bool) {
        let mut services = self.services.borrow_mut();
        let count = services.len();
        services.retain(|_, service| stays(service));
        if services.len() < count {
            let is_kept = |service: &Service| services.contains_key(&address(service.gate.slot()));
            self.by_backend.borrow_mut().retain(|_, (_, service)| is_kept(service));
        }
    }
}
