//! Sockets that carry connections and datagrams, and origins that speak no HTTP.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tidegate_model::Traffic;
use tidegate_model::traffic::*;
use tidegate_objects::Key;

use super::harness::*;

/// A route to these backends.
pub fn stream_route(backends: &[(u32, &Arc<Backend>)]) -> Arc<StreamRoute> {
    let shares =
        backends.iter().map(|&(weight, to)| WeightedBackend::plain(weight, Target::Backend(to.clone())));
    Arc::new(StreamRoute { name: Key::new("test", "shop", "stream"), backends: shares.collect() })
}

/// A socket with one listener.
pub fn entrance(address: SocketAddr, serves: Serves, client: ClientPolicy) -> Arc<Entrance> {
    let client = Arc::new(client);
    let transport = if matches!(serves, Serves::Udp(_)) { Transport::Udp } else { Transport::Tcp };
    let listener = Listener {
        name: ListenerName { gateway: Key::new("test", "shop", "edge"), section: "stream".into() },
        hostname: None,
        tls: None,
        serves,
        client: client.clone(),
        responses: Arc::default(),
    };
    Arc::new(Entrance { address, transport, client, listeners: vec![Arc::new(listener)] })
}

/// These sockets, and nothing else.
pub fn serving(entrances: impl IntoIterator<Item = Arc<Entrance>>) -> Arc<Traffic> {
    Arc::new(Traffic { entrances: entrances.into_iter().collect(), ..Traffic::default() })
}

/// A TCP socket before these backends.
pub fn tcp(address: SocketAddr, backends: &[(u32, &Arc<Backend>)]) -> Arc<Traffic> {
    tcp_with(address, backends, ClientPolicy::default())
}

pub fn tcp_with(
    address: SocketAddr,
    backends: &[(u32, &Arc<Backend>)],
    client: ClientPolicy,
) -> Arc<Traffic> {
    serving([entrance(address, Serves::Tcp(Some(stream_route(backends))), client)])
}

/// A TCP server of threads.
pub struct Server {
    pub address: SocketAddr,
    /// Connections accepted.
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    /// Handles each connection so.
    pub fn start(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { address: listener.local_addr().unwrap(), connections: Arc::default() };
        let (connections, handle) = (server.connections.clone(), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let handle = handle.clone();
                thread::spawn(move || handle(stream));
            }
        });
        server
    }

    /// Sends back what comes, and closes when the client is done.
    pub fn echo() -> Server {
        Server::start(|mut stream| {
            let mut room = vec![0; 64 * 1024];
            while let Ok(count) = stream.read(&mut room)
                && count > 0
                && stream.write_all(&room[..count]).is_ok()
            {}
        })
    }

    /// Says its name, then echoes.
    pub fn named(name: &'static str) -> Server {
        Server::start(move |mut stream| {
            let _ = stream.write_all(name.as_bytes());
            let mut room = [0; 1024];
            while let Ok(count) = stream.read(&mut room)
                && count > 0
                && stream.write_all(&room[..count]).is_ok()
            {}
        })
    }

    /// Answers requests, and keeps for each what its connection began with.
    pub fn keeping_heads() -> (Server, Arc<Mutex<Vec<String>>>) {
        let kept: Arc<Mutex<Vec<String>>> = Arc::default();
        let keep = kept.clone();
        let server = Server::start(move |stream| {
            let mut wire = Wire::new(stream);
            let mut first = None;
            while let Some(head) = wire.head() {
                keep.lock().unwrap().push(first.get_or_insert(head).clone());
                if !wire.try_send(ok("a")) {
                    return;
                }
            }
        });
        (server, kept)
    }

    /// Keeps everything that one connection sends, and answers at its end.
    pub fn keeping(answer: &'static [u8]) -> (Server, Arc<Mutex<Vec<Vec<u8>>>>) {
        let kept: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let keep = kept.clone();
        let server = Server::start(move |mut stream| {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            keep.lock().unwrap().push(bytes);
            let _ = stream.write_all(answer);
        });
        (server, kept)
    }
}

/// A plain connection that waits no longer than a test does.
pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads exactly so many bytes.
pub fn exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Sends the bytes and says that no more follows, while reading to the end what comes back.
pub fn exchange(stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = stream;
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        back
    })
}

/// Bytes that repeat only after 251, so that a piece out of place shows.
pub fn pattern(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|index| ((index * 7 + index / 251 + seed) % 251) as u8).collect()
}
