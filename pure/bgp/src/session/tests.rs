//! Two machines over a bad wire: what must hold after any history. The transition table of one
//! machine is in `table`.

use super::*;
use crate::packet::{AsPath, Attributes, encode_announcements, end_of_rib};
use crate::peer::RemoteAs;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use wire::Wire;

mod table;
mod wire;

fn config(local_as: u32, remote_as: u32, id: u8) -> Config {
    Config::new(local_as, Ipv4Addr::new(10, 0, 0, id), RemoteAs::Exact(remote_as))
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn external_pair() -> [Config; 2] {
    [config(64512, 65001, 1), config(65001, 64512, 2)]
}

fn wire(configs: [Config; 2], seed: u64) -> Wire {
    Wire::new(configs, seed, Duration::from_millis(50))
}

fn announcement(asn: u32) -> Vec<Vec<u8>> {
    let attributes = Attributes { as_path: AsPath::sequence([asn]), ..Attributes::default() };
    let prefix = ["192.0.2.0/24".parse().unwrap()];
    encode_announcements(&attributes, Ipv4Addr::new(10, 0, 0, 1), &prefix, true).unwrap()
}

/// Two speakers find each other within a second, exchange routes both ways, refresh, and stay.
#[test]
fn two_speakers_exchange_routes() {
    let mut wire = wire(external_pair(), 1);
    wire.start();
    assert!(wire.run(secs(1), Wire::agreed), "{:?}", wire.states());
    let mut messages = announcement(64512);
    messages.push(end_of_rib());
    wire.input(0, Input::Updates(messages));
    wire.input(1, Input::Updates(announcement(65001)));
    wire.input(1, Input::Refresh);
    wire.pass(secs(300));
    assert_eq!((wire.sides[1].routes.len(), wire.sides[1].ends_of_rib), (1, 1));
    assert_eq!(wire.sides[1].routes[0].attributes.as_path, AsPath::sequence([64512]));
    assert_eq!((wire.sides[0].routes.len(), wire.sides[0].refreshes), (1, 1));
    let stats = wire.sides[0].session.stats();
    assert_eq!((stats.flaps, stats.established, stats.received.updates, stats.sent.updates), (0, 1, 1, 2));
    assert!(stats.uptime(wire.now).is_some_and(|uptime| uptime > secs(299)));
    // A third of 9 s less up to a quarter: 100 to 134 in 300 s.
    assert!((95..=140).contains(&stats.sent.keepalives), "{}", stats.sent.keepalives);
}

/// When both dial at once, one connection remains. Where the dials truly cross, the speaker with the
/// higher id has opened it.
#[test]
fn collisions_leave_one_connection() {
    for seed in 0..50 {
        let mut wire = Wire::new(external_pair(), seed, Duration::from_micros(seed * 20));
        wire.start();
        let one = |wire: &Wire| wire.agreed() && wire.open_links().len() == 1;
        assert!(wire.run(secs(10), one), "seed {seed}: {:?}", wire.states());
        wire.pass(secs(1));
        assert!(one(&wire), "seed {seed}");
    }
    let mut wire = Wire::new(external_pair(), 0, Duration::ZERO);
    wire.start();
    wire.pass(secs(1));
    assert_eq!(wire.sides[1].up.as_ref().unwrap().direction, Direction::Outgoing);
    let sent = [0, 1].map(|side: usize| wire.sides[side].session.stats().sent.notifications);
    assert_ne!(sent, [0, 0], "there was no collision to settle");
}

/// A peer that falls silent is given up after the hold time, said so, and found again.
#[test]
fn silence_ends_a_session_after_the_hold_time() {
    let mut wire = wire(external_pair(), 3);
    wire.start();
    assert!(wire.run(secs(2), Wire::agreed));
    wire.pass(secs(20));
    wire.stall();
    let before = wire.now;
    assert!(wire.run(secs(10), |w| w.sides.iter().all(|side| !side.downs.is_empty())));
    let took = wire.now - before;
    assert!(took > secs(5) && took <= secs(9) + Duration::from_millis(100), "{took:?}");
    for side in &wire.sides {
        assert_eq!(side.downs, [DownReason::HoldTimerExpired { hold_secs: 9 }]);
    }
    let text = wire.sides[0].downs[0].to_string();
    assert_eq!(text, "hold timer expired: nothing heard from the peer for 9 s");
    assert!(wire.run(secs(3), Wire::agreed), "a session that was steady comes back quickly");
}

/// The lower of the two hold times is used, and 0 means that silence is no reason.
#[test]
fn hold_time_is_negotiated() {
    for (ours, theirs, used) in [(9, 90, 9), (240, 3, 3), (0, 90, 0), (30, 0, 0)] {
        let mut configs = external_pair();
        configs[0].hold_secs = ours;
        configs[1].hold_secs = theirs;
        let mut wire = wire(configs, 4);
        wire.start();
        assert!(wire.run(secs(2), Wire::agreed));
        assert_eq!([0, 1].map(|side: usize| wire.sides[side].up.as_ref().unwrap().hold_secs), [used; 2]);
        wire.pass(secs(1000));
        assert!(wire.agreed() && wire.sides[0].downs.is_empty(), "{ours} and {theirs}");
        if used == 0 {
            assert_eq!(wire.sides[0].session.stats().sent.keepalives, 1);
        }
    }
}

/// Stop tells the peer why, stays down, and Start brings it back.
#[test]
fn stop_says_why_and_start_returns() {
    let mut wire = wire(external_pair(), 5);
    wire.start();
    assert!(wire.run(secs(2), Wire::agreed));
    wire.input(0, Input::Stop(CeaseReason::AdministrativeShutdown { text: "new kernel".into() }));
    wire.pass(secs(60));
    assert_eq!(wire.states()[0], State::Idle);
    assert_eq!(wire.sides[0].session.poll_timeout(), None);
    assert_eq!(
        wire.sides[1].downs[0].to_string(),
        "the peer sent NOTIFICATION 6/2 Cease: Administrative Shutdown, saying \"new kernel\""
    );
    assert_eq!((wire.sides[0].session.stats().flaps, wire.sides[1].session.stats().flaps), (0, 1));
    wire.input(0, Input::Start);
    assert!(wire.run(secs(2), Wire::agreed), "{:?}", wire.states());
}

/// A passive speaker never dials, and is found all the same.
#[test]
fn passive_waits_to_be_found() {
    let mut configs = external_pair();
    configs[0].passive = true;
    let mut wire = wire(configs, 6);
    wire.start();
    assert!(wire.run(secs(2), Wire::agreed));
    wire.cut();
    wire.pass(secs(1));
    assert!(wire.run(secs(5), Wire::agreed));
    assert_eq!(wire.sides[0].session.stats().dials, 0);
}

/// While the peer is away, dials grow rarer up to the limit; when it returns, it finds us at once.
#[test]
fn back_off_grows_and_is_bounded() {
    let mut wire = wire(external_pair(), 7);
    wire.reachable = false;
    wire.start();
    wire.pass(secs(10));
    let early = wire.sides[0].session.stats().dials;
    assert!((4..=6).contains(&early), "{early} dials in 10 s");
    wire.pass(secs(590));
    let all = wire.sides[0].session.stats().dials;
    assert!((20..=32).contains(&all), "{all} dials in 10 min");
    let (_, error) = wire.sides[0].session.stats().last_error.clone().unwrap();
    assert_eq!(error, "cannot connect: connection refused");
    wire.reachable = true;
    wire.restart(1, 99);
    assert!(wire.run(secs(2), Wire::agreed));
}

/// However long the peer was away, after a steady session the first new attempt comes within a second.
#[test]
fn a_steady_session_makes_us_quick_again() {
    let mut wire = wire(external_pair(), 10);
    wire.reachable = false;
    wire.start();
    wire.pass(secs(600));
    wire.reachable = true;
    assert!(wire.run(secs(31), Wire::agreed), "{:?}", wire.states());
    wire.pass(secs(20));
    wire.cut();
    wire.pass(Duration::from_millis(60));
    assert!(!wire.agreed());
    assert!(wire.run(Duration::from_millis(1300), Wire::agreed), "{:?}", wire.states());
}

/// A peer that comes back without having said goodbye is taken back in seconds: its new connection
/// makes us look after the old one.
#[test]
fn a_peer_restarted_without_a_word_is_noticed() {
    let mut configs = external_pair();
    configs.iter_mut().for_each(|config| config.hold_secs = 240);
    let mut wire = wire(configs, 8);
    wire.start();
    assert!(wire.run(secs(2), Wire::agreed));
    wire.pass(secs(30));
    wire.restart(1, 99);
    assert!(wire.run(secs(5), Wire::agreed), "{:?}", wire.states());
    assert_eq!(wire.sides[0].downs.len(), 1);
}

/// A frozen process does not blame the peer: what lies in the socket is read before silence is believed.
#[test]
fn oversleeping_is_not_silence() {
    let mut wire = wire(external_pair(), 9);
    wire.start();
    assert!(wire.run(secs(2), Wire::agreed));
    let session = &mut wire.sides[0].session;
    let conn = session.peer().unwrap().conn;
    let late = wire.now + secs(60);
    session.handle(Input::Timeout, late);
    assert_eq!(session.state(), State::Established);
    session.handle(Input::Bytes { conn, bytes: &packet::keepalive() }, late);
    session.handle(Input::Timeout, late + secs(5));
    assert_eq!(session.state(), State::Established);
    // Silence after a second look is silence, however late that is.
    session.handle(Input::Timeout, late + secs(60));
    assert_eq!(session.state(), State::Established);
    session.handle(Input::Timeout, late + secs(120));
    assert_ne!(session.state(), State::Established);
}

/// Something that goes wrong between two speakers.
#[derive(Debug, Clone)]
enum Trouble {
    Wait(u64),
    Cut,
    Stall,
    Unreachable,
    Reachable,
    Restart(usize),
    StopStart(usize, u64),
    Noise(usize, Vec<u8>),
    Routes(usize),
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => (0u64..8000).prop_map(Trouble::Wait),
        1 => Just(Trouble::Cut),
        1 => Just(Trouble::Stall),
        1 => Just(Trouble::Unreachable),
        1 => Just(Trouble::Reachable),
        1 => (0usize..2).prop_map(Trouble::Restart),
        1 => (0usize..2, 0u64..3000).prop_map(|(side, millis)| Trouble::StopStart(side, millis)),
        1 => (0usize..2, proptest::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(side, bytes)| Trouble::Noise(side, bytes)),
        2 => (0usize..2).prop_map(Trouble::Routes),
    ]
}

