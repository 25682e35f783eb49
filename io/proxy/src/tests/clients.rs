//! How a listener treats clients: whom it believes, what it allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_model::traffic::*;

use super::harness::*;
use super::rules::serving;

fn gateway(origin: &Origin, policy: ClientPolicy) -> Gateway {
    before(backend("web", &[origin.address]), policy)
}

fn before(web: Arc<Backend>, policy: ClientPolicy) -> Gateway {
    let gateway = Gateway::start(&[(1, &web)]);
    let matched =
        RequestMatch { path: PathMatch::Prefix(String::new()), method: None, headers: vec![], query: vec![] };
    let forward = Action::Forward(vec![WeightedBackend::plain(1, Target::Backend(web))]);
    gateway.apply(serving(&gateway, vec![HttpRule::plain(0, vec![matched], forward)], policy));
    gateway
}

fn limited(limits: ClientLimits) -> ClientPolicy {
    ClientPolicy { limits, ..ClientPolicy::default() }
}

/// A trusted proxy's word about the client is believed: in the origin's head and in the log; who forged the rest is not.
#[test]
fn trusted_hops() {
    let origin = Origin::text("a");
    let trust = Trust { hops: 1, cidrs: vec![] };
    let gateway = gateway(&origin, ClientPolicy { trust, forwarded: true, ..ClientPolicy::default() });
    gateway.client().ask(
        "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    let head = origin.last_head();
    assert_eq!(field(&head, "x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    assert_eq!(field(&head, "x-forwarded-proto"), Some("https"));
    assert!(field(&head, "forwarded").unwrap().contains("for=192.0.2.7"), "{head}");
    let line = &gateway.log(1)[0];
    assert_eq!(line["client"], "192.0.2.7");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

/// A body that is too large is 413, whether its length is told before or not.
#[test]
fn large_bodies() {
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head);
        wire.try_send(ok(&body))
    });
    let gateway = gateway(&origin, limited(ClientLimits { body_bytes: Some(5), ..ClientLimits::default() }));
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{lines}");
    let chunks = post("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    for request in [post("Content-Length: 6\r\n\r\nabcdef"), chunks] {
        let (head, _) = gateway.client().ask(&request);
        assert_eq!((status(&head), field(&head, "connection")), (413, Some("close")), "{request}");
    }
    for (request, body) in [
        (post("Content-Length: 5\r\n\r\nabcde"), "abcde"),
        (
            post("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"),
            "5\r\nabcde\r\n0\r\nX-T: 1\r\n",
        ),
    ] {
        assert_eq!(gateway.client().ask(&request).1, body);
    }
}

/// Heads may be larger or smaller than the proxy's own limit, where the listener says so.
#[test]
fn heads() {
    let origin = Origin::text("a");
    let wide =
        ClientLimits { header_bytes: Some(60_000), header_lines: Some(200), ..ClientLimits::default() };
    let gateway = gateway(&origin, limited(wide));
    let long = format!("GET / HTTP/1.1\r\nHost: shop.example\r\nX: {}\r\n\r\n", "a".repeat(50_000));
    assert_eq!(status(&gateway.client().ask(&long).0), 200);
    let many = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{}\r\n", "a: b\r\n".repeat(150));
    assert_eq!(status(&gateway.client().ask(&many).0), 200);
    let narrow = ClientLimits { header_bytes: Some(200), ..ClientLimits::default() };
    let gateway = self::gateway(&origin, limited(narrow));
    assert_eq!(status(&gateway.client().ask(&many).0), 431);
}

/// A connection ends with the last request that it may have, and says so.
#[test]
fn requests_of_a_connection() {
    let origin = Origin::text("a");
    let gateway = gateway(
        &origin,
        limited(ClientLimits { requests_per_connection: Some(2), ..ClientLimits::default() }),
    );
    let mut client = gateway.client();
    assert_eq!(field(&client.ask(GET).0, "connection"), None);
    assert_eq!(field(&client.ask(GET).0, "connection"), Some("close"));
    assert!(client.is_closed());
}

fn aging(after: Duration) -> ClientPolicy {
    let timeouts = ClientTimeouts { connection_max: Some(after), ..ClientTimeouts::default() };
    ClientPolicy { timeouts, ..ClientPolicy::default() }
}

/// A connection that has lived as long as it may ends with the answer to what it asks, which says so, and without a word
/// when it asks nothing; that is not held against it.
#[test]
fn connections_age() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, aging(Duration::from_millis(500)));
    let (mut idle, mut busy) = (gateway.client(), gateway.client());
    assert_eq!(field(&idle.ask(GET).0, "connection"), None);
    let mut answered = 0;
    loop {
        let (head, body) = busy.ask(GET);
        assert_eq!((status(&head), body.as_str()), (200, "a"));
        answered += 1;
        match field(&head, "connection") {
            None => std::thread::sleep(Duration::from_millis(5)),
            said => break assert_eq!(said, Some("close")),
        }
    }
    assert!(answered > 1 && busy.is_closed());
    assert!(idle.is_closed());
    until("they are gone", || gateway.proxy.connections() == 0);
    assert_eq!(gateway.metric("tidegate_http_slow_ends_total"), 0);
}

