//! HTTP/2 towards origins, from clients of either version.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use tidegate_http2::{ErrorCode, ResetBy};
use tidegate_model::traffic::{BackendPolicy, Retry};

/// Requests share a connection; heads, bodies and gRPC's trailers pass, from HTTP/2 and from HTTP/1.
#[test]
fn both_sides() {
    let origin = Http2Origin::start(|peer, id, _| {
        let Some(message) = peer.messages.get(&id).filter(|message| message.ended).cloned() else { return };
        assert_eq!((message.authority.as_str(), message.line("te")), ("shop.example", Some("trailers")));
        assert_eq!(message.line("x-set"), Some("by-route"));
        peer.respond(id, 200, &[("content-type", "application/grpc")], false);
        peer.send(id, message.body, false);
        peer.send_trailers(id, &[("grpc-status", "0")]);
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let ids: Vec<_> = (0..50)
        .map(|at| {
            client.ask(
                "POST",
                "/svc/Call",
                &[("content-type", "application/grpc"), ("te", "trailers")],
                Some(vec![at; 5]),
            )
        })
        .collect();
    for (at, id) in ids.into_iter().enumerate() {
        let response = client.response(id);
        assert_eq!((response.status(), response.body), (200, vec![at as u8; 5]));
        assert_eq!(response.trailers, [("grpc-status".to_string(), "0".to_string())]);
    }
    let mut wire = gateway.client();
    let (head, body) = wire.ask("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!((status(&head), body.as_str()), (200, "2\r\nab\r\n0\r\ngrpc-status: 0\r\n"), "{head}");
    assert!(origin.connections.load(Ordering::SeqCst) <= 2, "one for each worker");
}

/// A response that is only a head ends the stream with it, and an early one does not wait for the request.
#[test]
fn trailers_only_and_early() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.respond(id, 200, &[("content-type", "application/grpc"), ("grpc-status", "12")], true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("POST", "/a/B", &[("content-type", "application/grpc")], Some(b"12345".to_vec()));
    let response = client.response(id);
    assert_eq!((response.status(), response.line("grpc-status")), (200, Some("12")));
    let open = client.open("POST", "/a/B", &[("content-type", "application/grpc")], false);
    client.until("the early answer", |peer| peer.messages[&open].ended);
    assert_eq!(client.messages[&open].line("grpc-status"), Some("12"));
}

/// A gRPC call that fails with a status that the policy names, and with nothing else, is repeated with its message; one that
/// has said something is not, nor is one with another status, nor what is no gRPC.
#[test]
fn calls_are_repeated() {
    let origin = Http2Origin::start(|peer, id, _| {
        let Some(message) = peer.messages.get(&id).filter(|message| message.ended).cloned() else { return };
        let grpc = ("content-type", "application/grpc");
        match message.path.as_str() {
            "/a/Once" if id.number() < 3 => {
                peer.respond(id, 200, &[grpc, ("grpc-status", "14")], true);
            }
            "/a/Never" => peer.respond(id, 200, &[grpc, ("grpc-status", "5")], true),
            "/a/Late" => {
                peer.respond(id, 200, &[grpc], false);
                peer.send_trailers(id, &[("grpc-status", "14")]);
            }
            "/page" => peer.respond(id, 200, &[("grpc-status", "14")], true),
            _ => {
                peer.respond(id, 200, &[grpc], false);
                peer.send(id, message.body, false);
                peer.send_trailers(id, &[("grpc-status", "0")]);
            }
        }
    });
    let retry = Retry {
        codes: Default::default(),
        grpc_codes: [14].into(),
        attempts: 1,
        connection_errors: false,
        timeouts: false,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(1),
        attempt_timeout: None,
        budget_percent: None,
        budget_min_per_sec: 100,
    };
    let policy = BackendPolicy { retry: Some(retry), ..BackendPolicy::default() };
    let backend = Backend { policy: Arc::new(policy), ..(*http2_backend(&origin)).clone() };
    let gateway = Gateway::start(&[(1, &Arc::new(backend))]);
    let asked = || origin.requests.lock().unwrap().len();
    for (path, content_type, status, body, requests) in [
        ("/a/Once", "application/grpc+proto", "0", "hello", 2),
        ("/a/Never", "application/grpc", "5", "", 1),
        ("/a/Late", "application/grpc", "14", "", 1),
        ("/page", "text/plain", "14", "", 1),
    ] {
        let before = asked();
        let mut client = Peer::connect(gateway.address);
        let id = client.ask("POST", path, &[("content-type", content_type)], Some(b"hello".to_vec()));
        let response = client.response(id);
        let trailer = response.trailers.iter().find(|(name, _)| name == "grpc-status");
        let told = response.line("grpc-status").or(trailer.map(|(_, value)| value.as_str()));
        assert_eq!((told, response.text().as_str()), (Some(status), body), "{path}");
        until("the origin has noted them", || asked() - before == requests);
    }
}

/// Streaming both ways: each message is answered before the next is sent.
#[test]
fn streaming() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.respond(id, 200, &[("content-type", "application/grpc")], false);
        }
        let Some(message) = peer.messages.get_mut(&id) else { return };
        let (said, ended) = (std::mem::take(&mut message.body), message.ended);
        if !said.is_empty() {
            peer.send(id, said, false);
        }
        if ended {
            peer.send_trailers(id, &[("grpc-status", "0")]);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let id = client.open("POST", "/a/B", &[("content-type", "application/grpc")], false);
    for at in 1..=20 {
        client.send(id, vec![b'm'; 100], false);
        client.until("the echo", |peer| peer.messages[&id].body.len() == at * 100);
    }
    client.send(id, "", true);
    assert_eq!(client.response(id).trailers, [("grpc-status".to_string(), "0".to_string())]);
}

/// A stream that the origin refuses is sent once more, on a connection that takes it, whatever its method.
#[test]
fn refused_streams_are_sent_again() {
    let refused = std::sync::atomic::AtomicBool::new(false);
    let origin = Http2Origin::start(move |peer, id, _| {
        if !peer.messages.get(&id).is_some_and(|message| message.ended) {
            return;
        }
        if !refused.swap(true, Ordering::SeqCst) {
            peer.machine.reset(id, ErrorCode::REFUSED_STREAM);
        } else {
            peer.respond(id, 200, &[], false);
            peer.send(id, "second", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("POST", "/", &[], Some(b"x".to_vec()));
    let response = client.response(id);
    assert_eq!((response.status(), response.text().as_str()), (200, "second"));
}

/// GOAWAY: the requests under way are answered, the next goes to another connection.
#[test]
fn goaway_of_the_origin() {
    let origin = Http2Origin::start(|peer, id, _| {
        if peer.messages.get(&id).is_some_and(|message| message.ended) {
            peer.machine.begin_shutdown();
            peer.machine.finish_shutdown();
            peer.respond(id, 200, &[], false);
            peer.send(id, "fine", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    for _ in 0..5 {
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).text(), "fine");
    }
    assert!(origin.connections.load(Ordering::SeqCst) >= 5);
}

/// A client that leaves cancels its stream at the origin, and no other.
#[test]
fn cancellation() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new && peer.messages[&id].path == "/fine" {
            peer.respond(id, 200, &[], false);
            peer.send(id, "fine", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let waiting = client.open("POST", "/wait", &[], false);
    client.send(waiting, "begin", false);
    let fine = client.ask("GET", "/fine", &[], None);
    assert_eq!(client.response(fine).text(), "fine");
    client.machine.reset(waiting, ErrorCode::CANCEL);
    client.turn();
    until("the origin hears of it", || *origin.resets.lock().unwrap() == [ResetBy::Peer(ErrorCode::CANCEL)]);
    let mut wire = gateway.client();
    wire.send("GET /wait HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(wire);
    until("the origin hears of the second", || origin.resets.lock().unwrap().len() == 2);
}

/// A thousand requests at once to an origin that takes a thousand streams.
#[test]
fn a_thousand_streams() {
    let origin = Http2Origin::text("fine");
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut clients: Vec<_> = (0..10).map(|_| Peer::connect(gateway.address)).collect();
    let ids: Vec<Vec<_>> = clients
        .iter_mut()
        .map(|client| (0..100).map(|_| client.ask("GET", "/", &[], None)).collect())
        .collect();
    clients.iter_mut().for_each(Peer::turn);
    for (client, ids) in clients.iter_mut().zip(ids) {
        for id in ids {
            assert_eq!(client.response(id).text(), "fine");
        }
    }
}

/// Requests that wait for one connection count as one that was opened, and the others that used it.
#[test]
fn shared_connections_are_counted_once() {
    let origin = Http2Origin::text("fine");
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let ids = [(); 8].map(|()| client.ask("GET", "/", &[], None));
    for id in ids {
        assert_eq!(client.response(id).text(), "fine");
    }
    gateway.counts("tidegate_upstream_connects_total", origin.connections.load(Ordering::SeqCst) as u64);
    gateway.counts("tidegate_upstream_reuses_total", 8 - origin.connections.load(Ordering::SeqCst) as u64);
}
