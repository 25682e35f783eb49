//! A UDP socket of a door and the sessions of those who came in by it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tidegate_model::handover::UdpSession;
use tidegate_model::traffic::Backend;
use tidegate_traffic::balance::Pick;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::datagram::BATCHES;
use crate::datagram::batch::{Batch, PIECES, Path, ask_for_trains, is_gone};
use crate::datagram::session::{Full, Opened, Session, SessionPlace, UNREACHABLE, Way, open};
use crate::datagram::sessions::{Handle, Queue, Sessions};
use crate::handover::SessionSocket;
use crate::table::Table;
use crate::timer::TICK;
use crate::turns::Turns;
use crate::upstream::since_start;
use crate::worker::{Door, Worker};

/// A door and its sessions.
pub struct Hall {
    worker: Rc<Worker>,
    door: Rc<Door>,
    /// Names the socket.
    number: u64,
    socket: UdpSocket,
    /// Datagrams are left where they are: another process is about to read them.
    suspended: Cell<bool>,
    resumed: Notify,
    sessions: RefCell<Sessions<Session>>,
    /// The table that the way was made of.
    way: RefCell<(Arc<Table>, Rc<Way>)>,
}

impl Hall {
    /// Without sessions.
    pub fn new(
        worker: Rc<Worker>,
        door: Rc<Door>,
        number: u64,
        socket: std::net::UdpSocket,
    ) -> io::Result<Hall> {
        let socket = UdpSocket::from_std(socket)?;
        ask_for_trains(socket.as_raw_fd());
        let table = Arc::clone(&door.table());
        let way = RefCell::new((table.clone(), Rc::new(Way::new(&table))));
        let (suspended, resumed, sessions) = Default::default();
        Ok(Hall { worker, door, number, socket, suspended, resumed, sessions, way })
    }

    /// Its door.
    pub fn door(&self) -> &Rc<Door> {
        &self.door
    }

    /// Those of its worker.
    pub fn turns(&self) -> &Turns {
        &self.worker.turns
    }

    /// How long replies may still come once the door is closed.
    pub fn grace(&self) -> Duration {
        self.worker.limits.close_grace
    }

    /// Lets datagrams of clients go to others: a door may open here again while replies of this one are on their way. The
    /// kernel gives a connected socket nothing but what its peer sends, and this one's is itself; it may still send to
    /// anybody.
    pub fn stand_aside(&self) {
        let socket = SockRef::from(&self.socket);
        if let Err(error) = socket.local_addr().and_then(|own| socket.connect(&own)) {
            tracing::debug!(socket = %self.door.key, %error, "a closed UDP socket still takes datagrams for a moment");
        }
    }

    /// Waits for datagrams of clients.
    pub async fn readable(&self) {
        loop {
            self.at_work().await;
            // Errors show when the socket is read.
            let _ = self.socket.readable().await;
            if !self.suspended.get() {
                return;
            }
        }
    }

    /// Waits for as long as it is suspended.
    async fn at_work(&self) {
        while self.suspended.get() {
            self.resumed.notified().await;
        }
    }

    /// A descriptor of the socket.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Reads no datagram from now on; every session with a descriptor of its socket, the one silent longest first.
    pub fn suspend(&self) -> Vec<SessionSocket> {
        self.suspended.set(true);
        let now = self.worker.clock.now();
        let mut given = Vec::new();
        self.sessions.borrow().for_each(|queue, used, session| {
            let idle = TICK.saturating_mul(u32::try_from(now.saturating_sub(used)).unwrap_or(u32::MAX));
            match session.upstream.as_fd().try_clone_to_owned() {
                Ok(fd) => given.push(SessionSocket { session: self.describe(session, queue, idle), fd }),
                Err(error) => tracing::warn!(%error, "a UDP session cannot be handed over"),
            }
        });
        given.sort_by_key(|given| std::cmp::Reverse(given.session.idle_ms));
        given
    }

    fn describe(&self, session: &Session, queue: Queue, idle: Duration) -> UdpSession {
        UdpSession {
            socket: self.number,
            client: session.path.peer,
            asked: session.path.local,
            interface: session.path.interface,
            backend: session.backend.id.to_string(),
            endpoint: session.pick.address(),
            datagrams: session.asked,
            received_bytes: session.received,
            sent_bytes: session.sent,
            age_ms: millis(session.started.elapsed()),
            idle_ms: millis(idle),
            answered: queue == Queue::Answered,
        }
    }

