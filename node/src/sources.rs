//! The sources that are followed, what each said last, who writes to them, and how a user has what they hold believed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegate_decode::SourceState;
use tidegate_files::FileSource;
use tidegate_kube::{KubeSource, Lease, Orders};
use tokio::sync::watch;

use crate::settings::{Cluster, Origin, Source};
use crate::writing::Writer;

/// Every source of this process. Their tasks end with it.
pub struct Sources(Vec<watch::Receiver<Arc<SourceState>>>);

impl Sources {
    /// Starts to follow them, and what is to be written to them. Directories are read once before this returns.
    /// What clusters say is kept below `state_dir`; `node` is who writes to them, `nginx_class` the class of
    /// ingress-nginx that is served too.
    pub fn follow(
        sources: Vec<Source>,
        state_dir: &Path,
        (node, nginx_class): (&str, &str),
        confirmations: &Confirmations,
    ) -> (Self, Vec<Writer>) {
        let snapshots = state_dir.join("snapshots");
        let mut writers = Vec::new();
        let open = |source| open(source, &snapshots, (node, nginx_class), confirmations, &mut writers);
        let states = sources.into_iter().map(open).collect();
        (Sources(states), writers)
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

fn open(
    Source { name, origin, .. }: Source,
    snapshots: &Path,
    (node, nginx_class): (&str, &str),
    confirmations: &Confirmations,
    writers: &mut Vec<Writer>,
) -> watch::Receiver<Arc<SourceState>> {
    let confirmed = confirmations.of(&name);
    match origin {
        Origin::Manifests(directory) => FileSource::open(&name, directory).watch(confirmed).0,
        Origin::Kubernetes(Cluster { kubeconfig, lease }) => {
            let (namespace, in_lease) = (lease.namespace.0, lease.name.0);
            let lease = Lease { namespace, name: in_lease, node: node.to_owned() };
            let (orders, obeyed) = watch::channel(Orders::default());
            let source = KubeSource::open(&name, kubeconfig).with_nginx_class(nginx_class);
            let source = source.kept_in(snapshots);
            let (source, observed) = source.writing(&lease, obeyed);
            writers.push(Writer { source: name, orders, observed });
            source.watch(confirmed).0
        }
    }
}

/// How sources are told that somebody has confirmed what they hold: a number for each, that grows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Confirmations(Arc<BTreeMap<String, watch::Sender<u64>>>);

impl Confirmations {
    /// For these sources.
    pub fn new(sources: &[Source]) -> Self {
        let numbers = sources.iter().map(|source| (source.name.clone(), watch::channel(0).0));
        Confirmations(Arc::new(numbers.collect()))
    }

    fn of(&self, source: &str) -> watch::Receiver<u64> {
        self.0.get(source).map_or_else(|| watch::channel(0).1, watch::Sender::subscribe)
    }

    /// Tells a source.
    ///
    /// # Errors
    /// There is none of that name; the names that there are.
    pub fn confirm(&self, source: &str) -> Result<(), Vec<String>> {
        let number = self.0.get(source).ok_or_else(|| self.0.keys().cloned().collect::<Vec<_>>())?;
        number.send_modify(|number| *number = number.wrapping_add(1));
        Ok(())
    }
}
