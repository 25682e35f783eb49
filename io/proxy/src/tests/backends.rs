//! Which endpoint gets a request, and what a backend is spared, with real origins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tidegate_model::DrainedEndpoint;
use tidegate_model::traffic::*;
use tidegate_traffic::balance::EndpointFacts;

use super::harness::*;
use super::http2::Peer;
use crate::Limits;

pub fn with_policy(endpoints: &[SocketAddr], policy: BackendPolicy) -> Arc<Backend> {
    Arc::new(Backend { policy: Arc::new(policy), ..(*backend("web", endpoints)).clone() })
}

pub fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

pub fn gateway(backend: &Arc<Backend>) -> Gateway {
    Gateway::start(&[(1, backend)])
}

pub fn requests(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::requests).collect()
}

/// What the gateway knows of the endpoint.
pub fn facts(gateway: &Gateway, endpoint: SocketAddr) -> EndpointFacts {
    let all = gateway.proxy.endpoints();
    all.into_iter().flat_map(|(_, facts)| facts).find(|facts| facts.address == endpoint).expect("it is known")
}

/// An origin that answers every request with this status.
fn failing(status: &'static str) -> Origin {
    Origin::start(move |_, wire| wire.try_send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")))
}

fn ask(gateway: &Gateway, count: usize) -> Vec<u16> {
    let mut client = gateway.client();
    (0..count).map(|_| status(&client.ask(GET).0)).collect()
}

/// A door that origins stand before until it is opened.
#[derive(Default)]
struct Turnstile(Mutex<bool>, Condvar);

impl Turnstile {
    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

/// After so many 5xx in a row an endpoint is left out, never more than the policy allows, and it comes back.
#[test]
fn ejection_with_cap() {
    let origins = [Origin::text("a"), Origin::text("b"), failing("500 Oops"), failing("500 Oops")];
    let ejection = Ejection {
        consecutive_5xx: 3,
        consecutive_gateway_errors: 0,
        consecutive_local_failures: 0,
        // Longer than forty requests take on a busy machine.
        base_time: Duration::from_secs(3),
        interval: Duration::from_millis(100),
        max_percent: 25,
    };
    let backend = with_policy(
        &addresses(&origins),
        BackendPolicy { ejection: Some(ejection), ..BackendPolicy::default() },
    );
    let gateway = gateway(&backend);
    let ejected = || {
        let of = |origin: &Origin| facts(&gateway, origin.address).ejected_secs.is_some();
        origins.iter().filter(|origin| of(origin)).count()
    };
    let statuses = ask(&gateway, 40);
    assert_eq!(ejected(), 1, "{statuses:?}");
    gateway.counts("tidegate_backend_ejected_endpoints{backend=\"shop/web:80\"}", 1);
    let out = origins.iter().find(|origin| facts(&gateway, origin.address).ejected_secs.is_some()).unwrap();
    let before = out.requests();
    assert_eq!(before, 3);
    until("it comes back", || {
        ask(&gateway, 8);
        out.requests() > before
    });
}

/// A slow endpoint gets less than its part where requests under way or latencies count.
#[test]
fn a_slow_endpoint_is_spared() {
    for balancing in [Balancing::LeastRequest, Balancing::PeakEwma] {
        let slow = Origin::start(|_, wire| {
            thread::sleep(Duration::from_millis(60));
            wire.try_send(ok("slow"))
        });
        let quick = || {
            Origin::start(|_, wire| {
                thread::sleep(Duration::from_millis(2));
                wire.try_send(ok("quick"))
            })
        };
        let origins = [slow, quick(), quick(), quick()];
        let policy = BackendPolicy { balancing: balancing.clone(), ..BackendPolicy::default() };
        let gateway = gateway(&with_policy(&addresses(&origins), policy));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| ask(&gateway, 60));
            }
        });
        let counts = requests(&origins);
        let all: usize = counts.iter().sum();
        assert_eq!(all, 480);
        assert!(counts[0] * 100 < all * 15, "{balancing:?} {counts:?}");
    }
}

