//! Health checks of real origins: by HTTP, TCP and gRPC, in the clear and within TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tidegate_http2::{Connection, Event, Fields};
use tidegate_model::traffic::*;
use tidegate_tls::testing::Authority;

use super::backends::{addresses, facts, gateway, requests, with_policy};
use super::harness::*;

fn check(probe: Probe) -> HealthCheck {
    let (interval, timeout) = (Duration::from_millis(100), Duration::from_millis(500));
    HealthCheck { probe, interval, timeout, unhealthy_after: 2, healthy_after: 2 }
}

fn checked(probe: Probe) -> BackendPolicy {
    BackendPolicy { health_check: Some(check(probe)), panic_percent: Some(0), ..BackendPolicy::default() }
}

fn by_http(path: &str) -> Probe {
    Probe::Http { method: "GET".into(), host: None, path: path.into(), statuses: vec![(200, 299)] }
}

/// An origin whose health is what the switch says; it serves all the same.
fn origin(works: &Arc<AtomicBool>) -> Origin {
    let works = works.clone();
    Origin::start(move |head, wire| {
        let bad = head.starts_with("GET /healthz") && !works.load(Ordering::SeqCst);
        wire.try_send(if bad { "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into() } else { ok("") })
    })
}

/// Requests that are no health checks.
fn served(origin: &Origin) -> usize {
    origin.heads.lock().unwrap().iter().filter(|head| !head.contains("/healthz")).count()
}

/// An endpoint that fails its checks leaves, and comes back when it passes them; the log and the metrics say so once.
#[test]
fn leaves_and_comes_back() {
    let works = Arc::new(AtomicBool::new(true));
    let origins = [Origin::text("a"), origin(&works)];
    let gateway = gateway(&with_policy(&addresses(&origins), checked(by_http("/healthz"))));
    until("both are asked", || requests(&origins).iter().all(|&count| count > 0));
    let head = origins[1].last_head();
    assert!(head.starts_with("GET /healthz HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some(origins[1].address.to_string().as_str()));
    let healthy = || facts(&gateway, origins[1].address).healthy;
    assert!(healthy());
    works.store(false, Ordering::SeqCst);
    until("it is found unhealthy", || !healthy());
    gateway.counts("tidegate_backend_healthy_endpoints{backend=\"shop/web:80\"}", 1);
    let before = served(&origins[1]);
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(status(&client.ask(GET).0), 200);
    }
    assert_eq!(served(&origins[1]), before);
    works.store(true, Ordering::SeqCst);
    until("it is found healthy", healthy);
    for _ in 0..20 {
        client.ask(GET);
    }
    assert_eq!(served(&origins[1]), before + 10);
    gateway.counts("tidegate_backend_healthy_endpoints{backend=\"shop/web:80\"}", 2);
    gateway.counts("tidegate_backend_health_changes_total", 2);
}

/// A node says at a port of its own whether it has pods; what it is asked there never reaches them.
#[test]
fn nodes_are_asked_at_a_port_of_their_own() {
    let works = Arc::new(AtomicBool::new(true));
    let (pods, node) = (Origin::text("a"), origin(&works));
    let question = Probe::Node { port: node.address.port() };
    let gateway = gateway(&with_policy(&[pods.address], checked(question)));
    let healthy = || facts(&gateway, pods.address).healthy;
    until("the node is asked", || !node.heads.lock().unwrap().is_empty());
    assert!(node.last_head().starts_with("GET /healthz HTTP/1.1\r\n"));
    works.store(false, Ordering::SeqCst);
    until("it has no pods", || !healthy());
    works.store(true, Ordering::SeqCst);
    until("it has some again", healthy);
    assert!(pods.heads.lock().unwrap().is_empty());
}

/// With too few healthy endpoints health is ignored: rather a bad answer than none.
#[test]
fn panic_ignores_health() {
    let works = Arc::new(AtomicBool::new(false));
    let origins = [origin(&works), origin(&works)];
    let policy = BackendPolicy { panic_percent: None, ..checked(by_http("/healthz")) };
    let gateway = gateway(&with_policy(&addresses(&origins), policy));
    until("all are unhealthy", || origins.iter().all(|origin| !facts(&gateway, origin.address).healthy));
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(status(&client.ask(GET).0), 200);
    }
    assert_eq!([served(&origins[0]), served(&origins[1])], [5, 5]);
}

/// Without panic nobody is left to ask: 503, with the reason.
#[test]
fn nobody_is_healthy() {
    let origin = origin(&Arc::default());
    let gateway = gateway(&with_policy(&[origin.address], checked(by_http("/healthz"))));
    until("it is unhealthy", || !facts(&gateway, origin.address).healthy);
    assert_eq!(status(&gateway.client().ask(GET).0), 503);
    assert_eq!(gateway.log(1)[0]["reason"], "NoHealthyEndpoint");
}

/// Endpoints that come later are asked too, and one that cannot be connected to is unhealthy.
#[test]
fn newcomers_are_asked() {
    let first = Origin::text("");
    let backend = with_policy(&[first.address], checked(by_http("/")));
    let gateway = gateway(&backend);
    let dead = free_address();
    backend.endpoints.store(usable(&[first.address, dead]));
    gateway.proxy.endpoints_changed();
    until("it is found out", || !facts(&gateway, dead).healthy);
    assert!(facts(&gateway, first.address).healthy);
}

/// A server whose connections are handled by hand, one thread each.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// By TCP: what is sent must be answered with what is expected, after a PROXY protocol header if the backend wants one;
/// silence is a failure after the timeout.
#[test]
fn by_tcp() {
    let answers = |answer: &'static [u8]| {
        server(move |mut stream| {
            let mut asked = [0; 22];
            if stream.read_exact(&mut asked).is_ok() && &asked[16..] == b"PING\r\n" && asked[12] == 0x20 {
                let _ = stream.write_all(answer);
            }
            let _ = stream.read(&mut [0]);
        })
    };
    let (good, bad, silent) = (answers(b"+PONG\r\n"), answers(b"-LOADING\r\n"), answers(b""));
    let probe = Probe::Tcp { send: b"PING\r\n".to_vec(), expect: b"PONG".to_vec() };
    let proxy_protocol = Some(ProxyProtocolOut::V2);
    let policy = BackendPolicy { proxy_protocol, ..checked(probe) };
    let gateway = gateway(&with_policy(&[good, bad, silent], policy));
    until("both are found out", || [bad, silent].iter().all(|&at| !facts(&gateway, at).healthy));
    thread::sleep(Duration::from_millis(300));
    assert!(facts(&gateway, good).healthy);
}

/// A gRPC health service that says that a service serves, or not.
fn grpc(status: u8) -> SocketAddr {
    server(move |mut stream| {
        let mut connection = Connection::server(Arc::default());
        let (mut fields, mut asked) = (Fields::new(), Vec::new());
        loop {
            let output = connection.output().to_vec();
            if stream.write_all(&output).is_err() {
                return;
            }
            connection.advance_output(output.len());
            let mut room = [0; 4096];
            let Ok(count @ 1..) = stream.read(&mut room) else { return };
            let mut input = &room[..count];
            while let Ok(Some(event)) = connection.receive(&mut input, &mut fields, Duration::ZERO) {
                match event {
                    Event::Head { .. } => {
                        assert_eq!(fields.path(), Some(&b"/grpc.health.v1.Health/Check"[..]))
                    }
                    Event::Data { stream, data, end } => {
                        asked.extend_from_slice(data);
                        if end {
                            assert_eq!(asked, b"\0\0\0\0\x06\x0a\x04shop");
                            let answer = [0, 0, 0, 0, 2, 8, status];
                            let line = |out: &mut tidegate_http2::FieldWriter<'_>| {
                                out.field(b"content-type", b"application/grpc");
                            };
                            connection.respond(stream, 200, false, line).unwrap();
                            connection.send_data(stream, &answer, false).unwrap();
                            connection.send_trailers(stream, |out| out.field(b"grpc-status", b"0")).unwrap();
                        }
                    }
                    _ => {}
                }
            }
        }
    })
}

