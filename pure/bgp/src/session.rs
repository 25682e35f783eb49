//! One BGP session: the state machine of RFC 4271, section 8, with both transports of a collision.
//! Owns timers and connections by number; never a socket, the time, or a route.
//!
//! ```text
//!                    Start, end of IdleHold
//!            ┌───────────────┬──────────────────┐ passive
//!            │               ▼                  ▼
//!   ┌────────┴───┐  Dial  ┌─────────┐ failed ┌────────┐
//!   │    Idle    │        │ Connect ├───────►│ Active │
//!   └────────────┘        └──┬────▲─┘        └─┬───┬──┘
//!      ▲   ▲                 │    └────────────┘   │
//!      │   │          Opened │      ConnectRetry   │ Opened
//!      │   │                 ▼                     ▼
//!      │   │               ┌─────────────────────────┐
//!      │   └───────────────┤        OpenSent         │  our OPEN is on its way
//!      │     error         └───────────┬─────────────┘
//!      │                          OPEN │ collisions are settled here
//!      │                   ┌───────────▼─────────────┐
//!      ├───────────────────┤       OpenConfirm       │  our KEEPALIVE is on its way
//!      │     error         └───────────┬─────────────┘
//!      │                     KEEPALIVE │
//!      │                   ┌───────────▼─────────────┐
//!      └───────────────────┤       Established       │  UPDATEs flow
//!      error, Stop         └─────────────────────────┘
//! ```
//!
//! An end without an error (the peer closed, ceased or fell silent) passes through Idle without a
//! wait, into Active: the peer may connect at once, and we dial after a back-off of about 1 s that
//! doubles up to 30 s. After an error we stay in Idle for that back-off and refuse connections
//! (`DampPeerOscillations`). A session that has held for 10 s makes the back-off short again.
//!
//! RFC 4271 gives each connection a machine of its own. Here the two connections a session can have
//! are its parts, and its state is that of the further one.
//!
//! The shell drains `poll_output` after every `handle`; what one input can queue is bounded by its size.

mod collision;
mod config;
mod connection;
mod event;
mod stats;
#[cfg(test)]
mod tests;

pub use collision::{Speaker, keep as keep_on_collision};
pub use config::Config;
pub use event::{ConnId, Direction, DownReason, Input, Output, PeerInfo, State};
pub use stats::{MessageCounts, Stats};

