//! Services of type ExternalName: which of them may be led to, by which names, and what becomes of DNS' answers.
//!
//! A tenant who may write Services must not have the gateway speak, in his place, to what he could not reach: itself,
//! the machine's loopback, a cloud's metadata, an API server, Services of other namespaces. So names and addresses are
//! judged, addresses at every answer anew. The gateway's owner may allow a name (`externalNames.allowed` of the bootstrap file).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_model::Machine;
use tidegate_model::traffic::{Destination, Endpoints, Leads, Outside, Shunned, Transport};
use tidegate_objects::core::{Protocol, Service, ServicePort, ServiceType};
use tidegate_objects::dns::{Answer, Answers, DnsName};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::backend::Broken;
use crate::pool::POD_PREFIX_MIN;
use crate::verdicts::Verdicts;
use crate::words::list;

/// How many names are asked for at once, and how many of them Services of one namespace may have.
const NAMES_MAX: usize = 1_000;
const NAMES_OF_NAMESPACE_MAX: usize = 100;

/// How many refused addresses a sentence names.
const SAID_MAX: usize = 4;

/// The field that is to blame.
const FIELD: &str = "spec.externalName";

/// The remedy that its author has not: the gateway's owner has.
const ALLOW: &str = "the gateway's owner allows it by externalNames.allowed in the bootstrap file";

/// Services of type ExternalName that were followed, and what is known of their names.
pub(crate) struct Outsiders<'a> {
    machine: &'a Machine,
    answers: &'a Answers,
    found: Outside,
    names: BTreeSet<DnsName>,
    of_namespace: BTreeMap<(&'a str, &'a str), BTreeSet<DnsName>>,
    /// What Services are to be told: their key, whether all of it is refused, and the sentence.
    told: Vec<(&'a Key, bool, String)>,
}

impl<'a> Outsiders<'a> {
    /// None was followed yet. `served` are the addresses that this gateway serves.
    pub fn new(snapshot: &'a Snapshot, machine: &'a Machine, served: impl Iterator<Item = IpAddr>) -> Self {
        let is_outside = |service: &Arc<Resource<Service>>| of(&service.spec);
        let shunned = if snapshot.services.values().any(is_outside) {
            shunned(snapshot, machine, served)
        } else {
            Shunned::default()
        };
        let found = Outside { services: BTreeMap::new(), shunned: Arc::new(shunned) };
        let (names, of_namespace, told) = Default::default();
        Outsiders { machine, answers: &snapshot.answers, found, names, of_namespace, told }
    }

    /// Follows a reference to such a Service; what stands in its way is told to the Service too.
    pub fn follow(&mut self, service: &'a Resource<Service>) -> Result<(), Broken> {
        let key = service.key();
        let leads = match self.found.services.get(key) {
            Some(leads) => leads.clone(),
            None => {
                let written = service.spec.external_name.as_deref().unwrap_or_default();
                let leads = self.leads(key, written).map_err(|message| {
                    self.told.push((key, true, message.clone()));
                    refused(key, &message)
                })?;
                self.found.services.insert(key.clone(), leads.clone());
                leads
            }
        };
        let Some(message) = self.complaint(&leads) else { return Ok(()) };
        let nothing_is_left = self.addresses(&leads).0.is_empty();
        let broken = refused(key, &message);
        self.told.push((key, nothing_is_left, message));
        if nothing_is_left { Err(broken) } else { Ok(()) }
    }

    /// The endpoints of a port of a Service that was followed.
    pub fn endpoints(&self, service: &Key, port: &ServicePort) -> Endpoints {
        endpoints(&self.found, service, port, self.answers)
    }

    /// All that were followed; says of Services what of them is refused.
    pub fn finish(self, verdicts: &mut Verdicts) -> Outside {
        for (service, whole, message) in self.told {
            if whole {
                verdicts.whole(Kind::Service, service, "NotAllowed", FIELD, message);
            } else {
                verdicts.part(Kind::Service, service, "NotAllowed", FIELD, message);
            }
        }
        self.found
    }

