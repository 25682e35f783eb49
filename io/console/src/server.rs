//! The admin socket and the task that serves it.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
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

    /// Serves `view` and the metrics of `registry` until the task is aborted; nothing is lost by that, since every
    /// answer is made from memory.
    pub fn serve<V: View>(self, view: V, registry: Registry) -> JoinHandle<()> {
        let app = routes::router(Arc::new(Shared { view, registry }));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(self.listener, app).await {
                tracing::error!(%error, "the admin address stopped");
            }
        })
    }
}
