//! One question to one endpoint: a connection as the backend wants it, then what the policy asks.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidegate_model::traffic::{Backend, BackendProtocol, HealthCheck, Probe, ProxyProtocolOut};
use tidegate_traffic::proxy_protocol;
use tokio::net::TcpStream;

use super::{grpc, http};
use crate::buffer::Buffers;
use crate::limits::Limits;
use crate::timer::Clock;
use crate::turns::Turns;
use crate::wire::{Handshakes, Offer, TlsMetrics, Wire, secure};

/// Bytes of an answer that are looked at.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why an endpoint does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No answer in time.
    Late,
    /// It cannot be connected to, or broke the connection.
    Broken(io::ErrorKind),
    /// TLS failed, for this reason.
    Tls(&'static str),
    /// It closed before the answer was there.
    Closed,
    /// It answered with this status.
    Status(u16),
    /// Its health service says that it does not serve, or does not say.
    NotServing,
    /// What it answered is not what was expected, or no answer at all.
    Unexpected,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Late => f.write_str("no answer in time"),
            Unfit::Broken(kind) => write!(f, "{kind}"),
            Unfit::Tls(reason) => f.write_str(reason),
            Unfit::Closed => f.write_str("the connection was closed before the answer"),
            Unfit::Status(status) => write!(f, "status {status}"),
            Unfit::NotServing => f.write_str("its health service does not say that it serves"),
            Unfit::Unexpected => f.write_str("an unexpected answer"),
        }
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Unfit {
        Unfit::Broken(error.kind())
    }
}

/// What the questions share: settings of TLS and its buffers.
pub struct Kit {
    clock: Rc<Clock>,
    handshakes: Handshakes,
}

impl Kit {
    /// Handshakes of health checks count in no metric.
    pub fn new() -> Kit {
        let buffers: Rc<Buffers> = Rc::default();
        let handshakes =
            Handshakes::new(&Limits::default(), TlsMetrics::default(), buffers, Turns::default());
        Kit { clock: Rc::default(), handshakes }
    }
}

/// Whether the endpoint works.
pub async fn ask(
    kit: &Kit,
    backend: &Backend,
    endpoint: SocketAddr,
    check: &HealthCheck,
) -> Result<(), Unfit> {
    match tokio::time::timeout(check.timeout, question(kit, backend, endpoint, &check.probe)).await {
        Ok(result) => result,
        Err(_) => Err(Unfit::Late),
    }
}

async fn question(kit: &Kit, backend: &Backend, endpoint: SocketAddr, probe: &Probe) -> Result<(), Unfit> {
    let scheme = if backend.tls.is_some() { "https" } else { "http" };
    let named = || backend.tls.as_ref().map(|tls| tls.server_name.clone());
    match probe {
        Probe::Node { port } => ask_node(SocketAddr::new(endpoint.ip(), *port)).await,
        Probe::Tcp { send, expect } => {
            let wire = connect(kit, backend, endpoint, Offer::Nothing).await?;
            exchange(&wire, send, expect).await
        }
        Probe::Http { method, host, path, statuses } => {
            let speaks_http2 = backend.protocol == BackendProtocol::Http2;
            let offer = if speaks_http2 { Offer::Http2 } else { Offer::Http1 };
            let wire = connect(kit, backend, endpoint, offer).await?;
            let host = host.clone().or_else(named).unwrap_or_else(|| endpoint.to_string());
            let request = http::Request { method, host: &host, path, scheme };
            let status = http::ask(&wire, &request, speaks_http2).await?;
            let fits = statuses.iter().any(|(from, to)| (*from..=*to).contains(&status));
            if fits { Ok(()) } else { Err(Unfit::Status(status)) }
        }
        Probe::Grpc { service } => {
            let wire = connect(kit, backend, endpoint, Offer::Http2).await?;
            let host = named().unwrap_or_else(|| endpoint.to_string());
            grpc::ask(&wire, &host, scheme, service).await
        }
    }
}

/// Asks a node whether it has pods of the Service, as it is asked by any load balancer: whatever protects the backend is
/// not spoken there.
async fn ask_node(address: SocketAddr) -> Result<(), Unfit> {
    let wire = Wire::Plain(TcpStream::connect(address).await?);
    let host = address.to_string();
    let request = http::Request { method: "GET", host: &host, path: "/healthz", scheme: "http" };
    match http::ask(&wire, &request, false).await? {
        200 => Ok(()),
        status => Err(Unfit::Status(status)),
    }
}

async fn connect(kit: &Kit, backend: &Backend, endpoint: SocketAddr, offer: Offer) -> Result<Wire, Unfit> {
    let stream = TcpStream::connect(endpoint).await?;
    stream.set_nodelay(true)?;
    let mut preface = Vec::new();
    match backend.policy.proxy_protocol {
        None => {}
        // Version 1 cannot say that a connection is the gateway's own, so its own addresses stand there.
        Some(ProxyProtocolOut::V1) => {
            proxy_protocol::write_v1(stream.local_addr()?, stream.peer_addr()?, &mut preface);
        }
        Some(ProxyProtocolOut::V2) => proxy_protocol::write_v2_local(&mut preface),
    }
    let plain = Wire::Plain(stream);
    send(&plain, &preface).await?;
    match (plain, &backend.tls) {
        (Wire::Plain(stream), Some(tls)) => {
            let secured = secure(stream, tls, offer, &kit.handshakes, &kit.clock.watch()).await;
            secured.map_err(|error| Unfit::Tls(error.reason()))
        }
        (plain, _) => Ok(plain),
    }
}

/// Says something and waits for an answer that contains what is expected; with nothing expected, a connection is enough.
async fn exchange(wire: &Wire, text: &[u8], expect: &[u8]) -> Result<(), Unfit> {
    send(wire, text).await?;
    let mut answer = Vec::new();
    while !expect.is_empty() && memchr::memmem::find(&answer, expect).is_none() {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(Unfit::Unexpected);
        }
        receive(wire, &mut answer).await?;
    }
    Ok(())
}

/// Writes everything.
pub async fn send(wire: &Wire, mut bytes: &[u8]) -> Result<(), Unfit> {
    while !bytes.is_empty() {
        match wire.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|context| wire.poll_writable(context)).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads what there is, at least a byte.
pub async fn receive(wire: &Wire, into: &mut Vec<u8>) -> Result<(), Unfit> {
    let mut room = [0; 4096];
    loop {
        match wire.try_read(&mut room) {
            Ok(0) => return Err(Unfit::Closed),
            Ok(count) => {
                into.extend_from_slice(&room[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wire.readable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
