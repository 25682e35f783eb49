//! Real sockets on loopback; the other side is ours, or the library's own client in a thread.

mod bytes;
mod hello;
mod library;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tidegate_model::traffic::*;
use tidegate_objects::Key;
use tidegate_tls::TicketKeys;
use tidegate_tls::testing::{Authority, Leaf};
use tidegate_traffic::Router;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::limits::Limits;
use crate::timer::Clock;
use crate::turns::Turns;

/// Runs on a worker's kind of runtime, with its clock.
fn run<T>(test: impl Future<Output = T>) -> T {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("it takes too long")
    })
}

/// A listener's TLS with these certificates.
fn ends(certificates: &[&Leaf]) -> ServerTls {
    ServerTls {
        certificates: certificates.iter().map(|leaf| Arc::new(leaf.certificate("tls"))).collect(),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        ciphers: vec![],
        alpn: vec!["h2".into(), "http/1.1".into()],
        resumption: true,
        client_validation: None,
    }
}

fn listener(name: &str, hostname: Option<&str>, tls: Option<ServerTls>) -> Arc<Listener> {
    let pattern = |name: &str| match name.strip_prefix("*.") {
        Some(parent) => HostPattern::Under(parent.into()),
        None => HostPattern::Exact(name.into()),
    };
    let serves = if tls.is_some() { Serves::Http(vec![]) } else { Serves::Tls(vec![]) };
    Arc::new(Listener {
        name: ListenerName { gateway: Key::new("test", "shop", "edge"), section: name.into() },
        hostname: hostname.map(pattern),
        tls: tls.map(Arc::new),
        serves,
        client: Arc::default(),
        responses: Arc::default(),
    })
}

/// TLS to a backend that shows a certificate of this authority.
fn begins(ca: &Authority, server_name: &str) -> Arc<BackendTls> {
    Arc::new(BackendTls {
        server_name: server_name.into(),
        alternative_names: vec![],
        roots: Roots::These(vec![ca.der()].into()),
        certificate: None,
    })
}

/// One gateway's side of handshakes.
struct Gateway {
    entrance: Entrance,
    router: Router,
    configs: Configs,
    handshakes: Handshakes,
    clock: Rc<Clock>,
}

impl Gateway {
    fn new(listeners: Vec<Arc<Listener>>) -> Gateway {
        Gateway::with(listeners, Some(b"secret"), Limits::default())
    }

    fn with(listeners: Vec<Arc<Listener>>, secret: Option<&[u8]>, limits: Limits) -> Gateway {
        let address = ([127, 0, 0, 1], 0).into();
        let entrance = Entrance { address, transport: Transport::Tcp, client: Arc::default(), listeners };
        Gateway {
            router: Router::new(&entrance),
            configs: Configs::new(
                &entrance,
                None,
                &secret.map_or_else(own_tickets, |secret| TicketKeys::fixed(secret, dice())),
            ),
            handshakes: Handshakes::new(&limits, TlsMetrics::default(), Rc::default(), Turns::default()),
            clock: Rc::default(),
            entrance,
        }
    }

    /// One listener for every name.
    fn plain(tls: ServerTls) -> Gateway {
        Gateway::new(vec![listener("tls", None, Some(tls))])
    }

    async fn accept(&self, stream: TcpStream) -> Option<Hello> {
        let watch = self.clock.watch();
        let Gateway { router, configs, handshakes, entrance, .. } = self;
        accept_tls(stream, Vec::new(), router, configs, entrance, handshakes, &watch).await
    }

    async fn terminate(&self, stream: TcpStream) -> Option<Wire> {
        match self.accept(stream).await? {
            Hello::Terminated { wire, .. } => Some(wire),
            Hello::Passthrough { .. } => None,
        }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        tls: &Arc<BackendTls>,
        offer: Offer,
    ) -> Result<Wire, ConnectError> {
        secure(stream, tls, offer, &self.handshakes, &self.clock.watch()).await
    }

    /// Both sides of a connection: as a client has it, and as a listener.
    async fn pair(&self, tls: &Arc<BackendTls>) -> (Wire, Wire) {
        let (near, far) = sockets().await;
        let (client, server) = tokio::join!(self.secure(near, tls, Offer::Http), self.terminate(far));
        (client.unwrap(), server.unwrap())
    }

    /// The counters that are not nought.
    fn counters(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.handshakes.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }
}

/// A connection on loopback.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Socket buffers so small that nothing fits at once.
fn narrow(stream: &TcpStream) {
    SockRef::from(stream).set_send_buffer_size(8 * 1024).unwrap();
    SockRef::from(stream).set_recv_buffer_size(16 * 1024).unwrap();
}

/// Reads once, waiting for it.
async fn read(wire: &Wire, room: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; room];
    loop {
        match wire.try_read(&mut bytes) {
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wire.readable().await?,
            Err(error) => return Err(error),
        }
    }
}

/// Writes everything, with as many tries as it takes.
async fn write(wire: &Wire, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|context| wire.poll_writable(context)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Everything to the end.
async fn read_all(wire: &Wire, room: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let bytes = read(wire, room).await?;
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend(bytes);
    }
}
