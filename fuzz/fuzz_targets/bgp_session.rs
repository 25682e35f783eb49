//! Whatever a peer sends after its OPEN, a session says only sound messages, to open connections only, and its Up and
//! Down alternate.
#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use tidegate_bgp::RemoteAs;
use tidegate_bgp::packet::{
    Capability, CeaseReason, Family, Framer, Message, MessageKind, Open, UpdateContext, keepalive,
};
use tidegate_bgp::session::{Config, ConnId, Direction, Input, Output, Session, State};
use tidegate_fuzz::{Clock, Source, bgp_stream, cut};

struct World {
    session: Session,
    open: BTreeSet<ConnId>,
    up: bool,
    dialing: bool,
}

impl World {
    fn handle(&mut self, input: Input<'_>, clock: &Clock) {
        self.session.handle(input, clock.now());
        while let Some(output) = self.session.poll_output() {
            self.check(output);
        }
        assert_eq!(self.up, self.session.state() == State::Established);
        assert_eq!(self.up, self.session.peer().is_some());
    }

    fn check(&mut self, output: Output) {
        match output {
            Output::Send { conn, bytes } => {
                assert!(self.open.contains(&conn), "speaks to a closed connection");
                check_message(&bytes);
            }
            Output::Close { conn } => assert!(self.open.remove(&conn), "closes what is closed"),
            Output::Up(peer) => {
                assert!(!std::mem::replace(&mut self.up, true), "up twice");
                assert!(self.open.contains(&peer.conn));
            }
            Output::Down(reason) => {
                assert!(std::mem::replace(&mut self.up, false), "down twice");
                assert!(!reason.to_string().contains(char::is_control), "a log line must stay one line");
            }
            Output::Dial { .. } => self.dialing = true,
            Output::Route(_) | Output::RefreshRequested | Output::EndOfRib => assert!(self.up),
        }
    }

    fn step(&mut self, source: &mut Source<'_>, clock: &mut Clock, next: &mut u64) {
        let kind = source.byte();
        let conn = ConnId(u64::from(source.byte()) % (*next + 1));
        match kind % 8 {
            0 => {
                clock.pass(u64::from(kind) * 40);
                self.handle(Input::Timeout, clock);
            }
            1 => {
                if let Some(due) = self.session.poll_timeout() {
                    clock.reach(due);
                }
                self.handle(Input::Timeout, clock);
                assert!(
                    self.session.poll_timeout().is_none_or(|due| due > clock.now()),
                    "a timer that never ends"
                );
            }
            2 if kind & 8 == 0 || self.dialing => {
                let direction = if kind & 8 == 0 { Direction::Incoming } else { Direction::Outgoing };
                self.dialing &= kind & 8 == 0;
                let conn = ConnId(*next);
                *next += 1;
                self.open.insert(conn);
                self.handle(Input::Opened { conn, direction }, clock);
                if self.open.contains(&conn) {
                    let asn = if kind & 16 == 0 { 65001 } else { 65002 };
                    self.handle(Input::Bytes { conn, bytes: &[open(asn), keepalive()].concat() }, clock);
                }
            }
            3 if self.open.remove(&conn) => {
                let error = (kind & 8 == 0).then(|| "reset".to_owned());
                self.handle(Input::Closed { conn, error }, clock);
            }
            4 if std::mem::take(&mut self.dialing) => {
                self.handle(Input::OpenFailed { error: "refused".into() }, clock);
            }
            5 if kind & 8 == 0 => self.handle(Input::Start, clock),
            5 => self.handle(Input::Stop(CeaseReason::PeerDeconfigured), clock),
            6 => self.handle(Input::Refresh, clock),
            _ => {
                let stream = bgp_stream(&mut Source(source.chunk()));
                for bytes in cut(&stream, kind) {
                    self.handle(Input::Bytes { conn, bytes }, clock);
                }
            }
        }
    }
}

fn check_message(bytes: &[u8]) {
    let context = UpdateContext {
        kind: tidegate_bgp::PeerKind::External,
        peer_as: 65000,
        four_byte_as: true,
        enforce_first_as: true,
    };
    let mut framer = Framer::new();
    let mut input = bytes;
    let frame = framer.next(&mut input).expect("a sound header").expect("a whole message");
    assert!(input.is_empty() && frame.kind != MessageKind::Update);
    let message = Message::decode(frame, &context).expect("a sound message");
    assert_eq!(message.kind(), frame.kind);
}

fn open(asn: u32) -> Vec<u8> {
    let capabilities = vec![
        Capability::MultiProtocol(Family::IPV4_UNICAST),
        Capability::RouteRefresh,
        Capability::FourByteAs(asn),
    ];
    Open { asn, hold_secs: 9, router_id: Ipv4Addr::new(10, 0, 0, 1), capabilities }.encode()
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let mut clock = Clock::start();
    let mut config = Config::new(65000, Ipv4Addr::new(10, 0, 0, 11), RemoteAs::Exact(65001));
    config.passive = source.byte() & 1 != 0;
    let session = Session::new(config, 7).expect("sound settings");
    let mut world = World { session, open: BTreeSet::new(), up: false, dialing: false };
    world.handle(Input::Start, &clock);
    let mut next = 0;
    while !source.is_empty() {
        world.step(&mut source, &mut clock, &mut next);
    }
});
