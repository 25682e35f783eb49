//! One peer: its session, its connections and what it has been told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use ipnet::Ipv4Net;
use tidegate_bgp::PeerKind;
use tidegate_bgp::export::{AdjOut, Advertisement, Export};
use tidegate_bgp::packet::{CeaseReason, Community};
use tidegate_bgp::rib::{ImportPolicy, PeerFacts, PeerId, PrefixRange, Table};
use tidegate_bgp::session::{Config, ConnId, Direction, Input, Output, Session, State};
use tidegate_model::speaker::{Peer, RemoteAs};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::learned::{RETAIN, SessionStatus};
use super::transport::{Conn, Dial, Event, Origin, dial};

/// A peer as configured, and the session with it.
pub(super) struct PeerSession {
    /// Its name in the Model, and which of its sessions this is; connection and dialling tasks report under it.
    pub(super) origin: Origin,
    pub(super) config: Peer,
    pub(super) id: PeerId,
    session: Session,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    out: AdjOut,
    /// It has told all it has, at least once since we started.
    pub(super) told_all: bool,
    /// Whether this gateway can carry what it attracts to itself; until then it announces only what VRRP moves.
    ready: bool,
    state: State,
    since: Instant,
}

impl PeerSession {
    /// A session that starts now.
    pub(super) fn start(
        origin: Origin,
        config: Peer,
        id: PeerId,
        router_id: Ipv4Addr,
        now: Instant,
    ) -> Result<Self, String> {
        // Both gateways and tests differ in their addresses, so the jitter differs without any randomness.
        let seed = u64::from(u32::from(router_id)) << 32 | u64::from(id.0);
        let session =
            Session::new(session_config(&config, router_id), seed).map_err(|error| error.to_string())?;
        let out = AdjOut::new(config.local_as);
        let mut peer = PeerSession {
            origin,
            config,
            id,
            session,
            conns: BTreeMap::new(),
            next_conn: 0,
            out,
            told_all: false,
            ready: false,
            state: State::Idle,
            since: now,
        };
        peer.session.handle(Input::Start, now);
        Ok(peer)
    }

    /// Whether a new configuration needs a new session: anything but exports and imports.
    pub(super) fn must_restart(&self, config: &Peer) -> bool {
        let (mut old, mut new) = (self.config.clone(), config.clone());
        for peer in [&mut old, &mut new] {
            peer.exports.clear();
            peer.imports.clear();
        }
        old != new
    }

    /// Takes over exports and imports without disturbing the session.
    pub(super) fn change(&mut self, config: Peer, table: &mut Table, now: Instant) {
        if config.imports != self.config.imports {
            table.set_policy(self.id, import_policy(&config));
        }
        self.config = config;
        self.export(now);
    }

    /// Ends the session with a word why.
    pub(super) fn stop(&mut self, text: &str, now: Instant) {
        self.session.handle(Input::Stop(CeaseReason::AdministrativeShutdown { text: text.into() }), now);
    }

    /// Whether it is the peer at `address`.
    pub(super) fn is_at(&self, address: IpAddr) -> bool {
        self.config.address == address.to_canonical()
    }

    /// Whether routes flow.
    pub(super) fn is_established(&self) -> bool {
        self.session.state() == State::Established
    }

