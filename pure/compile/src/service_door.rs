//! Sockets of Services of type LoadBalancer: each TCP port of each address a byte relay, each UDP port a door of datagrams.
//!
//! Never beside a Gateway's listener: the elder has the socket, and the other is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::traffic::{
    ClientPolicy, Entrance, Listener, ListenerName, Serves, StreamRoute, Target, Transport, WeightedBackend,
};
use tidegate_objects::{Kind, Metadata};

use crate::backend::Backends;
use crate::entrance::{Doors, Previous, Socket, everywhere};
use crate::gateway::OurGateway;
use crate::pool::Pools;
use crate::service::OurService;
use crate::verdicts::Verdicts;

/// The sockets that Services ask for, and the eldest that does.
pub(crate) type Claims<'a> = BTreeMap<Socket, &'a Metadata>;

/// What Services ask for, before it is known who gets it.
pub(crate) fn claims<'a>(services: &[OurService<'a>]) -> Claims<'a> {
    let mut claims = Claims::new();
    for service in services {
        for (socket, _) in asked(service) {
            claims.entry(socket).or_insert(&service.resource.metadata);
        }
    }
    claims
}

fn asked<'s>(service: &'s OurService<'_>) -> impl Iterator<Item = (Socket, usize)> + 's {
    let ports = service.ports.iter().enumerate();
    ports.flat_map(|(place, (index, transport))| {
        let port = service.resource.spec.ports.get(*index).map_or(0, |port| port.port);
        let addresses = service.places.iter().map(|place| place.address);
        addresses.map(move |address| ((SocketAddr::new(address, port), *transport), place))
    })
}

/// Opens what no Gateway's listener has; a Service that gets no socket at all is told.
pub(crate) fn open(
    services: &mut [OurService<'_>],
    gateways: &[OurGateway<'_>],
    doors: &Doors,
    pools: &Pools<'_>,
    verdicts: &mut Verdicts,
) {
    let mut taken: BTreeSet<Socket> = BTreeSet::new();
    for service in services {
        let mut sockets = BTreeMap::new();
        for (socket, place) in asked(service) {
            if let Some(winner) = winner(service, socket, gateways, doors, pools) {
                note_lost(service, socket, place, &winner, verdicts);
            } else if taken.insert(socket) {
                sockets.insert(socket, place);
            }
        }
        if sockets.is_empty() && !service.places.is_empty() {
            let message = "none of its ports can be opened, so nothing carries it".to_owned();
            verdicts.whole(Kind::Service, service.resource.key(), "NothingToCarry", "spec.ports", message);
        }
        service.sockets = sockets;
    }
}

/// The listener that has a socket. An address of a pool is no local one until a Service has it, so who listens on every
/// local address has no claim there; any other address is the eldest's, as among Gateways.
fn winner(
    service: &OurService<'_>,
    socket: Socket,
    gateways: &[OurGateway<'_>],
    doors: &Doors,
    pools: &Pools<'_>,
) -> Option<String> {
    let metadata = &service.resource.metadata;
    let owner = |(gateway, listener): &(usize, usize)| {
        let gateway = gateways.get(*gateway)?;
        Some((gateway, format!("{}/{}", gateway.resource.key(), gateway.listeners.get(*listener)?.section())))
    };
    if let Some((_, name)) = doors.get(&socket).and_then(|ids| owner(ids.first()?)) {
        return Some(name);
    }
    if pools.origin(socket.0.ip()).is_some() {
        return None;
    }
    let all = doors.get(&everywhere(socket)).into_iter().flatten().filter_map(owner);
    let mut elders =
        all.filter(|(gateway, _)| gateway.resource.metadata.precedence() < metadata.precedence());
    elders.next().map(|(_, name)| name)
}

fn note_lost(
    service: &OurService<'_>,
    (address, _): Socket,
    place: usize,
    winner: &str,
    verdicts: &mut Verdicts,
) {
    let index = service.ports.get(place).map_or(0, |(index, _)| *index);
    let message = format!(
        "{address} belongs to listener {winner}, whose Gateway is older; change the port or the address"
    );
    let field = format!("spec.ports[{index}].port");
    verdicts.part(Kind::Service, service.resource.key(), "Conflicted", field, message);
}

/// The entrances of all Services; notes which of them could be answered. One that is as it was is the very same.
pub(crate) fn build(
    services: &mut [OurService<'_>],
    backends: &mut Backends<'_>,
    previous: &[Arc<Entrance>],
    verdicts: &mut Verdicts,
) -> Vec<Arc<Entrance>> {
    let before = Previous::new(previous);
    let mut entrances = Vec::new();
    for service in services {
        let client = Arc::new(ClientPolicy { sources: service.sources.clone(), ..ClientPolicy::default() });
        let mut listeners: BTreeMap<usize, Arc<Listener>> = BTreeMap::new();
        let mut audible = false;
        for (socket, place) in &service.sockets {
            let listener = listeners.entry(*place).or_insert_with(|| {
                let (listener, answers) = listener(service, *place, backends);
                audible |= answers;
                Arc::new(listener)
            });
            entrances.push(before.reuse(Entrance {
                address: socket.0,
                transport: socket.1,
                client: Arc::clone(&client),
                listeners: vec![Arc::clone(listener)],
            }));
        }
        service.audible = audible;
        if !audible && !service.sockets.is_empty() {
            let message = "none of its endpoints is ready, so its addresses are not announced; it keeps them"
                .to_owned();
            verdicts.warn(Kind::Service, service.resource.key(), "NoEndpoint", "spec.selector", message);
        }
    }
    entrances
}

/// What serves a port, and whether some endpoint could answer there.
fn listener(service: &OurService<'_>, place: usize, backends: &mut Backends<'_>) -> (Listener, bool) {
    let key = service.resource.key();
    let port = service
        .ports
        .get(place)
        .and_then(|(index, transport)| Some((service.resource.spec.ports.get(*index)?, *transport)));
    let backend = port.map(|(port, transport)| backends.direct(service.resource, port, transport));
    let answers = backend.as_ref().is_some_and(|backend| !backend.endpoints.load().usable.is_empty());
    let targets = backend.into_iter().map(|backend| WeightedBackend::plain(1, Target::Backend(backend)));
    let route = Some(Arc::new(StreamRoute { name: key.clone(), backends: targets.collect() }));
    let (number, transport) = port.map_or((0, Transport::Tcp), |(port, transport)| (port.port, transport));
    let (serves, word) = match transport {
        Transport::Tcp => (Serves::Tcp(route), "tcp"),
        Transport::Udp => (Serves::Udp(route), "udp"),
    };
    let listener = Listener {
        // No listener of a Gateway is called so: theirs have no slash, or three.
        name: ListenerName { gateway: key.clone(), section: format!("{number}/{word}").into() },
        hostname: None,
        tls: None,
        serves,
        client: Arc::default(),
        responses: Arc::default(),
    };
    (listener, answers)
}
