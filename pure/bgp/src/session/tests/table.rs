//! The transition table of RFC 4271, section 8.2.2: every state against every event that can reach it.

use super::*;
use crate::packet::{Capability, Open};
use wire::start_of_time;

const CONN: ConnId = ConnId(1);

/// One session and the time.
struct Machine {
    session: Session,
    now: Instant,
}

impl Machine {
    /// A machine of AS 64512 that expects 65001, brought into a state over an outgoing connection.
    fn in_state(state: State) -> Machine {
        let session = Session::new(config(64512, 65001, 1), 1).unwrap();
        let mut machine = Machine { session, now: start_of_time() };
        if state == State::Idle {
            return machine;
        }
        machine.event(Event::Start);
        if state == State::Active {
            machine.event(Event::OpenFailed);
        }
        if state >= State::OpenSent {
            machine.event(Event::Opened);
        }
        if state >= State::OpenConfirm {
            machine.event(Event::Open);
        }
        if state >= State::Established {
            machine.event(Event::Keepalive);
        }
        assert_eq!(machine.session.state(), state);
        machine
    }

    /// Hands over an event; answers with the NOTIFICATION it provoked, if any.
    fn event(&mut self, event: Event) -> Option<(u8, u8)> {
        let bytes = |bytes| Input::Bytes { conn: CONN, bytes };
        let (session, now) = (&mut self.session, self.now);
        match event {
            Event::Start => session.handle(Input::Start, now),
            Event::Stop => session.handle(Input::Stop(CeaseReason::PeerDeconfigured), now),
            Event::Opened => {
                session.handle(Input::Opened { conn: CONN, direction: Direction::Outgoing }, now)
            }
            Event::OpenFailed => session.handle(Input::OpenFailed { error: "refused".into() }, now),
            Event::Closed => session.handle(Input::Closed { conn: CONN, error: None }, now),
            Event::Silence => {
                while let Some(at) = session.timers.next() {
                    let hold = session.timers.is_set(Timer::Hold(Direction::Outgoing));
                    self.now = at;
                    session.handle(Input::Timeout, at);
                    if !hold || !session.timers.is_set(Timer::Hold(Direction::Outgoing)) {
                        break;
                    }
                }
            }
            Event::Open => session.handle(bytes(&open().encode()), now),
            Event::WrongAs => {
                session.handle(bytes(&Open { asn: 65002, capabilities: vec![], ..open() }.encode()), now)
            }
            Event::Keepalive => session.handle(bytes(&packet::keepalive()), now),
            Event::Update => session.handle(bytes(&announcement(65001)[0]), now),
            Event::Refresh => session.handle(bytes(&packet::route_refresh(Family::IPV4_UNICAST)), now),
            Event::Cease => {
                session.handle(bytes(&Notification::from(&CeaseReason::PeerDeconfigured).encode()), now)
            }
            Event::Complaint => {
                session.handle(bytes(&Notification { code: 2, subcode: 2, data: vec![] }.encode()), now)
            }
            Event::Garbage => session.handle(bytes(&[0; 19]), now),
        }
        self.sent_notification()
    }

