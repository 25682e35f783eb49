//! What a rule says happens: answers, rewrites, copies, time limits, repeats, sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tidegate_model::Traffic;
use tidegate_model::traffic::*;
use tidegate_objects::Key;

use super::harness::*;
use crate::Limits;

/// A limit that a test can wait for.
const SHORT: Duration = Duration::from_millis(300);

/// A gateway whose one rule, under `/`, was changed so.
fn gateway(origin: &Origin, change: impl FnOnce(&mut HttpRule)) -> Gateway {
    with_backend(backend("web", &[origin.address]), change)
}

fn with_backend(web: Arc<Backend>, change: impl FnOnce(&mut HttpRule)) -> Gateway {
    with_limits(web, Limits::default(), change)
}

fn with_limits(web: Arc<Backend>, limits: Limits, change: impl FnOnce(&mut HttpRule)) -> Gateway {
    let gateway = Gateway::with_limits(&[(1, &web)], limits);
    let matched =
        RequestMatch { path: PathMatch::Prefix(String::new()), method: None, headers: vec![], query: vec![] };
    let forward = Action::Forward(vec![WeightedBackend::plain(1, Target::Backend(web))]);
    let mut rule = HttpRule::plain(0, vec![matched], forward);
    change(&mut rule);
    gateway.apply(serving(&gateway, vec![rule], ClientPolicy::default()));
    gateway
}

/// Exactly these rules for `shop.example`.
pub fn serving(gateway: &Gateway, rules: Vec<HttpRule>, client: ClientPolicy) -> Arc<Traffic> {
    let mut traffic = (*traffic(&[gateway.address], &[])).clone();
    let route = HttpRoute {
        name: Key::new("test", "shop", "web"),
        kind: RouteKind::Http,
        hostnames: vec![HostPattern::Exact("shop.example".into())],
        rules: rules.iter().cloned().map(Arc::new).collect(),
    };
    let client = Arc::new(client);
    let listener = Listener {
        serves: Serves::Http(vec![Arc::new(route)]),
        client: client.clone(),
        ..(*traffic.entrances[0].listeners[0]).clone()
    };
    let entrance =
        Entrance { listeners: vec![Arc::new(listener)], client, ..(*traffic.entrances[0]).clone() };
    traffic.entrances = vec![Arc::new(entrance)];
    let backends = rules.iter().flat_map(|rule| match &rule.action {
        Action::Forward(shares) => shares.iter().map(|share| &share.target).chain(mirrors(rule)).collect(),
        _ => Vec::new(),
    });
    let cells = backends.filter_map(|target| match target {
        Target::Backend(backend) => Some((backend.id.clone(), backend.endpoints.clone())),
        Target::Broken(_) => None,
    });
    traffic.endpoints = cells.collect();
    Arc::new(traffic)
}

fn mirrors(rule: &HttpRule) -> impl Iterator<Item = &Target> {
    rule.filters.mirrors.iter().map(|mirror| &mirror.target)
}

fn request(lines: &str) -> String {
    format!("GET /a/b?q=1 HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n")
}

/// A redirect names the place, keeps path and query, and the connection goes on.
#[test]
fn redirects() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, |rule| {
        let redirect = Redirect { scheme: Some("https"), host: None, port: None, path: None, status: 301 };
        rule.action = Action::Redirect(redirect.into());
        rule.filters.response_headers.add = vec![("x-added".into(), "1".into())];
    });
    let mut client = gateway.client();
    for _ in 0..2 {
        let (head, body) = client.ask(&request(""));
        assert_eq!((status(&head), body.as_str()), (301, ""));
        assert_eq!(field(&head, "location"), Some("https://shop.example/a/b?q=1"));
        assert_eq!(field(&head, "x-added"), Some("1"));
    }
    assert_eq!(origin.requests(), 0);
}