fn befall(wire: &mut Wire, trouble: Trouble, seed: u64) {
    match trouble {
        Trouble::Wait(millis) => wire.pass(Duration::from_millis(millis)),
        Trouble::Cut => wire.cut(),
        Trouble::Stall => wire.stall(),
        Trouble::Unreachable => wire.reachable = false,
        Trouble::Reachable => wire.reachable = true,
        Trouble::Restart(side) => wire.restart(side, seed),
        Trouble::StopStart(side, millis) => {
            wire.input(side, Input::Stop(CeaseReason::ConfigurationChange));
            wire.pass(Duration::from_millis(millis));
            wire.input(side, Input::Start);
        }
        Trouble::Noise(side, bytes) => {
            if let Some(conn) = wire.sides[side].up.as_ref().map(|up| up.conn) {
                wire.input(side, Input::Bytes { conn, bytes: &bytes });
            }
        }
        Trouble::Routes(side) => {
            let asn = wire.sides[side].session.config().local_as;
            wire.input(side, Input::Updates(announcement(asn)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// After any history of trouble, two speakers that can reach each other hold one session over
    /// one connection, and keep it.
    #[test]
    fn every_history_converges(
        seed in any::<u64>(),
        delay_millis in 0u64..400,
        internal in any::<bool>(),
        passive in any::<bool>(),
        history in proptest::collection::vec(any_trouble(), 0..25),
    ) {
        let mut configs = if internal { [config(64512, 64512, 1), config(64512, 64512, 2)] } else { external_pair() };
        configs[0].passive = passive;
        let mut wire = Wire::new(configs, seed, Duration::from_millis(delay_millis));
        wire.start();
        for (step, trouble) in history.into_iter().enumerate() {
            befall(&mut wire, trouble, seed.wrapping_add(step as u64));
        }
        wire.reachable = true;
        prop_assert!(wire.run(secs(120), Wire::agreed), "{:?}", wire.states());
        let flaps = |wire: &Wire| [0, 1].map(|side: usize| wire.sides[side].session.stats().flaps);
        // The last hold timers of stalled connections may still have to run out.
        wire.pass(secs(60));
        let before = flaps(&wire);
        wire.pass(secs(120));
        prop_assert!(wire.agreed() && wire.open_links().len() == 1, "{:?} {:?}", wire.states(), wire.open_links());
        prop_assert_eq!(flaps(&wire), before);
        wire.sides[1].routes.clear();
        wire.input(0, Input::Updates(announcement(wire.sides[0].session.config().local_as)));
        wire.pass(secs(1));
        prop_assert_eq!(wire.sides[1].routes.len(), 1);
    }
}
