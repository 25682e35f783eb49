//! The statuses of objects: what was decided, and what became of the sockets.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tidegate_compile::status::{Facts, Opened, infrastructure, service_statuses, statuses};
use tidegate_console::Statuses;
use tidegate_model::observed::BalancedStatus;
use tidegate_model::standing::ServiceStanding;
use tidegate_model::status::{ConditionStatus, ServiceStatus, StatusBody};
use tidegate_model::traffic::Transport;
use tidegate_objects::Key;
use tidegate_proxy::{SocketKey, SocketState};

use super::Board;

impl Board {
    /// All of them, now.
    pub(super) fn make_statuses(&self) -> Statuses {
        self.with_facts(|facts| Statuses { statuses: statuses(facts), infrastructure: infrastructure(facts) })
    }

    /// The Services of type LoadBalancer that are ours, as their statuses have them.
    pub(super) fn balanced(&self) -> Vec<BalancedStatus> {
        self.with_facts(|facts| {
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

    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let decided = self.decided();
        let observed = self.0.proxy.borrow().clone();
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
