//! The life of connections to origins that speak HTTP/2: how long they are kept, and what ends them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::Limits;
use tidegate_http2::ErrorCode;
use tidegate_model::traffic::{BackendPolicy, Http2Settings};

fn with_policy(origin: &Http2Origin, change: impl FnOnce(&mut BackendPolicy)) -> Arc<Backend> {
    let mut backend = (*http2_backend(origin)).clone();
    change(Arc::make_mut(&mut backend.policy));
    Arc::new(backend)
}

/// A connection without a stream is kept as long as the backend's policy says, and no longer.
#[test]
fn idle_connections_end() {
    let origin = Http2Origin::text("fine");
    let backend = with_policy(&origin, |policy| policy.idle_timeout = Some(Duration::from_millis(300)));
    let gateway = Gateway::start(&[(1, &backend)]);
    for round in 1..=2 {
        let mut client = Peer::connect(gateway.address);
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).text(), "fine");
        until("it is closed", || origin.closed.load(Ordering::SeqCst) == round);
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
}

/// A connection carries as many requests as the backend's policy says, also of those that come at once.
#[test]
fn connections_wear_out() {
    let origin = Http2Origin::start(|peer, id, _| {
        if peer.messages.get(&id).is_some_and(|message| message.ended) {
            // The third stream of a connection has number 5.
            peer.respond(id, if id.number() > 3 { 500 } else { 200 }, &[], true);
        }
    });
    let backend = with_policy(&origin, |policy| policy.breaker.requests_per_connection = Some(2));
    let gateway = Gateway::start(&[(1, &backend)]);
    let mut client = Peer::connect(gateway.address);
    let ids: Vec<_> = (0..20).map(|_| client.ask("POST", "/", &[], Some(b"x".to_vec()))).collect();
    for id in ids {
        assert_eq!(client.response(id).status(), 200);
    }
    for _ in 0..4 {
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).status(), 200);
    }
    until("worn ones are closed", || {
        origin.connections.load(Ordering::SeqCst) - origin.closed.load(Ordering::SeqCst) <= 1
    });
    assert!(origin.connections.load(Ordering::SeqCst) >= 12);
}

/// A connection that has lived as long as the backend's policy says carries what is under way to its end, and no new request.
#[test]
fn connections_age() {
    let origin = Http2Origin::text("fine");
    let backend = with_policy(&origin, |policy| policy.connection_max = Some(Duration::from_millis(300)));
    let gateway = Gateway::start(&[(1, &backend)]);
    let mut client = Peer::connect(gateway.address);
    let mut asked = 0;
    while origin.closed.load(Ordering::SeqCst) < 2 {
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).text(), "fine");
        asked += 1;
    }
    assert!(asked > origin.connections.load(Ordering::SeqCst), "they are shared while they last");
}

/// The origin is told the windows of the backend's policy, and never has more streams of one connection than it says.
#[test]
fn settings_of_the_policy() {
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, windows) = (most.clone(), Arc::new(AtomicUsize::new(0)));
    let told = windows.clone();
    let origin = Http2Origin::start(move |peer, id, _| {
        seen.fetch_max(peer.messages.len(), Ordering::SeqCst);
        told.store(peer.machine.peer_settings().stream_window_bytes as usize, Ordering::SeqCst);
        if peer.messages.get(&id).is_some_and(|message| message.ended) {
            peer.respond(id, 200, &[], true);
        }
    });
    let http2 = Http2Settings {
        streams: Some(3),
        stream_window_bytes: Some(70_000),
        connection_window_bytes: Some(100_000),
    };
    let gateway = Gateway::start(&[(1, &with_policy(&origin, |policy| policy.http2 = http2))]);
    let mut client = Peer::connect(gateway.address);
    let ids: Vec<_> = (0..30).map(|_| client.ask("GET", "/", &[], None)).collect();
    for id in ids {
        assert_eq!(client.response(id).status(), 200);
    }
    assert_eq!(windows.load(Ordering::SeqCst), 70_000);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

