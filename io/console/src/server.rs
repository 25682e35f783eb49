//! The admin socket and the task that serves it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::routes::{self, Shared};
use crate::view::View;

/// Connections at once; each takes a descriptor that clients of the proxy could have.
const CONNECTIONS_MAX: usize = 64;

/// How long a request's head may take, and the pause before it.
const HEAD: Duration = Duration::from_secs(10);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a connection may stay; a scraper of metrics opens another.
const LIFE: Duration = Duration::from_secs(300);

/// Before the next try where nothing can be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// The admin address, open.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
}

/// Why the admin address cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// It is not loopback.
    #[error(
        "admin address {0}: anything but loopback needs TLS and a token, which this version does not serve; use 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    /// The kernel refuses it.
    #[error("admin address {address} cannot be opened; another program may use it: choose one with --admin")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl Console {
    /// Opens the admin address, so that a second start fails before it touches anything.
    pub async fn open(address: SocketAddr) -> Result<Console, ConsoleError> {
        if !address.ip().is_loopback() {
            return Err(ConsoleError::NotLoopback(address));
        }
        let listener =
            TcpListener::bind(address).await.map_err(|source| ConsoleError::Bind { address, source })?;
        Ok(Console { listener })
    }

    /// The admin address, as another process opened it.
    pub fn inherit(address: SocketAddr, fd: OwnedFd) -> Result<Console, ConsoleError> {
        let listener = std::net::TcpListener::from(fd);
        let checked = match listener.local_addr() {
            Ok(bound) if bound == address => listener.set_nonblocking(true),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is the socket of another address")),
            Err(error) => Err(error),
        };
        let opened = checked.and_then(|()| TcpListener::from_std(listener));
        Ok(Console { listener: opened.map_err(|source| ConsoleError::Bind { address, source })? })
    }

    /// A descriptor of the socket.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Serves `view` and the metrics of `registry` until it is told to stop, or dropped; nothing is lost by that, since
    /// every answer is made from memory.
    pub fn serve<V: View>(self, view: V, registry: Registry) -> Serving {
        let app = routes::router(Arc::new(Shared { view, registry }));
        let (stop, stopped) = oneshot::channel::<()>();
        Serving { stop, task: tokio::spawn(accept(self.listener, app, stopped)) }
    }
}

/// Accepts until it is told to stop, then waits for answers that are under way.
async fn accept(listener: TcpListener, app: Router, mut stopped: oneshot::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let ending = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES_MAX);
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // No descriptor is free, or the client has gone already.
            Err(error) => {
                tracing::debug!(%error, "the admin address cannot accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Who comes when all places are taken is closed at once: others end within the times below.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let service = TowerToHyperService::new(app.clone());
        let connection = ending.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that asks, hangs up or takes nothing is its own affair; one that stays for ever is not.
            let _ = tokio::time::timeout(LIFE, connection).await;
            drop(place);
        });
    }
    drop(listener);
    ending.shutdown().await;
}

/// The console at work.
#[derive(Debug)]
pub struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Accepts nothing more, ends kept connections, and waits briefly for answers that are under way.
    pub async fn stop(self) {
        const ANSWERS: Duration = Duration::from_millis(500);
        drop(self.stop);
        let _ = tokio::time::timeout(ANSWERS, self.task).await;
    }
}
