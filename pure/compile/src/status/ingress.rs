//! Ingresses: where clients reach them.

use std::net::SocketAddr;

use tidegate_model::StatusOf;
use tidegate_model::status::{IngressAddress, IngressLoadBalancer, IngressPort, IngressStatus, StatusBody};
use tidegate_model::traffic::Transport;
use tidegate_objects::Kind;

use super::{Facts, Opened};

/// One for each Ingress of ours; without an address where it is served nowhere.
pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let each = facts.standing.ingresses.iter().map(|(key, standing)| {
        let places = standing.places.iter().filter(|_| facts.notice.is_none());
        let addresses = places.flat_map(|place| {
            let ports = standing.ports.iter().map(|port| {
                let failed = matches!(
                    (facts.sockets)(SocketAddr::new(*place, *port), Transport::Tcp),
                    Opened::Failed(_)
                );
                IngressPort { port: *port, protocol: "TCP", error: failed.then_some("PortUnavailable") }
            });
            let ports: Vec<IngressPort> = ports.collect();
            let known = facts.addresses(*place).into_iter();
            known.map(move |address| IngressAddress { ip: address.to_string(), ports: ports.clone() })
        });
        let load_balancer = IngressLoadBalancer { ingress: addresses.collect() };
        StatusOf::new(Kind::Ingress, key, StatusBody::Ingress(IngressStatus { load_balancer }))
    });
    each.collect()
}
