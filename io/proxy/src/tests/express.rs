//! What goes by the express lane, on a connection that is kept, ends as what does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tidegate_model::traffic::*;

use super::harness::*;
use crate::Limits;

/// A limit that a test can wait for.
const SHORT: Duration = Duration::from_millis(300);

/// What an origin sends, with a pause before each further part; then it closes if it says so.
type Script = (&'static str, &'static [&'static str], bool);

const SCRIPTS: [Script; 20] = [
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc"], false),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], false),
    ("POST", &["HTTP/1.1 201 Made\r\nContent-Length: 3\r\n\r\nabc"], false),
    ("HEAD", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"], false),
    ("GET", &["HTTP/1.1 204 Nothing\r\n\r\n"], false),
    ("GET", &["HTTP/1.1 304 Same\r\nContent-Length: 3\r\nETag: \"a\"\r\n\r\n"], false),
    ("GET", &["HTTP/1.1 503 Busy\r\nContent-Length: 3\r\nRetry-After: 1\r\n\r\nabc"], false),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"], true),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", "def"], false),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-", "Length: 3\r\n\r\nabc"], false),
    ("GET", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"], false),
    ("GET", &["HTTP/1.1 200 OK\r\n\r\nabc"], true),
    (
        "GET",
        &["HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"],
        false,
    ),
    (
        "GET",
        &["HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        false,
    ),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n"], false),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"], false),
    ("GET", &["HTTP/1.1 204 Nothing\r\nContent-Length: 3\r\n\r\nabc"], false),
    ("GET", &["220 this is mail\r\n\r\n"], false),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Le"], true),
    ("GET", &["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"], true),
];

/// The response, and what the log says of it, are the same whether the endpoint's connection is new or was kept.
#[test]
fn kept_connections_make_no_difference() {
    for (method, parts, closes) in SCRIPTS {
        let origin = Origin::start(move |head, wire| {
            if head.contains("/warm ") {
                return wire.try_send(ok("warm"));
            }
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    thread::sleep(Duration::from_millis(50));
                }
                wire.try_send(part);
            }
            !closes
        });
        let gateway = Gateway::with_workers(1, false, Limits::default());
        gateway.apply(traffic(&[gateway.address], &[(1, &backend("web", &[origin.address]))]));
        let case = format!("{method} /case HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        let ask = || {
            let mut client = gateway.client();
            client.send(&case);
            let answer = client.rest();
            // A second may have passed.
            let lines = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
            lines.collect::<String>()
        };
        let fresh = ask();
        let warm = GET.replace("GET / ", "GET /warm ");
        gateway.client().ask(&warm);
        gateway.client().ask(&warm);
        let connections = origin.connections.load(Ordering::SeqCst);
        assert_eq!(ask(), fresh, "{method} {parts:?}");
        assert_eq!(origin.connections.load(Ordering::SeqCst), connections, "{parts:?}: it was not kept");
        let log = gateway.log(4);
        let told = |path: &str| -> Vec<_> {
            let lines = log.iter().filter(|line| line["path"] == path);
            lines.map(|line| ["status", "reason", "bytes_out"].map(|field| line[field].clone())).collect()
        };
        let told = told("/case");
        assert_eq!(told[0], told[1], "{method} {parts:?}");
    }
}

/// A gateway with one worker and these settings, and a connection that it keeps to an origin, which answers nothing to
/// requests but the first until it is told to.
fn waiting(limits: Limits, change: impl FnOnce(&mut HttpRule)) -> (Gateway, Arc<AtomicBool>) {
    let answers = Arc::new(AtomicBool::new(true));
    let asked = answers.clone();
    let origin = Origin::start(move |_, wire| {
        until("the origin is told to answer", || asked.load(Ordering::SeqCst));
        wire.try_send(ok("a"))
    });
    let gateway = Gateway::with_workers(1, false, limits);
    let traffic = traffic(&[gateway.address], &[(1, &backend("web", &[origin.address]))]);
    gateway.apply(changed(traffic, change));
    assert_eq!(status(&gateway.client().ask(GET).0), 200);
    answers.store(false, Ordering::SeqCst);
    (gateway, answers)
}

/// The same traffic with another first rule.
fn changed(traffic: Arc<Traffic>, change: impl FnOnce(&mut HttpRule)) -> Arc<Traffic> {
    let mut traffic = Traffic::clone(&traffic);
    let entrance = Arc::make_mut(&mut traffic.entrances[0]);
    let Serves::Http(routes) = &mut Arc::make_mut(&mut entrance.listeners[0]).serves else { unreachable!() };
    change(Arc::make_mut(&mut Arc::make_mut(&mut routes[0]).rules[0]));
    Arc::new(traffic)
}

/// Time limits hold for requests on kept connections, and are told apart.
#[test]
fn time_limits() {
    type Case = (Limits, Timeouts, &'static str);
    let usual = Limits::default;
    let none = Timeouts::default;
    let cases: [Case; 3] = [
        (usual(), Timeouts { request: Some(SHORT), ..none() }, "RequestTimeout"),
        (usual(), Timeouts { backend_request: Some(SHORT), ..none() }, "BackendRequestTimeout"),
        (Limits { response_head: SHORT, ..usual() }, none(), "UpstreamTimeout"),
    ];
    for (limits, timeouts, reason) in cases {
        let (gateway, answers) = waiting(limits, |rule| rule.timeouts = timeouts.into());
        assert_eq!(status(&gateway.client().ask(GET).0), 504, "{reason}");
        assert_eq!(gateway.log(2)[1]["reason"], reason);
        answers.store(true, Ordering::SeqCst);
    }
}

/// Who leaves while its request is under way is noticed, and its endpoint's connection is closed with it.
#[test]
fn clients_that_leave() {
    let (gateway, answers) = waiting(Limits::default(), |_| {});
    let mut client = gateway.client();
    client.send(GET);
    gateway.counts("tidegate_upstream_reuses_total", 1);
    drop(client);
    let line = gateway.log(2)[1].clone();
    assert_eq!((line["status"].as_u64(), line["reason"].as_str()), (Some(499), Some("ClientGone")));
    answers.store(true, Ordering::SeqCst);
}

/// A client that takes nothing for a while gets all of every response.
#[test]
fn slow_clients_get_everything() {
    const COUNT: usize = 200;
    let body: &'static str = "0123456789abcdef".repeat(3 * 1024).leak();
    let origin = Origin::text(body);
    let gateway = Gateway::before(&origin);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let mut client = Wire::new(socket.into());
    client.send(GET.repeat(COUNT));
    // The gateway gets stuck in one of them.
    let mut before = 0;
    until("nothing goes on", || {
        thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, origin.requests()) == origin.requests() && before > 0
    });
    assert!(before < COUNT, "the kernel took everything");
    for _ in 0..COUNT {
        let (head, received) = client.response();
        assert!(status(&head) == 200 && received == body);
    }
}