    /// A connection stands.
    pub(super) fn opened(
        &mut self,
        stream: TcpStream,
        direction: Direction,
        events: &mpsc::Sender<Event>,
        now: Instant,
    ) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        match Conn::start(self.origin.clone(), conn, stream, events.clone()) {
            Ok(open) => {
                self.conns.insert(conn, open);
                self.session.handle(Input::Opened { conn, direction }, now);
            }
            Err(error) if direction == Direction::Outgoing => {
                self.session.handle(Input::OpenFailed { error: error.to_string() }, now);
            }
            Err(_) => {}
        }
    }

    /// A dial failed.
    pub(super) fn dial_failed(&mut self, error: String, now: Instant) {
        self.session.handle(Input::OpenFailed { error }, now);
    }

    /// Bytes arrived; of a connection that was closed here they mean nothing any more.
    pub(super) fn bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        if self.conns.contains_key(&conn) {
            self.session.handle(Input::Bytes { conn, bytes }, now);
        }
    }

    /// A connection ended.
    pub(super) fn closed(&mut self, conn: ConnId, error: Option<String>, now: Instant) {
        if self.conns.remove(&conn).is_some() {
            self.session.handle(Input::Closed { conn, error }, now);
        }
    }

    /// Asks the peer for all its routes again.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.session.handle(Input::Refresh, now);
    }

    /// Runs what is due.
    pub(super) fn run_timers(&mut self, now: Instant) {
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle(Input::Timeout, now);
        }
    }

    /// When something will be due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// Does what the session decided, in its order.
    pub(super) fn act(&mut self, table: &mut Table, events: &mpsc::Sender<Event>, now: Instant) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Dial { timeout } => {
                    let dialled = Dial {
                        origin: self.origin.clone(),
                        to: SocketAddr::new(self.config.address, self.config.port),
                        from: self.config.source,
                        single_hop: self.is_single_hop(),
                        timeout,
                    };
                    tokio::task::spawn_local(dial(dialled, events.clone()));
                }
                Output::Send { conn, bytes } => {
                    let too_slow = self.conns.get(&conn).is_some_and(|open| !open.send(bytes));
                    if too_slow {
                        self.closed(conn, Some("the peer does not read fast enough".into()), now);
                    }
                }
                Output::Close { conn } => drop(self.conns.remove(&conn)),
                Output::Up(info) => {
                    tracing::info!(peer = self.origin.peer, remote_as = info.remote_as, "BGP session up");
                    if let IpAddr::V4(address) = self.config.address {
                        let facts = PeerFacts { kind: info.kind, router_id: info.router_id, address };
                        table.peer_up(self.id, facts, import_policy(&self.config), now);
                    }
                    // What to tell is settled first, with our address on this connection; then it is told.
                    if let Some(desired) = self.desired() {
                        self.out.set(desired);
                    }
                    let export = self.out.up(&info);
                    self.send(export, now);
                }
                Output::Down(reason) => {
                    tracing::warn!(peer = self.origin.peer, %reason, "BGP session down");
                    table.peer_down(self.id, now, RETAIN);
                    self.out.reset();
                }
                Output::Route(update) => table.apply(self.id, &update),
                Output::RefreshRequested => {
                    let export = self.out.refresh();
                    self.send(export, now);
                }
                Output::EndOfRib => {
                    table.end_of_rib(self.id);
                    self.told_all = true;
                }
            }
        }
        let state = self.session.state();
        if state != self.state {
            self.state = state;
            self.since = now;
        }
    }

    /// Whether this gateway can carry what it attracts.
    pub(super) fn set_ready(&mut self, ready: bool, now: Instant) {
        if self.ready != ready {
            self.ready = ready;
            self.export(now);
        }
    }

    /// Tells the peer what it should know.
    fn export(&mut self, now: Instant) {
        if let Some(desired) = self.desired() {
            let export = self.out.set(desired);
            self.send(export, now);
        }
    }

    /// What the peer should know; nothing is known of that without a session.
    fn desired(&self) -> Option<BTreeMap<Ipv4Net, Advertisement>> {
        let info = self.session.peer()?;
        let local = self.conns.get(&info.conn)?.local;
        let told = self.config.exports.iter().filter(|(_, export)| self.ready || export.next_hop.is_some());
        let advertisement = |export: &tidegate_model::speaker::Export| Advertisement {
            next_hop: export.next_hop.unwrap_or(local),
            local_pref: Some(export.local_preference),
            med: export.med.filter(|_| info.kind == PeerKind::External),
            communities: export.communities.iter().map(|&community| Community(community)).collect(),
            as_path_prepend: 0,
        };
        Some(told.map(|(prefix, export)| (*prefix, advertisement(export))).collect())
    }

    fn send(&mut self, export: Export, now: Instant) {
        for refused in export.refused {
            tracing::warn!(peer = self.origin.peer, prefix = %refused.prefix, reason = %refused.reason, "not announced");
        }
        if !export.messages.is_empty() {
            self.session.handle(Input::Updates(export.messages), now);
        }
    }

    /// An external peer that is not `ebgpMultiHop` is on the same segment: packets to it cross no router.
    pub(super) fn is_single_hop(&self) -> bool {
        let external = match self.config.remote_as {
            RemoteAs::Exactly(asn) => asn != self.config.local_as,
            RemoteAs::External => true,
            RemoteAs::Internal => false,
        };
        external && !self.config.multihop
    }

    /// What others may see of it.
    pub(super) fn observe(&self, table: &Table) -> SessionStatus {
        let stats = self.session.stats();
        let summary = table.summary(self.id).unwrap_or_default();
        let refused = summary.rejected_by_policy + summary.rejected_by_maximum;
        SessionStatus {
            peer: self.origin.peer.clone(),
            address: self.config.address.to_string(),
            local_as: self.config.local_as,
            remote_as: self.session.peer().map_or(0, |info| info.remote_as),
            state: self.state.to_string(),
            since: self.since,
            received: summary.held,
            refused: refused as usize,
            announced: self.out.sent().len(),
            last_error: stats.last_error.as_ref().map(|(_, error)| error.clone()).unwrap_or_default(),
        }
    }
}

fn session_config(peer: &Peer, router_id: Ipv4Addr) -> Config {
    let remote_as = match peer.remote_as {
        RemoteAs::Exactly(asn) => tidegate_bgp::RemoteAs::Exact(asn),
        RemoteAs::Internal => tidegate_bgp::RemoteAs::Internal,
        RemoteAs::External => tidegate_bgp::RemoteAs::External,
    };
    let mut config = Config::new(peer.local_as, peer.router_id.unwrap_or(router_id), remote_as);
    config.hold_secs = peer.hold.as_secs().min(u64::from(u16::MAX)) as u16;
    config.connect_retry_min = peer.connect_retry.min(config.connect_retry_max);
    config
}

fn import_policy(peer: &Peer) -> ImportPolicy {
    let ranges = peer.imports.iter().map(|import| PrefixRange {
        cidr: import.prefix,
        min_len: import.length_min,
        max_len: import.length_max,
    });
    ImportPolicy {
        prefixes: ranges.collect(),
        maximum_prefixes: peer.imports.iter().map(|import| import.prefixes_max as usize).max().unwrap_or(0),
        multipath: peer.imports.iter().map(|import| usize::from(import.multipath)).max().unwrap_or(1).max(1),
    }
}