    fn sent_notification(&mut self) -> Option<(u8, u8)> {
        let mut sent = None;
        while let Some(output) = self.session.poll_output() {
            if let Output::Send { bytes, .. } = output
                && bytes[18] == MessageKind::Notification.code()
            {
                sent = Some((bytes[19], bytes[20]));
            }
        }
        sent
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Start,
    Stop,
    Opened,
    OpenFailed,
    Closed,
    /// Time runs until the first timer, or the hold timer where one runs, has fired.
    Silence,
    Open,
    WrongAs,
    Keepalive,
    Update,
    Refresh,
    /// NOTIFICATION 6/3.
    Cease,
    /// NOTIFICATION 2/2.
    Complaint,
    Garbage,
}

fn open() -> Open {
    Open {
        asn: 65001,
        hold_secs: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        capabilities: vec![Capability::FourByteAs(65001), Capability::RouteRefresh],
    }
}

/// Every state and event lead to the state, and provoke the NOTIFICATION, that the RFC names. Where the
/// RFC goes to Idle and starts again by itself, the state here is the one after that: Active.
#[test]
fn transitions() {
    use Event::*;
    use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
    type Row = (State, Event, State, Option<(u8, u8)>);
    let table: &[Row] = &[
        (Idle, Start, Connect, None),
        (Idle, Stop, Idle, None),
        (Idle, Opened, Idle, None),
        (Idle, OpenFailed, Idle, None),
        (Idle, Open, Idle, None),
        (Connect, Start, Connect, None),
        (Connect, Stop, Idle, None),
        (Connect, Opened, OpenSent, None),
        (Connect, OpenFailed, Active, None),
        (Connect, Silence, Active, None),
        (Active, Start, Active, None),
        (Active, Stop, Idle, None),
        (Active, Opened, OpenSent, None),
        (Active, OpenFailed, Active, None),
        (Active, Silence, Connect, None),
        (OpenSent, Start, OpenSent, None),
        (OpenSent, Stop, Idle, Some((6, 3))),
        (OpenSent, Closed, Active, None),
        (OpenSent, Silence, Active, Some((4, 0))),
        (OpenSent, Open, OpenConfirm, None),
        (OpenSent, WrongAs, Idle, Some((2, 2))),
        (OpenSent, Keepalive, Idle, Some((5, 1))),
        (OpenSent, Update, Idle, Some((5, 1))),
        (OpenSent, Refresh, Idle, Some((5, 1))),
        (OpenSent, Cease, Active, None),
        (OpenSent, Complaint, Idle, None),
        (OpenSent, Garbage, Idle, Some((1, 1))),
        (OpenConfirm, Start, OpenConfirm, None),
        (OpenConfirm, Stop, Idle, Some((6, 3))),
        (OpenConfirm, Closed, Active, None),
        (OpenConfirm, Silence, Active, Some((4, 0))),
        (OpenConfirm, Open, Idle, Some((5, 2))),
        (OpenConfirm, Keepalive, Established, None),
        (OpenConfirm, Update, Idle, Some((5, 2))),
        (OpenConfirm, Refresh, Idle, Some((5, 2))),
        (OpenConfirm, Cease, Active, None),
        (OpenConfirm, Complaint, Idle, None),
        (OpenConfirm, Garbage, Idle, Some((1, 1))),
        (Established, Start, Established, None),
        (Established, Stop, Idle, Some((6, 3))),
        (Established, Closed, Active, None),
        (Established, Silence, Active, Some((4, 0))),
        (Established, Open, Idle, Some((5, 3))),
        (Established, Keepalive, Established, None),
        (Established, Update, Established, None),
        (Established, Refresh, Established, None),
        (Established, Cease, Active, None),
        (Established, Complaint, Idle, None),
        (Established, Garbage, Idle, Some((1, 1))),
    ];
    for (from, event, to, notification) in table {
        let mut machine = Machine::in_state(*from);
        let sent = machine.event(*event);
        assert_eq!((machine.session.state(), sent), (*to, *notification), "{event:?} in {from}");
    }
}

/// Waiting in Idle after an error refuses connections, ends by itself, and dials.
#[test]
fn idle_after_an_error_ends_by_itself() {
    let mut machine = Machine::in_state(State::OpenSent);
    machine.event(Event::Garbage);
    let opened = Input::Opened { conn: ConnId(2), direction: Direction::Incoming };
    machine.session.handle(opened, machine.now);
    assert_eq!(machine.session.poll_output(), Some(Output::Close { conn: ConnId(2) }));
    let wakes = machine.session.poll_timeout().unwrap();
    assert!(wakes - machine.now <= secs(1));
    machine.session.handle(Input::Timeout, wakes);
    assert_eq!(machine.session.poll_output(), Some(Output::Dial { timeout: secs(5) }));
}

/// Errors that repeat wait longer each time, up to the limit.
#[test]
fn errors_that_repeat_wait_longer() {
    let mut machine = Machine::in_state(State::Connect);
    let mut waits = Vec::new();
    for attempt in 1..12 {
        let conn = ConnId(attempt);
        machine.session.handle(Input::Opened { conn, direction: Direction::Outgoing }, machine.now);
        machine.session.handle(Input::Bytes { conn, bytes: &[0; 19] }, machine.now);
        let wakes = machine.session.poll_timeout().unwrap();
        waits.push(wakes - machine.now);
        machine.now = wakes;
        machine.session.handle(Input::Timeout, wakes);
    }
    assert!(waits.windows(2).take(4).all(|pair| pair[0] < pair[1]), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= secs(30)), "{waits:?}");
    assert!(waits[8..].iter().all(|wait| *wait >= secs(22)), "{waits:?}");
}

