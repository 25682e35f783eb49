//! Answers, announcements and conflicts of one interface, then random histories.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::timers::FRAMES_PER_TICK;

const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);
const OTHER: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 50, 20);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
fn epoch() -> Instant {
    Instant::now()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
    Arp { sender, target, ..Arp::gratuitous(OTHER, target) }
}

/// What the session says at once.
fn say(session: &mut Session, input: Input<'_>, now: Instant) -> Vec<Output> {
    session.handle(input, now);
    std::iter::from_fn(|| session.poll_output()).collect()
}

/// A session that has held `VIP` for long, and the time.
fn holder() -> (Session, Instant) {
    let now = epoch();
    let mut session = Session::new(MAC);
    say(&mut session, Input::Hold(VIP), now);
    run(&mut session, now, 1500);
    (session, now + ms(1500))
}

/// Let time pass with every timer on time; when something was sent, and what.
fn run(session: &mut Session, from: Instant, millis: u64) -> Vec<(u128, Output)> {
    let mut said = vec![];
    while let Some(due) = session.poll_timeout().filter(|due| *due <= from + ms(millis)) {
        let outputs = say(session, Input::Timeout, due);
        said.extend(outputs.into_iter().map(|output| ((due - from).as_millis(), output)));
    }
    said
}

fn gratuitous(address: Ipv4Addr) -> Output {
    Output::Send(Arp::gratuitous(MAC, address).encode())
}

#[test]
fn what_is_heard_is_answered_as_this_table_says() {
    let reply = |request: &Arp| vec![Output::Send(request.reply(MAC).encode())];
    let conflict = vec![Output::Conflict { address: VIP, mac: OTHER }, gratuitous(VIP)];
    let ask = request(CLIENT, VIP);
    let probe = request(Ipv4Addr::UNSPECIFIED, VIP);
    let table = [
        ("a request for it", ask, reply(&ask)),
        ("a unicast request", Arp { destination: MAC, ..ask }, reply(&ask)),
        ("a probe", probe, reply(&probe)),
        ("a request to another interface", Arp { destination: OTHER, ..ask }, vec![]),
        ("a request for another address", request(CLIENT, Ipv4Addr::new(10, 0, 50, 21)), vec![]),
        ("a request whose sender is a group", Arp { sender_mac: Mac::BROADCAST, ..ask }, vec![]),
        ("a reply to us", Arp { operation: Operation::Reply, destination: MAC, ..ask }, vec![]),
        ("our own frame", Arp { source: MAC, ..ask }, vec![]),
        ("our own announcement", Arp::gratuitous(MAC, VIP), vec![]),
        ("another's announcement", request(VIP, VIP), conflict.clone()),
        ("another's reply", Arp { operation: Operation::Reply, ..request(VIP, CLIENT) }, conflict.clone()),
        ("a request from a claimant", request(VIP, CLIENT), conflict),
    ];
    for (what, frame, expected) in table {
        let (mut session, now) = holder();
        assert_eq!(say(&mut session, Input::Frame(&frame.encode()), now), expected, "{what}");
    }
}

#[test]
fn holding_announces_in_a_burst_and_then_refreshes() {
    let now = epoch();
    let mut session = Session::new(MAC);
    assert_eq!(say(&mut session, Input::Hold(VIP), now), [gratuitous(VIP)]);
    let said = run(&mut session, now, 1000);
    assert_eq!(said, [20, 60, 150, 300, 600, 1000].map(|at| (at, gratuitous(VIP))));
    assert_eq!(run(&mut session, now + ms(1000), 30_000).len(), 3);
}

#[test]
fn holding_twice_does_not_begin_again_but_announce_does() {
    let (mut session, now) = holder();
    assert_eq!(say(&mut session, Input::Hold(VIP), now), []);
    assert_eq!(say(&mut session, Input::Announce(VIP), now), [gratuitous(VIP)]);
    assert_eq!(run(&mut session, now, 1000).len(), 6);
    assert_eq!(say(&mut session, Input::Announce(CLIENT), now), []);
}

#[test]
fn a_conflict_is_told_and_contradicted_once_a_second() {
    let (mut session, now) = holder();
    let claim = request(VIP, VIP).encode();
    let mut told = vec![];
    for millis in 0..2500u64 {
        let at = now + ms(millis);
        session.handle(Input::Frame(&claim), at);
        let conflict = Output::Conflict { address: VIP, mac: OTHER };
        if std::iter::from_fn(|| session.poll_output()).any(|output| output == conflict) {
            told.push(millis);
        }
    }
    assert_eq!((told, session.counters().conflicts), (vec![0, 1000, 2000], 2500));
}

#[test]
fn a_link_that_comes_up_again_is_told_everything_and_one_that_is_down_nothing() {
    let (mut session, now) = holder();
    assert_eq!(say(&mut session, Input::Link { up: false }, now), []);
    let second = Ipv4Addr::new(10, 0, 50, 21);
    assert_eq!(say(&mut session, Input::Hold(second), now), []);
    assert_eq!(say(&mut session, Input::Announce(VIP), now), []);
    assert_eq!(say(&mut session, Input::Frame(&request(CLIENT, VIP).encode()), now), []);
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(say(&mut session, Input::Link { up: true }, now), [gratuitous(VIP), gratuitous(second)]);
    assert_eq!(run(&mut session, now, 1000).len(), 12);
}

