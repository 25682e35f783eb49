//! One machine against the transition table, and its timings; `wire` and `histories` hold the tests of several.

mod histories;
mod wire;

use std::net::Ipv4Addr;

use super::*;
use crate::packet::{Checksum, GROUP_V4, TTL, Vrid};
use crate::timers::AdvertInterval;

/// Time zero of a test's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made from nothing; the tests only add to it"
)]
fn epoch() -> Instant {
    Instant::now()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn priority(value: u8) -> Priority {
    Priority::new(value).unwrap()
}

/// Gateway `host`'s address on leg `leg`, and what leg `leg` serves.
fn source(leg: u32, host: u8) -> IpAddr {
    Ipv4Addr::new(10, leg as u8, 0, host).into()
}

fn served(leg: u32) -> IpAddr {
    Ipv4Addr::new(10, leg as u8, 50, 20).into()
}

fn leg_config(leg: u32, host: u8) -> LegConfig {
    LegConfig {
        id: LegId(leg),
        interface: format!("eth{leg}"),
        vrid: Vrid::new(51).unwrap(),
        source: source(leg, host),
        addresses: vec![served(leg)],
        unicast_peers: vec![],
        up: true,
    }
}

/// A ready gateway that speaks every 100 ms and does not preempt.
pub(super) fn config(host: u8, value: u8, legs: u32) -> Config {
    Config {
        interval: AdvertInterval::from_centiseconds(10).unwrap(),
        priority: priority(value),
        preempt: false,
        preempt_delay: Duration::ZERO,
        ready: true,
        ready_grace: Config::READY_GRACE,
        drained: false,
        legs: (0..legs).map(|leg| leg_config(leg, host)).collect(),
    }
}

fn advert(leg: u32, value: u8, centiseconds: u16) -> Advert {
    Advert {
        vrid: Vrid::new(51).unwrap(),
        priority: value,
        interval: AdvertInterval::from_centiseconds(centiseconds).unwrap(),
        addresses: vec![served(leg)],
    }
}

/// A session, its clock, and all it said, shortened to words.
pub(super) struct One {
    pub(super) session: Session,
    start: Instant,
    pub(super) now: Instant,
}

impl One {
    pub(super) fn new(config: Config) -> Self {
        let start = epoch();
        Self { session: Session::new(config, start).unwrap(), start, now: start }
    }

    pub(super) fn master(config: Config) -> Self {
        Self::master_after(config, 1000)
    }

    pub(super) fn master_after(config: Config, millis: u64) -> Self {
        let mut one = Self::new(config);
        one.run(millis);
        assert_eq!(one.session.state(), State::Master);
        one
    }

    fn say(&mut self, input: Input<'_>) -> Vec<String> {
        self.session.handle(input, self.now);
        std::iter::from_fn(|| self.session.poll_output()).map(|output| word(&output)).collect()
    }

    pub(super) fn hear(&mut self, leg: u32, host: u8, value: u8) -> Vec<String> {
        self.hear_advert(leg, host, &advert(leg, value, 10))
    }

    fn hear_advert(&mut self, leg: u32, host: u8, advert: &Advert) -> Vec<String> {
        let (from, group) = (source(leg, host), GROUP_V4.into());
        let payload = advert.encode(from, group, Checksum::default());
        self.say(heard(leg, from, &payload))
    }

    /// Let time pass with every timer on time; what was said, and when.
    fn run(&mut self, millis: u64) -> Vec<(u128, String)> {
        let until = self.now + ms(millis);
        let mut said = vec![];
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            let words = self.say(Input::Timeout);
            said.extend(words.into_iter().map(|word| (self.at(), word)));
        }
        self.now = until;
        said
    }

    /// Let time pass without a look at any timer.
    fn freeze(&mut self, millis: u64) {
        self.now += ms(millis);
    }

    fn at(&self) -> u128 {
        (self.now - self.start).as_millis()
    }
}

fn heard(leg: u32, from: IpAddr, payload: &[u8]) -> Input<'_> {
    Input::Advert { leg: LegId(leg), source: from, destination: GROUP_V4.into(), ttl: TTL, payload }
}

fn word(output: &Output) -> String {
    match output {
        Output::Send { leg, bytes, .. } => format!("send {} on {}", bytes[2], leg.0),
        Output::Claim(reason) => format!("claim: {reason}"),
        Output::Release(reason) => format!("release: {reason}"),
        Output::Announce => "announce".into(),
        Output::Report(report) => format!("report: {report}"),
    }
}

