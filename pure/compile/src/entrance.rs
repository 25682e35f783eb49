//! Sockets: which listeners share one, and who wins where two Gateways ask for the same host on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::traffic::{
    Entrance, HostPattern, HttpRoute, Listener, ListenerName, Serves, Transport,
};
use tidegate_objects::Kind;

use crate::gateway::OurGateway;
use crate::verdicts::Verdicts;

/// A listener: the place of its Gateway, and its own place there.
pub(crate) type ListenerId = (usize, usize);

/// Which listeners stand behind which socket.
pub(crate) type Doors = BTreeMap<SocketAddr, Vec<ListenerId>>;

/// The routes attached to each listener, in order of precedence.
pub(crate) type Attached = BTreeMap<ListenerId, Vec<Arc<HttpRoute>>>;

/// Opens a door for every sound listener at every place of its Gateway. Where an older Gateway has the same host on
/// the same socket, the younger listener stays out; one that gets no door is no longer sound.
pub(crate) fn open(gateways: &mut [OurGateway<'_>], verdicts: &mut Verdicts) -> Doors {
    let mut doors = Doors::new();
    let mut hosts: BTreeMap<(SocketAddr, Option<HostPattern>), ListenerName> = BTreeMap::new();
    for (number, gateway) in gateways.iter_mut().enumerate() {
        let key = gateway.resource.key().clone();
        for (place, listener) in
            gateway.listeners.iter_mut().enumerate().filter(|(_, listener)| listener.sound)
        {
            let mut opened = false;
            for address in
                gateway.places.iter().map(|place| SocketAddr::new(place.address, listener.spec.port))
            {
                let host = (address, listener.hostname.clone());
                if let Some(winner) = hosts.get(&host) {
                    let what = listener
                        .hostname
                        .as_ref()
                        .map_or("every host".to_owned(), |host| format!("host {host}"));
                    let source = match winner.gateway.source == key.source {
                        true => String::new(),
                        false => format!(" of source {}", winner.gateway.source),
                    };
                    let message = format!(
                        "{what} on {address} belongs to listener {winner}{source}, whose Gateway is older; change the hostname or the port"
                    );
                    verdicts.part(
                        Kind::Gateway,
                        &key,
                        "HostnameConflict",
                        format!("spec.listeners[{}]", listener.index),
                        message,
                    );
                    continue;
                }
                hosts.insert(host, name(gateway.resource.key(), &listener.spec.name));
                doors.entry(address).or_default().push((number, place));
                opened = true;
            }
            listener.sound = opened;
        }
        note_unserved(gateway, verdicts);
    }
    doors
}

fn note_unserved(gateway: &OurGateway<'_>, verdicts: &mut Verdicts) {
    let key = gateway.resource.key();
    if verdicts.is_rejected(Kind::Gateway, key) {
        return;
    }
    if gateway.places.is_empty() {
        let message = "the Gateway has no address to listen on".to_owned();
        verdicts.whole(Kind::Gateway, key, "AddressNotUsable", "spec.addresses", message);
    } else if !gateway.listeners.iter().any(|listener| listener.sound) {
        let message = "none of the listeners can be served".to_owned();
        verdicts.whole(Kind::Gateway, key, "ListenersNotValid", "spec.listeners", message);
    }
}

/// The sockets with their listeners and the routes attached to each. One that is as it was in `previous` is the very
/// same, so that who serves it need not build anything anew.
pub(crate) fn build(
    doors: &Doors,
    gateways: &[OurGateway<'_>],
    attached: &Attached,
    previous: &[Arc<Entrance>],
) -> Vec<Arc<Entrance>> {
    let previous: BTreeMap<SocketAddr, &Arc<Entrance>> =
        previous.iter().map(|entrance| (entrance.address, entrance)).collect();
    let mut built: BTreeMap<ListenerId, Arc<Listener>> = BTreeMap::new();
    let mut listener = |id: ListenerId| {
        let gateway = gateways.get(id.0)?;
        let listener = gateway.listeners.get(id.1)?;
        let make = || {
            Arc::new(Listener {
                name: name(gateway.resource.key(), &listener.spec.name),
                hostname: listener.hostname.clone(),
                tls: None,
                serves: Serves::Http(attached.get(&id).cloned().unwrap_or_default()),
                client: Arc::default(),
            })
        };
        Some(built.entry(id).or_insert_with(make).clone())
    };
    let entrances = doors.iter().map(|(address, ids)| {
        let listeners = ids.iter().filter_map(|id| listener(*id)).collect();
        let entrance =
            Entrance { address: *address, transport: Transport::Tcp, client: Arc::default(), listeners };
        match previous.get(address) {
            Some(known) if ***known == entrance => Arc::clone(known),
            _ => Arc::new(entrance),
        }
    });
    entrances.collect()
}

fn name(gateway: &tidegate_objects::Key, section: &str) -> ListenerName {
    ListenerName { gateway: gateway.clone(), section: section.into() }
}
