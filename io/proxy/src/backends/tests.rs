use tidegate_model::traffic::*;
use tidegate_objects::Key;

use super::*;

fn backend(policy: BackendPolicy, cell: &Arc<EndpointCell>) -> Arc<Backend> {
    let id = BackendId::tcp(Key::new("test", "shop", "web"), 80);
    Arc::new(Backend { policy: Arc::new(policy), ..Backend::plain(id, cell.clone()) })
}

/// A Traffic with a TCP route to these.
fn traffic(backends: &[&Arc<Backend>]) -> Traffic {
    let share = |backend: &&Arc<Backend>| WeightedBackend::plain(1, Target::Backend((*backend).clone()));
    let route =
        StreamRoute { name: Key::new("test", "shop", "db"), backends: backends.iter().map(share).collect() };
    let listener = Listener {
        name: ListenerName { gateway: Key::new("test", "shop", "edge"), section: "tcp".into() },
        hostname: None,
        tls: None,
        serves: Serves::Tcp(Some(Arc::new(route))),
        client: Arc::default(),
        responses: Arc::default(),
    };
    let entrance = Entrance {
        address: "127.0.0.1:1".parse().unwrap(),
        transport: Transport::Tcp,
        client: Arc::default(),
        listeners: vec![Arc::new(listener)],
    };
    Traffic { entrances: vec![Arc::new(entrance)], ..Traffic::default() }
}

fn backends() -> Backends {
    Backends::new(Counter::default(), SessionKey::new([0; 32]), Budget::new(100))
}

/// One backend with a policy that watches its endpoints and limits its requests.
pub fn watched() -> Backends {
    let ejection = Ejection {
        consecutive_5xx: 5,
        consecutive_gateway_errors: 0,
        consecutive_local_failures: 0,
        base_time: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        max_percent: 10,
    };
    let breaker = Breaker { requests: Some(1), ..Breaker::default() };
    let policy = BackendPolicy { ejection: Some(ejection), breaker, ..BackendPolicy::default() };
    let all = backends();
    all.follow(&traffic(&[&backend(policy, &cell())]));
    all.drain(|drained| drained.drain("10.0.0.1:80".parse().unwrap())).unwrap();
    all
}

fn cell() -> Arc<EndpointCell> {
    Arc::new(EndpointCell::new(Endpoints::plain(["10.0.0.1:80".parse().unwrap()])))
}

fn other() -> BackendPolicy {
    BackendPolicy { balancing: Balancing::LeastRequest, ..BackendPolicy::default() }
}

/// Equal backends share a slot, and keep it over a new Traffic; different settings have slots of their own.
#[test]
fn equal_backends_share_a_slot() {
    let (all, cell) = (backends(), cell());
    let (first, same, different) =
        (backend(other(), &cell), backend(other(), &cell), backend(BackendPolicy::default(), &cell));
    let roll = all.follow(&traffic(&[&first, &same, &different]));
    assert_eq!(roll.slots().count(), 2);
    let (a, b, c) = (all.gate(&first), all.gate(&same), all.gate(&different));
    assert!(Arc::ptr_eq(a.slot(), b.slot()) && Arc::ptr_eq(a.shared(), b.shared()));
    assert!(!Arc::ptr_eq(a.slot(), c.slot()));
    let again = all.follow(&traffic(&[&backend(other(), &cell)]));
    assert_eq!(again.slots().count(), 1);
    assert!(again.has(a.slot()) && !again.has(c.slot()));
    assert!(all.has(a.slot()));
}

/// What is known passes on when a policy changes: who is drained, and the places that are taken.
#[tokio::test]
async fn successors() {
    let limited = |requests| BackendPolicy {
        breaker: Breaker { requests: Some(requests), pending_requests: Some(0), ..Breaker::default() },
        ..BackendPolicy::default()
    };
    let (all, cell) = (backends(), cell());
    let before = backend(limited(1), &cell);
    all.follow(&traffic(&[&before]));
    let _held = all.gate(&before).admit().await.unwrap();
    all.drain(|drained| drained.drain("10.0.0.1:80".parse().unwrap())).unwrap();
    let after = backend(limited(2), &cell);
    all.follow(&traffic(&[&after]));
    let gate = all.gate(&after);
    let _second = gate.admit().await.unwrap();
    assert!(gate.admit().await.is_err());
    assert!(all.facts()[0].1[0].draining);
    let fewer = backend(BackendPolicy::default(), &cell);
    all.follow(&traffic(&[&fewer]));
    assert!(all.facts()[0].1[0].draining, "though its slot has nothing of its own yet");
}

/// Without a policy nothing is made before the first request, and what was drained before holds then.
#[test]
fn plain_backends_cost_nothing_unused() {
    let (all, cell) = (backends(), cell());
    let plain = backend(BackendPolicy::default(), &cell);
    let roll = all.follow(&traffic(&[&plain]));
    assert!(roll.slots().all(|slot| slot.known().is_none()));
    all.drain(|drained| drained.drain("10.0.0.1:80".parse().unwrap())).unwrap();
    assert!(all.facts()[0].1[0].draining);
    assert!(all.gate(&plain).shared().facts(now())[0].draining);
    assert!(roll.slots().all(|slot| slot.known().is_some()));
}

/// A request under an older Traffic is still served, by what knows its backend or by a slot of its own.
#[test]
fn backends_of_the_past() {
    let (all, cell) = (backends(), cell());
    let (kept, gone) = (backend(other(), &cell), backend(BackendPolicy::default(), &cell));
    all.follow(&traffic(&[&kept]));
    let gate = all.gate(&gone);
    assert!(!all.has(gate.slot()));
    assert_eq!(gate.shared().facts(now()).len(), 1);
    assert!(all.has(all.gate(&backend(other(), &cell)).slot()));
}

/// Where this gateway stands matters to backends that ask for it, and only to them.
#[test]
fn home() {
    let (all, cell) = (backends(), cell());
    let zone_aware = Some(ZoneAware { endpoints_min: 1, force_min: None });
    let (zoned, plain) =
        (backend(BackendPolicy { zone_aware, ..BackendPolicy::default() }, &cell), backend(other(), &cell));
    let traffic = traffic(&[&zoned, &plain]);
    all.follow(&traffic);
    let slots = [all.gate(&zoned), all.gate(&plain)];
    all.follow(&Traffic { home: Some(Home::in_zone("a")), ..traffic });
    assert_eq!(slots.each_ref().map(|gate| all.has(gate.slot())), [false, true]);
}