    /// Goes on as before it was suspended.
    pub fn resume(&self) {
        self.suspended.set(false);
        self.resumed.notify_waiters();
    }

    /// Forgets all sessions without a word: another process goes on with them.
    pub fn let_go(&self) {
        while let Some((_, session)) = {
            let any = self.sessions.borrow().any();
            any.and_then(|handle| self.sessions.borrow_mut().remove(handle))
        } {
            session.let_go();
        }
    }

    /// Goes on with a session of another process, if the door still leads to its endpoint; if not, the client's next
    /// datagram begins a new one.
    pub fn adopt(self: &Rc<Self>, SessionSocket { session, fd }: SessionSocket) {
        let way = self.current_way();
        let path = Path { peer: session.client, local: session.asked, interface: session.interface };
        let Some(Opened { backend, pick, socket }) = self.reopen(&way, &session, fd) else {
            return tracing::debug!(client = %session.client, "a UDP session does not go on");
        };
        let Ok(place) = self.place(&way, &path) else { return };
        let handle = self.seat(&way, &path, Seat { backend, pick, upstream: Rc::new(socket), place });
        let ago = Instant::now().checked_sub(Duration::from_millis(session.age_ms));
        let mut sessions = self.sessions.borrow_mut();
        if let Some(known) = sessions.get(handle) {
            known.asked = session.datagrams;
            (known.received, known.sent) = (session.received_bytes, session.sent_bytes);
            known.is_answered = session.answered || session.sent_bytes > 0;
            known.started = ago.unwrap_or(known.started);
        }
        let queue = match session.answered {
            true => Queue::Answered,
            false if session.sent_bytes > 0 => Queue::Open,
            false => Queue::Unanswered,
        };
        let used = self.worker.clock.now().saturating_sub(ticks(Duration::from_millis(session.idle_ms)));
        sessions.touch(handle, queue, used);
    }

    /// The session's backend and endpoint, as they are here, and its socket; none if either is gone, or if it is no socket
    /// of that endpoint.
    fn reopen(&self, way: &Way, session: &UdpSession, fd: OwnedFd) -> Option<Opened> {
        let socket = std::net::UdpSocket::from(fd);
        if socket.peer_addr().ok()? != session.endpoint || self.is_known(session.client, session.asked) {
            return None;
        }
        socket.set_nonblocking(true).ok()?;
        let backend = way.backend(&session.backend)?;
        let now = since_start(Instant::now());
        let random = self.worker.random();
        let service = self.worker.pool.service(&backend, &self.worker.shared.backends, random, now);
        let pick = service.balancer.go_on(session.endpoint, now)?;
        Some(Opened { backend, pick, socket: UdpSocket::from_std(socket).ok()? })
    }

    fn is_known(&self, client: SocketAddr, asked: std::net::IpAddr) -> bool {
        self.sessions.borrow().find(&(client, asked)).is_some()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.sessions.borrow().is_empty()
    }

    /// Reads one batch from clients and passes it on.
    pub fn take_in(self: &Rc<Self>) {
        let way = self.current_way();
        let mut room = self.worker.batch.borrow_mut();
        let batch = room.get_or_insert_default();
        let Ok(count) = receive(&self.socket, batch) else { return };
        let mut first = 0;
        while first < count {
            let path = batch.piece(first).path;
            let same = |index: &usize| batch.piece(*index).path == path;
            let after = (first + 1..count).take_while(same).last().map_or(first + 1, |last| last + 1);
            match path {
                Some(path) if !way.client.admits(path.peer.ip()) => self.exclude(batch, first..after),
                Some(path) if !self.is_own(&path) => self.pass_on(&way, &path, batch, first..after),
                _ => self.drop_all(batch, first..after),
            }
            first = after;
        }
    }

    /// A source that is this very socket, or that cannot be answered: it could only be forged.
    fn is_own(&self, path: &Path) -> bool {
        let port = path.peer.port();
        port == 0 || (port == self.door.address.port() && path.peer.ip() == path.local)
    }