/// Each OPEN that cannot make a session is answered with its subcode.
#[test]
fn opens_that_are_refused() {
    let ipv6 = Capability::MultiProtocol(Family { afi: 2, safi: 1 });
    let ours = Ipv4Addr::new(10, 0, 0, 1);
    let base = |asn| Open { asn, hold_secs: 9, router_id: Ipv4Addr::new(10, 0, 0, 2), capabilities: vec![] };
    let table = [
        ("right", RemoteAs::Exact(65001), base(65001), None),
        ("wrong AS", RemoteAs::Exact(65001), base(65002), Some((2, 2))),
        ("external, is ours", RemoteAs::External, base(64512), Some((2, 2))),
        ("external", RemoteAs::External, base(1), None),
        ("internal, is not", RemoteAs::Internal, base(1), Some((2, 2))),
        ("internal", RemoteAs::Internal, base(64512), None),
        ("our id inside", RemoteAs::Internal, Open { router_id: ours, ..base(64512) }, Some((2, 3))),
        ("our id outside", RemoteAs::External, Open { router_id: ours, ..base(1) }, None),
        ("IPv6 only", RemoteAs::External, Open { capabilities: vec![ipv6], ..base(1) }, Some((2, 7))),
    ];
    for (name, remote_as, open, expected) in table {
        let session = Session::new(Config { remote_as, ..config(64512, 1, 1) }, 1).unwrap();
        let mut machine = Machine { session, now: start_of_time() };
        machine.event(Event::Start);
        machine.event(Event::Opened);
        machine.session.handle(Input::Bytes { conn: CONN, bytes: &open.encode() }, machine.now);
        assert_eq!(machine.sent_notification(), expected, "{name}");
    }
}

/// Which connection survives, for both orders of events and both outcomes of the comparison.
#[test]
fn collision_table() {
    use Direction::{Incoming, Outgoing};
    // (id of the peer, the connection whose OPEN comes first, the one kept)
    let table =
        [(2, Outgoing, Incoming), (2, Incoming, Incoming), (0, Outgoing, Outgoing), (0, Incoming, Outgoing)];
    for (peer_id, first, kept) in table {
        let mut machine = Machine::in_state(State::Connect);
        let open = Open { router_id: Ipv4Addr::new(10, 0, 0, peer_id), ..open() }.encode();
        let conn = |direction| if direction == Outgoing { ConnId(1) } else { ConnId(2) };
        for direction in [Outgoing, Incoming] {
            machine.session.handle(Input::Opened { conn: conn(direction), direction }, machine.now);
        }
        machine.session.handle(Input::Bytes { conn: conn(first), bytes: &open }, machine.now);
        machine.sent_notification();
        machine.session.handle(Input::Bytes { conn: conn(first.other()), bytes: &open }, machine.now);
        assert_eq!(machine.sent_notification(), Some((6, 7)), "peer .{peer_id}, {first:?} first");
        let keepalive = packet::keepalive();
        machine.session.handle(Input::Bytes { conn: conn(kept), bytes: &keepalive }, machine.now);
        let peer = machine.session.peer().expect("established");
        assert_eq!((peer.conn, peer.direction), (conn(kept), kept), "peer .{peer_id}, {first:?} first");
        assert!(machine.session.connections[kept.other().index()].is_none());
    }
}