/// The connection to an endpoint that is removed serves what it carries to the end, and then closes.
#[test]
fn removed_endpoints_drain() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.respond(id, 200, &[], false);
        }
        let Some(message) = peer.messages.get_mut(&id) else { return };
        let (said, ended) = (std::mem::take(&mut message.body), message.ended);
        if !said.is_empty() || ended {
            peer.send(id, said, ended);
        }
    });
    let other = Http2Origin::text("other");
    let backend = http2_backend(&origin);
    let gateway = Gateway::start(&[(1, &backend)]);
    let mut client = Peer::connect(gateway.address);
    let open = client.open("POST", "/", &[], false);
    client.send(open, "a", false);
    client.until("the echo", |peer| peer.messages[&open].body == b"a");
    backend.endpoints.store(usable(&[other.address]));
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).text(), "other");
    // Longer than the worker takes to look at its connections.
    std::thread::sleep(Duration::from_millis(700));
    client.send(open, "b", false);
    client.until("the second echo", |peer| peer.messages[&open].body == b"ab");
    assert_eq!(origin.closed.load(Ordering::SeqCst), 0);
    client.send(open, "", true);
    assert!(client.response(open).ended);
    until("it is closed", || origin.closed.load(Ordering::SeqCst) == 1);
}

/// A connection that nobody uses gives its place to a request that waits for one.
#[test]
fn idle_connections_make_way() {
    let (first, second) = (Http2Origin::text("first"), Http2Origin::text("second"));
    let backend = {
        let mut backend = (*http2_backend(&first)).clone();
        let policy = Arc::make_mut(&mut backend.policy);
        policy.breaker.connections = Some(1);
        policy.breaker.pending_requests = Some(10);
        Arc::new(backend)
    };
    let gateway = Gateway::start(&[(1, &backend)]);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).text(), "first");
    backend.endpoints.store(usable(&[first.address, second.address]));
    for _ in 0..4 {
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).status(), 200);
    }
    assert!(first.closed.load(Ordering::SeqCst) > 0 && second.connections.load(Ordering::SeqCst) > 0);
}

/// GOAWAY: streams above the last that it names were not processed, and are sent again elsewhere, whatever their method; those
/// below are answered (RFC 9113 section 6.8).
#[test]
fn goaway_leaves_streams_out() {
    let gone = AtomicBool::new(false);
    let origin = Http2Origin::start(move |peer, id, is_new| {
        if id.number() == 3 && is_new && !gone.swap(true, Ordering::SeqCst) {
            peer.raw(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
            let first = peer.machine.streams().find(|id| id.number() == 1).unwrap();
            peer.respond(first, 200, &[], false);
            peer.send(first, "kept", true);
        } else if id.number() == 1 && gone.load(Ordering::SeqCst) && is_new {
            peer.respond(id, 200, &[], false);
            peer.send(id, "again", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let ids = [(); 2].map(|()| client.ask("POST", "/", &[], Some(b"x".to_vec())));
    let answers = ids.map(|id| client.response(id).text());
    assert_eq!(answers, ["kept", "again"]);
    assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
}

/// An origin that refuses every stream is asked twice, and the client told.
#[test]
fn refused_for_good() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.machine.reset(id, ErrorCode::REFUSED_STREAM);
            peer.messages.get_mut(&id).unwrap().ended = true;
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).status(), 502);
    assert_eq!(origin.requests.lock().unwrap().len(), 2);
}

/// What was sent may have been carried out, also where it was only a head: when the connection then closes without a word, a
/// request that changes things is not sent again unless somebody allows it (RFC 9110 section 9.2.2).
#[test]
fn heads_that_left_are_not_sent_again() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        let method = peer.messages.get(&id).map(|message| message.method.clone()).unwrap_or_default();
        match method.as_str() {
            "POST" => peer.closed = true,
            _ if is_new => peer.respond(id, 200, &[], true),
            _ => {}
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).status(), 200);
    let id = client.ask("POST", "/", &[], None);
    assert_eq!(client.response(id).status(), 502);
    let requests = origin.requests.lock().unwrap();
    assert_eq!(requests.iter().filter(|request| request.method == "POST").count(), 1);
}

/// A connection on which a request waited in vain, and nothing else came either, gets no more of them: its endpoint may be gone
/// without a word. What it carries goes on.
#[test]
fn silent_connections_are_left() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new && id.number() == 1 {
            peer.respond(id, 200, &[], true);
        }
    });
    let limits = Limits { response_head: Duration::from_secs(1), ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &http2_backend(&origin))], limits);
    let mut client = Peer::connect(gateway.address);
    for expected in [200, 504, 200] {
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).status(), expected);
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
    until("the silent one is closed", || origin.closed.load(Ordering::SeqCst) == 1);
}
