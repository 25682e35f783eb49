//! The sources that are followed, and what each said last.

use std::sync::Arc;

use tidegate_decode::SourceState;
use tidegate_files::FileSource;
use tidegate_kube::KubeSource;
use tokio::sync::watch;

use crate::settings::{Origin, Source};

/// Every source of this process. Their tasks end with it.
pub struct Sources(Vec<watch::Receiver<Arc<SourceState>>>);

impl Sources {
    /// Starts to follow them. Directories are read once before this returns.
    pub fn follow(sources: Vec<Source>) -> Self {
        Sources(sources.into_iter().map(open).collect())
    }

    /// What each says now, in their order.
    pub fn states(&mut self) -> Vec<Arc<SourceState>> {
        self.0.iter_mut().map(|source| source.borrow_and_update().clone()).collect()
    }

    /// Waits until one of them says something new. One whose task has ended says nothing any more.
    pub async fn changed(&mut self) {
        let live = self.0.iter_mut().filter(|source| source.has_changed().is_ok());
        let changes: Vec<_> = live.map(|source| Box::pin(source.changed())).collect();
        if changes.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(changes).await.0.unwrap_or_default();
    }
}

fn open(Source { name, origin }: Source) -> watch::Receiver<Arc<SourceState>> {
    match origin {
        Origin::Manifests(directory) => FileSource::open(&name, directory).watch().0,
        Origin::Kubernetes(kubeconfig) => KubeSource::open(&name, kubeconfig).watch().0,
    }
}