/// Beside an Established session, a second connection is told why and closed, and the old one is
/// looked after.
#[test]
fn a_second_connection_is_refused() {
    let mut machine = Machine::in_state(State::Established);
    let second = ConnId(2);
    machine.session.handle(Input::Opened { conn: second, direction: Direction::Incoming }, machine.now);
    let cease = Notification::from(&CeaseReason::ConnectionCollision).encode();
    let expected = [
        Output::Send { conn: second, bytes: cease },
        Output::Send { conn: CONN, bytes: packet::keepalive() },
        Output::Close { conn: second },
    ];
    for output in expected {
        assert_eq!(machine.session.poll_output(), Some(output));
    }
    assert_eq!((machine.session.poll_output(), machine.session.state()), (None, State::Established));
}

/// An incoming connection that says nothing does not keep us from dialling, and gives way to the next.
#[test]
fn a_mute_incoming_connection_is_no_obstacle() {
    let mut machine = Machine::in_state(State::Active);
    let incoming = |conn| Input::Opened { conn: ConnId(conn), direction: Direction::Incoming };
    machine.session.handle(incoming(7), machine.now);
    machine.sent_notification();
    let retry = machine.session.poll_timeout().unwrap();
    machine.session.handle(Input::Timeout, retry);
    assert_eq!(machine.session.poll_output(), Some(Output::Dial { timeout: secs(5) }));
    machine.session.handle(incoming(8), retry);
    let cease = Notification::from(&CeaseReason::ConnectionCollision).encode();
    assert_eq!(machine.session.poll_output(), Some(Output::Send { conn: ConnId(7), bytes: cease }));
    assert_eq!(machine.session.poll_output(), Some(Output::Close { conn: ConnId(7) }));
    let connections = machine.session.connections.iter().flatten();
    assert_eq!(connections.map(|connection| connection.id).collect::<Vec<_>>(), [ConnId(8)]);
}

/// What was malformed is counted, named, and does not end the session.
#[test]
fn malformed_updates_are_counted() {
    let mut machine = Machine::in_state(State::Established);
    #[rustfmt::skip]
    let body = [
        0, 0, 0, 23,
        0x40, 1, 1, 9,
        0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9,
        0x40, 3, 4, 10, 0, 0, 1,
        0x40, 6, 0,
        8, 10,
    ];
    let header = [&[0xff; 16][..], &[0, 19 + body.len() as u8, 2]].concat();
    machine.session.handle(Input::Bytes { conn: CONN, bytes: &[&header[..], &body].concat() }, machine.now);
    match machine.session.poll_output() {
        Some(Output::Route(update)) => assert_eq!(update.withdrawn, ["10.0.0.0/8".parse().unwrap()]),
        other => panic!("{other:?}"),
    }
    let stats = machine.session.stats();
    assert_eq!((stats.treated_as_withdraw, machine.session.state()), (1, State::Established));
    assert_eq!(stats.last_malformed.as_deref(), Some("ORIGIN origin 9 is not defined"));
}

/// Settings that cannot work are named.
#[test]
fn settings_are_checked() {
    let table = [
        (Config { local_as: 0, ..config(1, 2, 1) }, Some(ConfigError::AsZero)),
        (config(1, 0, 1), Some(ConfigError::AsZero)),
        (
            Config { router_id: Ipv4Addr::UNSPECIFIED, ..config(1, 2, 1) },
            Some(ConfigError::RouterId(Ipv4Addr::UNSPECIFIED)),
        ),
        (Config { hold_secs: 2, ..config(1, 2, 1) }, Some(ConfigError::HoldTime(2))),
        (Config { connect_retry_min: secs(60), ..config(1, 2, 1) }, Some(ConfigError::ConnectRetry)),
        (config(1, 2, 1), None),
    ];
    for (config, error) in table {
        assert_eq!(Session::new(config, 0).err(), error);
    }
}