/// By gRPC: a service counts as healthy if its server says that it serves, and only then.
#[test]
fn by_grpc() {
    let (good, bad) = (grpc(1), grpc(2));
    let gateway = gateway(&with_policy(&[good, bad], checked(Probe::Grpc { service: "shop".into() })));
    until("it is found out", || !facts(&gateway, bad).healthy);
    thread::sleep(Duration::from_millis(300));
    assert!(facts(&gateway, good).healthy);
}

/// Where TLS leads to the backend, checks go through it, and a certificate that is not believed is a failure.
#[test]
fn within_tls() {
    let authority = Authority::new("ca");
    let stranger = Authority::new("another");
    let origin = |authority: &Authority| {
        let certificate = authority.leaf(&["shop.internal"]).certificate("web");
        let chain = certificate.chain.iter().map(|der| der.clone().into()).collect();
        let PrivateKey::Pkcs8(key) = &certificate.key else { panic!("PKCS#8") };
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.clone()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
        server(move |stream| {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let mut room = [0; 4096];
            if tls.read(&mut room).is_ok_and(|count| room[..count].starts_with(b"GET /healthz")) {
                let _ = tls.write_all(ok("").as_bytes());
            }
        })
    };
    let (good, bad) = (origin(&authority), origin(&stranger));
    let tls = BackendTls {
        server_name: "shop.internal".into(),
        alternative_names: vec![],
        roots: Roots::These(vec![authority.der()].into()),
        certificate: None,
    };
    let plain = with_policy(&[good, bad], checked(by_http("/healthz")));
    let gateway = gateway(&Arc::new(Backend { tls: Some(Arc::new(tls)), ..(*plain).clone() }));
    until("it is found out", || !facts(&gateway, bad).healthy);
    thread::sleep(Duration::from_millis(300));
    assert!(facts(&gateway, good).healthy);
}
