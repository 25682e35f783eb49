//! Random histories: the table, which works by differences, against a list of routes from which
//! everything is recomputed at every step.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RETAIN: u64 = 50;
const MAXIMUM: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Announce { peer: u8, prefix: u8, hop: u8, local_pref: u32, asns: Vec<u32>, med: Option<u32> },
    Withdraw { peer: u8, prefix: u8 },
    Down { peer: u8, retain: bool },
    Up { peer: u8 },
    EndOfRib { peer: u8 },
    Wait(u64),
    Look,
}

fn any_step() -> impl Strategy<Value = Step> {
    let peer = || 1u8..=4;
    let asns = proptest::collection::vec(prop_oneof![Just(1u32), Just(2), Just(3), Just(64512)], 0..3);
    prop_oneof![
        8 => (peer(), 0u8..6, 1u8..5, 99u32..101, asns, proptest::option::of(0u32..2)).prop_map(
            |(peer, prefix, hop, local_pref, asns, med)| Step::Announce { peer, prefix, hop, local_pref, asns, med }),
        3 => (peer(), 0u8..6).prop_map(|(peer, prefix)| Step::Withdraw { peer, prefix }),
        1 => (peer(), any::<bool>()).prop_map(|(peer, retain)| Step::Down { peer, retain }),
        2 => peer().prop_map(|peer| Step::Up { peer }),
        1 => peer().prop_map(|peer| Step::EndOfRib { peer }),
        1 => (0u64..60).prop_map(Step::Wait),
        3 => Just(Step::Look),
    ]
}

/// One announcement as the oracle remembers it.
#[derive(Debug, Clone)]
struct Route {
    peer: u8,
    prefix: u8,
    hop: u8,
    attributes: Attributes,
    stale: bool,
    age: usize,
}

/// Everything that is known, as a list.
#[derive(Debug, Default)]
struct Oracle {
    routes: Vec<Route>,
    up: [bool; 5],
    /// When each peer's first loss was, and its deadline.
    stale: [Option<(u64, u64)>; 5],
    clock: u64,
    count: usize,
}

impl Oracle {
    fn step(&mut self, step: &Step) {
        self.count += 1;
        match step {
            Step::Announce { peer, .. } | Step::Withdraw { peer, .. } if !self.up[*peer as usize] => {}
            Step::Announce { peer, prefix, hop, local_pref, asns, med } => {
                let attributes = attributes(*local_pref, asns, *med);
                let at = self.routes.iter().position(|r| r.peer == *peer && r.prefix == *prefix);
                let held = self.routes.iter().filter(|r| r.peer == *peer).count();
                let new = Route {
                    peer: *peer,
                    prefix: *prefix,
                    hop: *hop,
                    attributes,
                    stale: false,
                    age: self.count,
                };
                match at.map(|at| &mut self.routes[at]) {
                    Some(old) if old.attributes == new.attributes && old.hop == new.hop => old.stale = false,
                    Some(old) => *old = new,
                    None if held < MAXIMUM => self.routes.push(new),
                    None => {}
                }
            }
            Step::Withdraw { peer, prefix } => {
                self.routes.retain(|route| route.peer != *peer || route.prefix != *prefix);
            }
            Step::Down { peer, retain: false } => {
                self.up[*peer as usize] = false;
                self.routes.retain(|route| route.peer != *peer);
            }
            Step::Down { peer, retain: true } => {
                self.up[*peer as usize] = false;
                let mine = || self.routes.iter().filter(|route| route.peer == *peer);
                if mine().count() > 0 && mine().all(|route| !route.stale) {
                    self.stale[*peer as usize] = Some((self.clock, self.clock + RETAIN));
                }
                self.routes.iter_mut().filter(|r| r.peer == *peer).for_each(|route| route.stale = true);
            }
            Step::Up { peer } => {
                if std::mem::replace(&mut self.up[*peer as usize], true) {
                    self.routes.retain(|route| route.peer != *peer);
                }
                if let Some((since, until)) = &mut self.stale[*peer as usize] {
                    *until = (self.clock + RETAIN).min(*since + 2 * RETAIN);
                }
            }
            Step::EndOfRib { peer } => {
                let up = self.up[*peer as usize];
                self.routes.retain(|route| !(up && route.peer == *peer && route.stale));
            }
            Step::Wait(secs) => {
                self.clock += secs;
                let over = |peer: u8| self.stale[peer as usize].is_some_and(|(_, until)| until <= self.clock);
                self.routes.retain(|route| !(route.stale && over(route.peer)));
            }
            Step::Look => {}
        }
        for peer in 1..=4u8 {
            if !self.routes.iter().any(|route| route.peer == peer && route.stale) {
                self.stale[peer as usize] = None;
            }
        }
    }

