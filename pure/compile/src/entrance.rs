//! Sockets: which listeners share one, and who wins where two Gateways ask for the same on it.

mod client;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tidegate_model::standing::ParentStanding;
use tidegate_model::traffic::{
    Entrance, HostPattern, HttpRoute, Listener, ListenerName, ResponsePolicy, Serves, StreamRoute, TlsRoute,
    Transport,
};
use tidegate_objects::{Key, Kind, ObjectRef};

use crate::backend::Backends;
use crate::conflict;
use crate::gateway::OurGateway;
use crate::listener::{Family, Protocol};
use crate::service_door::Claims;
use crate::verdicts::{Verdicts, object};

/// A listener: the place of its Gateway, and its own place there.
pub(crate) type ListenerId = (usize, usize);

/// A socket.
pub(crate) type Socket = (SocketAddr, Transport);

/// Which listeners stand behind which socket.
pub(crate) type Doors = BTreeMap<Socket, Vec<ListenerId>>;

/// The routes attached to each listener, in order of precedence.
#[derive(Default)]
pub(crate) struct Attached {
    /// HTTPRoutes and GRPCRoutes.
    pub http: BTreeMap<ListenerId, Vec<Arc<HttpRoute>>>,
    /// TLSRoutes.
    pub tls: BTreeMap<ListenerId, Vec<Arc<TlsRoute>>>,
    /// The one TCPRoute or UDPRoute.
    pub stream: BTreeMap<ListenerId, Arc<StreamRoute>>,
    /// What each route is to its parents.
    pub standing: BTreeMap<ObjectRef, Vec<ParentStanding>>,
}

impl Attached {
    /// Writes down what a route is to its parents; nothing where none of them is ours.
    pub fn stand(&mut self, kind: Kind, route: &Key, parents: Vec<ParentStanding>) {
        if parents.iter().any(|parent| *parent != ParentStanding::Foreign) {
            self.standing.insert(object(kind, route), parents);
        }
    }
}

/// What sockets carry already.
#[derive(Default)]
struct Taken {
    families: BTreeMap<Socket, (Family, ListenerName)>,
    hosts: BTreeMap<(Socket, Option<HostPattern>), ListenerName>,
}

impl Taken {
    /// Who has the same, or has another protocol there; and Gateway API's reason. Who listens on every address has each of
    /// them against younger Gateways of other namespaces: they could take over its clients by naming one.
    fn winner(
        &self,
        socket: Socket,
        family: Family,
        host: &Option<HostPattern>,
        namespace: &str,
    ) -> Option<(&'static str, &ListenerName)> {
        let everywhere = || self.winner_at(everywhere(socket), family, host);
        let is_stranger = |(_, winner): &(_, &ListenerName)| *winner.gateway.namespace != *namespace;
        self.winner_at(socket, family, host).or_else(|| everywhere().filter(is_stranger))
    }

    fn winner_at(
        &self,
        socket: Socket,
        family: Family,
        host: &Option<HostPattern>,
    ) -> Option<(&'static str, &ListenerName)> {
        if let Some((known, winner)) = self.families.get(&socket)
            && *known != family
        {
            return Some(("ProtocolConflict", winner));
        }
        Some((conflict::reason(family), self.hosts.get(&(socket, host.clone()))?))
    }

    fn take(&mut self, socket: Socket, family: Family, host: Option<HostPattern>, name: ListenerName) {
        self.families.entry(socket).or_insert((family, name.clone()));
        self.hosts.insert((socket, host), name);
    }
}

