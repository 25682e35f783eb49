//! A Kubernetes API server as a source.
//!
//! ```text
//!            ┌─ scout: kubeconfig read again, kinds that the cluster serves ─┐
//!  API server│                                                               ├─ News ─► keeper ─► SourceState ─► watch channel
//!            └─ one reflector for each kind, and for each Secret named:      │            │
//!               list in pages, then watch ───────────────────────────────────┘◄── scopes ─┘
//! ```
//!
//! Tasks: the keeper, started by [`KubeSource::watch`], owns all others and ends them with itself; it ends when every
//! receiver is gone, or when it is aborted: each state is whole when it is published, so it may stop anywhere.
//! News travel by a bounded queue; when it is full, reflectors stop reading, and the API server waits or cuts the watch,
//! which is then resumed.
//!
//! Owns the connection, what is asked of it and which state stays in force when it is away (the last one). Never judges an
//! object: `pure/decode` says what a value means, `pure/compile` what an object does and which Secrets are named.
//! Writes nothing to the API server.

mod access;
mod body;
mod discovery;
mod keeper;
mod patience;
mod reflector;
mod scope;
mod scout;
mod store;
mod trouble;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_decode::SourceState;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::keeper::Keeper;
use crate::patience::Pace;

/// A cluster to read from.
#[derive(Clone, Debug)]
pub struct KubeSource {
    name: Arc<str>,
    access: Access,
    pace: Pace,
}

impl KubeSource {
    /// A source with this name, reached as a kubeconfig says; without one, as a pod reaches the cluster it runs in.
    /// Nothing is read yet.
    pub fn open(name: &str, kubeconfig: Option<PathBuf>) -> Self {
        KubeSource { name: name.into(), access: Access::new(kubeconfig), pace: Pace::default() }
    }

    /// Follows the cluster. The first state, which holds nothing and is not synced, is in the channel when this returns.
    /// Must be called inside a tokio runtime with time and sockets enabled.
    ///
    /// The task ends when the last receiver is dropped, and may be aborted at any time.
    pub fn watch(self) -> (watch::Receiver<Arc<SourceState>>, JoinHandle<()>) {
        let keeper = Keeper::new(self.name, self.access, self.pace);
        let (sender, receiver) = watch::channel(Arc::new(keeper.state()));
        (receiver, tokio::spawn(keeper.keep(sender)))
    }
}
