//! Several gateways, one fake clock, and wires that lose, cut and delay. No test here, only the world.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// What a gateway's wires and process are doing.
pub struct Gateway {
    pub config: Config,
    pub session: Option<Session>,
    pub frozen: bool,
    pub drained: bool,
    /// For each leg the island it is on: only gateways on the same island hear each other there.
    pub islands: Vec<u8>,
    pub links: Vec<bool>,
    /// What the shell would believe.
    pub owns: bool,
    pub claims: usize,
    pub announces: usize,
    backlog: VecDeque<Packet>,
}

#[derive(Clone)]
struct Packet {
    to: usize,
    leg: u32,
    source: IpAddr,
    destination: IpAddr,
    bytes: Vec<u8>,
}

pub struct World {
    pub now: Instant,
    pub gateways: Vec<Gateway>,
    pub loss_percent: u64,
    pub latency: Duration,
    wire: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    chance: u64,
}

impl World {
    pub fn new(configs: Vec<Config>) -> Self {
        let now = epoch();
        let gateway = |config: Config| Gateway {
            session: Some(Session::new(config.clone(), now).unwrap()),
            frozen: false,
            drained: config.drained,
            islands: vec![0; config.legs.len()],
            links: vec![true; config.legs.len()],
            config,
            owns: false,
            claims: 0,
            announces: 0,
            backlog: VecDeque::new(),
        };
        let gateways = configs.into_iter().map(gateway).collect();
        Self { now, gateways, loss_percent: 0, latency: ms(1), wire: BTreeMap::new(), sent: 0, chance: 1 }
    }

    pub fn run(&mut self, millis: u64) {
        let until = self.now + ms(millis);
        loop {
            let timer = self.timers().min();
            let packet = self.wire.first_key_value().map(|((at, _), _)| *at);
            match (timer, packet) {
                (_, Some(at)) if at <= until && timer.is_none_or(|(due, _)| at <= due) => self.deliver(at),
                (Some((due, gateway)), _) if due <= until => {
                    self.now = due.max(self.now);
                    self.say(gateway, Input::Timeout);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn timers(&self) -> impl Iterator<Item = (Instant, usize)> {
        self.gateways
            .iter()
            .enumerate()
            .filter(|(_, gateway)| !gateway.frozen)
            .filter_map(|(at, gateway)| Some((gateway.session.as_ref()?.poll_timeout()?, at)))
    }

    fn deliver(&mut self, at: Instant) {
        self.now = at.max(self.now);
        let Some((_, packet)) = self.wire.pop_first() else { return };
        let gateway = &mut self.gateways[packet.to];
        if gateway.frozen {
            gateway.backlog.push_back(packet);
        } else {
            self.hand_over(&packet);
        }
    }

    fn hand_over(&mut self, packet: &Packet) {
        let Packet { to, leg, source, destination, bytes } = packet;
        let (leg, source, destination) = (LegId(*leg), *source, *destination);
        self.say(*to, Input::Advert { leg, source, destination, ttl: TTL, payload: bytes });
    }

    pub fn say(&mut self, at: usize, input: Input<'_>) {
        let now = self.now;
        let Some(session) = self.gateways[at].session.as_mut() else { return };
        session.handle(input, now);
        assert!(session.poll_timeout().is_none_or(|due| due > now), "a timeout that is due was not served");
        let outputs: Vec<_> = std::iter::from_fn(|| session.poll_output()).collect();
        let master = session.state() == State::Master;
        for output in outputs {
            self.obey(at, output);
        }
        assert_eq!(self.gateways[at].owns, master, "claim and release must follow the state");
    }

    fn obey(&mut self, at: usize, output: Output) {
        let gateway = &mut self.gateways[at];
        match output {
            Output::Send { leg, destination, bytes } => self.send(at, leg.0, destination, &bytes),
            Output::Claim(_) => {
                assert!(!gateway.owns, "claimed twice");
                gateway.owns = true;
                gateway.claims += 1;
            }
            Output::Release(_) => {
                assert!(gateway.owns, "released what was not held");
                gateway.owns = false;
            }
            Output::Announce => {
                assert!(gateway.owns, "announced what is not held");
                gateway.announces += 1;
            }
            Output::Report(_) => {}
        }
    }

    fn send(&mut self, from: usize, leg: u32, destination: IpAddr, bytes: &[u8]) {
        let place = leg as usize;
        let source = self.gateways[from].config.legs[place].source;
        for to in 0..self.gateways.len() {
            let connected = to != from && self.hear_each_other(from, to, place);
            if !connected || self.roll(100) < self.loss_percent {
                continue;
            }
            self.sent += 1;
            let packet = Packet { to, leg, source, destination, bytes: bytes.to_vec() };
            self.wire.insert((self.now + self.latency, self.sent), packet);
        }
    }

    pub fn hear_each_other(&self, one: usize, other: usize, leg: usize) -> bool {
        let (one, other) = (&self.gateways[one], &self.gateways[other]);
        one.links[leg] && other.links[leg] && one.islands[leg] == other.islands[leg]
    }

    /// A number below `bound`; the same ones in every run of a test.
    fn roll(&mut self, bound: u64) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % bound
    }

    pub fn seed(&mut self, seed: u64) {
        self.chance = seed;
    }

    pub fn kill(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        (gateway.session, gateway.owns, gateway.frozen) = (None, false, false);
        gateway.backlog.clear();
        self.wire.retain(|_, packet| packet.to != at);
    }

    pub fn restart(&mut self, at: usize) {
        self.kill(at);
        let gateway = &mut self.gateways[at];
        let mut config = gateway.config.clone();
        config.drained = gateway.drained;
        for (leg, up) in config.legs.iter_mut().zip(&gateway.links) {
            leg.up = *up;
        }
        gateway.session = Some(Session::new(config, self.now).unwrap());
    }

    pub fn freeze(&mut self, at: usize) {
        self.gateways[at].frozen = true;
    }

    /// Wake: either the socket is read first, as the shell promises, or the timer wins the race.
    pub fn thaw(&mut self, at: usize, timer_first: bool) {
        if !std::mem::take(&mut self.gateways[at].frozen) {
            return;
        }
        if timer_first {
            self.say(at, Input::Timeout);
        }
        for packet in std::mem::take(&mut self.gateways[at].backlog) {
            self.hand_over(&packet);
        }
        self.say(at, Input::Timeout);
    }

    pub fn link(&mut self, at: usize, leg: usize, up: bool) {
        self.gateways[at].links[leg] = up;
        self.say(at, Input::Link { leg: LegId(leg as u32), up });
    }

    pub fn drain(&mut self, at: usize, drained: bool) {
        self.gateways[at].drained = drained;
        self.say(at, Input::Drain(drained));
    }

    /// Cut a gateway from every other on every leg, its links staying up.
    pub fn cut(&mut self, at: usize) {
        self.gateways[at].islands.fill(100 + at as u8);
    }

    pub fn heal(&mut self) {
        self.gateways.iter_mut().for_each(|gateway| gateway.islands.fill(0));
    }

    pub fn masters(&self) -> Vec<usize> {
        (0..self.gateways.len()).filter(|at| self.gateways[*at].owns).collect()
    }

    pub fn claims(&self) -> Vec<usize> {
        self.gateways.iter().map(|gateway| gateway.claims).collect()
    }
}
