//! The machine a Model is compiled for, and word of its changes.

use std::sync::Arc;

use ipnet::IpNet;
use tidegate_kernel::{Link, Surroundings};
use tidegate_model::Machine;
use tidegate_model::machine::{Interface, Route};
use tokio::sync::watch;

/// Watches interfaces, addresses and routes of others.
pub struct MachineWatch {
    surroundings: Option<watch::Receiver<Arc<Surroundings>>>,
    machine: Machine,
}

impl MachineWatch {
    /// Starts to watch what is not known of this machine yet: its interfaces and routes. A machine that cannot be watched is
    /// one that is not looked at.
    pub async fn start(machine: Machine) -> Self {
        let surroundings = match Surroundings::watch().await {
            Ok(surroundings) => Some(surroundings),
            Err(error) => {
                tracing::warn!(%error, "interfaces cannot be watched; addresses are not placed on any");
                None
            }
        };
        let mut watch = MachineWatch { machine, surroundings };
        watch.take_over();
        watch
    }

    /// Waits for a change.
    pub async fn changed(&mut self) {
        let changed = match &mut self.surroundings {
            Some(surroundings) => surroundings.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
        self.take_over();
    }

    /// The machine as last seen.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    fn take_over(&mut self) {
        let Some(surroundings) = &mut self.surroundings else { return };
        let seen = surroundings.borrow_and_update().clone();
        let interfaces = seen.links.iter().filter(|link| !link.loopback).map(interface).collect();
        let route = |(destination, interface): &(IpNet, String)| Route {
            destination: *destination,
            interface: interface.clone(),
        };
        self.machine.routes = seen.routes.iter().map(route).collect();
        self.machine.interfaces = Some(interfaces);
    }
}

fn interface(link: &Link) -> Interface {
    // Link-local IPv6 addresses come and go with the carrier, and nothing is decided by them.
    let steady = |net: &&IpNet| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    Interface { name: link.name.clone(), addresses: link.addresses.iter().filter(steady).copied().collect() }
}
