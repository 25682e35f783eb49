//! The statuses of objects: what was decided, and what became of the sockets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_compile::status::{Facts, Made, Opened, infrastructure, service_statuses, statuses};
use tidegate_console::Statuses;
use tidegate_model::StatusOf;
use tidegate_model::observed::BalancedStatus;
use tidegate_model::standing::ServiceStanding;
use tidegate_model::status::{ConditionStatus, ServiceStatus, StatusBody};
use tidegate_model::traffic::Transport;
use tidegate_objects::Key;
use tidegate_proxy::{ProxyObserved, SocketKey, SocketState};

use super::{Board, Decided};

/// What objects are told now, and what is made for them.
pub struct Told {
    /// Statuses.
    pub statuses: Vec<StatusOf>,
    /// Objects that belong to Gateways.
    pub made: Vec<Made>,
}

impl Board {
    /// What was decided last, and what the proxy says of itself: what statuses are made from.
    pub fn grounds(&self) -> (Arc<Decided>, ProxyObserved) {
        (self.decided(), self.0.proxy.borrow().clone())
    }

    /// All of them, now.
    pub(super) fn make_statuses(&self) -> Statuses {
        let (decided, observed) = self.grounds();
        let Told { statuses, made } = tell(&decided, &observed);
        Statuses { statuses, infrastructure: made.into_iter().map(|made| made.object).collect() }
    }

    /// The Services of type LoadBalancer that are ours, as their statuses have them.
    pub(super) fn balanced(&self) -> Vec<BalancedStatus> {
        let (decided, observed) = self.grounds();
        with_facts(&decided, &observed, |facts| {
            let each = service_statuses(facts).into_iter().filter_map(|of| match of.status {
                StatusBody::Service(status) => {
                    let standing =
                        facts.standing.balanced.get(&Key::new(&of.source, &of.namespace, &of.name))?;
                    Some(balanced(format!("{}/{}", of.namespace, of.name), standing, &status))
                }
                _ => None,
            });
            each.collect()
        })
    }
}

/// What objects are told, on these grounds. With thousands of routes it takes some milliseconds.
pub fn tell(decided: &Decided, observed: &ProxyObserved) -> Told {
    with_facts(decided, observed, |facts| Told { statuses: statuses(facts), made: infrastructure(facts) })
}

fn with_facts<T>(decided: &Decided, observed: &ProxyObserved, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    let sockets = |address: SocketAddr, transport: Transport| match observed
        .sockets
        .get(&SocketKey { transport, address })
    {
        Some(SocketState::Listening) => Opened::Yes,
        Some(SocketState::Failed(reason)) => Opened::Failed(reason.clone()),
        None => Opened::NotYet,
    };
    ask(&Facts {
        snapshot: &decided.snapshot,
        verdicts: &decided.verdicts,
        standing: &decided.standing,
        notice: decided.notice.as_deref(),
        machine: &decided.machine,
        sockets: &sockets,
    })
}

fn balanced(service: String, standing: &ServiceStanding, status: &ServiceStatus) -> BalancedStatus {
    let failed = status.conditions.iter().find(|condition| condition.status != ConditionStatus::True);
    let pools: BTreeSet<String> = standing.addresses.iter().filter_map(|(_, pool)| pool.clone()).collect();
    BalancedStatus {
        service,
        addresses: standing.addresses.iter().map(|(address, _)| *address).collect(),
        pools: pools.into_iter().collect(),
        served: failed.is_none(),
        message: failed
            .map(|condition| format!("{}: {}", condition.reason, condition.message))
            .unwrap_or_default(),
    }
}
