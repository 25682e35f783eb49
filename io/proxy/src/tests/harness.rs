//! Raw origins, raw clients, and a gateway between them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tidegate_model::Traffic;
use tidegate_model::traffic::*;
use tidegate_objects::Key;

use crate::{AccessLog, AccessLogOutput, Limits, Proxy, ProxyConfig, SocketKey, SocketState, Tracing};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// One side of a connection, spoken by hand.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire(BufReader::new(stream))
    }

    pub fn connect(address: SocketAddr) -> Wire {
        Wire::new(TcpStream::connect(address).unwrap())
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Everything up to the blank line, in lower case but for the first line; nothing at the end.
    pub fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(count) if count > 0 => {}
                _ => return None,
            }
            if line == "\r\n" {
                return Some(head);
            }
            head.push_str(&line);
        }
    }

    pub fn exactly(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Chunks as they are, to the end of the trailers.
    pub fn chunks(&mut self) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            text += &line;
            if size == 0 {
                return text + &self.head().unwrap();
            }
            text += &self.exactly(size + 2);
        }
    }

    /// The content of the next chunk; nothing at the end, trailers taken.
    pub fn raw_chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        if size == 0 {
            self.head().unwrap();
            return None;
        }
        let mut bytes = vec![0; size + 2];
        self.0.read_exact(&mut bytes).unwrap();
        bytes.truncate(size);
        Some(bytes)
    }

    /// The body that the head announces.
    pub fn body(&mut self, head: &str) -> String {
        if let Some(length) = field(head, "content-length") {
            return self.exactly(length.parse().unwrap());
        }
        if field(head, "transfer-encoding").is_some() { self.chunks() } else { String::new() }
    }

    /// Head and body of a response.
    pub fn response(&mut self) -> (String, String) {
        let head = self.head().expect("a response");
        let body = self.body(&head);
        (head, body)
    }

    /// Sends a request and gives its response.
    pub fn ask(&mut self, request: &str) -> (String, String) {
        self.send(request);
        self.response()
    }

    /// Everything until the other side closes, which it must.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.0.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }

    /// A second handle, to write from another thread.
    pub fn writer(&self) -> TcpStream {
        self.0.get_ref().try_clone().unwrap()
    }

    pub fn close_write(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}