    fn current_way(&self) -> Rc<Way> {
        let table = self.door.table();
        let mut known = self.way.borrow_mut();
        if !Arc::ptr_eq(&known.0, &table) {
            *known = (Arc::clone(&table), Rc::new(Way::new(&table)));
        }
        known.1.clone()
    }

    fn drop_all(&self, batch: &Batch, which: Range<usize>) {
        let count: usize = which.map(|index| batch.piece(index).datagrams()).sum();
        self.worker.metrics.datagrams_dropped.inc_by(count as u64);
    }

    fn exclude(&self, batch: &Batch, which: Range<usize>) {
        let count: usize = which.map(|index| batch.piece(index).datagrams()).sum();
        self.worker.metrics.datagrams_excluded.inc_by(count as u64);
    }

    /// Passes pieces of one client on to its endpoint.
    fn pass_on(self: &Rc<Self>, way: &Rc<Way>, path: &Path, batch: &mut Batch, which: Range<usize>) {
        let length: usize = which.clone().map(|index| batch.piece(index).length).sum();
        way.metrics.received.inc_by(length as u64);
        let mut rest = which;
        // What a socket is told of an earlier datagram costs the next: that one goes to another endpoint, once.
        for _ in 0..2 {
            let Some((handle, upstream)) = self.session(way, path) else { break };
            let sent = batch.send(upstream.as_raw_fd(), rest.clone(), None);
            self.worker.metrics.datagrams_dropped.inc_by(sent.dropped);
            self.asked(handle, (sent.next - rest.start) as u64, sent.bytes);
            if sent.gone.is_none() {
                return;
            }
            rest.start = sent.next;
            self.end(handle, UNREACHABLE);
        }
        self.drop_all(batch, rest);
    }

    fn asked(&self, handle: Handle, pieces: u64, bytes: u64) {
        let mut sessions = self.sessions.borrow_mut();
        let Some(session) = sessions.get(handle) else { return };
        session.asked += pieces;
        session.received += bytes;
        let queue = if session.is_answered { Queue::Open } else { Queue::Unanswered };
        sessions.touch(handle, queue, self.worker.clock.now());
    }

    /// The session of who asks, begun if there is none that may go on.
    fn session(self: &Rc<Self>, way: &Rc<Way>, path: &Path) -> Option<(Handle, Rc<UdpSocket>)> {
        let known = self.sessions.borrow().find(&(path.peer, path.local));
        if let Some(handle) = known {
            if let Some(session) = self.sessions.borrow_mut().get(handle)
                && session.is_current(way)
            {
                return Some((handle, session.upstream.clone()));
            }
            self.end(handle, "EndpointRemoved");
        }
        self.begin(way, path)
    }

    fn begin(self: &Rc<Self>, way: &Rc<Way>, path: &Path) -> Option<(Handle, Rc<UdpSocket>)> {
        let client = path.peer.ip().to_canonical();
        let Ok(Opened { backend, pick, socket }) = open(&self.worker, way, client) else { return None };
        let Ok(place) = self.place(way, path) else {
            self.worker.metrics.sessions_refused.inc();
            return None;
        };
        way.metrics.flows.inc();
        let upstream = Rc::new(socket);
        let seat = Seat { backend, pick, upstream: upstream.clone(), place };
        Some((self.seat(way, path, seat), upstream))
    }

    /// Adds a session, and passes its replies on.
    fn seat(self: &Rc<Self>, way: &Rc<Way>, path: &Path, seat: Seat) -> Handle {
        let Seat { backend, pick, upstream, place } = seat;
        let now = self.worker.clock.now();
        self.sessions.borrow_mut().insert((path.peer, path.local), now, |handle| Session {
            way: way.clone(),
            path: *path,
            backend,
            pick,
            replies: spawn_local(replies(self.clone(), handle, upstream.clone())).abort_handle(),
            upstream,
            asked: 0,
            received: 0,
            sent: 0,
            is_answered: false,
            started: Instant::now(),
            place,
        })
    }