/// A rule that answers itself does, without the body for HEAD.
#[test]
fn fixed_responses() {
    let gateway = gateway(&Origin::text("a"), |rule| {
        let body: Arc<[u8]> = Arc::from(&b"{}"[..]);
        rule.action = Action::Respond(
            Respond { status: 418, content_type: Some("application/json".into()), body }.into(),
        );
    });
    let mut client = gateway.client();
    let (head, body) = client.ask(&request(""));
    assert_eq!(
        (status(&head), body.as_str(), field(&head, "content-type")),
        (418, "{}", Some("application/json"))
    );
    client.send("HEAD / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert_eq!(field(&client.head().unwrap(), "content-length"), Some("2"));
    assert_eq!(status(&client.ask(&request("")).0), 418);
}

/// Host and path reach the origin as rewritten; the client's host is told beside.
#[test]
fn rewrites() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, |rule| {
        rule.matches[0].path = PathMatch::Prefix("/a".into());
        let path = Some(PathRewrite::Prefix("/new".into()));
        rule.filters.rewrite = Some(Rewrite { host: Some("inner.example".into()), path });
    });
    assert_eq!(status(&gateway.client().ask(&request("")).0), 200);
    let head = origin.last_head();
    assert!(head.starts_with("GET /new/b?q=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some("inner.example"));
    assert_eq!(field(&head, "x-forwarded-host"), Some("shop.example"));
}

/// The filters of a share come after those of the rule, for that share only.
#[test]
fn filters_of_a_share() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, |rule| {
        rule.filters.request_headers.set = vec![("x-a".into(), "rule".into()), ("x-b".into(), "rule".into())];
        let Action::Forward(shares) = &mut rule.action else { unreachable!() };
        shares[0].filters.request_headers.set = vec![("x-b".into(), "share".into())];
        shares[0].filters.response_headers.set = vec![("x-c".into(), "share".into())];
    });
    let (head, _) = gateway.client().ask(&request(""));
    assert_eq!(field(&head, "x-c"), Some("share"));
    let head = origin.last_head();
    assert_eq!((field(&head, "x-a"), field(&head, "x-b")), (Some("rule"), Some("share")));
    assert_eq!(head.matches("x-b").count(), 1);
}

/// A preflight is answered here; a request of an origin that may gets the lines that say so in place of the backend's.
#[test]
fn cross_origin() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n")
    });
    let gateway = gateway(&origin, |rule| {
        let origins = vec![OriginPattern::Exact("https://a.example".into())];
        let methods = vec!["PUT".into()];
        rule.filters.cors = Some(Arc::new(Cors { origins, methods, max_age_secs: 5, ..Cors::default() }));
    });
    let mut client = gateway.client();
    client.send(
        "OPTIONS / HTTP/1.1\r\nHost: shop.example\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    );
    let head = client.head().unwrap();
    assert_eq!(
        (status(&head), field(&head, "access-control-allow-origin")),
        (204, Some("https://a.example"))
    );
    assert_eq!((field(&head, "content-length"), origin.requests()), (None, 0));
    let (head, _) = client.ask(&request("Origin: https://a.example\r\n"));
    assert_eq!(field(&head, "access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(head.to_lowercase().matches("access-control-allow-origin").count(), 1);
    let (head, _) = client.ask(&request("Origin: https://b.example\r\n"));
    assert_eq!(field(&head, "access-control-allow-origin"), None);
}

/// A mirror gets request and body; one that never answers, or cannot be reached, delays nobody.
#[test]
fn copies() {
    let bodies: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let kept = bodies.clone();
    let mirror = Origin::start(move |head, wire| {
        let body = wire.body(head);
        kept.lock().unwrap().push(body);
        thread::sleep(SHORT * 10);
        false
    });
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head);
        wire.try_send(ok(&body))
    });
    let (copy, dead) = (backend("copy", &[mirror.address]), backend("dead", &[free_address()]));
    let gateway = gateway(&origin, |rule| {
        let all = |backend: &Arc<Backend>| Mirror {
            numerator: 1,
            denominator: 1,
            target: Target::Backend(backend.clone()),
        };
        rule.filters.mirrors = vec![all(&copy), all(&dead)];
    });
    let mut client = gateway.client();
    for body in ["3\r\nabc\r\n0\r\n", "1\r\nx\r\n0\r\n"] {
        let post =
            format!("POST /m HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n{body}\r\n");
        let started = std::time::Instant::now();
        assert_eq!(client.ask(&post).1, body);
        assert!(started.elapsed() < SHORT);
    }
    let body = "y".repeat(100_000);
    let post = format!("POST /m HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100000\r\n\r\n{body}");
    assert_eq!(client.ask(&post).1, body);
    until("the mirror has all", || bodies.lock().unwrap().len() == 3);
    let mut bodies = bodies.lock().unwrap().clone();
    bodies.sort();
    assert!(bodies.contains(&body), "{} bytes", bodies.last().unwrap().len());
    assert!(mirror.last_head().starts_with("POST /m HTTP/1.1\r\n"));
    until("drops are counted", || gateway.metric("tidegate_mirror_drops_total") >= 3);
}

