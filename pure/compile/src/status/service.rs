//! Services of type LoadBalancer that are ours: where clients reach them, from which pools that is, and whether it works.

use std::net::SocketAddr;

use tidegate_model::StatusOf;
use tidegate_model::standing::ServiceStanding;
use tidegate_model::status::{Condition, LoadBalancerIngress, LoadBalancerStatus, ServiceStatus, StatusBody};
use tidegate_model::traffic::Transport;
use tidegate_objects::core::{ASSIGNED, Service, assigned};
use tidegate_objects::{Key, Kind, Resource};

use super::condition::{Conditions, Why};
use super::problems::Problems;
use super::{Facts, Opened};

/// Whether clients are served, as far as the gateway that writes this can tell.
const SERVED: &str = "tidegate.dev/Served";

/// The status of every Service of type LoadBalancer that is ours.
pub fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let each = facts.standing.balanced.iter().filter_map(|(key, standing)| {
        let resource = facts.snapshot.services.get(key)?;
        let body = StatusBody::Service(status(facts, resource, standing));
        Some(StatusOf::new(Kind::Service, key, body))
    });
    each.collect()
}

fn status(facts: &Facts<'_>, resource: &Resource<Service>, standing: &ServiceStanding) -> ServiceStatus {
    let key = resource.key();
    let conditions = Conditions(resource.metadata.generation);
    let ingress = standing
        .addresses
        .iter()
        .map(|(address, _)| LoadBalancerIngress { ip: address.to_string(), ip_mode: "VIP" });
    let ingress: Vec<LoadBalancerIngress> = ingress.collect();
    // Without a class another controller may have written there, and what it wrote is not taken away.
    let ours = standing.classed || !ingress.is_empty();
    let problems = Problems::of(facts.verdicts, Kind::Service, key);
    ServiceStatus {
        load_balancer: ours.then_some(LoadBalancerStatus { ingress }),
        conditions: vec![
            assignment(conditions, &problems, standing),
            service(conditions, &problems, hindrance(facts, key, &problems, standing).as_ref()),
        ],
    }
}

/// The message of this condition is read again, by every gateway: it says of which pool an address is, whatever becomes
/// of the pool.
fn assignment(conditions: Conditions, problems: &Problems<'_>, standing: &ServiceStanding) -> Condition {
    if standing.addresses.is_empty() {
        let why = problems.first().unwrap_or_else(|| Why::new("AddressNotAssigned", "there is no address"));
        return conditions.fails(ASSIGNED, &why);
    }
    let of_pools = standing.addresses.iter().filter_map(|(address, pool)| Some((*address, pool.as_deref()?)));
    conditions.holds(ASSIGNED, "Assigned", &assigned(of_pools))
}

/// Whether clients are served; perhaps not by every port.
fn service(conditions: Conditions, problems: &Problems<'_>, hindrance: Option<&Why>) -> Condition {
    match (hindrance, problems.first()) {
        (Some(why), _) => conditions.fails(SERVED, why),
        (None, Some(part)) => conditions.holds(SERVED, "Partially", &part.message),
        (None, None) => conditions.holds(SERVED, "Served", ""),
    }
}

fn hindrance(
    facts: &Facts<'_>,
    key: &Key,
    problems: &Problems<'_>,
    standing: &ServiceStanding,
) -> Option<Why> {
    if let Some(notice) = facts.notice {
        return Some(Why::new("NoResources", notice));
    }
    if let Some(why) = problems.whole().first() {
        return Some(why);
    }
    if !standing.audible {
        return Some(Why::new("NoEndpoint", "none of its endpoints is ready, so no address is announced"));
    }
    let open = |(address, transport): &(SocketAddr, Transport)| match (facts.sockets)(*address, *transport) {
        Opened::Yes => None,
        Opened::NotYet => Some(Why::new("Pending", format!("{address} is not open yet"))),
        Opened::Failed(why) => {
            Some(Why::new("PortUnavailable", format!("{address} cannot be opened: {why}")))
        }
    };
    if let Some(why) = standing.sockets.iter().find_map(open) {
        return Some(why);
    }
    (!standing.announced).then(|| {
        let said = facts.verdicts.get(&crate::verdicts::object(Kind::Service, key));
        let all = said.into_iter().flat_map(|verdict| &verdict.problems);
        let said = all.into_iter().find(|problem| problem.reason == "NotAnnounced");
        let message = said.map_or("nothing announces all of its addresses", |problem| &problem.message);
        Why::new("NotAnnounced", message)
    })
}