    /// A place for one more; if there is none, another session makes room, and for a client that has its share one of its own.
    fn place(&self, way: &Way, path: &Path) -> Result<SessionPlace, Full> {
        let now = self.worker.clock.now();
        let oldest = match SessionPlace::take(&self.worker.shared, way, path.peer) {
            Err(Full::Room) => self.sessions.borrow().oldest(now).ok_or(Full::Room)?,
            Err(Full::Share) => {
                let holder = self.worker.shared.session_shares.holder(path.peer.ip());
                let is_its = |session: &Session| session.place.holder() == holder;
                self.sessions.borrow().oldest_of(now, is_its).ok_or(Full::Share)?
            }
            taken => return taken,
        };
        self.worker.metrics.sessions_evicted.inc();
        self.end(oldest, "Evicted");
        SessionPlace::take(&self.worker.shared, way, path.peer)
    }

    /// Reads one batch from an endpoint and passes it to the client; why the session is over.
    fn answer(&self, handle: Handle, upstream: &UdpSocket) -> Result<(), &'static str> {
        let mut room = self.worker.batch.borrow_mut();
        let batch = room.get_or_insert_default();
        let count = match receive(upstream, batch) {
            Ok(count) => count,
            Err(error) if is_gone(&error) => return Err(UNREACHABLE),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(_) => return Err("UpstreamError"),
        };
        let mut sessions = self.sessions.borrow_mut();
        let Some(session) = sessions.get(handle) else { return Err("") };
        let sent = batch.send(self.socket.as_raw_fd(), 0..count, Some(&session.path));
        session.sent += sent.bytes;
        session.is_answered = true;
        session.way.metrics.sent.inc_by(sent.bytes);
        self.worker.metrics.datagrams_dropped.inc_by(sent.dropped);
        let queue = if session.asked <= 1 { Queue::Answered } else { Queue::Open };
        sessions.touch(handle, queue, self.worker.clock.now());
        Ok(())
    }

    fn end(&self, handle: Handle, reason: &str) {
        let gone = self.sessions.borrow_mut().remove(handle);
        if let Some((_, session)) = gone {
            session.end(&self.worker, reason);
        }
    }

    /// Ends sessions that were silent for too long.
    pub fn sweep(&self) {
        if self.suspended.get() {
            return;
        }
        let limits = &self.worker.limits;
        for (queue, wait) in [
            (Queue::Unanswered, limits.udp_idle),
            (Queue::Answered, limits.udp_answered_idle),
            (Queue::Open, limits.udp_idle),
        ] {
            let Some(until) = self.worker.clock.now().checked_sub(ticks(wait)) else { continue };
            loop {
                let silent = self.sessions.borrow().silent_since(queue, until);
                let Some(handle) = silent else { break };
                self.end(handle, "");
            }
        }
    }

    /// Ends all.
    pub fn end_all(&self, reason: &str) {
        loop {
            let any = self.sessions.borrow().any();
            let Some(handle) = any else { break };
            self.end(handle, reason);
        }
    }
}

/// What a new session is made of.
struct Seat {
    backend: Arc<Backend>,
    pick: Pick,
    upstream: Rc<UdpSocket>,
    place: SessionPlace,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn ticks(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX)
}

/// Passes on what the endpoint sends, until the session is over.
async fn replies(hall: Rc<Hall>, handle: Handle, upstream: Rc<UdpSocket>) {
    let mut batches = 0;
    loop {
        // An endpoint that is faster than its batches are passed on never makes this wait.
        if batches == BATCHES {
            batches = 0;
            hall.turns().next().await;
        }
        // Errors show when the socket is read.
        let _ = upstream.readable().await;
        let _ = hall.socket.writable().await;
        if hall.suspended.get() {
            hall.at_work().await;
            continue;
        }
        batches += 1;
        if let Err(reason) = hall.answer(handle, &upstream) {
            return hall.end(handle, reason);
        }
    }
}

/// Reads one batch. One that is not full has emptied the socket: the next datagram raises readiness again, so the read
/// that would find nothing is saved.
fn receive(socket: &UdpSocket, batch: &mut Batch) -> io::Result<usize> {
    let count = socket.try_io(Interest::READABLE, || batch.receive(socket.as_raw_fd()))?;
    if count < PIECES {
        let _ =
            socket.try_io(Interest::READABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
    }
    Ok(count)
}