/// What an input must do to a router of priority 150 at 10.0.0.12 that serves one leg.
#[test]
fn the_transition_table() {
    use State::{Backup, Initialize, Master};
    let farewell = |reason: &str| vec!["send 0 on 0".into(), format!("release: {reason}")];
    let answer = || vec!["send 150 on 0".to_owned(), "announce".into()];
    let yields = |reason: &str| vec!["send 150 on 0".into(), format!("release: {reason}")];
    let down = Input::Link { leg: LegId(0), up: false };
    let refused = |why: &str| vec![format!("report: rebalance does nothing: {why}")];
    enum Do {
        Say(Input<'static>),
        Hear(u8, u8),
    }
    use Do::{Hear, Say};
    let table: Vec<(State, Do, State, Vec<String>)> = vec![
        (Initialize, Hear(11, 200), Initialize, vec![]),
        (Initialize, Hear(11, 0), Initialize, vec![]),
        (Initialize, Say(Input::Timeout), Initialize, vec![]),
        (Initialize, Say(Input::Link { leg: LegId(0), up: true }), Backup, vec![]),
        (Initialize, Say(Input::Stop), Initialize, vec![]),
        (
            Initialize,
            Say(Input::Rebalance),
            Initialize,
            refused("this gateway is not ready, is drained, or has a link down"),
        ),
        (Backup, Hear(11, 200), Backup, vec![]),
        (Backup, Hear(11, 150), Backup, vec![]),
        (Backup, Hear(11, 100), Backup, vec![]),
        (Backup, Hear(11, 0), Backup, vec![]),
        (Backup, Say(Input::Timeout), Backup, vec![]),
        (Backup, Say(down), Initialize, vec![]),
        (Backup, Say(Input::Link { leg: LegId(9), up: false }), Backup, vec![]),
        (Backup, Say(Input::Drain(true)), Backup, vec![]),
        (Backup, Say(Input::Ready(false)), Backup, vec![]),
        (Backup, Say(Input::Priority(priority(10))), Backup, vec![]),
        (Backup, Say(Input::Rebalance), Backup, refused("no master of lower priority is heard")),
        (Backup, Say(Input::Stop), Initialize, vec![]),
        (Master, Hear(11, 200), Backup, yields("priority 200 from 10.0.0.11 on eth0 outranks ours")),
        (Master, Hear(13, 150), Backup, yields("priority 150 from 10.0.0.13 on eth0 outranks ours")),
        (Master, Hear(13, 255), Backup, yields("priority 255 from 10.0.0.13 on eth0 outranks ours")),
        (Master, Hear(11, 150), Master, answer()),
        (Master, Hear(11, 100), Master, answer()),
        (Master, Hear(11, 0), Master, answer()),
        (Master, Say(Input::Timeout), Master, vec![]),
        (Master, Say(down), Initialize, vec!["release: link of eth0 is down".into()]),
        (Master, Say(Input::Drain(true)), Backup, farewell("drained")),
        (Master, Say(Input::Ready(false)), Master, vec![]),
        (Master, Say(Input::Priority(priority(10))), Master, vec!["send 10 on 0".into()]),
        (Master, Say(Input::Rebalance), Master, refused("this gateway is master already")),
        (Master, Say(Input::Stop), Initialize, farewell("stopped")),
    ];
    for (row, (from, what, to, says)) in table.into_iter().enumerate() {
        let mut one = match from {
            Master => One::master(config(12, 150, 1)),
            _ => One::new(config(12, 150, 1)),
        };
        if from == Initialize {
            one.say(down);
        }
        let said = match what {
            Say(input) => one.say(input),
            Hear(host, value) => one.hear(0, host, value),
        };
        assert_eq!((one.session.state(), said), (to, says), "row {row}");
    }
}

#[test]
fn silence_after_the_start_makes_a_master_that_keeps_the_beat() {
    let mut one = One::new(config(12, 150, 1));
    let said = one.run(600);
    let expected = [
        (341, "send 150 on 0"),
        (341, "claim: no master on eth0 (none heard for 341 ms)"),
        (441, "send 150 on 0"),
        (541, "send 150 on 0"),
    ];
    assert_eq!(said, expected.map(|(at, word)| (at, word.to_owned())));
}

#[test]
fn a_silent_master_is_named_with_its_silence() {
    let mut one = One::new(config(12, 150, 1));
    one.hear(0, 11, 200);
    assert_eq!(one.run(400)[1], (341, "claim: master down on eth0 (10.0.0.11 silent for 341 ms)".into()));
}

#[test]
fn a_farewell_costs_only_the_skew() {
    let mut one = One::new(config(12, 150, 1));
    one.hear(0, 11, 200);
    one.hear(0, 11, 0);
    assert_eq!(one.run(60)[1], (41, "claim: priority 0 from 10.0.0.11 on eth0".into()));
}

#[test]
fn a_farewell_of_another_than_the_master_starts_nothing() {
    let mut one = One::new(config(12, 150, 1));
    one.hear(0, 11, 200);
    one.hear(0, 13, 0);
    assert_eq!(one.run(300), []);
}

#[test]
fn the_masters_interval_is_learned_and_forgotten_with_it() {
    let mut one = One::new(config(12, 150, 1));
    one.hear_advert(0, 11, &advert(0, 200, 100));
    // 3 x 1 s + 106/256 s.
    assert_eq!(one.run(4000)[0].0, 3414);
    one.hear(0, 11, 200);
    assert_eq!(one.run(1000)[0].0, 4000 + 414 - 73, "341 ms after it yielded at 4000 ms");
}

#[test]
fn without_preemption_a_lesser_master_is_left_alone() {
    let mut one = One::new(config(12, 150, 1));
    for _ in 0..50 {
        assert_eq!(one.hear(0, 11, 100), Vec::<String>::new());
        assert_eq!(one.run(100), []);
    }
}

#[test]
fn preemption_waits_for_its_delay_counted_while_ready() {
    let mut one =
        One::new(Config { preempt: true, preempt_delay: ms(1000), ready: false, ..config(12, 150, 1) });
    let live = |one: &mut One, rounds: usize| {
        let hear = |_| {
            one.hear(0, 11, 100);
            one.run(100)
        };
        (0..rounds).flat_map(hear).collect::<Vec<_>>()
    };
    assert_eq!(live(&mut one, 30), []);
    one.say(Input::Ready(true));
    assert_eq!(live(&mut one, 9), []);
    one.say(Input::Ready(false));
    one.say(Input::Ready(true));
    assert_eq!(live(&mut one, 10), []);
    let said = live(&mut one, 4);
    assert_eq!(said[1].1, "claim: preempted lower priority 100 of 10.0.0.11 on eth0");
}

#[test]
fn rebalance_preempts_once_and_at_once() {
    let mut one = One::new(config(12, 150, 1));
    one.hear(0, 11, 100);
    let said = one.say(Input::Rebalance);
    let claim = "claim: rebalance: took over from lower priority 100 of 10.0.0.11 on eth0";
    assert_eq!(said, ["send 150 on 0", claim]);
    for (value, ready) in [(200, true), (150, true), (100, false)] {
        let mut one = One::new(Config { ready, ..config(12, 150, 1) });
        one.hear(0, 11, value);
        assert_eq!(one.say(Input::Rebalance).len(), 1, "{value} {ready}");
        assert_eq!(one.session.state(), State::Backup, "{value} {ready}");
    }
}

#[test]
fn a_gateway_that_is_not_ready_takes_over_only_after_the_grace() {
    let mut one = One::new(Config { ready: false, ..config(12, 150, 1) });
    one.run(1000);
    one.hear(0, 11, 200);
    let claim = "claim: not ready, but no other master for 5041 ms";
    assert_eq!(one.run(7000)[1], (6041, claim.into()));
}

#[test]
fn a_gateway_that_becomes_ready_takes_over_after_a_skew() {
    let mut one = One::new(Config { ready: false, ..config(12, 150, 1) });
    one.run(1000);
    one.say(Input::Ready(true));
    assert_eq!(one.run(100)[0], (1041, "send 150 on 0".into()));
}

#[test]
fn a_drained_gateway_never_competes_and_competes_again_afterwards() {
    let mut one = One::master(config(12, 150, 1));
    one.say(Input::Drain(true));
    assert_eq!(one.run(60_000), []);
    one.say(Input::Drain(false));
    assert_eq!(one.run(100)[0].1, "send 150 on 0");
}

#[test]
fn a_master_whose_clock_stood_still_goes_to_backup_without_a_word() {
    let mut one = One::master(config(12, 150, 1));
    one.freeze(900);
    let said = one.say(Input::Timeout);
    assert!(matches!(&said[..], [only] if only.starts_with("release: own advert 8")), "{said:?}");
    let began = one.at();
    assert_eq!(one.run(400)[0].0 - began, 341, "a fresh Master_Down");
}

#[test]
fn a_master_that_is_a_little_late_stays() {
    let mut one = One::master(config(12, 150, 1));
    one.freeze(300);
    assert_eq!(one.say(Input::Timeout), ["send 150 on 0"]);
}

#[test]
fn a_backup_that_woke_late_looks_once_more_and_only_once() {
    let mut one = One::new(config(12, 150, 1));
    one.hear(0, 11, 200);
    one.freeze(2000);
    assert_eq!(one.say(Input::Timeout), Vec::<String>::new());
    assert_eq!(one.run(140), []);
    one.freeze(2000);
    assert_eq!(one.say(Input::Timeout)[0], "send 150 on 0");

    let mut one = One::new(config(12, 150, 1));
    one.hear(0, 11, 200);
    one.freeze(2000);
    one.say(Input::Timeout);
    one.hear(0, 11, 200);
    assert_eq!(one.run(341), [], "the look found the master");
}

#[test]
fn a_grace_that_ended_while_the_clock_stood_still_is_followed_by_a_look() {
    let mut one = One::new(Config { ready: false, ..config(12, 150, 1) });
    one.run(1000);
    one.freeze(60_000);
    assert_eq!(one.say(Input::Timeout), Vec::<String>::new());
    assert_eq!(one.run(141), []);
    assert_eq!(one.run(1).len(), 2);
}

#[test]
fn a_flood_of_lesser_adverts_is_answered_twice_an_interval_at_most() {
    let mut one = One::master(config(12, 150, 1));
    let mut answers = 0;
    for _ in 0..100 {
        answers += one.hear(0, 11, 100).iter().filter(|word| *word == "announce").count();
        one.run(1);
    }
    assert_eq!(answers, 2);
}

#[test]
fn adverts_go_out_in_the_checksum_form_that_is_heard() {
    let mut one = One::new(config(12, 150, 1));
    let from = source(0, 11);
    let payload = advert(0, 200, 10).encode(from, GROUP_V4.into(), Checksum::MessageOnly);
    one.say(heard(0, from, &payload));
    one.now += ms(350);
    one.session.handle(Input::Timeout, one.now);
    let Some(Output::Send { destination, bytes, .. }) = one.session.poll_output() else { panic!() };
    let sent = packet::decode(&bytes, source(0, 12), destination, TTL).unwrap();
    assert_eq!(sent.checksum, Checksum::MessageOnly);
}

#[test]
fn unicast_peers_are_sent_to_and_no_other_is_heard() {
    let mut config = config(12, 150, 1);
    config.legs[0].unicast_peers = vec![source(0, 11), source(0, 13)];
    let mut one = One::new(config);
    let stranger = "report: advert from 10.0.0.14 on eth0, which is not a unicast peer, ignored";
    assert_eq!(one.hear(0, 14, 200), [stranger]);
    one.now += ms(350);
    one.session.handle(Input::Timeout, one.now);
    let mut destinations = vec![];
    while let Some(Output::Send { destination, bytes, .. }) = one.session.poll_output() {
        packet::decode(&bytes, source(0, 12), destination, TTL).unwrap();
        destinations.push(destination);
    }
    assert_eq!(destinations, [source(0, 11), source(0, 13)]);
}

#[test]
fn what_is_odd_on_the_wire_is_reported_once_and_counted() {
    let mut one = One::new(config(12, 150, 1));
    let mut clash = advert(0, 200, 10);
    clash.addresses = vec![source(7, 7)];
    let mut differs = advert(0, 200, 10);
    differs.addresses.push(source(8, 8));
    let clash_says = "report: 10.0.0.11 on eth0 uses virtual router id 51 for other addresses (10.7.0.7): choose another id";
    let differs_says = "report: 10.0.0.13 on eth0 lists other addresses for this group, 10.8.0.8 is not ours";
    assert_eq!(one.hear_advert(0, 11, &clash), [clash_says]);
    assert_eq!(one.hear_advert(0, 13, &differs), [differs_says]);
    assert_eq!(one.hear_advert(0, 11, &clash), Vec::<String>::new());
    assert_eq!(one.hear_advert(0, 13, &differs), Vec::<String>::new());
    let own = "report: advert from our own address 10.0.0.12 on eth0: looped, or the address is used twice";
    assert_eq!(one.hear(0, 12, 200), [own]);
    let bad = "report: bad advert from 10.0.0.14 on eth0: 2 bytes, but 8 are needed";
    assert_eq!(one.say(heard(0, source(0, 14), &[0x31, 51])), [bad]);
    assert_eq!(
        one.say(heard(0, source(0, 14), &[0x31, 99])),
        Vec::<String>::new(),
        "another virtual router's"
    );
    let status = &one.session.status().legs[0];
    assert_eq!((status.adverts_in, status.rejected), (2, 4));
    assert_eq!(status.master.map(|heard| heard.address), Some(source(0, 13)), "the clash is not followed");
}

#[test]
fn the_memory_of_reports_and_outputs_is_bounded() {
    let mut one = One::master(config(12, 150, 1));
    let told = (0..200).map(|host| one.say(heard(0, source(3, host), &[0x31, 51, 1])).len()).sum::<usize>();
    assert_eq!(told, MAX_REPORTED);
    for _ in 0..2 * MAX_OUTPUTS {
        one.now += ms(100);
        one.session.handle(Input::Timeout, one.now);
    }
    one.session.handle(Input::Stop, one.now);
    let said = one.say(Input::Timeout);
    assert!(said.len() <= MAX_OUTPUTS);
    assert_eq!(said.last().map(String::as_str), Some("release: stopped"));
}

#[test]
fn a_group_needs_all_its_links() {
    let mut one = One::master(config(12, 150, 2));
    let down = |leg, up| Input::Link { leg: LegId(leg), up };
    assert_eq!(one.say(down(0, false)), ["send 0 on 1", "release: link of eth0 is down"]);
    assert_eq!(one.run(5000), []);
    one.say(down(1, false));
    one.say(down(0, true));
    assert_eq!((one.run(5000), one.session.state()), (vec![], State::Initialize));
    one.say(down(1, true));
    assert_eq!(one.session.state(), State::Backup);
    let began = one.at();
    assert_eq!(one.run(400)[0].0 - began, 341);
}

#[test]
fn one_silent_leg_moves_the_group_unless_a_greater_master_lives_on_another() {
    for (value, moves) in [(200, false), (150, false), (100, true)] {
        let mut one = One::new(config(10, 150, 2)); // 10.x.0.10 loses the tie against 10.x.0.11
        one.hear(0, 11, value);
        let mut said = vec![];
        for _ in 0..10 {
            said.extend(one.hear(1, 11, value));
            said.extend(one.run(100).into_iter().map(|(_, word)| word));
        }
        let held =
            format!("report: no master heard on eth0, but 10.1.0.11 with priority {value} is master on eth1");
        if moves {
            assert_eq!(said[2], "claim: master down on eth0 (10.0.0.11 silent for 341 ms)", "{value}");
        } else {
            assert_eq!(said, [held], "{value}");
        }
    }
}

#[test]
fn a_lesser_rival_does_not_make_us_forget_the_greater_master() {
    let mut one = One::new(config(12, 150, 2));
    for _ in 0..10 {
        one.hear(1, 11, 200);
        one.hear(1, 13, 100);
        one.run(100);
    }
    assert_eq!(one.session.state(), State::Backup, "the rival would yield, the master would not");
    assert_eq!(one.session.status().legs[1].master.map(|heard| heard.priority), Some(200));
    one.run(341);
    assert_eq!(one.session.state(), State::Master);
}

#[test]
fn a_group_that_cannot_be_run_is_refused_with_its_reason() {
    let with = |change: fn(&mut Config)| {
        let mut config = config(12, 150, 2);
        change(&mut config);
        Session::new(config, epoch()).unwrap_err().to_string()
    };
    assert_eq!(with(|config| config.legs.clear()), "a group has 1 to 32 legs, this one has 0");
    assert_eq!(with(|config| config.legs[1].id = LegId(0)), "two legs share the id of eth1");
    assert_eq!(
        with(|config| config.legs[0].addresses.clear()),
        "eth0: an advert lists 1 to 255 addresses, this one 0"
    );
    assert_eq!(
        with(|config| config.legs[0].addresses = vec!["fd00::1".parse().unwrap()]),
        "eth0: fd00::1 is not of the same family as the source address 10.0.0.12"
    );
    assert_eq!(
        with(|config| config.legs[0].unicast_peers = vec![source(0, 1); 65]),
        "eth0: at most 64 unicast peers, this leg has 65"
    );
    for value in [0, 255] {
        assert_eq!(Priority::new(value), None);
    }
}
