//! Several gateways: named histories first, then random ones.

use proptest::prelude::*;

use super::wire::World;
use super::*;

/// Three gateways, 200, 150 and 100, settled with the first as master.
fn three(legs: u32) -> World {
    let mut world = World::new(vec![config(11, 200, legs), config(12, 150, legs), config(13, 100, legs)]);
    world.run(2000);
    assert_eq!(world.masters(), [0]);
    world
}

#[test]
fn after_a_clean_cut_at_any_moment_only_the_next_in_line_takes_over() {
    for legs in 1..=3 {
        for phase in 0..100 {
            let mut world = three(legs);
            world.run(phase);
            world.cut(0);
            world.run(345);
            assert_eq!(world.masters(), [0, 1], "{legs} legs, {phase} ms");
            world.run(3000);
            assert_eq!(world.claims(), [1, 1, 0], "{legs} legs, {phase} ms");
        }
    }
}

#[test]
fn after_a_stop_the_next_in_line_takes_over_within_its_skew() {
    let mut world = three(2);
    world.say(0, Input::Stop);
    world.run(43);
    assert_eq!(world.masters(), [1]);
    world.run(1000);
    assert_eq!(world.claims(), [1, 1, 0]);
}

#[test]
fn a_healed_partition_has_one_master_within_two_adverts_and_it_announces_again() {
    for phase in 0..100 {
        let mut world = three(2);
        world.cut(0);
        world.run(2000 + phase);
        let before = world.gateways[0].announces;
        world.heal();
        world.run(105);
        assert_eq!(world.masters(), [0], "{phase} ms");
        assert!(
            world.gateways[0].announces > before,
            "{phase} ms: whoever believed the rival is not corrected"
        );
    }
}

#[test]
fn a_returning_gateway_without_preemption_never_takes_over() {
    for phase in 0..100 {
        let mut world = three(1);
        world.kill(0);
        world.run(1000 + phase);
        world.restart(0);
        world.run(10_000);
        assert_eq!(world.claims(), [1, 1, 0], "{phase} ms");
    }
}

#[test]
fn a_returning_gateway_with_preemption_takes_over_once() {
    let mut world = three(1);
    world.kill(0);
    world.run(1000);
    world.gateways[0].config.preempt = true;
    world.restart(0);
    world.run(10_000);
    assert_eq!((world.masters(), world.claims()), (vec![0], vec![2, 1, 0]));
}

#[test]
fn a_thawed_master_disturbs_nobody() {
    for timer_first in [true, false] {
        let mut world = three(2);
        world.freeze(0);
        world.run(5000);
        world.thaw(0, timer_first);
        world.run(5000);
        // It owned the addresses while it stood still, so the claims tell what happened afterwards.
        assert_eq!((world.masters(), world.claims()), (vec![1], vec![1, 1, 0]), "timer first: {timer_first}");
    }
}

#[test]
fn a_thawed_backup_takes_nothing_over() {
    for timer_first in [true, false] {
        let mut world = three(2);
        world.freeze(1);
        world.run(5050);
        world.thaw(1, timer_first);
        world.run(5000);
        assert_eq!(world.claims(), [1, 0, 0], "timer first: {timer_first}");
    }
}

#[test]
fn a_half_cut_greater_master_neither_flaps_nor_splits() {
    let mut world = three(2);
    world.gateways[0].islands[1] = 9;
    world.run(10_000);
    assert_eq!((world.masters(), world.claims()), (vec![0], vec![1, 0, 0]));
    // It learns of its cut, and lowers its priority or loses its link: then the group moves at once.
    world.link(0, 1, false);
    world.run(400);
    assert_eq!((world.masters(), world.claims()), (vec![1], vec![1, 1, 0]));
}

#[test]
fn when_a_half_cut_master_sinks_below_its_backups_only_the_best_of_them_moves() {
    let mut world = three(2);
    world.gateways[0].islands[1] = 9;
    world.run(10_000);
    world.say(0, Input::Priority(priority(50)));
    world.run(2000);
    assert_eq!((world.masters(), world.claims()), (vec![1], vec![1, 1, 0]));
}

