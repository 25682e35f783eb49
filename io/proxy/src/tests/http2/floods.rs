//! Peers that cost more than they are worth are cut and counted, while others go on.

use std::time::{Duration, Instant};

use super::*;
use crate::Limits;
use tidegate_http2::ErrorCode;
use tidegate_model::traffic::{ClientPolicy, ClientTimeouts, Entrance};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /` for `shop.example`: 0x82 and so on by the static table, the authority as a literal.
fn get() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x01, 12];
    block.extend(b"shop.example");
    block
}

/// The frames of one step of a flood.
type Step<'f> = &'f dyn Fn(u32) -> Vec<u8>;

/// Each flood ends its own connection with ENHANCE_YOUR_CALM, is counted by its kind, and somebody else's requests are answered
/// all the while.
#[test]
fn floods_are_cut_and_counted() {
    let origin = Origin::text("fine");
    let limits = Limits { cuts_per_client: 0, ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    let mut other = Peer::connect(gateway.address);
    let rapid_reset = |at: u32| {
        let stream = at * 2 + 1;
        [frame(1, 5, stream, &get()), frame(3, 0, stream, &8u32.to_be_bytes())].concat()
    };
    let provoked = |at: u32| {
        let stream = at * 2 + 1;
        [frame(1, 4, stream, &get()), frame(8, 0, stream, &0u32.to_be_bytes())].concat()
    };
    let large = |at: u32| {
        let lines = (0..400).flat_map(|_| [0, 1, b'x', 1, b'y']);
        frame(1, 5, at * 2 + 1, &get().into_iter().chain(lines).collect::<Vec<_>>())
    };
    let floods: [(&str, Step<'_>); 11] = [
        ("header_lists", &large),
        ("rapid_reset", &rapid_reset),
        ("provoked_reset", &provoked),
        ("continuation", &|at| if at == 0 { frame(1, 1, 1, &get()) } else { frame(9, 0, 1, b"") }),
        ("ping", &|_| frame(6, 0, 0, b"12345678")),
        ("settings", &|_| frame(4, 0, 0, b"")),
        ("priority", &|_| frame(2, 0, 3, &[0, 0, 0, 0, 1])),
        ("empty_data", &|at| if at == 0 { frame(1, 4, 1, &get()) } else { frame(0, 0, 1, b"") }),
        ("tiny_data", &|at| if at == 0 { frame(1, 4, 1, &get()) } else { frame(0, 0, 1, b"x") }),
        ("window_update", &|_| frame(8, 0, 0, &1u32.to_be_bytes())),
        ("ignored_frames", &|_| frame(77, 0, 0, b"")),
    ];
    for (kind, step) in floods {
        let mut client = Peer::connect(gateway.address);
        client.turn();
        let began = Instant::now();
        for at in 0..20_000 {
            if !client.raw(&step(at)) || began.elapsed() > Duration::from_secs(8) {
                break;
            }
            if at % 500 == 499 {
                client.turn();
                if client.closed || client.goaway.is_some() {
                    break;
                }
                let id = other.ask("GET", "/", &[], None);
                assert_eq!(other.response(id).status(), 200);
            }
        }
        until(kind, || {
            client.turn();
            client.closed || client.goaway.is_some()
        });
        if let Some((_, code)) = client.goaway {
            assert_eq!(code, ErrorCode::ENHANCE_YOUR_CALM, "{kind}");
        }
        let label = format!("tidegate_http2_floods_total{{kind=\"{kind}\"}}");
        until(kind, || gateway.has_metric(&label));
        let id = other.ask("GET", "/", &[], None);
        assert_eq!(other.response(id).status(), 200);
    }
}

/// Streams beyond the limit are refused, and the requests within it are answered.
#[test]
fn streams_beyond_the_limit() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        std::thread::sleep(Duration::from_millis(300));
        wire.try_send(ok("slow"))
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let ids: Vec<_> = (0..130).map(|_| client.ask("GET", "/", &[], None)).collect();
    let answers: Vec<_> = ids.into_iter().map(|id| client.response(id)).collect();
    assert_eq!(answers.iter().filter(|answer| answer.status() == 200).count(), 100);
    assert_eq!(answers.iter().filter(|answer| answer.reset.is_some_and(|by| by.retry_is_safe())).count(), 30);
    gateway.counts("tidegate_http2_refused_streams_total", 30);
}

/// Of many requests that come together, those that are taken back leave the line at once, and the others are served, whether
/// they wait before or behind them.
#[test]
fn requests_taken_back_leave_the_line() {
    let origin = Origin::text("fine");
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    client.turn();
    let ids: Vec<_> = (0..90).map(|_| client.ask("GET", "/", &[], None)).collect();
    let (kept, taken_back): (Vec<_>, Vec<_>) = ids.into_iter().enumerate().partition(|(at, _)| at % 3 == 0);
    for (_, id) in taken_back {
        client.machine.reset(id, ErrorCode::CANCEL);
    }
    for (_, id) in kept {
        assert_eq!(client.response(id).status(), 200);
    }
    // Some may have begun before their reset came: bytes written together are not always read together.
    until("most of them never began", || gateway.metric("tidegate_http2_taken_back_requests_total") >= 40);
}

/// A connection that is cut while requests wait on it takes nothing down with it.
#[test]
fn a_connection_cut_with_requests_in_line() {
    let origin = Origin::text("fine");
    let limits = Limits { cuts_per_client: 0, ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    let mut client = Peer::connect(gateway.address);
    client.turn();
    let requests = (0..90).flat_map(|at| frame(1, 5, at * 2 + 1, &get()));
    // A frame on stream 0 that belongs to a stream.
    let wrong = frame(0, 0, 0, b"x");
    client.raw(&requests.chain(wrong).collect::<Vec<_>>());
    client.until_closed();
    let mut other = Peer::connect(gateway.address);
    let id = other.ask("GET", "/", &[], None);
    assert_eq!(other.response(id).status(), 200);
    until("most of them never began", || gateway.metric("tidegate_http2_taken_back_requests_total") >= 40);
}

/// Answers with more than the kernel takes for one who does not read.
fn large_origin() -> Origin {
    Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n{}", "x".repeat(5_000_000)));
        false
    })
}

/// A peer whose windows are wide open, that has asked four times and reads nothing.
fn deaf_peer(gateway: &Gateway) -> Peer {
    let wide = tidegate_http2::Limits {
        stream_window_bytes: 1 << 30,
        stream_window_start_bytes: 1 << 30,
        connection_window_bytes: 1 << 30,
        ..tidegate_http2::Limits::default()
    };
    let mut deaf = Peer::with_limits(gateway.address, wide);
    for _ in 0..4 {
        deaf.ask("GET", "/", &[], None);
    }
    deaf.raw(b"");
    deaf
}

/// A peer that never opens its window loses the stream; one that does not read at all loses the connection.
#[test]
fn stalls_are_cut() {
    let origin = large_origin();
    let limits = Limits { body_stall: Duration::from_millis(400), ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    let mut hoarder = Peer::connect(gateway.address);
    hoarder.hoards = true;
    let id = hoarder.ask("GET", "/", &[], None);
    let answer = hoarder.response(id);
    assert!(answer.reset.is_some() && answer.body.len() < 1_000_000, "{}", answer.body.len());
    assert_eq!(gateway.log(1)[0]["reason"], "BodyStalled");
    let _deaf = deaf_peer(&gateway);
    until("the connection is cut", || gateway.has_metric("tidegate_http2_floods_total{kind=\"slow_read\"}"));
    until("all is over", || gateway.proxy.connections() <= 1);
}

/// A listener's own patience with streams is its patience with a connection that takes nothing: it is cut as a whole, while
/// the proxy's own is far longer.
#[test]
fn deaf_connections_are_cut_in_the_listeners_time() {
    let origin = large_origin();
    let gateway = Gateway::bare(Limits::default());
    let mut traffic = (*traffic(&[gateway.address], &[(1, &backend("web", &[origin.address]))])).clone();
    let timeouts =
        ClientTimeouts { stream_idle: Some(Duration::from_millis(400)), ..ClientTimeouts::default() };
    let client = Arc::new(ClientPolicy { timeouts, ..ClientPolicy::default() });
    for entrance in &mut traffic.entrances {
        *entrance = Arc::new(Entrance { client: client.clone(), ..(**entrance).clone() });
    }
    gateway.apply(Arc::new(traffic));
    let _deaf = deaf_peer(&gateway);
    until("the connection is cut", || gateway.has_metric("tidegate_http2_floods_total{kind=\"slow_read\"}"));
    until("all is over", || gateway.proxy.connections() == 0);
}

/// Who does not take our settings in time is let go.
#[test]
fn silence_after_the_preface() {
    let origin = Origin::text("fine");
    let limits = Limits { request_head: Duration::from_millis(300), ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    let mut wire = gateway.client();
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    wire.send(frame(4, 0, 0, b""));
    until("it is counted", || gateway.has_metric("tidegate_http2_errors_total 1"));
}

/// A stream whose client takes nothing holds next to nothing: what its answer has beyond the window is left with the endpoint.
#[test]
fn unread_responses_hold_no_buffers() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "x".repeat(300_000)))
    });
    let gateway = Gateway::before(&origin);
    // One opens its windows once and never again, one never at all, one by a byte.
    let initial = |bytes: u32| frame(4, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat());
    for window in [65_535, 0, 1] {
        let limits = tidegate_http2::Limits {
            stream_window_bytes: 65_535,
            stream_window_start_bytes: 65_535,
            ..tidegate_http2::Limits::default()
        };
        let mut client = Peer::with_limits(gateway.address, limits);
        client.hoards = true;
        if window < 65_535 {
            client.raw(&initial(window));
        }
        let ids: Vec<_> = (0..50).map(|_| client.ask("GET", "/", &[], None)).collect();
        client.until("all have begun", |peer| ids.iter().all(|id| peer.messages[id].status() == 200));
        let most = 50 * 4096;
        until("the buffers are given back", || {
            client.turn();
            gateway.metric("tidegate_buffers_used_bytes") < most
        });
        // Given leave, all of it comes.
        if window == 65_535 {
            client.hoards = false;
            ids.iter().for_each(|&id| client.machine.release(id, client.messages[&id].body.len()));
            for id in ids {
                assert_eq!(client.response(id).body.len(), 300_000);
            }
        }
    }
    until("nothing is held", || gateway.metric("tidegate_buffers_used_bytes") == 0);
}

/// Who is cut again and again gets no new connection for a while; another address is served.
#[test]
fn who_comes_back_is_kept_out() {
    let origin = Origin::text("fine");
    let gateway = Gateway::before(&origin);
    for round in 1..=5 {
        let mut client = Peer::connect(gateway.address);
        client.turn();
        client.raw(&frame(6, 0, 0, b"12345678").repeat(2000));
        until("it is counted", || {
            client.turn();
            gateway.metric("tidegate_http2_floods_total{kind=\"ping\"}") == round
        });
        drop(client);
        until("its connection is over", || gateway.proxy.connections() == 0);
    }
    // A trickle is let in.
    until("one is kept out", || {
        let _client = gateway.client();
        gateway.metric("tidegate_http_barred_connections_total") > 0
    });
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    other.connect(&gateway.address.into()).unwrap();
    assert_eq!(Wire::new(other.into()).ask(GET).1, "fine");
}
