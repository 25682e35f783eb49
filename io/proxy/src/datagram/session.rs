//! One session: a client, the endpoint it talks to, and the socket between.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegate_model::traffic::{Backend, ClientPolicy, Listener, Serves, StreamRoute, Target, Transport};
use tidegate_traffic::balance::{self, Ended, Pick};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::access_log::Record;
use crate::census::{Census, DoorPlace};
use crate::datagram::batch::{Path, ask_for_trains};
use crate::metrics::FlowMetrics;
use crate::relay::hash_key;
use crate::shares::Holder;
use crate::table::Table;
use crate::upstream::since_start;
use crate::wire::datagram_socket;
use crate::worker::{Shared, Worker};

/// Why a session ended whose endpoint was not there.
pub const UNREACHABLE: &str = "UpstreamUnreachable";

/// Endpoints tried for one session.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// What the door says of where sessions go; replaced when its table is.
pub struct Way {
    /// The listener's name.
    pub listener: String,
    pub metrics: FlowMetrics,
    pub client: Arc<ClientPolicy>,
    pub census: Arc<Census>,
    pub route: Option<Arc<StreamRoute>>,
}

impl Way {
    /// Of the one listener that a UDP door has.
    pub fn new(table: &Table) -> Way {
        let listener: Option<&Arc<Listener>> = table.entrance.listeners.first();
        let route = match listener.map(|listener| &listener.serves) {
            Some(Serves::Udp(route)) => route.clone(),
            _ => None,
        };
        let entry = table.entry(listener);
        Way {
            listener: entry.name.clone(),
            metrics: entry.flows.clone(),
            client: Arc::clone(&table.entrance.client),
            census: table.census.clone(),
            route,
        }
    }

    /// The backend of that id to which sessions go.
    pub fn backend(&self, id: &str) -> Option<Arc<Backend>> {
        let backends = self.route.iter().flat_map(|route| &route.backends);
        backends.filter(|share| share.weight > 0).find_map(|share| match &share.target {
            Target::Backend(backend) if backend.id.to_string() == id => Some(backend.clone()),
            _ => None,
        })
    }

    /// Whether sessions still go to this backend.
    pub fn leads_to(&self, backend: &Backend) -> bool {
        let backends = self.route.iter().flat_map(|route| &route.backends);
        backends.filter(|share| share.weight > 0).any(|share| {
            matches!(&share.target, Target::Backend(known) if Arc::ptr_eq(&known.endpoints, &backend.endpoints))
        })
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The process or the door has no room; another session could make some.
    Room,
    /// The client has as many as it may.
    Client,
    /// The client has its share of the process; another session of its own could make room.
    Share,
}

/// A place among the sessions of the process and of the door; given back when dropped.
pub struct SessionPlace {
    shared: Arc<Shared>,
    _door: DoorPlace,
    holder: Holder,
}

impl SessionPlace {
    /// Takes a place.
    pub fn take(shared: &Arc<Shared>, way: &Way, client: SocketAddr) -> Result<SessionPlace, Full> {
        let mut door = DoorPlace::take(&way.census, &way.client.limits).ok_or(Full::Room)?;
        if !door.name(client.ip().to_canonical(), &way.client.limits) {
            return Err(Full::Client);
        }
        let holder = shared.session_shares.holder(client.ip());
        let open = shared.sessions.fetch_add(1, Ordering::Relaxed);
        let free = shared.limits.udp_sessions.saturating_sub(open);
        let full = match free {
            0 => Full::Room,
            _ if !shared.session_shares.take(holder, free) => Full::Share,
            _ => {
                shared.metrics.sessions_open.inc();
                return Ok(SessionPlace { shared: shared.clone(), _door: door, holder });
            }
        };
        shared.sessions.fetch_sub(1, Ordering::Relaxed);
        Err(full)
    }