#[test]
fn a_half_cut_lesser_master_gives_way_once() {
    let mut world = three(2);
    world.kill(0);
    world.run(1000);
    world.restart(0);
    world.run(1000);
    assert_eq!(world.masters(), [1]);
    world.gateways[1].islands[0] = 9;
    world.run(10_000);
    assert_eq!((world.masters(), world.claims()), (vec![0], vec![2, 1, 0]));
}

#[test]
fn equal_priorities_with_crossed_addresses_settle() {
    // The first has the greater address on eth0, the others on eth1.
    for count in 2..=3u8 {
        let crossed = |number: u8| {
            let mut config = config(20 - number, 150, 2);
            config.legs[1].source = source(1, 20 + number);
            config
        };
        let mut world = World::new((0..count).map(crossed).collect());
        world.run(5000);
        let claims = world.claims();
        assert_eq!(world.masters().len(), 1, "{count}");
        world.run(5000);
        assert_eq!(world.claims(), claims, "{count}: still moving");
    }
}

#[test]
fn gateways_that_are_not_ready_still_agree_on_one() {
    let not_ready = |host, value| Config { ready: false, ..config(host, value, 2) };
    let mut world = World::new(vec![not_ready(11, 200), not_ready(12, 150), not_ready(13, 100)]);
    world.run(5000);
    assert_eq!(world.masters(), [] as [usize; 0]);
    world.run(1000);
    assert_eq!((world.masters(), world.claims()), (vec![0], vec![1, 0, 0]));
}

#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Island(usize, usize, u8),
    Heal,
    Link(usize, usize, bool),
    Kill(usize),
    Restart(usize),
    Freeze(usize),
    Thaw(usize, bool),
    Ready(usize, bool),
    Drain(usize, bool),
    Rebalance(usize),
    Stop(usize),
    Loss(u64),
}

const GATEWAYS: usize = 3;
const LEGS: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    let (gateway, leg) = (0..GATEWAYS, 0..LEGS);
    prop_oneof![
        6 => (1..1500u64).prop_map(Step::Run),
        3 => (gateway.clone(), leg.clone(), 0..3u8).prop_map(|(at, leg, island)| Step::Island(at, leg, island)),
        1 => Just(Step::Heal),
        2 => (gateway.clone(), leg, any::<bool>()).prop_map(|(at, leg, up)| Step::Link(at, leg, up)),
        1 => gateway.clone().prop_map(Step::Kill),
        2 => gateway.clone().prop_map(Step::Restart),
        2 => gateway.clone().prop_map(Step::Freeze),
        2 => (gateway.clone(), any::<bool>()).prop_map(|(at, timer_first)| Step::Thaw(at, timer_first)),
        1 => (gateway.clone(), any::<bool>()).prop_map(|(at, ready)| Step::Ready(at, ready)),
        1 => (gateway.clone(), any::<bool>()).prop_map(|(at, drained)| Step::Drain(at, drained)),
        1 => gateway.clone().prop_map(Step::Rebalance),
        1 => gateway.prop_map(Step::Stop),
        1 => (0..40u64).prop_map(Step::Loss),
    ]
}

fn apply(world: &mut World, step: &Step) {
    // A process that stands still does nothing, not even on our word.
    let awake = |world: &World, at: usize| !world.gateways[at].frozen;
    match *step {
        Step::Run(millis) => world.run(millis),
        Step::Island(at, leg, island) => world.gateways[at].islands[leg] = island,
        Step::Heal => world.heal(),
        Step::Link(at, leg, up) if awake(world, at) => world.link(at, leg, up),
        Step::Kill(at) => world.kill(at),
        Step::Restart(at) => world.restart(at),
        Step::Freeze(at) => world.freeze(at),
        Step::Thaw(at, timer_first) => world.thaw(at, timer_first),
        Step::Ready(at, ready) if awake(world, at) => world.say(at, Input::Ready(ready)),
        Step::Drain(at, drained) if awake(world, at) => world.drain(at, drained),
        Step::Rebalance(at) if awake(world, at) => world.say(at, Input::Rebalance),
        Step::Stop(at) if awake(world, at) => {
            world.say(at, Input::Stop);
            world.kill(at);
        }
        Step::Loss(percent) => world.loss_percent = percent,
        _ => {}
    }
}

