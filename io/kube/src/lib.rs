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
//! The last good snapshot is kept on disk by the saver, another task of the keeper's.
//!
//! Owns the connection, what is asked of it and which state stays in force when it is away (the last one). Never judges an
//! object: `pure/decode` says what a value means, `pure/compile` what an object does and which Secrets are named.
//!
//! With [`KubeSource::writing`] it writes back, too: the writer and its elector are tasks with a client of their own, which
//! hear from reflectors what stands ([`sightings`]), and end when nobody gives orders any more.

mod access;
mod body;
mod discovery;
mod elector;
mod keeper;
mod patience;
mod reflector;
mod saver;
mod scope;
mod scout;
mod sending;
mod sightings;
mod snapshot_file;
mod store;
mod trouble;
mod writer;
mod writing;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_decode::SourceState;
use tidegate_objects::Key;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::keeper::Keeper;
use crate::patience::Pace;
use crate::sightings::Sightings;
use crate::snapshot_file::SnapshotFile;
use crate::writer::Writer;
pub use crate::writer::{Orders, WriterObserved};

/// A cluster to read from.
#[derive(Clone, Debug)]
pub struct KubeSource {
    name: Arc<str>,
    access: Access,
    pace: Pace,
    file: Option<SnapshotFile>,
    writer: Option<Writer>,
    nginx_class: String,
}

/// Who writes to a cluster: where the Lease is that says so, and the name of this process in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that this process is; a word by chance is added, so that another process of the same name is another holder.
    pub node: String,
}

impl KubeSource {
    /// A source with this name, reached as a kubeconfig says; without one, as a pod reaches the cluster it runs in.
    /// Nothing is read yet.
    pub fn open(name: &str, kubeconfig: Option<PathBuf>) -> Self {
        let (access, pace) = (Access::new(kubeconfig), Pace::default());
        let nginx_class = String::new();
        KubeSource { name: name.into(), access, pace, file: None, writer: None, nginx_class }
    }

    /// Keeps the last good snapshot in this directory, which need not be there, and begins with what lies there where the
    /// API server does not answer within a second.
    pub fn kept_in(self, directory: &Path) -> Self {
        KubeSource { file: Some(SnapshotFile::new(&self.name, directory)), ..self }
    }

    /// Writes back what is ordered, while this process holds the Lease; what becomes of it. Nothing is asked before
    /// [`KubeSource::watch`], and nothing written before [`Orders::may`].
    ///
    /// When orders end, or say that this process may not, the Lease is given back.
    pub fn writing(
        self,
        lease: &Lease,
        orders: watch::Receiver<Orders>,
    ) -> (Self, watch::Receiver<WriterObserved>) {
        let (observed, receiver) = watch::channel(WriterObserved::default());
        let writer = Writer {
            source: self.name.clone(),
            access: self.access.clone(),
            pace: self.pace,
            lease: Key::new(&self.name, &lease.namespace, &lease.name),
            identity: format!("{}_{:016x}", lease.node, patience::chance()),
            sightings: Sightings::default(),
            orders,
            observed,
        };
        (KubeSource { writer: Some(writer), ..self }, receiver)
    }

    /// Asks for what Ingresses of this class of ingress-nginx name too; empty, as at first: there is none such.
    pub fn with_nginx_class(self, nginx_class: &str) -> Self {
        KubeSource { nginx_class: nginx_class.to_owned(), ..self }
    }

    /// Follows the cluster. The first state, which holds nothing and is not synced, is in the channel when this returns.
    /// Must be called inside a tokio runtime with time and sockets enabled.
    ///
    /// With each change of the number in `confirmed`, what is held (see [`SourceStatus::held`]) is looked at and believed.
    ///
    /// The task ends when the last receiver is dropped, and may be aborted at any time.
    ///
    /// [`SourceStatus::held`]: tidegate_model::observed::SourceStatus::held
    pub fn watch(
        self,
        confirmed: watch::Receiver<u64>,
    ) -> (watch::Receiver<Arc<SourceState>>, JoinHandle<()>) {
        let sightings = self.writer.as_ref().map(|writer| writer.sightings.clone());
        if let Some(writer) = self.writer {
            tokio::spawn(writer.run());
        }
        let keeper = Keeper::new(self.name, self.access, self.pace, confirmed, self.file, sightings);
        let keeper = keeper.with_nginx_class(self.nginx_class);
        let (sender, receiver) = watch::channel(Arc::new(keeper.state()));
        (receiver, tokio::spawn(keeper.keep(sender)))
    }
}