/// A request of HTTP/1.0 that names no host is for the listener's hostname where the policy says so, at the origin too; else
/// it is for nobody.
#[test]
fn hosts_of_the_past() {
    let origin = Origin::text("a");
    for (default_host, expected) in [(true, 200), (false, 404)] {
        let web = backend("web", &[origin.address]);
        let gateway = Gateway::start(&[(1, &web)]);
        let mut traffic = (*super::harness::traffic(&[gateway.address], &[(1, &web)])).clone();
        let entrance = Arc::make_mut(&mut traffic.entrances[0]);
        let listener = Arc::make_mut(&mut entrance.listeners[0]);
        listener.hostname = Some(HostPattern::Exact("shop.example".into()));
        listener.client = Arc::new(ClientPolicy { default_host, ..ClientPolicy::default() });
        gateway.apply(Arc::new(traffic));
        let head = gateway.client().ask("GET /old HTTP/1.0\r\n\r\n").0;
        assert_eq!(status(&head), expected);
        let told = gateway.client().ask("GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n").0;
        assert_eq!(status(&told), 200);
    }
    let heads = origin.heads.lock().unwrap();
    assert_eq!((heads.len(), field(&heads[0], "host")), (3, Some("shop.example")));
}

/// A request that is not whole in time is 408, whatever bytes trickle in.
#[test]
fn slow_requests() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send(ok("a"))
    });
    let timeouts = ClientTimeouts {
        request_received: Some(std::time::Duration::from_millis(500)),
        ..ClientTimeouts::default()
    };
    let gateway = gateway(&origin, ClientPolicy { timeouts, ..ClientPolicy::default() });
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000\r\n\r\n");
    let mut writer = client.writer();
    let trickle = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut writer, b"a").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    assert_eq!(status(&client.head().unwrap()), 408);
    drop(client);
    trickle.join().unwrap();
}

/// The time for a request runs from its first byte, and is one for head and body.
#[test]
fn slow_heads_leave_bodies_less() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send(ok("a"))
    });
    let timeouts = ClientTimeouts {
        request_received: Some(std::time::Duration::from_millis(1000)),
        ..ClientTimeouts::default()
    };
    let gateway = gateway(&origin, ClientPolicy { timeouts, ..ClientPolicy::default() });
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\n");
    std::thread::sleep(std::time::Duration::from_millis(700));
    client.send("Host: shop.example\r\nContent-Length: 2\r\n\r\na");
    std::thread::sleep(std::time::Duration::from_millis(700));
    client.try_send("b");
    assert_eq!(status(&client.head().unwrap()), 408);
}

/// A client is not slow because its request waits here for a connection to the backend.
#[test]
fn waiting_for_backends_is_no_slowness() {
    let (open, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (opened, arrived) = (open.clone(), held.clone());
    let origin = Origin::start(move |head, wire| {
        wire.body(head);
        arrived.fetch_add(1, Ordering::SeqCst);
        until("it may go on", || opened.load(Ordering::SeqCst));
        wire.try_send(ok("a"))
    });
    let breaker = Breaker { connections: Some(1), ..Breaker::default() };
    let connect_timeout = Some(PATIENCE);
    let policy = BackendPolicy { breaker, connect_timeout, ..BackendPolicy::default() };
    let web = super::backends::with_policy(&[origin.address], policy);
    let timeouts = ClientTimeouts {
        request_received: Some(std::time::Duration::from_millis(2000)),
        ..ClientTimeouts::default()
    };
    let gateway = before(web, ClientPolicy { timeouts, ..ClientPolicy::default() });
    let mut first = gateway.client();
    first.send(GET);
    until("the first is under way", || held.load(Ordering::SeqCst) == 1);
    let mut second = gateway.client();
    let mut writer = second.writer();
    let body = vec![b'x'; 4_000_000];
    let sending = std::thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = std::io::Write::write_all(&mut writer, head.as_bytes());
        let _ = std::io::Write::write_all(&mut writer, &body);
    });
    std::thread::sleep(std::time::Duration::from_millis(2500));
    open.store(true, Ordering::SeqCst);
    assert_eq!(status(&first.response().0), 200);
    assert_eq!(status(&second.response().0), 200);
    sending.join().unwrap();
}

