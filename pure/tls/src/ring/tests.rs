//! Gateways with a ring each, a fake clock, and links that come and go.

use proptest::prelude::*;
use rustls::server::ProducesTickets;

use super::*;
use crate::testing::TestDice;

/// A beginning: any moment is as good.
#[expect(clippy::disallowed_methods, reason = "where a fake clock begins")]
fn beginning() -> Instant {
    Instant::now()
}

const HOUR: Duration = Duration::from_secs(3600);
const ROTATION: Duration = Duration::from_secs(6 * 3600);
/// What gateways tell is in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

fn ring(number: u64, now: Instant) -> Ring {
    Ring::new(ROTATION, Arc::new(TestDice::from(number << 32)), now).unwrap()
}

/// What another gateway tells; whose it is matters to few.
fn heard(keys: Vec<TicketKey>) -> Input {
    Input::Heard { from: "other".into(), keys }
}

fn seal(ring: &Ring) -> Vec<u8> {
    ring.keys().ticketer(b"anyone").encrypt(b"session").unwrap()
}

fn opens(ring: &Ring, ticket: &[u8]) -> bool {
    ring.keys().ticketer(b"anyone").decrypt(ticket).is_some()
}

/// Lets a ring do what is due; what it tells of.
fn pass(ring: &mut Ring, now: Instant) -> Vec<TicketKey> {
    while ring.poll_timeout() <= now {
        let due = ring.poll_timeout();
        ring.handle(Input::Timeout, due);
        assert!(ring.poll_timeout() > due, "no timer stands still");
    }
    std::iter::from_fn(|| ring.poll_output()).flatten().collect()
}

/// A link comes up: both tell all they know.
fn meet(one: &mut Ring, other: &mut Ring, now: Instant) {
    let (first, second) = (one.all(now), other.all(now));
    one.handle(heard(second), now);
    other.handle(heard(first), now);
}

/// A ticket is good for a rotation at least and two at most, whenever it was given, and listeners made before keys turn go on.
#[test]
fn lifetime() {
    let began = beginning();
    for given in
        [Duration::ZERO, ROTATION / 2, ROTATION - Duration::from_millis(1), ROTATION, ROTATION * 7 / 2]
    {
        let mut ring = ring(1, began);
        let listener = ring.keys().ticketer(b"anyone");
        pass(&mut ring, began + given);
        let ticket = listener.encrypt(b"session").unwrap();
        assert_eq!(u64::from(listener.lifetime()), ROTATION.as_secs());
        for (age, good) in [(Duration::ZERO, true), (ROTATION, true), (2 * ROTATION, false)] {
            pass(&mut ring, began + given + age);
            assert_eq!(listener.decrypt(&ticket).is_some(), good, "given after {given:?}, {age:?} old");
        }
    }
}

/// What one gateway gives the other opens, from the moment they met, through every turn, and for as long as itself.
#[test]
fn elsewhere() {
    let began = beginning();
    let mut one = ring(1, began);
    let mut other = ring(2, began + HOUR);
    assert!(!opens(&other, &seal(&one)));
    meet(&mut one, &mut other, began + HOUR);
    assert!(opens(&other, &seal(&one)) && opens(&one, &seal(&other)));
    for hours in 2..60 {
        let now = began + hours * HOUR;
        // A ticket is at the other gateway before what is told after a turn.
        let (told_one, told_other) = (pass(&mut one, now), pass(&mut other, now));
        let (first, second) = (seal(&one), seal(&other));
        assert!(opens(&other, &first) && opens(&one, &second), "{hours} hours");
        one.handle(heard(told_other), now);
        other.handle(heard(told_one), now);
    }
    assert_eq!(one.turns(), 9);
}

/// A gateway that was cut off opens tickets again when it is back, those of its own that it gave meanwhile are good
/// everywhere, and nobody waits for anybody.
#[test]
fn partition() {
    let began = beginning();
    let (mut one, mut other) = (ring(1, began), ring(2, began));
    meet(&mut one, &mut other, began);
    let now = began + 20 * HOUR;
    pass(&mut one, now);
    pass(&mut other, now);
    let (first, second) = (seal(&one), seal(&other));
    assert!(!opens(&other, &first) && !opens(&one, &second));
    meet(&mut one, &mut other, now);
    assert!(opens(&other, &first) && opens(&one, &second));
}

/// A gateway that starts anew without its keys hears of them from another; one that died is stood in for.
#[test]
fn crash() {
    let began = beginning();
    let (mut one, mut other) = (ring(1, began), ring(2, began));
    meet(&mut one, &mut other, began);
    let ticket = seal(&one);
    drop(one);
    assert!(opens(&other, &ticket));
    let mut again = ring(3, began + HOUR);
    assert!(!opens(&again, &ticket));
    meet(&mut again, &mut other, began + HOUR);
    assert!(opens(&again, &ticket) && opens(&other, &seal(&again)));
}

