//! The scout: looks again and again at the kubeconfig, and at which kinds the cluster serves.

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::access::{Access, Reached};
use crate::discovery::discover;
use crate::keeper::News;
use crate::patience::{Backoff, Pace, cut_short};

/// Runs until the keeper is gone. `clients` holds the latest client; reflectors change to it.
pub(crate) async fn scout(
    mut access: Access,
    pace: Pace,
    clients: watch::Sender<Option<Reached>>,
    news: mpsc::Sender<News>,
) {
    let mut backoff = Backoff::new(pace);
    loop {
        let said = match look(&mut access, pace, &clients, &news).await {
            Ok(served) => {
                backoff.reset();
                News::Served(served)
            }
            Err(why) => News::Lost(why),
        };
        let wait = if matches!(said, News::Served(_)) { cut_short(pace.look) } else { backoff.next() };
        if news.send(said).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}

async fn look(
    access: &mut Access,
    pace: Pace,
    clients: &watch::Sender<Option<Reached>>,
    news: &mpsc::Sender<News>,
) -> Result<std::collections::BTreeMap<tidegate_objects::Kind, crate::scope::Served>, String> {
    let looked = access.look().await;
    if let Ok(Some(reached)) = &looked {
        clients.send_replace(Some(reached.clone()));
        // The keeper that does not listen any more is noticed by the caller.
        let _ = news.send(News::Server(reached.place.server.clone())).await;
    }
    let reached = clients.borrow().clone();
    // With a client from before, a kubeconfig that has gone bad is told of, and what the old one reaches stays.
    let Some(Reached { client, .. }) = reached else {
        return Err(looked.err().unwrap_or_else(|| "not reached yet".into()));
    };
    let served = match timeout(pace.grace, discover(&client)).await {
        Ok(served) => served.map_err(|trouble| trouble.text().to_owned()),
        Err(_) => Err(format!("no answer within {} s", pace.grace.as_secs())),
    };
    looked.map(|_| ()).and(served)
}