    /// Whose share it is taken from.
    pub fn holder(&self) -> Holder {
        self.holder
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.shared.session_shares.leave(self.holder);
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.sessions_open.dec();
    }
}

/// A session.
pub struct Session {
    pub way: Rc<Way>,
    pub path: Path,
    pub backend: Arc<Backend>,
    /// The endpoint, which counts the session as under way.
    pub pick: Pick,
    pub upstream: Rc<UdpSocket>,
    /// Datagrams, or trains of them, from the client.
    pub asked: u64,
    pub received: u64,
    pub sent: u64,
    /// The endpoint has answered at least once.
    pub is_answered: bool,
    pub started: Instant,
    /// The task that passes replies on.
    pub replies: AbortHandle,
    pub place: SessionPlace,
}

impl Session {
    /// Whether the client may go on with this endpoint.
    pub fn is_current(&mut self, way: &Rc<Way>) -> bool {
        if !Rc::ptr_eq(&self.way, way) {
            if !way.leads_to(&self.backend) {
                return false;
            }
            self.way = way.clone();
        }
        self.backend.endpoints.load().contains(self.pick.address())
    }

    /// Ends it here only: another process has its socket.
    pub fn let_go(self) {
        self.replies.abort();
        self.pick.finished(Ended::Served, Duration::ZERO, since_start(Instant::now()));
    }

    /// Ends it, with a line in the access log.
    pub fn end(self, worker: &Worker, reason: &str) {
        self.replies.abort();
        let ended = if reason == UNREACHABLE { Ended::LocalFailure } else { Ended::Served };
        let now = since_start(Instant::now());
        self.pick.finished(ended, Duration::ZERO, now);
        if !worker.logs() {
            return;
        }
        worker.log(&Record {
            client: Some(self.path.peer.ip()),
            peer: Some(self.path.peer),
            listener: &self.way.listener,
            protocol: "UDP",
            reason,
            route: self.way.route.as_ref().map(|route| &route.name as _),
            backend: Some(&self.backend.id),
            endpoint: Some(self.pick.address()),
            bytes_in: self.received,
            bytes_out: self.sent,
            duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            ..Record::default()
        });
    }
}

/// A socket towards an endpoint.
pub struct Opened {
    pub backend: Arc<Backend>,
    pub pick: Pick,
    pub socket: UdpSocket,
}

/// A socket towards an endpoint of the way, or why there is none.
pub fn open(worker: &Worker, way: &Way, client: IpAddr) -> Result<Opened, &'static str> {
    let route = way.route.as_ref().ok_or("NoRoute")?;
    let chosen = balance::backend(&route.backends, worker.random());
    let (_, backend) = chosen.map_err(|refusal| refusal.reason)?;
    let now = since_start(Instant::now());
    let service = worker.pool.service(backend, &worker.shared.backends, worker.random(), now);
    let key = hash_key(backend, client);
    let mut tried = Vec::new();
    while tried.len() < ENDPOINTS_TRIED_MAX {
        let pick =
            service.balancer.pick(key, worker.random(), now, &tried).map_err(|refusal| refusal.reason)?;
        let endpoint = pick.address();
        if tried.contains(&endpoint) {
            break;
        }
        match connect(endpoint, backend.policy.client_source.then_some(client)) {
            Ok(_) if worker.shared.own.lead_back(Transport::Udp, endpoint) => {}
            Ok(socket) => return Ok(Opened { backend: backend.clone(), pick, socket }),
            Err(error) => tracing::debug!(%endpoint, %error, "an endpoint cannot be sent to"),
        }
        pick.finished(Ended::LocalFailure, Duration::ZERO, now);
        tried.push(endpoint);
    }
    Err("UpstreamConnect")
}

/// A socket that hears this endpoint only, from the client's own address if one is given.
fn connect(endpoint: SocketAddr, client: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any: IpAddr = match endpoint {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = match client {
        Some(client) => datagram_socket(client, endpoint)?,
        None => std::net::UdpSocket::bind((any, 0))?,
    };
    socket.connect(endpoint)?;
    socket.set_nonblocking(true)?;
    ask_for_trains(socket.as_raw_fd());
    UdpSocket::from_std(socket)
}