/// The next process on a gateway goes on with the same keys, turns when the one before would have, and what it seals is known
/// to the others at once.
#[test]
fn handed_over() {
    let began = beginning();
    let (mut one, mut other) = (ring(1, began), ring(2, began));
    meet(&mut one, &mut other, began);
    let now = began + 2 * HOUR;
    let (ticket, foreign) = (seal(&one), seal(&other));
    let estate = one.estate(now);
    let mut heir = Ring::resume(&estate, ROTATION, Arc::new(TestDice::from(9 << 32)), now);
    assert_eq!(heir.estate(now), estate);
    assert!(opens(&heir, &ticket) && opens(&heir, &foreign));
    assert!(opens(&other, &seal(&heir)) && opens(&one, &seal(&heir)));
    assert_eq!(heir.all(now), one.all(now));
    pass(&mut heir, began + ROTATION);
    assert_eq!(heir.turns(), 1);
    assert!(opens(&other, &seal(&heir)));
    // A rotation that was made shorter holds at once.
    let heir = Ring::resume(&estate, HOUR, Arc::new(TestDice::default()), now);
    assert_eq!(heir.poll_timeout(), now + HOUR);
}

/// However often gateways tell each other of a key, it ends when it should.
#[test]
fn no_key_lives_on_hearsay() {
    let began = beginning();
    let (mut one, mut two, mut three) = (ring(1, began), ring(2, began), ring(3, began));
    meet(&mut one, &mut two, began);
    let ticket = seal(&one);
    drop(one);
    let mut now = began;
    while now < began + 2 * ROTATION - Duration::from_secs(600) {
        now += Duration::from_secs(600);
        pass(&mut two, now);
        pass(&mut three, now);
        meet(&mut two, &mut three, now);
        assert_eq!(opens(&three, &ticket), now < began + 2 * ROTATION - ROUNDING);
    }
    now += Duration::from_secs(600);
    pass(&mut two, now);
    pass(&mut three, now);
    meet(&mut two, &mut three, now);
    assert!(!opens(&two, &ticket) && !opens(&three, &ticket));
}

/// When the secret may be known, so may the keys: all are new, and only what is told from then on is accepted.
#[test]
fn renewed() {
    let began = beginning();
    let (mut one, mut other) = (ring(1, began), ring(2, began));
    meet(&mut one, &mut other, began);
    let (ticket, foreign) = (seal(&one), seal(&other));
    one.handle(Input::Renew, began + HOUR);
    assert!(!opens(&one, &ticket) && !opens(&one, &foreign) && opens(&one, &seal(&one)));
    assert_eq!(one.len(), 2);
    let told: Vec<_> = std::iter::from_fn(|| one.poll_output()).flatten().collect();
    other.handle(heard(told), began + HOUR);
    assert!(opens(&other, &seal(&one)));
    pass(&mut one, began + HOUR + ROTATION);
    assert!(opens(&other, &seal(&one)), "the next one too");
}

/// Others can have no more kept than there is room for, nor for longer than any key lasts, nor take the own keys' place.
#[test]
fn bounds() {
    let now = beginning();
    let mut ring = ring(1, now);
    let own = ring.estate(now);
    let ticket = seal(&ring);
    for round in 0..10u8 {
        let key = |number: u8| TicketKey { id: [round; 16], secret: [number; 32], left_secs: u32::MAX };
        let keys = (0..200).map(|number| {
            let mut key = key(number);
            key.id[0] = number;
            key
        });
        ring.handle(heard(keys.collect()), now);
    }
    ring.handle(heard(vec![TicketKey { secret: [0; 32], left_secs: 9, ..own.current.clone() }]), now);
    ring.handle(heard(vec![TicketKey { left_secs: 0, id: [77; 16], ..own.current.clone() }]), now);
    assert_eq!(ring.len(), 192);
    assert!(opens(&ring, &ticket) && ring.all(now).len() == 192);
    assert_eq!((ring.estate(now).current, ring.estate(now).next), (own.current, own.next));
    pass(&mut ring, now + LEFT_MAX);
    assert!(ring.len() <= 3 && ring.turns() == 12);
}