fn hashed(key: HashKey) -> BackendPolicy {
    BackendPolicy {
        balancing: Balancing::ConsistentHash { key, table_size: 251 },
        ..BackendPolicy::default()
    }
}

/// The origin to which each of these requests goes.
fn homes(gateway: &Gateway, origins: &[Origin], lines: &[String]) -> Vec<SocketAddr> {
    let mut client = gateway.client();
    let home = |line: &String| {
        let before = requests(origins);
        client.ask(&format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{line}\r\n"));
        let at = before.iter().zip(origins).position(|(before, origin)| origin.requests() > *before);
        origins[at.expect("one got it")].address
    };
    lines.iter().map(home).collect()
}

/// The same header goes to the same endpoint on every worker, and another endpoint's end moves only its own.
#[test]
fn hash_by_header() {
    let origins: Vec<_> = (0..5).map(|_| Origin::text("")).collect();
    let backend = with_policy(&addresses(&origins), hashed(HashKey::Headers(vec!["x-user".into()])));
    let gateway = gateway(&backend);
    let lines: Vec<String> = (0..40).map(|user| format!("X-User: u{user}\r\n")).collect();
    let first = homes(&gateway, &origins, &lines);
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 2, "{first:?}");
    for _ in 0..3 {
        assert_eq!(homes(&gateway, &origins, &lines), first);
    }
    let gone = first[0];
    backend
        .endpoints
        .store(usable(&addresses(&origins).into_iter().filter(|&at| at != gone).collect::<Vec<_>>()));
    gateway.proxy.endpoints_changed();
    // A worker that finds another one looking at the change goes by what it knew for a request more.
    let mut after = Vec::new();
    until("the workers have followed", || {
        after = homes(&gateway, &origins, &lines);
        !after.contains(&gone)
    });
    let stay = |(before, after): (&SocketAddr, &SocketAddr)| *before == gone || before == after;
    let stayed = first.iter().zip(&after).filter(|(before, after)| stay((before, after))).count();
    // By remainders a quarter would stay.
    assert!(stayed >= 30, "{stayed} of 40");
}