use crate::error::{ConfigError, MessageError};
use crate::packet::{self, CeaseReason, Family, Message, MessageKind, Notification, Open, Update};
use crate::random::Random;
use crate::timers::{Timer, Timers};
use connection::Connection;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A shell that has not answered a dial this long after its end never will.
const DIAL_GRACE: Duration = Duration::from_secs(1);
/// Silence allowed before the OPENs are agreed. RFC 4271 suggests 4 minutes; a peer that has
/// accepted a connection and says nothing for half a minute is better dialled again.
const OPEN_HOLD: Duration = Duration::from_secs(30);
/// A session this long makes the back-off short again.
const STEADY: Duration = Duration::from_secs(10);
/// A hold timer looked at this late says that we slept, not that the peer was silent.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// A session with one peer.
#[derive(Debug)]
pub struct Session {
    config: Config,
    random: Random,
    timers: Timers,
    started: bool,
    /// A `Dial` has not been answered.
    dialing: bool,
    /// Failures in a row; the exponent of the back-off.
    failures: u32,
    /// At most one for each direction.
    connections: [Option<Connection>; 2],
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Session {
    /// A stopped session. `seed` makes its jitter; give each session another.
    ///
    /// # Errors
    /// Settings with which no session can be held.
    pub fn new(config: Config, seed: u64) -> Result<Session, ConfigError> {
        config.check()?;
        Ok(Session {
            config,
            random: Random::new(seed),
            timers: Timers::default(),
            started: false,
            dialing: false,
            failures: 0,
            connections: [None, None],
            outputs: VecDeque::new(),
            stats: Stats::default(),
        })
    }

    /// Takes one event. Inputs about connections that are no longer ours are ignored.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Start => self.start(now),
            Input::Stop(reason) => self.stop(reason, now),
            Input::Opened { conn, direction } => self.opened(conn, direction, now),
            Input::OpenFailed { error } => self.dial_failed(&error, now),
            Input::Bytes { conn, bytes } => self.bytes(conn, bytes, now),
            Input::Closed { conn, error } => {
                if let Some(direction) = self.direction_of(conn) {
                    let reason = error.map_or(DownReason::PeerClosed, DownReason::Transport);
                    self.drop_connection(direction, reason, now);
                }
            }
            Input::Timeout => self.timeout(now),
            Input::Refresh => self.request_refresh(),
            Input::Updates(messages) => self.send_updates(messages, now),
        }
    }

    /// What is to be done next; None: nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Where the session stands.
    pub fn state(&self) -> State {
        let furthest = self.connections.iter().flatten().map(|connection| connection.state).max();
        match furthest {
            Some(state) => state,
            None if !self.listening() => State::Idle,
            None if self.dialing => State::Connect,
            None => State::Active,
        }
    }

    /// The peer of an Established session.
    pub fn peer(&self) -> Option<&PeerInfo> {
        let direction = self.established()?;
        self.connections[direction.index()].as_ref()?.peer.as_ref()
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Settings in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    // ---- Idle, Connect, Active ----

    fn start(&mut self, now: Instant) {
        if self.started {
            return;
        }
        self.started = true;
        self.failures = 0;
        self.seek(now);
    }

    fn stop(&mut self, reason: CeaseReason, now: Instant) {
        self.started = false;
        for direction in [Direction::Outgoing, Direction::Incoming] {
            self.close(direction, &Notification::from(&reason), DownReason::Stopped(reason.clone()), now);
        }
        self.timers.clear_all();
    }

    /// Whether connections are welcome: started, and not waiting after an error.
    fn listening(&self) -> bool {
        self.started && !self.timers.is_set(Timer::IdleHold)
    }

    /// Begins to look for the peer: dials unless told to wait for it.
    fn seek(&mut self, now: Instant) {
        self.timers.clear(Timer::IdleHold);
        if self.config.passive {
            return;
        }
        if !self.dialing {
            self.dialing = true;
            self.stats.dials += 1;
            self.outputs.push_back(Output::Dial { timeout: DIAL_TIMEOUT });
        }
        self.timers.set(Timer::ConnectRetry, now + DIAL_TIMEOUT + DIAL_GRACE);
    }

    fn dial_failed(&mut self, error: &str, now: Instant) {
        if !std::mem::take(&mut self.dialing) {
            return;
        }
        if self.wants_dial() {
            self.note_error(format!("cannot connect: {error}"), now);
            self.retry_later(now);
        }
    }

    /// Arms the next dial.
    fn retry_later(&mut self, now: Instant) {
        if !self.config.passive {
            let wait = self.back_off();
            self.timers.set(Timer::ConnectRetry, now + wait);
        }
    }

    /// The next wait: doubling, bounded, jittered.
    fn back_off(&mut self) -> Duration {
        let factor = 1u32 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let full = self.config.connect_retry_min.saturating_mul(factor).min(self.config.connect_retry_max);
        self.random.jittered(full)
    }

    fn connect_retry_expired(&mut self, now: Instant) {
        if self.dialing {
            self.dial_failed("no answer in time", now);
        } else if self.wants_dial() {
            self.seek(now);
        }
    }

    /// An incoming connection whose peer has not yet said who it is does not keep us from dialling.
    fn wants_dial(&self) -> bool {
        let incoming = self.connections[Direction::Incoming.index()].as_ref();
        self.listening()
            && self.connections[Direction::Outgoing.index()].is_none()
            && incoming.is_none_or(|connection| connection.state == State::OpenSent)
    }

    fn opened(&mut self, conn: ConnId, direction: Direction, now: Instant) {
        if direction == Direction::Outgoing {
            self.dialing = false;
            self.timers.clear(Timer::ConnectRetry);
        }
        if !self.listening() {
            self.outputs.push_back(Output::Close { conn });
            return;
        }
        if let Some(standing) = self.established() {
            self.refuse_second(conn, direction, standing, now);
            return;
        }
        // A peer has one outgoing connection: a new one says that it gave up the old.
        if self.connections[direction.index()].is_some() {
            self.send_and_close(direction, &Notification::from(&CeaseReason::ConnectionCollision));
        }
        self.connections[direction.index()] = Some(Connection::new(conn, OPEN_HOLD));
        self.timers.set(Timer::Hold(direction), now + OPEN_HOLD);
        let open = self.config.open().encode();
        self.send(direction, open);
    }

    /// A connection beside an Established session. If the peer opened it, it may have lost ours
    /// without a word: a KEEPALIVE on the old connection brings that to light at once.
    fn refuse_second(&mut self, conn: ConnId, direction: Direction, standing: Direction, now: Instant) {
        if direction == Direction::Incoming {
            let bytes = Notification::from(&CeaseReason::ConnectionCollision).encode();
            self.stats.sent.count(MessageKind::Notification);
            self.outputs.push_back(Output::Send { conn, bytes });
            self.send_keepalive(standing, now);
        }
        self.outputs.push_back(Output::Close { conn });
    }

    // ---- OpenSent, OpenConfirm, Established ----

    fn bytes(&mut self, conn: ConnId, mut bytes: &[u8], now: Instant) {
        // A message may close this connection; its number is looked up again for each.
        while let Some(direction) = self.direction_of(conn) {
            let Some(connection) = self.connections[direction.index()].as_mut() else { return };
            match connection.next_message(&mut bytes, self.config.enforce_first_as) {
                Ok(None) => return,
                Ok(Some(message)) => self.message(direction, message, now),
                Err(error) => self.fail(direction, error, now),
            }
        }
    }

    /// A message that belongs to the state of its connection.
    fn message(&mut self, direction: Direction, message: Message, now: Instant) {
        self.stats.received.count(message.kind());
        self.heard(direction, now);
        match message {
            Message::Open(open) => self.open_received(direction, open, now),
            Message::Notification(notification) => {
                if let Some(connection) = &self.connections[direction.index()] {
                    self.outputs.push_back(Output::Close { conn: connection.id });
                }
                self.drop_connection(direction, DownReason::NotificationReceived(notification), now);
            }
            Message::Keepalive => self.keepalive_received(direction, now),
            Message::Update(update) => self.update_received(update),
            Message::RouteRefresh { family: Family::IPV4_UNICAST, subtype: 0 } => {
                self.outputs.push_back(Output::RefreshRequested);
            }
            // RFC 2918: what was not advertised is ignored.
            Message::RouteRefresh { .. } => {}
        }
    }

    fn open_received(&mut self, direction: Direction, open: Open, now: Instant) {
        let Some(connection) = self.connections[direction.index()].as_mut() else { return };
        let peer = match connection::agree(&self.config, open, connection.id, direction) {
            Ok(peer) => peer,
            Err(error) => return self.fail(direction, error, now),
        };
        let local = Speaker { router_id: self.config.router_id, asn: self.config.local_as };
        let remote = Speaker { router_id: peer.router_id, asn: peer.remote_as };
        let other = self.connections[direction.other().index()].as_ref();
        if other.is_some_and(|other| other.state == State::OpenConfirm) {
            let lost = collision::keep(local, remote).other();
            let cease = Notification::from(&CeaseReason::ConnectionCollision);
            self.close(lost, &cease, DownReason::Collision, now);
        }
        let Some(connection) = self.connections[direction.index()].as_mut() else { return };
        connection.hold = Duration::from_secs(peer.hold_secs.into());
        connection.state = State::OpenConfirm;
        connection.peer = Some(peer);
        self.heard(direction, now);
        self.send_keepalive(direction, now);
    }

    fn keepalive_received(&mut self, direction: Direction, now: Instant) {
        let Some(connection) = self.connections[direction.index()].as_mut() else { return };
        if connection.state != State::OpenConfirm {
            return;
        }
        connection.state = State::Established;
        let peer = connection.peer.clone();
        let cease = Notification::from(&CeaseReason::ConnectionCollision);
        self.close(direction.other(), &cease, DownReason::Collision, now);
        if !self.dialing {
            self.timers.clear(Timer::ConnectRetry);
        }
        self.stats.established += 1;
        self.stats.established_since = Some(now);
        self.outputs.extend(peer.map(Output::Up));
    }

    fn update_received(&mut self, update: Box<Update>) {
        self.stats.attributes_discarded += update.discarded.len() as u64;
        if let Some(discarded) = update.discarded.last() {
            self.stats.last_malformed = Some(discarded.to_string());
        }
        if let Some(malformed) = &update.treat_as_withdraw {
            self.stats.treated_as_withdraw += 1;
            self.stats.last_malformed = Some(malformed.to_string());
        }
        if update.end_of_rib {
            self.outputs.push_back(Output::EndOfRib);
        } else {
            self.outputs.push_back(Output::Route(update));
        }
    }

    fn request_refresh(&mut self) {
        if self.peer().is_some_and(|peer| peer.route_refresh)
            && let Some(direction) = self.established()
        {
            self.send(direction, packet::route_refresh(Family::IPV4_UNICAST));
        }
    }

    fn send_updates(&mut self, messages: Vec<Vec<u8>>, now: Instant) {
        let Some(direction) = self.established() else { return };
        let any = !messages.is_empty();
        for message in messages {
            self.send(direction, message);
        }
        if any {
            self.arm_keepalive(direction, now);
        }
    }

    // ---- timers ----

    fn timeout(&mut self, now: Instant) {
        while let Some((timer, due)) = self.timers.pop_due(now) {
            match timer {
                Timer::ConnectRetry => self.connect_retry_expired(now),
                Timer::IdleHold => self.seek(now),
                Timer::Keepalive(direction) => self.send_keepalive(direction, now),
                Timer::Hold(direction) => self.hold_expired(direction, due, now),
            }
        }
    }

    /// Silence. But if it was we who slept, the peer's words may lie unread in the socket: one more
    /// second is given, once.
    fn hold_expired(&mut self, direction: Direction, due: Instant, now: Instant) {
        let Some(connection) = self.connections[direction.index()].as_mut() else { return };
        if now.saturating_duration_since(due) >= OVERSLEPT && !connection.hold_forgiven {
            connection.hold_forgiven = true;
            self.timers.set(Timer::Hold(direction), now + OVERSLEPT);
            return;
        }
        let reason = DownReason::HoldTimerExpired { hold_secs: connection.hold.as_secs() };
        self.close(direction, &Notification::HOLD_TIMER_EXPIRED, reason, now);
    }

    /// The peer lives: the hold timer starts again.
    fn heard(&mut self, direction: Direction, now: Instant) {
        let Some(connection) = self.connections[direction.index()].as_mut() else { return };
        connection.hold_forgiven = false;
        if connection.hold.is_zero() {
            self.timers.clear(Timer::Hold(direction));
        } else {
            self.timers.set(Timer::Hold(direction), now + connection.hold);
        }
    }

    fn send_keepalive(&mut self, direction: Direction, now: Instant) {
        self.send(direction, packet::keepalive());
        self.arm_keepalive(direction, now);
    }

    /// A third of the hold time, less the jitter.
    fn arm_keepalive(&mut self, direction: Direction, now: Instant) {
        let Some(connection) = &self.connections[direction.index()] else { return };
        if !connection.hold.is_zero() {
            let wait = self.random.jittered(connection.hold / 3);
            self.timers.set(Timer::Keepalive(direction), now + wait);
        }
    }

    // ---- ends ----

    fn fail(&mut self, direction: Direction, error: MessageError, now: Instant) {
        let MessageError { notification, problem } = error;
        let reason = DownReason::NotificationSent { notification: notification.clone(), problem };
        self.close(direction, &notification, reason, now);
    }

    /// Says why, closes, and draws the consequences. Nothing if there is no such connection.
    fn close(&mut self, direction: Direction, why: &Notification, reason: DownReason, now: Instant) {
        if self.connections[direction.index()].is_some() {
            self.send_and_close(direction, why);
            self.drop_connection(direction, reason, now);
        }
    }

    fn send_and_close(&mut self, direction: Direction, why: &Notification) {
        self.send(direction, why.encode());
        if let Some(connection) = &self.connections[direction.index()] {
            self.outputs.push_back(Output::Close { conn: connection.id });
        }
    }

    /// Forgets a connection and decides how to go on.
    fn drop_connection(&mut self, direction: Direction, reason: DownReason, now: Instant) {
        let Some(connection) = self.connections[direction.index()].take() else { return };
        self.timers.clear(Timer::Hold(direction));
        self.timers.clear(Timer::Keepalive(direction));
        let harmless = match &reason {
            DownReason::Collision | DownReason::Stopped(_) => true,
            DownReason::NotificationReceived(notification) => notification.is_collision(),
            _ => false,
        };
        if !harmless || connection.state == State::Established {
            self.note_error(reason.to_string(), now);
        }
        if connection.state == State::Established {
            self.session_ended(&reason, now);
        }
        let error = reason.is_error();
        if connection.state == State::Established {
            self.outputs.push_back(Output::Down(reason));
        }
        if self.started {
            self.go_on(error, now);
        }
    }

    fn session_ended(&mut self, reason: &DownReason, now: Instant) {
        if !matches!(reason, DownReason::Stopped(_)) {
            self.stats.flaps += 1;
        }
        if self.stats.uptime(now).is_some_and(|uptime| uptime >= STEADY) {
            self.failures = 0;
        }
        self.stats.established_since = None;
    }

    /// After a connection has gone: wait in Idle after an error, look for the peer again otherwise.
    fn go_on(&mut self, error: bool, now: Instant) {
        if self.connections.iter().any(Option::is_some) {
            // The other one goes on; should it come to nothing, dial again.
            if !self.dialing && !self.timers.is_set(Timer::ConnectRetry) && self.wants_dial() {
                self.retry_later(now);
            }
        } else if error {
            let wait = self.back_off();
            self.timers.clear(Timer::ConnectRetry);
            self.timers.set(Timer::IdleHold, now + wait);
        } else if !self.dialing {
            self.retry_later(now);
        }
    }

    // ---- small helpers ----

    fn send(&mut self, direction: Direction, bytes: Vec<u8>) {
        let Some(connection) = &self.connections[direction.index()] else { return };
        if let Some(kind) = bytes.get(18).and_then(|code| MessageKind::from_code(*code)) {
            self.stats.sent.count(kind);
        }
        self.outputs.push_back(Output::Send { conn: connection.id, bytes });
    }

    fn direction_of(&self, conn: ConnId) -> Option<Direction> {
        [Direction::Outgoing, Direction::Incoming].into_iter().find(|direction| {
            self.connections[direction.index()].as_ref().is_some_and(|connection| connection.id == conn)
        })
    }

    fn established(&self) -> Option<Direction> {
        [Direction::Outgoing, Direction::Incoming].into_iter().find(|direction| {
            self.connections[direction.index()].as_ref().is_some_and(|c| c.state == State::Established)
        })
    }

    fn note_error(&mut self, text: String, now: Instant) {
        self.stats.last_error = Some((now, text));
    }
}
