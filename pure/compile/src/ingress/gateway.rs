//! The Gateway that stands for a class: its listeners, one for each host and port, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_model::standing::IngressStanding;
use tidegate_objects::gateway::{AllowedRoutes, Gateway, Listener as Spec, ListenerTls, TlsMode};
use tidegate_objects::reference::SecretRef;
use tidegate_objects::{Key, Kind, Metadata, Resource};

use super::site::Site;
use super::{Class, Member, Object, Sites, class};
use crate::gateway::OurGateway;
use crate::listener::{Listener, Protocol};
use crate::verdicts::Verdicts;

/// Where requests in the clear come in.
const HTTP_PORT: u16 = 80;
/// Where TLS comes in.
const HTTPS_PORT: u16 = 443;

/// What a listener is for.
pub(super) struct Listening<'a> {
    /// The Ingress that it is told to, and the place of its rule or `tls` entry there.
    pub owner: (&'a Key, usize),
    /// When that one was made.
    pub created_secs: i64,
    /// Which of the sites.
    pub site: usize,
    pub protocol: Protocol,
}

/// The Gateway of a class, and what its listeners are for.
pub(super) fn made<'a>(
    name: &Key,
    class: Object<'_>,
    members: &[Member<'a>],
    sites: &Sites<'a>,
    verdicts: &mut Verdicts,
) -> (Resource<Gateway>, Vec<Listening<'a>>) {
    let (mut specs, mut listeners) = (Vec::new(), Vec::new());
    for (number, site) in sites.all.iter().enumerate() {
        let created_secs = members[site.owner.0].resource.metadata.created_secs;
        for (spec, owner, protocol) in of_site(site, members) {
            specs.push(spec);
            listeners.push(Listening { owner, created_secs, site: number, protocol });
        }
    }
    let oldest = members.iter().map(|member| member.resource.metadata.created_secs).min();
    let metadata = Metadata {
        key: name.clone(),
        labels: BTreeMap::new(),
        // The pool is named as in a Gateway.
        annotations: class.map(|class| class.metadata.annotations.clone()).unwrap_or_default(),
        created_secs: class.map(|class| class.metadata.created_secs).or(oldest).unwrap_or(i64::MAX),
        generation: 0,
    };
    let listened_on = members.iter().flat_map(|member| &member.resource.spec.listened_on);
    let spec = Gateway {
        gateway_class_name: name.name.to_string(),
        addresses: class.map(|class| class::addresses(class, verdicts)).unwrap_or_default(),
        listeners: specs,
        infrastructure: None,
        allowed_listeners: None,
        tls: None,
        default_scope: None,
        listened_on: listened_on.copied().collect::<BTreeSet<_>>().into_iter().collect(),
    };
    (Resource { metadata, spec }, listeners)
}

/// Whose listener it is, and the place of what it comes from there.
type Owner<'a> = (&'a Key, usize);

fn of_site<'a>(site: &Site<'a>, members: &[Member<'a>]) -> Vec<(Spec, Owner<'a>, Protocol)> {
    let spec = |name: &str, port, protocol: Protocol, tls| Spec {
        name: name.to_owned(),
        hostname: site.host.as_ref().map(ToString::to_string),
        port,
        protocol: protocol.name().to_owned(),
        tls,
        allowed_routes: AllowedRoutes::default(),
    };
    let key = |member: usize| members[member].key();
    let (member, rule) = site.owner;
    let mut all = vec![(spec("http", HTTP_PORT, Protocol::Http, None), (key(member), rule), Protocol::Http)];
    if let Some(member) = site.passthrough {
        let tls = ListenerTls {
            mode: TlsMode::Passthrough,
            certificate_refs: Vec::new(),
            options: BTreeMap::new(),
        };
        let spec = spec("tls", HTTPS_PORT, Protocol::Tls, Some(tls));
        all.push((spec, (key(member), rule), Protocol::Tls));
    } else if let Some(tls) = &site.tls {
        let certificate = SecretRef {
            group: String::new(),
            kind: Kind::Secret.name().to_owned(),
            name: tls.secret.to_owned(),
            namespace: None,
        };
        let (member, entry) = tls.owner;
        let tls = ListenerTls {
            mode: TlsMode::Terminate,
            certificate_refs: vec![certificate],
            options: BTreeMap::new(),
        };
        let spec = spec("https", HTTPS_PORT, Protocol::Https, Some(tls));
        all.push((spec, (key(member), entry), Protocol::Https));
    }
    all
}

