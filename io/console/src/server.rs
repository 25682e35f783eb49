//! The admin socket and the task that serves it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::routes::{self, Shared};
use crate::view::View;

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
        let task = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            if let Err(error) = axum::serve(self.listener, app).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the admin address stopped");
            }
        });
        Serving { stop, task }
    }
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