    fn leads(&mut self, key: &'a Key, written: &str) -> Result<Leads, String> {
        let allowed = |name: &str| self.machine.allowed_names.iter().any(|pattern| pattern.matches(name));
        if let Ok(address) = written.parse::<IpAddr>() {
            let vouched = allowed(&address.to_string());
            let leads = Leads { to: Destination::Address(address), vouched, refused: Vec::new() };
            let (_, refused) = leads.addresses(None, &self.found.shunned);
            return Ok(Leads { refused, ..leads });
        }
        let name = DnsName::parse(written).map_err(|wrong| {
            format!("{:?} {wrong}; write a DNS name such as db.example.com", shortened(written))
        })?;
        let vouched = allowed(name.as_str());
        if let Some(inside) = inside(&name).filter(|_| !vouched) {
            return Err(format!("{name} {inside}, so it is refused; {ALLOW}"));
        }
        self.admit(key, &name)?;
        let leads = Leads { to: Destination::Name(name), vouched, refused: Vec::new() };
        let (_, refused) = self.addresses(&leads);
        Ok(Leads { refused, ..leads })
    }

    /// Bounds the names that are asked for.
    fn admit(&mut self, key: &'a Key, name: &DnsName) -> Result<(), String> {
        let of_namespace = self.of_namespace.entry((&key.source, &key.namespace)).or_default();
        if !of_namespace.contains(name) {
            if of_namespace.len() >= NAMES_OF_NAMESPACE_MAX {
                return Err(format!(
                    "Services of namespace {} stand for {NAMES_OF_NAMESPACE_MAX} names already, and {name} would be one more; have routes use fewer",
                    key.namespace
                ));
            }
            if !self.names.contains(name) && self.names.len() >= NAMES_MAX {
                return Err(format!(
                    "{NAMES_MAX} names are asked for already, and {name} would be one more; have routes use fewer"
                ));
            }
            of_namespace.insert(name.clone());
        }
        self.names.insert(name.clone());
        Ok(())
    }

    fn addresses(&self, leads: &Leads) -> (Vec<IpAddr>, Vec<IpAddr>) {
        addresses(&self.found, leads, self.answers)
    }

    /// What is to be said of refused addresses.
    fn complaint(&self, leads: &Leads) -> Option<String> {
        let first = *leads.refused.first()?;
        let name = match &leads.to {
            Destination::Address(address) => {
                let reason = self.found.shunned.reason(*address)?;
                return Some(format!("{address} is refused: it is {reason}; {ALLOW}"));
            }
            Destination::Name(name) => name,
        };
        if let Some((alias, inside)) = answer(leads, self.answers).and_then(alias_inside) {
            return Some(format!(
                "{name} stands for {alias} by DNS, which {inside}, so it is refused; {ALLOW}"
            ));
        }
        let reason = self.found.shunned.reason(first)?;
        let named = list(leads.refused.iter().take(SAID_MAX));
        let more = leads.refused.len().saturating_sub(SAID_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "{name} has {named}{more} by DNS, and {first} is {reason}, so nothing is sent there; {ALLOW}"
        ))
    }
}

/// Whether a Service is of type ExternalName.
pub(crate) fn of(service: &Service) -> bool {
    service.service_type == ServiceType::ExternalName
}

/// The port of a Service with this number and transport, if it is listed.
pub(crate) fn listed_port(service: &Service, number: u16, transport: Transport) -> Option<&ServicePort> {
    let protocol = protocol(transport);
    service.ports.iter().find(|port| port.port == number && port.protocol == protocol)
}

/// The port of a Service with this number and transport. One of type ExternalName need not list its ports.
pub(crate) fn served_port(
    service: &Service,
    number: u16,
    transport: Transport,
) -> Option<Cow<'_, ServicePort>> {
    let unlisted = || ServicePort {
        name: String::new(),
        port: number,
        protocol: protocol(transport),
        node_port: None,
        target_port: None,
        app_protocol: None,
    };
    match listed_port(service, number, transport) {
        Some(port) => Some(Cow::Borrowed(port)),
        None => (of(service) && service.ports.is_empty()).then(|| Cow::Owned(unlisted())),
    }
}

fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    }
}

/// The endpoints of a port of a Service that is in `outside`.
pub(crate) fn endpoints(
    outside: &Outside,
    service: &Key,
    port: &ServicePort,
    answers: &Answers,
) -> Endpoints {
    let Some(leads) = outside.services.get(service) else { return Endpoints::default() };
    let number = port.target_port.unwrap_or(port.port);
    let (used, _) = addresses(outside, leads, answers);
    Endpoints::plain(used.into_iter().map(|address| SocketAddr::new(address, number)))
}