impl Class<'_> {
    /// As a Gateway of ours. No route can attach to its listeners.
    pub(super) fn gateway(&self) -> OurGateway<'_> {
        let specs = self.resource.spec.listeners.iter().zip(&self.listeners);
        let listeners = specs.map(|(spec, listening)| Listener {
            owner: (Kind::Ingress, listening.owner.0),
            index: listening.owner.1,
            spec,
            created_secs: listening.created_secs,
            protocol: Some(listening.protocol),
            hostname: self.sites.all[listening.site].host.clone(),
            kinds: Vec::new(),
            tls: None,
            client: None,
            sound: true,
        });
        OurGateway {
            resource: &self.resource,
            ingress_class: Some(&self.name),
            listeners: listeners.collect(),
            places: Vec::new(),
            given: None,
            certificate: None,
        }
    }

    /// Says to Ingresses of which nothing is served that it is so; why stands with the listener's owner.
    pub(super) fn note_unserved(&self, gateway: &OurGateway<'_>, verdicts: &mut Verdicts) {
        for (number, member) in self.members.iter().enumerate() {
            let own = || self.listeners_of(number);
            if gateway.places.is_empty() && own().next().is_some() {
                let message = format!("IngressClass {} has no address to listen on", self.name.name);
                verdicts.whole(Kind::Ingress, member.key(), "AddressNotUsable", "", message);
                continue;
            }
            let unserved = own().filter(|place| !gateway.listeners[*place].sound);
            for place in unserved {
                let listening = &self.listeners[place];
                let site = &self.sites.all[listening.site];
                let host = site.host.as_ref().map_or("hosts without rules".to_owned(), ToString::to_string);
                if listening.owner.0 != member.key() {
                    let message = format!(
                        "{host} is not served on port {}; Ingress {} says why",
                        gateway.listeners[place].spec.port, listening.owner.0
                    );
                    member.part("NotServed", "spec.rules", message, verdicts);
                }
            }
            if own().next().is_some() && own().all(|place| !gateway.listeners[place].sound) {
                let message = "none of its hosts can be served".to_owned();
                verdicts.whole(Kind::Ingress, member.key(), "NotServed", "spec.rules", message);
            }
        }
    }

    /// The listeners that serve something of an Ingress.
    fn listeners_of(&self, member: usize) -> impl Iterator<Item = usize> + '_ {
        let serves = move |site: &Site<'_>| {
            site.entries.iter().any(|entry| entry.member == member)
                || site
                    .entries
                    .iter()
                    .any(|entry| entry.canary.as_ref().is_some_and(|canary| canary.member == member))
        };
        let each = self.listeners.iter().enumerate();
        each.filter(move |(_, listening)| serves(&self.sites.all[listening.site])).map(|(place, _)| place)
    }

    /// Where each Ingress is served.
    pub(super) fn standing(&self, gateway: &OurGateway<'_>) -> BTreeMap<Key, IngressStanding> {
        let places: Vec<_> = gateway.places.iter().map(|place| place.address).collect();
        let each = self.members.iter().enumerate().map(|(number, member)| {
            let sound = self.listeners_of(number).filter(|place| gateway.listeners[*place].sound);
            let ports: BTreeSet<u16> = sound.map(|place| gateway.listeners[place].spec.port).collect();
            let places = if ports.is_empty() { Vec::new() } else { places.clone() };
            (member.key().clone(), IngressStanding { places, ports })
        });
        each.collect()
    }
}
