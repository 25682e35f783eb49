//! How objects stand to one another, written down for statuses.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_model::standing::{
    GatewayStanding, IngressStanding, ListenerRef, ListenerStanding, ParentStanding, ServiceStanding,
    SetStanding, Standing,
};
use tidegate_model::traffic::HostPattern;
use tidegate_objects::{Key, Kind, ObjectRef};

use crate::entrance::ListenerId;
use crate::gateway::OurGateway;
use crate::listener::{Family, Listener, Protocol};
use crate::service::{OurService, ServicePlace};
use crate::verdicts::object;

/// Everything found between objects. `sets` are ListenerSets whose parent is ours, `routes`, `services` and `ingresses`
/// what was written down on the way.
pub(crate) fn of(
    gateways: &[OurGateway<'_>],
    sets: BTreeMap<Key, Key>,
    routes: BTreeMap<ObjectRef, Vec<ParentStanding>>,
    services: BTreeMap<Key, BTreeSet<Key>>,
    ingresses: BTreeMap<Key, IngressStanding>,
) -> Standing {
    let mut standing = Standing { routes, services, ingresses, ..Standing::default() };
    for (set, gateway) in sets {
        standing.listener_sets.insert(set, SetStanding { gateway, listeners: Vec::new() });
    }
    for gateway in gateways.iter().filter(|gateway| gateway.ingress_class.is_none()) {
        let mut own = Vec::new();
        for listener in &gateway.listeners {
            let listener_standing = listener_standing(listener, gateway);
            match listener.owner {
                (Kind::ListenerSet, set) => {
                    if let Some(set) = standing.listener_sets.get_mut(set) {
                        set.listeners.push(listener_standing);
                    }
                }
                _ => own.push(listener_standing),
            }
        }
        let places = gateway.places.iter().map(|place| place.address).collect();
        let gateway_standing = GatewayStanding { places, listeners: own };
        standing.gateways.insert(gateway.resource.key().clone(), gateway_standing);
    }
    standing
}

/// What Services of type LoadBalancer have; whether it is announced is not known yet.
pub(crate) fn balanced(services: &[OurService<'_>]) -> BTreeMap<Key, ServiceStanding> {
    let each = services.iter().map(|service| {
        // What is withheld stays in the status, or the next look would find nothing to keep.
        let own = service.places.iter().chain(&service.withheld).filter(|place| !place.external);
        let pool = |place: &ServicePlace| place.pool.as_ref().map(|pool| pool.name.to_string());
        let standing = ServiceStanding {
            addresses: own.map(|place| (place.address, pool(place))).collect(),
            classed: service.classed,
            sockets: service.sockets.keys().copied().collect(),
            audible: service.audible,
            announced: false,
        };
        (service.resource.key().clone(), standing)
    });
    each.collect()
}

fn listener_standing(listener: &Listener<'_>, gateway: &OurGateway<'_>) -> ListenerStanding {
    ListenerStanding {
        name: listener.spec.name.clone(),
        port: listener.spec.port,
        transport: listener.protocol.map(Protocol::transport).unwrap_or_default(),
        kinds: listener.kinds.clone(),
        served: listener.sound,
        asks_clients: listener.protocol == Some(Protocol::Https),
        overlaps: overlaps(listener, gateway),
    }
}

/// Whether another listener of the same port ends TLS for some of the same hosts. The same pattern is a conflict, and
/// told as one.
fn overlaps(listener: &Listener<'_>, gateway: &OurGateway<'_>) -> bool {
    let encrypted = |listener: &Listener<'_>| {
        listener.sound && listener.protocol.map(Protocol::family) == Some(Family::Encrypted)
    };
    let others = gateway.listeners.iter().filter(|other| {
        (other.owner, other.index) != (listener.owner, listener.index)
            && other.spec.port == listener.spec.port
            && encrypted(other)
    });
    encrypted(listener) && others.into_iter().any(|other| meet(&listener.hostname, &other.hostname))
}

fn meet(one: &Option<HostPattern>, other: &Option<HostPattern>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one != other && one.intersect(other).is_some(),
        (None, None) => false,
        _ => true,
    }
}

/// A listener, as standing names it.
pub(crate) fn listener_ref(gateways: &[OurGateway<'_>], (gateway, place): ListenerId) -> Option<ListenerRef> {
    let listener = gateways.get(gateway)?.listeners.get(place)?;
    Some(ListenerRef { owner: object(listener.owner.0, listener.owner.1), index: listener.index })
}
