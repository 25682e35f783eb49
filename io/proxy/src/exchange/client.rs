//! The client's side of one exchange: who is there, where its answer goes, whether it has left.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_http2::ErrorCode;
use tidegate_model::traffic::ClientPolicy;
use tidegate_traffic::client::is_trusted;

use crate::body::{Framing, Sink};
use crate::buffer::Buffers;
use crate::http2::{BlockWriter, Sender, Stream};
use crate::outgoing::HeadWriter;
use crate::timer::TICK;
use crate::wire::{Glance, Wire};
use crate::worker::{Door, Worker};

/// Who is connected; shared by all requests of a connection.
pub struct Caller {
    /// The thread it belongs to.
    pub worker: Rc<Worker>,
    /// Where it came in.
    pub door: Rc<Door>,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The client: the peer, or who its PROXY protocol header names.
    pub client: SocketAddr,
    /// Of TLS; nothing in the clear.
    pub tls: Option<TlsFacts>,
    /// The address the client connected to: the connection's own, or what its PROXY protocol header names.
    local: OnceCell<SocketAddr>,
    /// Ticks that the head of the request at hand took from its first byte; of HTTP/2 none, whose heads come whole.
    head_ticks: Cell<u32>,
    /// Requests so far.
    requests: Cell<u32>,
    /// It has had as many as it may.
    worn: Cell<bool>,
    /// The tick from which on it takes no new request.
    old_at: u64,
}

/// What is known of a TLS connection.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// The server name that the client asked for, lower case; empty: none.
    pub server_name: String,
    /// The version, as the log has it: `TLSv1.3`.
    pub version: &'static str,
    /// Whether the client has shown a certificate.
    pub certified: bool,
}

impl Caller {
    /// Somebody new; `client` is the peer, and `asked` nothing, unless a PROXY protocol header says otherwise.
    pub fn new(
        worker: Rc<Worker>,
        door: Rc<Door>,
        peer: SocketAddr,
        client: SocketAddr,
        asked: Option<SocketAddr>,
        tls: Option<TlsFacts>,
    ) -> Caller {
        let table = door.table();
        // Where a door has an address, the kernel need not be asked for each connection.
        let at = Some(table.entrance.address).filter(|at| !at.ip().is_unspecified() && at.port() != 0);
        let life = table.entrance.client.timeouts.connection_max;
        let old_at = life.map_or(u64::MAX, |life| worker.clock.after(life));
        Caller {
            old_at,
            worker,
            door,
            peer,
            client,
            tls,
            local: asked.or(at).map(OnceCell::from).unwrap_or_default(),
            head_ticks: Cell::new(0),
            requests: Cell::new(0),
            worn: Cell::new(false),
        }
    }

    /// A request's head has come, so many ticks after its first byte.
    pub fn head_came(&self, ticks: u64) {
        self.head_ticks.set(u32::try_from(ticks).unwrap_or(u32::MAX));
    }

    /// How long the head of the request at hand took.
    pub fn head_took(&self) -> Duration {
        TICK.saturating_mul(self.head_ticks.get())
    }

    /// Counts a request; the connection ends with the last of `max`.
    pub fn count(&self, max: Option<u32>) {
        self.requests.set(self.requests.get().saturating_add(1));
        self.worn.set(max.is_some_and(|max| self.requests.get() >= max));
    }

    /// Whether it has asked nothing yet.
    pub fn is_new(&self) -> bool {
        self.requests.get() == 0
    }

    /// Whether the connection is to end with the request at hand.
    pub fn is_closing(&self) -> bool {
        self.worn.get() || self.is_old() || self.door.is_closing()
    }

    /// Whether the connection has lived as long as it may.
    pub fn is_old(&self) -> bool {
        self.worker.clock.now() >= self.old_at
    }

    /// The tick from which on it takes no new request; MAX: none.
    pub fn old_at(&self) -> u64 {
        self.old_at
    }

    /// How long it may live on.
    pub fn life_left(&self) -> Duration {
        let ticks = self.old_at.saturating_sub(self.worker.clock.now());
        TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether a request may be for this scheme: the connection's own, or either where a hop is trusted that may have ended TLS
    /// before us, or begun it. What is meant for the other comes from somebody who takes this for another server (RFC 9110
    /// section 7.4).
    pub fn may_be_asked_for(&self, scheme: &str, policy: &ClientPolicy) -> bool {
        scheme == self.scheme() || self.client != self.peer || is_trusted(&policy.trust, self.client.ip())
    }

    /// The address the client connected to.
    pub fn local(&self, wire: &Wire) -> SocketAddr {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        *self.local.get_or_init(|| wire.tcp().local_addr().unwrap_or(unknown))
    }
}

/// The client's side of one exchange.
#[derive(Clone, Copy)]
pub enum Client<'c> {
    /// A whole connection, for as long as the exchange lasts.
    Http1(&'c Wire),
    /// One of its streams.
    Http2(&'c Stream),
}

impl<'c> Client<'c> {
    /// Whether bodies may pass with HTTP/1's framing.
    pub fn is_http1(self) -> bool {
        matches!(self, Client::Http1(_))
    }

    /// The connection below.
    pub fn wire(self) -> &'c Wire {
        match self {
            Client::Http1(wire) => wire,
            Client::Http2(stream) => stream.session().wire(),
        }
    }

    /// Body bytes that would be taken now; of HTTP/1 the kernel has the say.
    pub fn room(self) -> usize {
        match self {
            Client::Http1(_) => usize::MAX,
            Client::Http2(stream) => stream.room(),
        }
    }

    /// Writes a head, interim or final. It leaves with what follows it in the sink.
    pub fn respond(
        self,
        buffers: &Rc<Buffers>,
        framing: Framing,
        write: impl FnOnce(&mut HeadWriter<'_>),
    ) -> Sink<'c> {
        match self {
            Client::Http1(wire) => {
                let mut first = buffers.text();
                write(&mut HeadWriter::Http1(&mut first));
                Sink::Http1 { wire, first, framing }
            }
            Client::Http2(stream) => {
                let mut lines = buffers.text();
                let mut writer = HeadWriter::Http2(BlockWriter::new(&mut lines));
                write(&mut writer);
                let facts = writer.facts();
                Sink::Http2(Sender::response(stream, lines, facts))
            }
        }
    }

    /// Gives up a response that has begun. HTTP/1 says so by the end of the connection.
    pub fn abort(self) {
        match self {
            Client::Http1(_) => {}
            Client::Http2(stream) => stream.reset(ErrorCode::INTERNAL_ERROR),
        }
    }

    /// Ready when the client has left; `watching` ends when it sends something instead.
    pub fn poll_gone(self, context: &mut Context<'_>, watching: &mut bool) -> Poll<()> {
        let wire = match self {
            Client::Http1(wire) => wire,
            Client::Http2(stream) => return stream.poll_gone(context).map(|_| ()),
        };
        while wire.poll_readable(context).is_ready() {
            match wire.glance() {
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
}