/// A mirror is treated as its backend's policy says: it gets a PROXY header of its own, and no copy beyond the limit.
#[test]
fn copies_keep_to_policies() {
    let seen: Arc<std::sync::Mutex<Vec<Vec<u8>>>> = Arc::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let kept = seen.clone();
    thread::spawn(move || {
        let mut held = vec![];
        for mut stream in listener.incoming().flatten() {
            let mut bytes = vec![0; 6];
            std::io::Read::read_exact(&mut stream, &mut bytes).unwrap();
            kept.lock().unwrap().push(bytes);
            // Never answered, so that its place stays taken.
            held.push(stream);
        }
    });
    let policy = BackendPolicy {
        proxy_protocol: Some(ProxyProtocolOut::V1),
        breaker: Breaker { requests: Some(1), pending_requests: Some(0), ..Breaker::default() },
        ..BackendPolicy::default()
    };
    let copy = Arc::new(Backend { policy: Arc::new(policy), ..Backend::clone(&backend("copy", &[address])) });
    let origin = Origin::text("a");
    let gateway = gateway(&origin, |rule| {
        rule.filters.mirrors =
            vec![Mirror { numerator: 1, denominator: 1, target: Target::Backend(copy.clone()) }];
    });
    let mut client = gateway.client();
    for copies in [0, 1] {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").1, "a");
        until("the first copy arrived", || !seen.lock().unwrap().is_empty());
        gateway.counts("tidegate_mirror_drops_total", copies);
    }
    assert_eq!(*seen.lock().unwrap(), [b"PROXY ".to_vec()]);
}

fn mirrored(to: &Origin) -> Vec<Mirror> {
    let target = Target::Backend(backend("copy", &[to.address]));
    vec![Mirror { numerator: 1, denominator: 1, target }]
}

/// A request for a tunnel is not copied: a mirror would answer it for ever, or not at all.
#[test]
fn tunnels_are_not_copied() {
    let mirror = Origin::text("m");
    let origin = Origin::start(|head, wire| {
        if field(head, "upgrade").is_none() {
            return wire.try_send(ok("a"));
        }
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        wire.rest();
        false
    });
    let gateway = gateway(&origin, |rule| rule.filters.mirrors = mirrored(&mirror));
    let mut client = gateway.client();
    client.send(request("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    assert_eq!(status(&client.head().unwrap()), 101);
    drop(client);
    assert_eq!(gateway.client().ask(&request("")).1, "a");
    until("the second is copied", || mirror.requests() > 0);
    assert!(mirror.heads.lock().unwrap().iter().all(|head| field(head, "upgrade").is_none()));
    assert_eq!(gateway.metric("tidegate_mirror_drops_total"), 0);
}

/// A mirror that answers without end is listened to for a while, and then left; that is no failure of it.
#[test]
fn endless_answers_to_copies() {
    let left = Arc::new(AtomicUsize::new(0));
    let counted = left.clone();
    let mirror = Origin::start(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while wire.try_send("1\r\nx\r\n") {
            thread::sleep(Duration::from_millis(20));
        }
        counted.fetch_add(1, Ordering::SeqCst);
        false
    });
    let origin = Origin::text("a");
    let limits = Limits { response_head: SHORT * 4, ..Limits::default() };
    let web = backend("web", &[origin.address]);
    let gateway = with_limits(web, limits, |rule| rule.filters.mirrors = mirrored(&mirror));
    assert_eq!(gateway.client().ask(&request("")).1, "a");
    until("the mirror is left", || left.load(Ordering::SeqCst) == 1);
    assert_eq!(gateway.metric("tidegate_mirror_drops_total"), 0);
}

/// Who may not come to a rule gets 403 and reaches nobody, whether named or not named; and who brings more than the rule takes
/// gets 413, whether it says so at first or not.
#[test]
fn guards() {
    let origin = Origin::text("a");
    let nets = |text: &str| vec![text.parse().expect("a network")];
    for (guard, expected) in [
        (Guard { allow: nets("127.0.0.0/8"), ..Guard::default() }, ""),
        (Guard { allow: nets("192.0.2.0/24"), ..Guard::default() }, "ClientNotAllowed"),
        (Guard { deny: nets("127.0.0.0/8"), ..Guard::default() }, "ClientNotAllowed"),
    ] {
        let before = origin.requests();
        let gateway = gateway(&origin, |rule| rule.guard = guard.into());
        let mut client = gateway.client();
        let expected_status = if expected.is_empty() { 200 } else { 403 };
        // A refusal costs nobody his connection.
        for _ in 0..2 {
            assert_eq!(status(&client.ask(&request("")).0), expected_status);
        }
        assert_eq!(gateway.log(1)[0]["reason"], expected);
        assert_eq!(origin.requests() - before, if expected.is_empty() { 2 } else { 0 });
    }
    let gateway =
        gateway(&origin, |rule| rule.guard = Guard { body_bytes: Some(4), ..Guard::default() }.into());
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{lines}");
    for (lines, expected) in [
        ("Content-Length: 4\r\n\r\nabcd", 200),
        ("Content-Length: 5\r\n\r\nabcde", 413),
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", 413),
    ] {
        assert_eq!(status(&gateway.client().ask(&post(lines)).0), expected, "{lines}");
    }
}

/// A request that takes longer than its route allows is 504, for the whole and for one attempt; zero means no limit.
#[test]
fn time_limits() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        thread::sleep(SHORT * 3);
        wire.try_send(ok("late"))
    });
    for (timeouts, expected, reason) in [
        (Timeouts { request: Some(SHORT), ..Timeouts::default() }, 504, "RequestTimeout"),
        (Timeouts { backend_request: Some(SHORT), ..Timeouts::default() }, 504, "BackendRequestTimeout"),
        (Timeouts { response_head: Some(SHORT), ..Timeouts::default() }, 504, "UpstreamTimeout"),
        (Timeouts { request: Some(Duration::ZERO), ..Timeouts::default() }, 200, ""),
    ] {
        let gateway = gateway(&origin, |rule| rule.timeouts = timeouts.into());
        assert_eq!(status(&gateway.client().ask(&request("")).0), expected);
        assert_eq!(gateway.log(1)[0]["reason"], reason);
    }
}