/// A client without the cookie is given one, and by that it finds its endpoint again; with one it is given none.
#[test]
fn hash_by_cookie() {
    let origins: Vec<_> = (0..5).map(|_| Origin::text("")).collect();
    let ttl = Some(Duration::from_secs(60));
    let key =
        HashKey::Cookie { name: "shard".into(), ttl, attributes: vec![("SameSite".into(), "Lax".into())] };
    let gateway = gateway(&with_policy(&addresses(&origins), hashed(key)));
    for _ in 0..10 {
        let before = requests(&origins);
        let (head, _) = gateway.client().ask(GET);
        let home =
            before.iter().zip(&origins).position(|(before, origin)| origin.requests() > *before).unwrap();
        let (cookie, attributes) = field(&head, "set-cookie").expect("a cookie").split_once("; ").unwrap();
        assert_eq!(attributes, "Max-Age=60; Path=/; HttpOnly; SameSite=Lax");
        let line = vec![format!("Cookie: a=b; {cookie}\r\n"); 6];
        assert_eq!(homes(&gateway, &origins, &line), [origins[home].address; 6]);
        let again = gateway.client().ask(&format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{}\r\n", line[0]));
        assert_eq!(field(&again.0, "set-cookie"), None);
    }
}

/// One request at a time over all workers: the next waits, one more is refused at once, and a client that leaves the
/// line makes room.
#[test]
fn breaker_and_queue() {
    let turnstile = Arc::new(Turnstile::default());
    let held = turnstile.clone();
    let origin = Origin::start(move |_, wire| {
        held.pass();
        wire.try_send(ok("done"))
    });
    let breaker = Breaker { requests: Some(1), pending_requests: Some(2), ..Breaker::default() };
    let gateway =
        gateway(&with_policy(&[origin.address], BackendPolicy { breaker, ..BackendPolicy::default() }));
    let mut clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
    clients[0].send(GET);
    until("the first is under way", || origin.requests() == 1);
    clients[1].send(GET);
    clients[2].send(GET);
    let waiting = || gateway.metric("tidegate_backend_waiting_requests{backend=\"shop/web:80\"}");
    until("two wait", || waiting() == 2);
    assert_eq!(ask(&gateway, 1), [503]);
    let refused = gateway.log(1);
    assert_eq!(refused[0]["reason"], "QueueFull", "{refused:?}");
    gateway.counts("tidegate_backend_refusals_total", 1);
    drop(clients.pop());
    until("who left is told", || gateway.log(2).iter().any(|line| line["reason"] == "ClientGone"));
    let mut last = gateway.client();
    last.send(GET);
    until("the place is taken again", || waiting() == 2);
    assert_eq!(origin.requests(), 1, "one at a time");
    turnstile.open();
    for client in clients.iter_mut().chain([&mut last]) {
        assert_eq!(status(&client.response().0), 200);
    }
    assert_eq!(origin.requests(), 3);
}

/// Never more connections than allowed over all workers, though each keeps some; who finds none waits for one.
#[test]
fn connections_are_limited() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, high) = (now.clone(), most.clone());
    let origin = Origin::start(move |_, wire| {
        high.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        counted.fetch_sub(1, Ordering::SeqCst);
        wire.try_send(ok("done"))
    });
    let breaker = Breaker { connections: Some(2), ..Breaker::default() };
    let connect_timeout = Some(Duration::from_secs(10));
    let policy = BackendPolicy { breaker, connect_timeout, ..BackendPolicy::default() };
    let gateway = gateway(&with_policy(&[origin.address], policy));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(ask(&gateway, 8), [200; 8]));
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 2);
}

/// Who waits in vain for a place, among the requests or among the connections, was turned away by the limit, and is counted.
#[test]
fn waiting_in_vain_is_counted() {
    let short = Duration::from_secs(1);
    let requests = Breaker { requests: Some(1), pending_requests: Some(2), ..Breaker::default() };
    let connections = Breaker { connections: Some(1), ..Breaker::default() };
    for breaker in [requests, connections] {
        let turnstile = Arc::new(Turnstile::default());
        let held = turnstile.clone();
        let origin = Origin::start(move |_, wire| {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
            held.pass();
            wire.try_send("done")
        });
        let policy = BackendPolicy { breaker, connect_timeout: Some(short), ..BackendPolicy::default() };
        let limits = Limits { response_head: short, ..Limits::default() };
        let gateway = Gateway::with_limits(&[(1, &with_policy(&[origin.address], policy))], limits);
        let mut first = gateway.client();
        first.send(GET);
        until("the first is under way", || origin.requests() == 1);
        assert_eq!(ask(&gateway, 1), [503]);
        gateway.counts("tidegate_backend_refusals_total", 1);
        turnstile.open();
    }
}

/// An endpoint that comes new gets a small part at first.
#[test]
fn slow_start() {
    let origins = [Origin::text("old"), Origin::text("new")];
    let policy = BackendPolicy { slow_start: Some(Duration::from_secs(60)), ..BackendPolicy::default() };
    let backend = with_policy(&[origins[0].address], policy);
    let gateway = gateway(&backend);
    ask(&gateway, 1);
    backend.endpoints.store(usable(&addresses(&origins)));
    ask(&gateway, 100);
    let new = origins[1].requests();
    assert!((3..25).contains(&new), "{new} of 100");
    assert!(facts(&gateway, origins[1].address).slow_percent.is_some_and(|percent| percent < 25));
}