    /// The next hops of one prefix, by plain filtering.
    fn next_hops(&self, prefix: u8) -> Vec<NextHop> {
        let external = |route: &Route| route.peer <= 2;
        let mut left: Vec<&Route> = self.routes.iter().filter(|route| route.prefix == prefix).collect();
        left.retain(|route| !route.attributes.as_path.contains(64512));
        if left.iter().any(|route| !route.stale) {
            left.retain(|route| !route.stale);
        }
        let highest = left.iter().map(|r| r.attributes.local_pref).max();
        left.retain(|r| Some(r.attributes.local_pref) == highest);
        let shortest = left.iter().map(|r| r.attributes.as_path.length()).min();
        left.retain(|r| Some(r.attributes.as_path.length()) == shortest);
        let before = left.clone();
        left.retain(|r| {
            let beaten = |other: &&Route| {
                other.attributes.as_path.first() == r.attributes.as_path.first()
                    && other.attributes.med.unwrap_or(0) < r.attributes.med.unwrap_or(0)
            };
            !before.iter().any(beaten)
        });
        if left.iter().any(|route| external(route)) {
            left.retain(|route| external(route));
        }
        left.sort_by_key(|route| if external(route) { route.age } else { route.peer as usize });
        let mut hops: Vec<u8> = Vec::new();
        for route in left {
            if !hops.contains(&route.hop) && hops.len() < 2 {
                hops.push(route.hop);
            }
        }
        hops.sort_unstable();
        hops.iter().map(|last| Ipv4Addr::new(172, 16, 0, *last)).collect()
    }
}

fn attributes(local_pref: u32, asns: &[u32], med: Option<u32>) -> Attributes {
    Attributes { local_pref: Some(local_pref), med, ..path(asns) }
}

fn prefix_name(prefix: u8) -> String {
    format!("10.{prefix}.0.0/16")
}

fn two_at_most() -> ImportPolicy {
    ImportPolicy { maximum_prefixes: MAXIMUM, multipath: 2, ..policy() }
}

fn apply(table: &mut Table, step: &Step, start: Instant, clock: &mut u64) {
    let now = start + secs(*clock);
    match step {
        Step::Announce { peer, prefix, hop, local_pref, asns, med } => {
            let update = announce(&[&prefix_name(*prefix)], *hop, attributes(*local_pref, asns, *med));
            table.apply(PeerId((*peer).into()), &update);
        }
        Step::Withdraw { peer, prefix } => {
            table.apply(PeerId((*peer).into()), &withdraw(&prefix_name(*prefix)));
        }
        Step::Down { peer, retain } => {
            table.peer_down(PeerId((*peer).into()), now, secs(if *retain { RETAIN } else { 0 }));
        }
        Step::Up { peer: id } => table.peer_up(PeerId((*id).into()), peer(*id), two_at_most(), now),
        Step::EndOfRib { peer } => table.end_of_rib(PeerId((*peer).into())),
        Step::Wait(wait) => {
            *clock += wait;
            table.handle_timeout(start + secs(*clock));
        }
        Step::Look => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// After any history, the differences add up to what a recomputation from all routes gives, each
    /// difference is one, and the books are right.
    #[test]
    fn differences_add_up(history in proptest::collection::vec(any_step(), 1..120)) {
        let start = start_of_time();
        let mut clock = 0;
        let mut table = Table::new(LocalFacts::new(64512, Ipv4Addr::new(9, 9, 9, 9)));
        let mut oracle = Oracle::default();
        let mut kernel: BTreeMap<Ipv4Net, Vec<NextHop>> = BTreeMap::new();
        for step in history.iter().chain(&[Step::Look]) {
            apply(&mut table, step, start, &mut clock);
            oracle.step(step);
            if !matches!(step, Step::Look) {
                continue;
            }
            for (prefix, hops) in table.changes() {
                let before = match &hops {
                    Some(hops) => kernel.insert(prefix, hops.clone()),
                    None => Some(kernel.remove(&prefix).expect("removed what was there")),
                };
                prop_assert_ne!(before, hops);
            }
            for prefix in 0..6 {
                let name = net(&prefix_name(prefix));
                let expected = oracle.next_hops(prefix);
                prop_assert_eq!(kernel.get(&name).cloned().unwrap_or_default(), expected.clone(), "{}", name);
                let explained = table.explain(name).map(|e| e.next_hops).unwrap_or_default();
                prop_assert_eq!(explained, expected);
            }
            for id in 1..=4u8 {
                let held = oracle.routes.iter().filter(|route| route.peer == id).count();
                let stale = oracle.routes.iter().filter(|route| route.peer == id && route.stale).count();
                let summary = table.summary(PeerId(id.into())).unwrap_or_default();
                prop_assert_eq!((summary.held, summary.stale), (held, stale));
                let until = oracle.stale[id as usize].map(|(_, until)| start + secs(until));
                prop_assert_eq!(summary.stale_until, until);
            }
        }
    }
}