/// A connection that ends by our will is read to its end: what a client sends before it knows does not cut off an answer that
/// is still on its way (RFC 9112 section 9.6).
#[test]
fn pipelined_requests_cut_no_answers() {
    const WHOLE_BYTES: usize = 3_000_000;
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send(ok(&"x".repeat(WHOLE_BYTES)))
    });
    let limits = ClientLimits { requests_per_connection: Some(1), ..ClientLimits::default() };
    let gateway = gateway(&origin, limited(limits));
    let mut client = gateway.client();
    client.send(GET);
    until("the answer has begun", || origin.requests() == 1);
    client.send(GET.repeat(10));
    assert_eq!(field(&client.head().unwrap(), "connection"), Some("close"));
    for _ in 0..WHOLE_BYTES / 30_000 {
        assert_eq!(client.exactly(30_000).len(), 30_000);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(client.rest(), "");
    assert_eq!(origin.requests(), 1);
}

/// A head that is not whole in the listener's time is 408; one that takes longer than the gateway's own limit is served where
/// the listener has none.
#[test]
fn slow_heads() {
    let origin = Origin::text("a");
    let policy = |head| ClientPolicy {
        timeouts: ClientTimeouts { head: Some(head), ..ClientTimeouts::default() },
        ..ClientPolicy::default()
    };
    let gateway = gateway(&origin, policy(std::time::Duration::from_millis(300)));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(status(&client.head().unwrap()), 408);
    gateway.counts("tidegate_http_slow_ends_total{kind=\"head\"}", 1);
    let limits =
        crate::Limits { request_head: std::time::Duration::from_millis(200), ..crate::Limits::default() };
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::with_limits(&[(1, &web)], limits);
    let model = traffic(&[gateway.address], &[(1, &web)]);
    let client = Arc::new(policy(std::time::Duration::ZERO));
    let entrance = Entrance { client, ..(*model.entrances[0]).clone() };
    gateway
        .apply(Arc::new(tidegate_model::Traffic { entrances: vec![Arc::new(entrance)], ..(*model).clone() }));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\n");
    std::thread::sleep(std::time::Duration::from_millis(600));
    client.send("Host: shop.example\r\n\r\n");
    assert_eq!(client.response().1, "a");
}