/// Repeats stay within their part of the requests, though every attempt fails.
#[test]
fn repeats_stay_within_the_budget() {
    let origin = failing("503 Busy");
    let retry = Retry {
        codes: BTreeSet::from([503]),
        grpc_codes: BTreeSet::new(),
        attempts: 3,
        connection_errors: true,
        timeouts: false,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        attempt_timeout: None,
        budget_percent: Some(20),
        budget_min_per_sec: 0,
    };
    let policy = BackendPolicy { retry: Some(retry), ..BackendPolicy::default() };
    let gateway = gateway(&with_policy(&[origin.address], policy));
    assert_eq!(ask(&gateway, 100), [503; 100]);
    let attempts = origin.requests();
    assert!((115..=120).contains(&attempts), "{attempts}");
}

/// Endpoints that are drained by hand get nothing, under every policy, until they are taken back.
#[test]
fn drained_by_hand() {
    let origins = [Origin::text("a"), Origin::text("b")];
    let backend = backend("web", &addresses(&origins));
    let gateway = gateway(&backend);
    let drain = gateway.proxy.hand_drain();
    let second = DrainedEndpoint::Port(origins[1].address);
    drain.change(|drained| drained.drain(second)).unwrap();
    assert!(facts(&gateway, origins[1].address).draining, "before the first request too");
    assert_eq!(ask(&gateway, 20), [200; 20]);
    assert_eq!(requests(&origins), [20, 0]);
    let policy =
        Arc::new(BackendPolicy { slow_start: Some(Duration::from_secs(1)), ..BackendPolicy::default() });
    let changed = Arc::new(Backend { policy, ..(*backend).clone() });
    gateway.apply(traffic(&[gateway.address], &[(1, &changed)]));
    assert_eq!(ask(&gateway, 20), [200; 20]);
    assert_eq!(requests(&origins), [40, 0]);
    gateway.counts("tidegate_backend_drained_endpoints{backend=\"shop/web:80\"}", 1);
    drain.change(|drained| drained.undo(second)).unwrap();
    assert!(!gateway.has_metric("tidegate_backend_drained_endpoints"));
    assert_eq!(ask(&gateway, 20), [200; 20]);
    assert_eq!(requests(&origins), [50, 10]);
}

/// A connection to an endpoint that has lived as long as the policy says is not used again, however busy it is.
#[test]
fn connections_age() {
    let origin = Origin::text("a");
    let connection_max = Some(Duration::from_millis(300));
    let policy = BackendPolicy { connection_max, ..BackendPolicy::default() };
    let gateway = gateway(&with_policy(&[origin.address], policy));
    let mut client = gateway.client();
    until("the third connection", || {
        assert_eq!(status(&client.ask(GET).0), 200);
        origin.connections.load(Ordering::SeqCst) == 3
    });
    assert!(origin.requests() > 6, "each serves many requests until then");
}

/// A session with an endpoint that is drained by hand begins anew with another one, and a connection to it goes on.
#[test]
fn sessions_leave_a_drained_endpoint() {
    let origins = [Origin::text("a"), Origin::text("b")];
    let backend = backend("web", &addresses(&origins));
    let gateway = Gateway::start(&[(1, &backend)]);
    let mut traffic = (*traffic(&[gateway.address], &[(1, &backend)])).clone();
    let listener = Arc::make_mut(&mut Arc::make_mut(&mut traffic.entrances[0]).listeners[0]);
    let Serves::Http(routes) = &mut listener.serves else { unreachable!("the harness serves HTTP") };
    let rule = Arc::make_mut(&mut Arc::make_mut(&mut routes[0]).rules[0]);
    let carrier =
        SessionCarrier::Cookie { path: "/".into(), permanent: false, attributes: Default::default() };
    rule.session = Some(Arc::new(SessionPersistence {
        name: "stay".into(),
        carrier,
        absolute_timeout: None,
        idle_timeout: None,
    }));
    gateway.apply(Arc::new(traffic));
    let ask = |cookie: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: shop.example\r\nCookie: {cookie}\r\n\r\n");
        let (head, body) = gateway.client().ask(&request);
        let set = field(&head, "set-cookie").map(|line| line.split(';').next().unwrap().to_owned());
        (body, set)
    };
    let (first, cookie) = ask("x=1");
    let cookie = cookie.expect("a session");
    assert!((0..5).all(|_| ask(&cookie).0 == first));
    let its = origins[usize::from(first == "b")].address;
    let drain = gateway.proxy.hand_drain();
    drain.change(|drained| drained.drain(DrainedEndpoint::Host(its.ip()))).unwrap();
    drain.change(|drained| drained.undo(DrainedEndpoint::Host(its.ip()))).unwrap();
    drain.change(|drained| drained.drain(DrainedEndpoint::Port(its))).unwrap();
    let (second, moved) = ask(&cookie);
    assert_ne!(second, first);
    let moved = moved.expect("another session");
    drain.change(|drained| drained.undo(DrainedEndpoint::Port(its))).unwrap();
    assert!((0..5).all(|_| ask(&moved).0 == second), "it stays where it went");
}