/// Opens a door for every sound listener at every place of its Gateway. Where an older Gateway has the same on the same
/// socket, or an older Service has the socket, the younger listener stays out; one that gets no door is no longer sound.
pub(crate) fn open(gateways: &mut [OurGateway<'_>], services: &Claims<'_>, verdicts: &mut Verdicts) -> Doors {
    let mut doors = Doors::new();
    let mut taken = Taken::default();
    for (age, (number, place)) in by_age(gateways) {
        let gateway = &mut gateways[number];
        let key = gateway.resource.key();
        let listener = &mut gateway.listeners[place];
        let Some(protocol) = listener.protocol.filter(|_| listener.sound) else { continue };
        let mut opened = false;
        for place_of_gateway in &gateway.places {
            let address = SocketAddr::new(place_of_gateway.address, listener.spec.port);
            let socket = (address, protocol.transport());
            let elder = services.get(&socket).filter(|service| service.precedence() < age);
            if let Some(service) = elder {
                let message = format!(
                    "{address} belongs to Service {}, which is older; change the port or the address",
                    service.key
                );
                listener.part("PortUnavailable", "port", message, verdicts);
                continue;
            }
            let wanted = (protocol.family(), &listener.hostname);
            if let Some((reason, winner)) = taken.winner(socket, wanted.0, wanted.1, &key.namespace) {
                let message = lost(address, protocol, &listener.hostname, reason, winner, key);
                listener.part(reason, "", message, verdicts);
                continue;
            }
            let name = name(key, &listener.section());
            taken.take(socket, protocol.family(), listener.hostname.clone(), name);
            doors.entry(socket).or_default().push((number, place));
            opened = true;
        }
        listener.sound = opened;
    }
    doors.values_mut().for_each(|ids| ids.sort_unstable());
    gateways.iter().for_each(|gateway| note_unserved(gateway, verdicts));
    open_everywhere(&mut doors, gateways, &taken);
    doors
}

/// Every listener, those of older Gateways first; what stands for Ingresses has the age of the one that came first with its
/// host.
fn by_age<'a>(gateways: &[OurGateway<'a>]) -> Vec<((i64, &'a Key), ListenerId)> {
    let mut listeners: Vec<((i64, &'a Key), ListenerId)> = Vec::new();
    for (number, gateway) in gateways.iter().enumerate() {
        for (place, listener) in gateway.listeners.iter().enumerate() {
            let age = match gateway.ingress_class {
                Some(_) => (listener.created_secs, listener.owner.1),
                None => gateway.resource.metadata.precedence(),
            };
            listeners.push((age, (number, place)));
        }
    }
    listeners.sort_unstable();
    listeners
}

/// The socket of the same port on every address.
pub(crate) fn everywhere((address, transport): Socket) -> Socket {
    let every = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    (SocketAddr::new(every, address.port()), transport)
}

/// Who listens on every address stands behind the sockets that others opened on one of them too: the kernel gives those
/// their connections. What an older Gateway has there stays its own.
fn open_everywhere(doors: &mut Doors, gateways: &[OurGateway<'_>], taken: &Taken) {
    let sockets: Vec<Socket> =
        doors.keys().copied().filter(|(address, _)| !address.ip().is_unspecified()).collect();
    for socket in sockets {
        let Some(all) = doors.get(&everywhere(socket)).cloned() else { continue };
        let listener = |id: &ListenerId| gateways.get(id.0)?.listeners.get(id.1);
        let is_free = |id: &ListenerId| {
            listener(id).is_some_and(|listener| {
                listener.protocol.is_some_and(|protocol| {
                    taken.winner_at(socket, protocol.family(), &listener.hostname).is_none()
                })
            })
        };
        let ids = doors.entry(socket).or_default();
        ids.extend(all.into_iter().filter(is_free));
        ids.sort_unstable();
    }
}

fn lost(
    address: SocketAddr,
    protocol: Protocol,
    host: &Option<HostPattern>,
    reason: &str,
    winner: &ListenerName,
    gateway: &Key,
) -> String {
    let what = match host {
        _ if reason == "ProtocolConflict" => protocol.name().to_owned(),
        Some(host) => format!("host {host}"),
        None => "every host".to_owned(),
    };
    let source = match winner.gateway.source == gateway.source {
        true => String::new(),
        false => format!(" of source {}", winner.gateway.source),
    };
    if reason == "ProtocolConflict" {
        return format!(
            "{what} cannot be served on {address}: it belongs to listener {winner}{source}, whose Gateway is older; change the port"
        );
    }
    format!(
        "{what} on {address} belongs to listener {winner}{source}, whose Gateway is older; change the hostname or the port"
    )
}

fn note_unserved(gateway: &OurGateway<'_>, verdicts: &mut Verdicts) {
    // Each Ingress is told by itself.
    if gateway.ingress_class.is_some() {
        return;
    }
    let key = gateway.resource.key();
    let mut served: BTreeMap<(Kind, &Key), bool> = BTreeMap::new();
    for listener in &gateway.listeners {
        *served.entry(listener.owner).or_default() |= listener.sound;
    }
    let sets = served.iter().filter(|((kind, _), served)| *kind == Kind::ListenerSet && !**served);
    for ((kind, set), _) in sets {
        let (reason, field, message) = match gateway.places.is_empty() {
            true => {
                let message = format!("Gateway {key} has no address to listen on");
                ("ParentNotAccepted", "spec.parentRef", message)
            }
            false => {
                ("ListenersNotValid", "spec.listeners", "none of the listeners can be served".to_owned())
            }
        };
        verdicts.whole(*kind, set, reason, field, message);
    }
    if verdicts.is_rejected(Kind::Gateway, key) {
        return;
    }
    if gateway.places.is_empty() {
        let message = "the Gateway has no address to listen on".to_owned();
        verdicts.whole(Kind::Gateway, key, "AddressNotUsable", "spec.addresses", message);
    } else if !served.values().any(|served| *served) {
        let message = "none of the listeners can be served".to_owned();
        verdicts.whole(Kind::Gateway, key, "ListenersNotValid", "spec.listeners", message);
    }
}

/// The entrances of before, so that one that is as it was stays the very same.
pub(crate) struct Previous<'a>(BTreeMap<Socket, &'a Arc<Entrance>>);

impl<'a> Previous<'a> {
    pub(crate) fn new(previous: &'a [Arc<Entrance>]) -> Previous<'a> {
        let named = |entrance: &'a Arc<Entrance>| ((entrance.address, entrance.transport), entrance);
        Previous(previous.iter().map(named).collect())
    }

    /// The known one, if it is equal.
    pub(crate) fn reuse(&self, entrance: Entrance) -> Arc<Entrance> {
        match self.0.get(&(entrance.address, entrance.transport)) {
            Some(known) if ***known == entrance => Arc::clone(known),
            _ => Arc::new(entrance),
        }
    }
}

/// The sockets with their listeners and the routes attached to each. One that is as it was in `previous` is the very
/// same, so that who serves it need not build anything anew.
pub(crate) fn build(
    doors: &Doors,
    gateways: &[OurGateway<'_>],
    attached: &Attached,
    backends: &mut Backends<'_>,
    previous: &[Arc<Entrance>],
    verdicts: &mut Verdicts,
) -> Vec<Arc<Entrance>> {
    let before = Previous::new(previous);
    let mut built: BTreeMap<ListenerId, Arc<Listener>> = BTreeMap::new();
    let entrances = doors.iter().map(|(socket, ids)| {
        let mut listeners = Vec::new();
        for id in ids {
            let Some(gateway) = gateways.get(id.0) else { continue };
            let answers = matches!(gateway.listeners[id.1].protocol, Some(Protocol::Http | Protocol::Https));
            let responses = match answers {
                true => backends.responses_of_listener(backends.through(gateway, id.1)),
                false => Arc::default(),
            };
            let make = || Arc::new(listener(*id, gateway, attached, responses));
            listeners.push(Arc::clone(built.entry(*id).or_insert_with(make)));
        }
        let client = client::policy(ids, gateways, verdicts);
        before.reuse(Entrance { address: socket.0, transport: socket.1, client, listeners })
    });
    entrances.collect()
}

fn listener(
    id: ListenerId,
    gateway: &OurGateway<'_>,
    attached: &Attached,
    responses: Arc<ResponsePolicy>,
) -> Listener {
    let listener = &gateway.listeners[id.1];
    let stream = || attached.stream.get(&id).cloned();
    let serves = match listener.protocol {
        Some(Protocol::Tls) => Serves::Tls(attached.tls.get(&id).cloned().unwrap_or_default()),
        Some(Protocol::Tcp) => Serves::Tcp(stream()),
        Some(Protocol::Udp) => Serves::Udp(stream()),
        Some(Protocol::Http | Protocol::Https) | None => {
            Serves::Http(attached.http.get(&id).cloned().unwrap_or_default())
        }
    };
    Listener {
        name: name(gateway.resource.key(), &listener.section()),
        hostname: listener.hostname.clone(),
        tls: listener.tls.clone(),
        serves,
        client: listener.client.as_ref().map(|(_, client)| Arc::clone(client)).unwrap_or_default(),
        responses,
    }
}

fn name(gateway: &Key, section: &str) -> ListenerName {
    ListenerName { gateway: gateway.clone(), section: section.into() }
}