#[test]
fn a_released_address_is_silent_at_once_even_in_the_queue() {
    let (mut session, now) = holder();
    session.handle(Input::Frame(&request(CLIENT, VIP).encode()), now);
    session.handle(Input::Announce(VIP), now);
    assert_eq!(say(&mut session, Input::Release(VIP), now), []);
    assert_eq!((session.poll_timeout(), session.holds(VIP)), (None, false));
    assert_eq!(say(&mut session, Input::Frame(&request(CLIENT, VIP).encode()), now), []);
}

#[test]
fn a_shell_that_does_not_fetch_loses_replies_but_no_announcement() {
    let (mut session, now) = holder();
    for _ in 0..5000 {
        session.handle(Input::Frame(&request(CLIENT, VIP).encode()), now);
    }
    let second = Ipv4Addr::new(10, 0, 50, 21);
    session.handle(Input::Hold(second), now);
    assert_eq!(std::iter::from_fn(|| session.poll_output()).count(), MAX_OUTPUTS);
    assert_eq!(session.counters().dropped, 5000 - MAX_OUTPUTS as u64);
    assert_eq!(say(&mut session, Input::Timeout, now), [gratuitous(second)]);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Hold(u8),
    Release(u8),
    Announce(u8),
    Hear { sender: u8, target: u8, reply: bool, probe: bool },
    Noise(Vec<u8>),
    Link(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let address = 0..6u8;
    prop_oneof![
        3 => (0..700u64).prop_map(Step::Wait),
        2 => address.clone().prop_map(Step::Hold),
        1 => address.clone().prop_map(Step::Release),
        1 => address.clone().prop_map(Step::Announce),
        3 => (address.clone(), address, any::<bool>(), any::<bool>())
            .prop_map(|(sender, target, reply, probe)| Step::Hear { sender, target, reply, probe }),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Step::Noise),
        1 => any::<bool>().prop_map(Step::Link),
    ]
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 50, number)
}

fn hear(sender: u8, target: u8, reply: bool, probe: bool) -> [u8; FRAME_BYTES] {
    let sender = if probe { Ipv4Addr::UNSPECIFIED } else { address(sender) };
    let operation = if reply { Operation::Reply } else { Operation::Request };
    Arp { operation, ..request(sender, address(target)) }.encode()
}

proptest! {
    /// Whatever happens: every frame speaks, with our MAC, of an address that is held while the link is up; a
    /// request for a held address is answered; every timeout is in the future once it was served.
    #[test]
    fn only_what_is_held_is_spoken_of(steps in prop::collection::vec(step(), 0..60), fetch_late: bool) {
        let mut now = epoch();
        let mut session = Session::new(MAC);
        let (mut held, mut up) = (BTreeSet::new(), true);
        for step in steps {
            let frame;
            let input = match &step {
                Step::Wait(millis) => { now += ms(*millis); Input::Timeout }
                Step::Hold(number) => { held.insert(address(*number)); Input::Hold(address(*number)) }
                Step::Release(number) => { held.remove(&address(*number)); Input::Release(address(*number)) }
                Step::Announce(number) => Input::Announce(address(*number)),
                Step::Hear { sender, target, reply, probe } => {
                    frame = hear(*sender, *target, *reply, *probe);
                    Input::Frame(&frame)
                }
                Step::Noise(bytes) => Input::Frame(bytes),
                Step::Link(state) => { up = *state; Input::Link { up } }
            };
            session.handle(input, now);
            prop_assert!(session.poll_timeout().is_none_or(|due| due > now));
            if fetch_late && matches!(step, Step::Wait(_)) {
                continue;
            }
            let mut answered = false;
            for output in std::iter::from_fn(|| session.poll_output()) {
                match output {
                    Output::Send(frame) => {
                        let arp = Arp::decode(&frame).unwrap();
                        prop_assert!(up && held.contains(&arp.sender), "{arp:?}");
                        prop_assert_eq!((arp.source, arp.sender_mac), (MAC, MAC));
                        answered |= arp.operation == Operation::Reply;
                    }
                    Output::Conflict { address, mac } => {
                        prop_assert!(held.contains(&address) && mac == OTHER);
                    }
                }
            }
            if let Step::Hear { sender, target, reply: false, probe } = step {
                let asks = up && held.contains(&address(target)) && (probe || sender != target);
                prop_assert_eq!(answered, asks);
            }
        }
        prop_assert_eq!(session.held().collect::<BTreeSet<_>>(), held);
    }

    /// However many are held at once: one call never asks for more frames than a tick may have.
    #[test]
    fn one_call_hands_out_a_bounded_number_of_announcements(count in 1..2000u32) {
        let now = epoch();
        let mut session = Session::new(MAC);
        session.handle(Input::Link { up: false }, now);
        (0..count).for_each(|number| session.handle(Input::Hold(Ipv4Addr::from(0x0a00_0000 + number)), now));
        let said = say(&mut session, Input::Link { up: true }, now);
        prop_assert_eq!(said.len(), FRAMES_PER_TICK.min(count as usize));
    }
}