/// What is known of an endpoint holds when a policy changes under it, and counts are of the backend as a whole.
#[test]
fn knowledge_outlives_the_policy() {
    let origins = [Origin::text("a"), failing("500 Oops")];
    let ejection = Ejection {
        consecutive_5xx: 1,
        consecutive_gateway_errors: 0,
        consecutive_local_failures: 0,
        base_time: Duration::from_secs(100),
        interval: Duration::from_secs(10),
        max_percent: 100,
    };
    let before = BackendPolicy { ejection: Some(ejection), ..BackendPolicy::default() };
    let backend = with_policy(&addresses(&origins), before.clone());
    let gateway = gateway(&backend);
    ask(&gateway, 4);
    assert!(facts(&gateway, origins[1].address).ejected_secs.is_some());
    let policy = Arc::new(BackendPolicy { balancing: Balancing::LeastRequest, ..before });
    let changed = Arc::new(Backend { policy, ..(*backend).clone() });
    gateway.apply(traffic(&[gateway.address], &[(1, &changed)]));
    assert!(facts(&gateway, origins[1].address).ejected_secs.is_some());
    assert_eq!(ask(&gateway, 20), [200; 20]);
    let known: BTreeMap<_, _> = gateway.proxy.endpoints().into_iter().collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[&backend.id].len(), 2);
}

/// A request under way keeps what its backend was when the policy changes under it, unused connections too.
#[test]
fn connections_outlive_the_policy() {
    let turnstile = Arc::new(Turnstile::default());
    let held = turnstile.clone();
    let origin = Origin::start(move |head, wire| {
        if head.starts_with("GET /quick") {
            return wire.try_send(ok("quick"));
        }
        held.pass();
        wire.try_send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        // Not for the repeat: that is to find another.
        false
    });
    let retry = Retry {
        codes: BTreeSet::from([503]),
        grpc_codes: BTreeSet::new(),
        attempts: 3,
        connection_errors: true,
        timeouts: false,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        attempt_timeout: None,
        budget_percent: Some(100),
        budget_min_per_sec: 100,
    };
    let before = BackendPolicy { retry: Some(retry), ..BackendPolicy::default() };
    let backend = with_policy(&[origin.address], before.clone());
    let gateway = gateway(&backend);
    // On one connection, so that one worker serves both.
    let mut client = Peer::connect(gateway.address);
    let slow = client.ask("GET", "/slow", &[], None);
    client.turn();
    until("it is under way", || origin.requests() == 1);
    let quick = client.ask("GET", "/quick", &[], None);
    assert_eq!(client.response(quick).text(), "quick");
    let policy = Arc::new(BackendPolicy { balancing: Balancing::LeastRequest, ..before });
    let changed = Arc::new(Backend { policy, ..(*backend).clone() });
    gateway.apply(traffic(&[gateway.address], &[(1, &changed)]));
    turnstile.open();
    assert_eq!(client.response(slow).status(), 503);
    let quick = client.ask("GET", "/quick", &[], None);
    assert_eq!(client.response(quick).text(), "quick");
}