/// The value of a header in a head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// An origin; its connections are threads.
pub struct Origin {
    pub address: SocketAddr,
    /// Connections accepted.
    pub connections: Arc<AtomicUsize>,
    /// Heads received.
    pub heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    /// Answers each request by hand: gets its head and the wire; returns whether the connection goes on.
    pub fn start(answer: impl Fn(&str, &mut Wire) -> bool + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Origin {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            heads: Arc::default(),
        };
        let (connections, heads, answer) =
            (origin.connections.clone(), origin.heads.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let (heads, answer) = (heads.clone(), answer.clone());
                thread::spawn(move || {
                    let mut wire = Wire::new(stream);
                    while let Some(head) = wire.head() {
                        heads.lock().unwrap().push(head.clone());
                        if !answer(&head, &mut wire) {
                            return;
                        }
                    }
                });
            }
        });
        origin
    }

    /// Answers every request with this text, keep-alive.
    pub fn text(text: &'static str) -> Origin {
        Origin::start(move |head, wire| {
            wire.body(head);
            wire.try_send(ok(text))
        })
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

/// A plain 200.
pub fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

pub const GET: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

pub fn backend(name: &str, endpoints: &[SocketAddr]) -> Arc<Backend> {
    let id = BackendId::tcp(Key::new("test", "shop", name), 80);
    Arc::new(Backend::plain(id, Arc::new(EndpointCell::new(usable(endpoints)))))
}

pub fn usable(endpoints: &[SocketAddr]) -> Endpoints {
    Endpoints::plain(endpoints.iter().copied())
}

/// A free port of loopback, given once. Below those that the kernel gives away, so that no other test comes to have it
/// between this look and its use.
pub fn free_address() -> SocketAddr {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    let from = 12_000 + std::process::id() as usize % 100 * 100;
    loop {
        let port = 10_000 + (from + GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Sockets that send everything for `shop.example` to these backends.
pub fn traffic(addresses: &[SocketAddr], backends: &[(u32, &Arc<Backend>)]) -> Arc<Traffic> {
    let forward = backends
        .iter()
        .map(|&(weight, backend)| WeightedBackend::plain(weight, Target::Backend(backend.clone())));
    let matched =
        RequestMatch { path: PathMatch::Prefix(String::new()), method: None, headers: vec![], query: vec![] };
    let mut rule = HttpRule::plain(0, vec![matched], Action::Forward(forward.collect()));
    rule.filters.request_headers = HeaderChanges {
        set: vec![("x-set".into(), "by-route".into())],
        add: vec![],
        remove: vec!["x-remove".into()],
    };
    rule.filters.response_headers.add = vec![("x-added".into(), "1".into())];
    let route = HttpRoute {
        name: Key::new("test", "shop", "web"),
        kind: RouteKind::Http,
        hostnames: vec![HostPattern::Exact("shop.example".into())],
        rules: vec![Arc::new(rule)],
    };
    let listener = Arc::new(Listener {
        name: ListenerName { gateway: Key::new("test", "shop", "edge"), section: "http".into() },
        hostname: None,
        tls: None,
        serves: Serves::Http(vec![Arc::new(route)]),
        client: Arc::default(),
        responses: Arc::default(),
    });
    let entrance = |&address| {
        let listeners = vec![listener.clone()];
        Arc::new(Entrance { address, transport: Transport::Tcp, client: Arc::default(), listeners })
    };
    Arc::new(Traffic {
        entrances: addresses.iter().map(entrance).collect(),
        endpoints: backends
            .iter()
            .map(|(_, backend)| (backend.id.clone(), backend.endpoints.clone()))
            .collect(),
        ..Traffic::default()
    })
}

/// A gateway with two workers and an access log.
pub struct Gateway {
    pub proxy: Proxy,
    pub address: SocketAddr,
    registry: Registry,
    folder: tempfile::TempDir,
}

impl Gateway {
    pub fn start(backends: &[(u32, &Arc<Backend>)]) -> Gateway {
        Gateway::with_limits(backends, Limits::default())
    }

    pub fn with_limits(backends: &[(u32, &Arc<Backend>)], limits: Limits) -> Gateway {
        let gateway = Gateway::bare(limits);
        gateway.apply(traffic(&[gateway.address], backends));
        let sockets = gateway.proxy.observed().borrow().sockets.clone();
        assert_eq!(sockets.get(&SocketKey::tcp(gateway.address)), Some(&SocketState::Listening));
        gateway
    }

    /// A gateway that serves nothing yet.
    pub fn bare(limits: Limits) -> Gateway {
        Gateway::started(ProxyConfig { workers: 2, limits, ..ProxyConfig::default() })
    }

    /// The same, which records traces.
    pub fn recording(limits: Limits, tracing: Option<Tracing>) -> Gateway {
        Gateway::started(ProxyConfig { workers: 2, limits, tracing, ..ProxyConfig::default() })
    }

    /// The same with so many workers; `held`: it opens nothing by itself.
    pub fn with_workers(workers: usize, held: bool, limits: Limits) -> Gateway {
        Gateway::started(ProxyConfig { workers, held, limits, ..ProxyConfig::default() })
    }

    fn started(config: ProxyConfig) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let output = AccessLogOutput::File(folder.path().join("access.log"));
        let access_log = AccessLog { output, ..AccessLog::default() };
        let mut registry = Registry::default();
        let proxy = Proxy::start(ProxyConfig { access_log, ..config }, &mut registry).unwrap();
        Gateway { proxy, address: free_address(), registry, folder }
    }

    /// A gateway before one origin.
    pub fn before(origin: &Origin) -> Gateway {
        Gateway::start(&[(1, &backend("web", &[origin.address]))])
    }

    /// Updates, and waits until all workers have followed.
    pub fn apply(&self, traffic: Arc<Traffic>) {
        let generation = self.proxy.update(traffic);
        until("the update is applied", || self.proxy.observed().borrow().generation == generation);
    }

    pub fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// The value of a metric line that starts so; 0 while there is no such line, as of a label nobody counted.
    pub fn metric(&self, start: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(start));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until a metric has this value: a client may see the end of a thing before a worker has counted it.
    pub fn counts(&self, start: &str, value: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(start) != value {
            assert!(Instant::now() < deadline, "{start} is {}, not {value}", self.metric(start));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether a metric line starts so.
    pub fn has_metric(&self, start: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|line| line.starts_with(start))
    }

    /// The lines of the access log, once there are so many.
    pub fn log(&self, lines: usize) -> Vec<serde_json::Value> {
        let read = || std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        until("the access log is written", || read().lines().count() >= lines);
        let mut lines: Vec<serde_json::Value> =
            read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Each worker hands over its own sheet, in its own time.
        lines.sort_by(|a, b| a["time"].as_str().cmp(&b["time"].as_str()));
        lines
    }
}