/// Who says how long a response may take, be it that there is no limit, or a time for each attempt, is not held to the usual
/// time for its head.
#[test]
fn time_limits_that_are_said() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        thread::sleep(SHORT * 3);
        wire.try_send(ok("late"))
    });
    let patient = || Retry { attempt_timeout: Some(SHORT * 20), ..retry(&[]) };
    let unlimited = BackendPolicy { request_timeout: Some(Duration::ZERO), ..BackendPolicy::default() };
    let of_policy = BackendPolicy { retry: Some(patient()), ..BackendPolicy::default() };
    let silent = BackendPolicy::default();
    for (policy, of_rule, expected) in [
        (unlimited, None, 200),
        (of_policy, None, 200),
        (silent.clone(), Some(patient()), 200),
        (silent, None, 504),
    ] {
        let web = Arc::new(Backend {
            policy: Arc::new(policy),
            ..Backend::clone(&backend("web", &[origin.address]))
        });
        let limits = Limits { response_head: SHORT, ..Limits::default() };
        let gateway = with_limits(web, limits, |rule| rule.retry = of_rule.map(Into::into));
        assert_eq!(status(&gateway.client().ask(&request("")).0), expected);
    }
}

/// A response that is still coming when the request's time is over ends, visibly.
#[test]
fn time_limits_end_responses() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        thread::sleep(SHORT * 4);
        wire.try_send("defghij")
    });
    let gateway = gateway(&origin, |rule| rule.timeouts.request = Some(SHORT));
    let mut client = gateway.client();
    client.send(request(""));
    assert_eq!(status(&client.head().unwrap()), 200);
    assert_eq!(gateway.log(1)[0]["reason"], "RequestTimeout");
}

fn retry(codes: &[u16]) -> Retry {
    Retry {
        codes: codes.iter().copied().collect(),
        grpc_codes: Default::default(),
        attempts: 2,
        connection_errors: true,
        timeouts: true,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        attempt_timeout: None,
        budget_percent: None,
        budget_min_per_sec: 100,
    }
}

/// A status that the rule names is repeated, with the body, as often as it says; then the client gets what there is.
#[test]
fn repeats() {
    let failures = Arc::new(AtomicUsize::new(2));
    let left = failures.clone();
    let origin = Origin::start(move |head, wire| {
        let body = wire.body(head);
        let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let bad = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad".to_owned();
        wire.try_send(if fails { bad } else { ok(&body) })
    });
    let gateway = gateway(&origin, |rule| rule.retry = Some(retry(&[503]).into()));
    let mut client = gateway.client();
    let put = "PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc";
    let (head, body) = client.ask(put);
    assert_eq!((status(&head), body.as_str(), origin.requests()), (200, "abc", 3));
    failures.store(3, Ordering::SeqCst);
    let (head, body) = client.ask(put);
    assert_eq!((status(&head), body.as_str(), origin.requests()), (503, "bad", 6));
}

