//! The machine a Model is compiled for, and word of its changes.

use std::sync::Arc;

use ipnet::IpNet;
use tidegate_kernel::{Link, LinkEvents};
use tidegate_model::Machine;
use tidegate_model::machine::{Interface, Route};
use tokio::sync::watch;

/// Watches interfaces, addresses and routes of others.
pub struct MachineWatch {
    node: String,
    links: Option<watch::Receiver<Arc<Vec<Link>>>>,
}

impl MachineWatch {
    /// Starts to watch; a machine that cannot be watched is one that is not looked at.
    pub async fn start(node: String) -> Self {
        let links = match LinkEvents::start().await {
            Ok(events) => Some(events.links),
            Err(error) => {
                tracing::warn!(%error, "interfaces cannot be watched; addresses are not placed on any");
                None
            }
        };
        MachineWatch { node, links }
    }

    /// Waits for a change.
    pub async fn changed(&mut self) {
        let lasts = match &mut self.links {
            Some(links) => links.changed().await.is_ok(),
            None => false,
        };
        if !lasts {
            std::future::pending::<()>().await;
        }
    }

    /// The machine now.
    pub fn now(&mut self) -> Machine {
        let links = self.links.as_mut().map(|links| links.borrow_and_update().clone());
        let interfaces =
            links.as_ref().map(|links| links.iter().filter(|link| !link.loopback).map(interface).collect());
        let routes =
            links.as_ref().and_then(|links| tidegate_kernel::foreign_routes(links).ok()).unwrap_or_default();
        let routes =
            routes.into_iter().map(|(destination, interface)| Route { destination, interface }).collect();
        Machine { node: self.node.clone(), interfaces, routes }
    }
}

fn interface(link: &Link) -> Interface {
    // Link-local IPv6 addresses come and go with the carrier, and nothing is decided by them.
    let steady = |net: &&IpNet| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    Interface { name: link.name.clone(), addresses: link.addresses.iter().filter(steady).copied().collect() }
}