/// The addresses of a Service that is in `outside`: those used, and those refused. A name that stands for one inside of a
/// cluster has none that may be used.
pub(crate) fn addresses(outside: &Outside, leads: &Leads, answers: &Answers) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let answer = answer(leads, answers);
    match answer {
        Some(answer) if !leads.vouched && alias_inside(answer).is_some() => {
            (Vec::new(), answer.addresses().to_vec())
        }
        _ => leads.addresses(answer, &outside.shunned),
    }
}

fn answer<'a>(leads: &Leads, answers: &'a Answers) -> Option<&'a Answer> {
    match &leads.to {
        Destination::Name(name) => answers.get(name).map(|answer| &**answer),
        Destination::Address(_) => None,
    }
}

/// The first name between a name and its addresses that is inside of a cluster or machine, and why.
fn alias_inside(answer: &Answer) -> Option<(&DnsName, &'static str)> {
    answer.aliases().iter().find_map(|alias| Some((alias, inside(alias)?)))
}

fn refused(key: &Key, message: &str) -> Broken {
    let message = format!("Service {key} is of type ExternalName, and {message}");
    Broken { short: "external name refused", reason: "RefNotPermitted", field: "name", message }
}

/// Why a name is one inside of a cluster or machine, if it is. Which domain a cluster has is not known, but the names of its
/// Services have `svc` in the third place, or at the end where a search domain is to follow.
fn inside(name: &DnsName) -> Option<&'static str> {
    let labels: Vec<&str> = name.as_str().split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    if last == "localhost" || name.as_str() == "localhost.localdomain" {
        return Some("is this machine itself");
    }
    if last == "svc" || labels.iter().skip(2).any(|label| *label == "svc") {
        return Some(
            "is a Service of a cluster: a route refers to that Service itself, with a ReferenceGrant where it is in another namespace",
        );
    }
    if name.as_str().ends_with(".cluster.local") || name.as_str() == "cluster.local" {
        return Some("is inside of a cluster");
    }
    (labels.len() == 1).then_some("is no whole name, and search domains are not tried")
}

/// A text of users', short enough for a sentence.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Which addresses are refused.
fn shunned(snapshot: &Snapshot, machine: &Machine, served: impl Iterator<Item = IpAddr>) -> Shunned {
    let interfaces = machine.interfaces.iter().flatten();
    let interfaces = interfaces.flat_map(|interface| interface.addresses.iter().map(|net| net.addr()));
    let nodes = snapshot.gateway_nodes.values().flat_map(|node| node.spec.addresses.iter().copied());
    let named = snapshot.vrrp_advertisements.values().flat_map(|adv| adv.spec.addresses.iter().copied());
    let services = snapshot.services.values().flat_map(|service| {
        let given = service.spec.given.iter().map(|given| given.ip);
        service.spec.cluster_ips.iter().copied().chain(given)
    });
    let slices = snapshot.endpoint_slices.iter().filter(|(key, slice)| {
        &*key.namespace == "default" && slice.spec.service.as_deref() == Some("kubernetes")
    });
    let prefixes = snapshot.route_imports.values().flat_map(|import| import.spec.prefixes.iter());
    let imported = prefixes.map(|prefix| prefix.cidr).filter(|net| net.prefix_len() >= POD_PREFIX_MIN);
    let pods = snapshot.nodes.values().flat_map(|node| node.spec.pod_cidrs.iter().copied());
    let ranges = snapshot.service_cidrs.values().flat_map(|cidr| cidr.spec.cidrs.iter().copied());
    Shunned {
        own: interfaces.chain(nodes).chain(named).chain(served.filter(|ip| !ip.is_unspecified())).collect(),
        api_servers: slices.flat_map(|(_, slice)| slice.spec.endpoints.iter().map(|e| e.address)).collect(),
        services: services.collect(),
        clusters: imported.chain(pods).chain(ranges).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names inside of clusters and machines are told from those outside, whichever domain the cluster has.
    #[test]
    fn names_inside() {
        for (name, is_inside) in [
            ("localhost", true),
            ("a.localhost", true),
            ("localhost.localdomain", true),
            ("web.bank.svc", true),
            ("web.bank.svc.cluster.local", true),
            ("0.web.bank.svc.k8s.corp.example", true),
            ("10-0-0-1.bank.pod.cluster.local", true),
            ("svc", true),
            ("db", true),
            ("svc.example", false),
            ("a.svc.example", false),
            ("db.example.com", false),
        ] {
            assert_eq!(inside(&DnsName::parse(name).unwrap()).is_some(), is_inside, "{name}");
        }
    }
}