/// A client that leaves while a repeat is waited for is not waited for.
#[test]
fn clients_that_leave_before_a_repeat() {
    let origin = Origin::start(|_, wire| {
        wire.try_send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    });
    let gateway = gateway(&origin, |rule| {
        let pause = PATIENCE * 10;
        rule.retry = Some(Retry { backoff: pause, backoff_max: pause, ..retry(&[503]) }.into());
    });
    let mut client = gateway.client();
    client.send(request(""));
    until("it was tried", || origin.requests() == 1);
    drop(client);
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"ClientGone".into()));
}

/// An attempt that is too slow is repeated within the request's time.
#[test]
fn slow_attempts_are_repeated() {
    let slow = AtomicUsize::new(1);
    let origin = Origin::start(move |_, wire| {
        if slow.swap(0, Ordering::SeqCst) == 1 {
            thread::sleep(SHORT * 10);
        }
        wire.try_send(ok("a"))
    });
    let gateway = gateway(&origin, |rule| {
        rule.retry = Some(retry(&[]).into());
        rule.timeouts =
            Timeouts { request: Some(SHORT * 10), backend_request: Some(SHORT), ..Timeouts::default() }
                .into();
    });
    assert_eq!(status(&gateway.client().ask(&request("")).0), 200);
}

/// A client that brings its session back reaches the endpoint it began with; who has none is given one.
#[test]
fn sessions() {
    let origins = [Origin::text("a"), Origin::text("b"), Origin::text("c")];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let gateway = with_backend(backend("web", &addresses), |rule| {
        rule.session = Some(Arc::new(SessionPersistence {
            name: "sticky".into(),
            carrier: SessionCarrier::Cookie {
                path: "/".into(),
                permanent: false,
                attributes: Default::default(),
            },
            absolute_timeout: None,
            idle_timeout: None,
        }));
    });
    let (head, first) = gateway.client().ask(&request(""));
    let cookie = field(&head, "set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("sticky="), "{cookie}");
    for _ in 0..20 {
        let (head, body) = gateway.client().ask(&request(&format!("Cookie: x=1; {cookie}\r\n")));
        assert_eq!((body.as_str(), field(&head, "set-cookie")), (first.as_str(), None));
    }
}

/// A gRPC call that is refused here gets gRPC's answer.
#[test]
fn refused_calls() {
    let gateway = gateway(&Origin::text("a"), |rule| {
        rule.action = Action::Refuse { status: 500, reason: "BackendNotFound" };
    });
    let (head, body) = gateway.client().ask(&request("Content-Type: application/grpc+proto\r\n"));
    assert_eq!((status(&head), field(&head, "grpc-status"), body.as_str()), (200, Some("2"), ""));
    assert_eq!(field(&head, "content-type"), Some("application/grpc"));
    let (head, _) = gateway.client().ask(&request("Content-Type: application/grpc-web\r\n"));
    assert_eq!(status(&head), 500);
    let log = gateway.log(2);
    assert_eq!((&log[0]["status"], &log[0]["reason"]), (&500.into(), &"BackendNotFound".into()));
}

/// A response that breaks off is not passed off as whole, where only the end of the connection ends it.
#[test]
fn broken_responses_are_cut() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n\r\nabc");
        thread::sleep(SHORT * 4);
        wire.try_send("def")
    });
    let gateway = gateway(&origin, |rule| rule.timeouts.request = Some(SHORT));
    let mut client = gateway.client();
    client.send(request(""));
    client.head().unwrap();
    assert_eq!(client.exactly(3), "abc");
    let reset = std::io::Read::read(&mut client.writer(), &mut [0]).unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
}

/// A backend that asks for the PROXY protocol learns the client from it, on a connection of its own for each request.
#[test]
fn proxy_protocol_to_backends() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut wire = Wire::new(stream);
            let Some(head) = wire.head() else { continue };
            told.send(head.lines().next().unwrap().to_owned()).unwrap();
            wire.try_send(ok("a"));
            wire.head();
        }
    });
    let policy = BackendPolicy { proxy_protocol: Some(ProxyProtocolOut::V1), ..BackendPolicy::default() };
    let web = Arc::new(Backend { policy: Arc::new(policy), ..(*backend("web", &[address])).clone() });
    let gateway = with_backend(web, |_| {});
    let mut client = gateway.client();
    let own = client.writer().local_addr().unwrap();
    for _ in 0..2 {
        assert_eq!(client.ask(&request("")).1, "a");
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}", own.port(), gateway.address.port());
        assert_eq!(heard.recv().unwrap(), expected);
    }
}
