//! TCP for BGP: dialling, accepting, and one task for each connection that moves bytes both ways.
//!
//! A connection task ends when its [`Conn`] is dropped (it writes what is queued, for a second at most), or when the
//! peer closes or cannot be written to. Dialling is bounded by its timeout. Nothing here knows a message from another.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate_bgp::session::ConnId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Messages of at most 4 KiB that may wait for a slow peer; a peer that is slower loses its session.
const SEND_QUEUE_MAX: usize = 4096;
/// How long a closed connection may take to write what was queued before.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whose a connection is: a peer, and which of its sessions. What comes late from an earlier one is told apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) peer: String,
    pub(super) incarnation: u32,
}

/// What happened on the wire.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody connected to us.
    Incoming(TcpStream, SocketAddr),
    /// Something happened to a connection of a session.
    Of(Origin, Happening),
}

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// A dial of ours was answered.
    Dialled(TcpStream),
    /// A dial of ours failed.
    DialFailed(String),
    /// Bytes arrived.
    Bytes(ConnId, Vec<u8>),
    /// A connection ended.
    Closed(ConnId, Option<String>),
}

/// A connection, from outside. Dropped, it is closed after what was queued is written, or a second later.
#[derive(Debug)]
pub(super) struct Conn {
    queue: mpsc::Sender<Vec<u8>>,
    _open: oneshot::Sender<Infallible>,
    /// Our address on it.
    pub(super) local: Ipv4Addr,
}

impl Conn {
    /// Starts the task that owns `stream`.
    pub(super) fn start(
        origin: Origin,
        id: ConnId,
        stream: TcpStream,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let IpAddr::V4(local) = stream.local_addr()?.ip().to_canonical() else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "BGP over IPv6 is not spoken yet"));
        };
        stream.set_nodelay(true)?;
        let (queue, outbox) = mpsc::channel(SEND_QUEUE_MAX);
        let (open, dropped) = oneshot::channel();
        tokio::task::spawn_local(carry(origin, id, stream, outbox, dropped, events));
        Ok(Conn { queue, _open: open, local })
    }

    /// Queues one message; false when the peer is too slow or gone.
    pub(super) fn send(&self, message: Vec<u8>) -> bool {
        self.queue.try_send(message).is_ok()
    }
}

async fn carry(
    origin: Origin,
    id: ConnId,
    stream: TcpStream,
    outbox: mpsc::Receiver<Vec<u8>>,
    dropped: oneshot::Receiver<Infallible>,
    events: mpsc::Sender<Event>,
) {
    let (read, write) = stream.into_split();
    let last_words_over = async {
        // It is never sent on: it resolves when the Conn is dropped.
        let _ = dropped.await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let ended = tokio::select! {
        error = read_all(&origin, id, read, &events) => Some(error),
        ended = write_all(outbox, write) => ended.err().map(|error| Some(error.to_string())),
        () = last_words_over => None,
    };
    // When our own side closed, nobody waits for the word.
    if let Some(error) = ended {
        let _ = events.send(Event::Of(origin, Happening::Closed(id, error))).await;
    }
}

/// Reads until the peer closes; a full event queue holds the peer back.
async fn read_all(
    origin: &Origin,
    id: ConnId,
    mut read: OwnedReadHalf,
    events: &mpsc::Sender<Event>,
) -> Option<String> {
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return None,
            Ok(length) => {
                let bytes = Happening::Bytes(id, buffer[..length].to_vec());
                if events.send(Event::Of(origin.clone(), bytes)).await.is_err() {
                    return None;
                }
            }
            Err(error) => return Some(error.to_string()),
        }
    }
}

/// Writes until the [`Conn`] is dropped and nothing is queued, then closes.
async fn write_all(mut outbox: mpsc::Receiver<Vec<u8>>, mut write: OwnedWriteHalf) -> io::Result<()> {
    while let Some(mut bytes) = outbox.recv().await {
        // Many small messages leave in one write.
        while bytes.len() < 64 * 1024
            && let Ok(more) = outbox.try_recv()
        {
            bytes.extend_from_slice(&more);
        }
        write.write_all(&bytes).await?;
    }
    write.shutdown().await
}

/// Where and how to dial.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) origin: Origin,
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
    /// Packets must not cross a router: an external peer on the same segment.
    pub(super) single_hop: bool,
    pub(super) timeout: Duration,
}

/// Dials, and reports exactly one outcome.
pub(super) async fn dial(dial: Dial, events: mpsc::Sender<Event>) {
    let outcome = match timeout(dial.timeout, connect(&dial)).await {
        Ok(Ok(stream)) => Happening::Dialled(stream),
        Ok(Err(error)) => Happening::DialFailed(format!("{}: {error}", dial.to)),
        Err(_) => {
            Happening::DialFailed(format!("{}: no answer within {} s", dial.to, dial.timeout.as_secs()))
        }
    };
    let _ = events.send(Event::Of(dial.origin, outcome)).await;
}

async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let socket = if dial.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = dial.from {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(from, 0))?;
    }
    if dial.single_hop {
        socket2::SockRef::from(&socket).set_ttl_v4(1)?;
    }
    socket.connect(dial.to).await
}

/// Accepts on port 179 until the task is aborted.
pub(super) async fn accept(listener: TcpListener, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if events.send(Event::Incoming(stream, from)).await.is_err() {
                    return;
                }
            }
            // Out of descriptors, most likely: waiting is better than spinning.
            Err(error) => {
                tracing::warn!(%error, "BGP connections cannot be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