/// The groups of gateways that could be master and hear each other, over one leg or several hops.
fn components(world: &World) -> Vec<Vec<usize>> {
    let fit = |at: &usize| {
        let gateway = &world.gateways[*at];
        gateway.session.is_some() && !gateway.drained && gateway.links.iter().all(|up| *up)
    };
    let mut left: Vec<usize> = (0..world.gateways.len()).filter(fit).collect();
    let mut found = vec![];
    while let Some(first) = left.pop() {
        let mut component = vec![first];
        let mut next = 0;
        while next < component.len() {
            let at = component[next];
            let (near, far) = left.iter().partition(|other| neighbours(world, at, **other));
            component.extend::<Vec<usize>>(near);
            left = far;
            next += 1;
        }
        found.push(component);
    }
    found
}

fn neighbours(world: &World, one: usize, other: usize) -> bool {
    (0..LEGS).any(|leg| world.hear_each_other(one, other, leg))
}

/// Whatever happened, once it is quiet: no two masters that hear each other, a master wherever there could be
/// one, exactly one where all hear all, and nothing moves any more.
fn check_settled(world: &mut World) {
    world.loss_percent = 0;
    (0..world.gateways.len()).for_each(|at| world.thaw(at, true));
    world.run(8000);
    let (masters, claims) = (world.masters(), world.claims());
    for component in components(world) {
        let own: Vec<_> = component.iter().filter(|at| masters.contains(at)).collect();
        assert!(!own.is_empty(), "nobody serves {component:?}");
        let all_hear_all = component
            .iter()
            .all(|one| component.iter().all(|other| one == other || neighbours(world, *one, *other)));
        assert!(own.len() == 1 || !all_hear_all, "{own:?} all serve {component:?}");
    }
    for one in &masters {
        let rival = masters.iter().find(|other| *other != one && neighbours(world, *one, **other));
        assert_eq!(rival, None, "both hold the group: {one} and");
    }
    world.run(3000);
    assert_eq!((world.masters(), world.claims()), (masters, claims), "still moving");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_history_settles(
        preempt in prop::collection::vec(any::<bool>(), GATEWAYS),
        delay in 0..600u64,
        steps in prop::collection::vec(step(), 0..40),
        seed: u64,
    ) {
        let values = [200, 150, 100];
        let configs = (0..GATEWAYS).map(|at| Config {
            preempt: preempt[at],
            preempt_delay: ms(delay),
            ..config(11 + at as u8, values[at], LEGS as u32)
        });
        let mut world = World::new(configs.collect());
        world.seed(seed);
        for step in &steps {
            apply(&mut world, step);
        }
        check_settled(&mut world);
    }

    #[test]
    fn any_input_keeps_claim_and_release_in_step(
        inputs in prop::collection::vec((0..5u8, 0..3u8, 0..=255u8, any::<bool>(), 0..700u64, prop::collection::vec(any::<u8>(), 0..24)), 0..60),
    ) {
        let mut world = World::new(vec![config(12, 150, 2)]);
        for (kind, leg, value, flag, wait, mut bytes) in inputs {
            world.now += ms(wait);
            let from = source(u32::from(leg), 10 + value % 8);
            if flag && bytes.len() >= 8 {
                bytes = advert(u32::from(leg), value, 10).encode(from, GROUP_V4.into(), Checksum::default());
            }
            world.say(0, match kind {
                0 => Input::Timeout,
                1 | 2 => heard(u32::from(leg), from, &bytes),
                3 => Input::Link { leg: LegId(u32::from(leg)), up: flag },
                _ => Input::Drain(flag),
            });
        }
    }
}