/// A gateway that starts over and over, and tells of new keys each time, takes no place of a healthy one's keys, nor of the one
/// that this gateway sealed with until just now: neither after a hand-over, nor where most keys were heard from somebody else.
#[test]
fn a_crash_loop_costs_its_own_keys() {
    let began = beginning();
    let (mut one, mut healthy) = (ring(1, began), ring(2, began));
    meet(&mut one, &mut healthy, began);
    let (own, foreign) = (seal(&one), seal(&healthy));
    let now = began + ROTATION;
    let told = pass(&mut one, now);
    let crashes = |ring: &mut Ring, first: u64| {
        for number in first..first + 300 {
            let keys = self::ring(number, now).all(now);
            ring.handle(Input::Heard { from: "crashing".into(), keys }, now);
        }
        assert_eq!(ring.len(), 192);
    };
    crashes(&mut one, 100);
    assert!(opens(&one, &own) && opens(&one, &foreign) && !told.is_empty());
    let mut heir = Ring::resume(&one.estate(now), ROTATION, Arc::new(TestDice::from(9 << 32)), now);
    // The links come up anew, and the healthy gateway says which keys are its own.
    heir.handle(Input::Heard { from: "healthy".into(), keys: healthy.all(now) }, now);
    crashes(&mut heir, 1000);
    assert!(opens(&heir, &own) && opens(&heir, &foreign));
    let mut anew = ring(3, now);
    anew.handle(Input::Heard { from: "one".into(), keys: one.all(now) }, now);
    anew.handle(Input::Heard { from: "healthy".into(), keys: healthy.all(now) }, now);
    crashes(&mut anew, 2000);
    assert!(opens(&anew, &foreign) && opens(&anew, &seal(&one)));
}

/// A gateway that stood still turns its keys as if it had not, so what others were told of them holds; after a long time at
/// once, and not once for every turn it missed.
#[test]
fn late() {
    let began = beginning();
    let (mut one, mut other) = (ring(1, began), ring(2, began));
    meet(&mut one, &mut other, began);
    let now = began + ROTATION * 3 / 2;
    one.handle(Input::Timeout, now);
    assert_eq!((one.turns(), one.poll_timeout()), (1, began + 2 * ROTATION));
    let ticket = seal(&one);
    pass(&mut other, now + ROTATION);
    assert!(opens(&other, &ticket));
    one.handle(Input::Timeout, began + 1000 * ROTATION);
    assert_eq!((one.turns(), one.poll_timeout()), (5, began + 1001 * ROTATION));
    assert!(!opens(&one, &ticket) && opens(&one, &seal(&one)));
}

/// Without dice there is no ring, and one that has lost them keeps its keys and tries again.
#[test]
fn no_dice() {
    let now = beginning();
    assert!(Ring::new(ROTATION, Arc::new(TestDice::none()), now).is_none());
    let estate = ring(1, now).estate(now);
    let mut ring = Ring::resume(&estate, ROTATION, Arc::new(TestDice::none()), now);
    ring.handle(Input::Timeout, now + ROTATION);
    assert_eq!((ring.turns(), ring.poll_timeout()), (0, now + ROTATION + DICE_AGAIN));
    ring.handle(Input::Renew, now);
    assert_eq!(ring.estate(now).current.id, estate.current.id);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever links came and went, whoever started anew: once all have met, any gateway opens what any gives, until the turn
    /// after the next at least.
    #[test]
    fn histories(steps in prop::collection::vec((0u8..10, 0usize..3, 0usize..3, 1u64..30_000), 1..40)) {
        let mut now = beginning();
        let mut rings: Vec<Ring> = (0..3).map(|number| ring(number, now)).collect();
        let mut links = [[false; 3]; 3];
        let mut born = 3;
        for (kind, a, b, secs) in steps {
            now += Duration::from_secs(secs);
            for from in 0..3 {
                let told = pass(&mut rings[from], now);
                for to in (0..3).filter(|to| links[from.min(*to)][from.max(*to)]) {
                    rings[to].handle(heard(told.clone()), now);
                }
            }
            match kind {
                0 => {
                    born += 1;
                    rings[a] = ring(born, now);
                    (0..3).for_each(|to| links[a.min(to)][a.max(to)] = false);
                }
                1..4 => links[a.min(b)][a.max(b)] = false,
                _ if a != b => {
                    links[a.min(b)][a.max(b)] = true;
                    let [one, other] = rings.get_disjoint_mut([a, b]).unwrap();
                    meet(one, other, now);
                }
                _ => {}
            }
            prop_assert!(rings.iter().all(|ring| ring.len() <= 192));
        }
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let [one, other] = rings.get_disjoint_mut([a, b]).unwrap();
            meet(one, other, now);
        }
        for from in 0..3 {
            let soon = now + ROTATION - ROUNDING;
            let ticket = seal(&rings[from]);
            for (to, ring) in rings.iter_mut().enumerate() {
                pass(ring, soon);
                prop_assert!(opens(ring, &ticket), "{from} to {to}");
            }
        }
    }
}