/// What becomes of a client's request id is the listener's to say; the log has what the backend got.
#[test]
fn request_ids() {
    let origin = Origin::text("a");
    for (request_ids, asked, got) in [
        (RequestIds::PreserveOrGenerate, "X-Request-Id: mine\r\n", Some("mine")),
        (RequestIds::PreserveOrGenerate, "X-Request-Id: not mine\r\n", None),
        (RequestIds::Generate, "X-Request-Id: mine\r\n", None),
        (RequestIds::Preserve, "X-Request-Id: mine\r\n", Some("mine")),
        (RequestIds::Preserve, "X-Request-Id: not mine\r\n", Some("")),
        (RequestIds::Preserve, "", Some("")),
        (RequestIds::Untouched, "X-Request-Id: mine\r\n", Some("mine")),
        (RequestIds::Untouched, "X-Request-Id: a b\r\nx-request-id: c\r\n", Some("a b,c")),
        (RequestIds::Untouched, "", Some("")),
    ] {
        let gateway = gateway(&origin, ClientPolicy { request_ids, ..ClientPolicy::default() });
        gateway.client().ask(&format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{asked}\r\n"));
        let head = origin.last_head();
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let ids: Vec<_> =
            lines.filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id")).map(|(_, id)| id).collect();
        let logged = gateway.log(1)[0]["request_id"].as_str().unwrap().to_owned();
        match got {
            Some(got) => assert_eq!(ids.join(","), got, "{request_ids:?} {asked:?}"),
            None => assert!(ids.len() == 1 && ids[0].len() == 32, "{request_ids:?} {asked:?} {ids:?}"),
        }
        let fine = ids.len() == 1 && !ids[0].contains(' ');
        assert_eq!(logged, if fine { ids[0] } else { "" }, "{request_ids:?} {asked:?}");
    }
}

/// Who came by TLS, here or at a trusted hop, is told to come so always: in a backend's answers in place of its own word, in the
/// gateway's own; where a route's filter says something else that holds, and in the clear nothing is said (RFC 6797 section 7.2).
#[test]
fn transport_security() {
    let origin = Origin::start(|_, wire| {
        wire.try_send("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n")
    });
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let rule = |path: &str, filters: &[(&str, &str)]| {
        let matched = RequestMatch {
            path: PathMatch::Prefix(path.into()),
            method: None,
            headers: vec![],
            query: vec![],
        };
        let forward = Action::Forward(vec![WeightedBackend::plain(1, Target::Backend(web.clone()))]);
        let mut rule = HttpRule::plain(0, vec![matched], forward);
        let set = filters.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        rule.filters.response_headers.set = set;
        rule
    };
    let mut answered = rule("/own", &[]);
    let body: Arc<[u8]> = Arc::from(&b"own"[..]);
    answered.action = Action::Respond(Respond { status: 200, content_type: None, body }.into());
    let rules =
        vec![rule("", &[]), rule("/filtered", &[("strict-transport-security", "max-age=2")]), answered];
    let policy = ClientPolicy {
        trust: Trust { hops: 1, cidrs: vec![] },
        transport_security: Some("max-age=60; includeSubDomains".into()),
        ..ClientPolicy::default()
    };
    gateway.apply(serving(&gateway, rules, policy));
    let mut client = gateway.client();
    let mut said = |path: &str, scheme: &str| {
        let (head, _) = client.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: {scheme}\r\n\r\n"
        ));
        assert!(head.to_ascii_lowercase().matches("strict-transport-security").count() <= 1, "{head}");
        field(&head, "strict-transport-security").map(str::to_owned)
    };
    let ours = Some("max-age=60; includeSubDomains");
    for _ in 0..2 {
        assert_eq!(said("/", "https").as_deref(), ours);
        assert_eq!(said("/own", "https").as_deref(), ours);
        assert_eq!(said("/filtered", "https").as_deref(), Some("max-age=2"));
        assert_eq!(said("/", "http").as_deref(), Some("max-age=1"));
        assert_eq!(said("/own", "http"), None);
    }
}

/// A trace that a client begins is carried on; where there is none, or a broken one, it is begun here; the log knows it.
#[test]
fn traces() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, ClientPolicy::default());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut client = gateway.client();
    client.ask(&format!(
        "GET / HTTP/1.1\r\nHost: shop.example\r\nTraceparent: {parent}\r\nTracestate: a=b\r\n\r\n"
    ));
    let head = origin.last_head();
    assert_eq!((field(&head, "traceparent"), field(&head, "tracestate")), (Some(parent), Some("a=b")));
    client.ask("GET / HTTP/1.1\r\nHost: shop.example\r\nTraceparent: nonsense\r\nTracestate: a=b\r\n\r\n");
    let head = origin.last_head();
    let begun = field(&head, "traceparent").unwrap().to_owned();
    assert_eq!((head.matches("raceparent").count(), field(&head, "tracestate")), (1, None));
    let log = gateway.log(2);
    assert_eq!(log[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(log[1]["trace_id"], begun.split('-').nth(1).unwrap());
    assert_eq!(log[1]["protocol"], "HTTP/1.1");
}

/// Where memory is short, requests are refused with a word on when to come again, and that is counted.
#[test]
fn overload() {
    let origin = Origin::text("a");
    let limits = crate::Limits { memory_bytes_max: Some(1), ..crate::Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    until("the process has looked at itself", || gateway.metric("tidegate_overload_steps") == 3);
    let (head, _) = gateway.client().ask(GET);
    assert_eq!((status(&head), field(&head, "retry-after")), (503, Some("5")));
    assert_eq!(field(&head, "connection"), Some("close"));
    gateway.counts("tidegate_overload_refusals_total", 1);
    assert_eq!(origin.requests(), 0);
}

/// A tunnel in which nothing moves for as long as the listener says ends, on both sides; one in which something does goes on.
#[test]
fn quiet_tunnels_end() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        while wire.exactly(1) == "+" {
            wire.send("-");
        }
        assert_eq!(wire.rest(), "");
        false
    });
    let timeouts = ClientTimeouts {
        stream_idle: Some(std::time::Duration::from_millis(600)),
        ..ClientTimeouts::default()
    };
    let gateway = gateway(&origin, ClientPolicy { timeouts, ..ClientPolicy::default() });
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(status(&client.head().unwrap()), 101);
    for _ in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        client.send("+");
        assert_eq!(client.exactly(1), "-");
    }
    client.send(".");
    assert!(client.is_closed());
}
