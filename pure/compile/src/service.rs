//! Services of type LoadBalancer: which are ours, and what each asks for.
//!
//! Ours is what names our class; what names none, where the bootstrap file or its annotation says so. What names
//! another class is never touched. Addresses are given in [`assign`](crate::assign), sockets opened in
//! [`service_door`](crate::service_door).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_ipam::{Family, Share, Tenancy};
use tidegate_model::Machine;
use tidegate_model::traffic::{EndpointMode, Transport};
use tidegate_objects::core::{
    IpFamily, IpFamilyPolicy, Protocol, Service, ServicePort, ServiceType, SessionAffinity,
};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::endpoint_mode::Modes;
use crate::place::{POOL_ANNOTATIONS, is_unicast};
use crate::pool::{Asker, Pools};
use crate::verdicts::Verdicts;
use crate::words::meant;

/// The `loadBalancerClass` that asks for us.
pub(crate) const CLASS: &str = "tidegate.dev/lb";

/// Takes one Service without a class in or out, whatever the bootstrap file says: `"true"` or `"false"`.
const SERVE: &str = "tidegate.dev/serve";

/// Annotations that ask for addresses by number, MetalLB's newer spelling first.
const ADDRESS_ANNOTATIONS: [&str; 2] = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];

/// Annotations with a sharing key.
const SHARE_ANNOTATIONS: [&str; 2] = ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];

/// `loadBalancerSourceRanges` as an annotation; the field comes first.
const RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Addresses that a Service may ask for by number.
const ASKED_MAX: usize = 16;

/// A Service that is ours.
pub(crate) struct OurService<'a> {
    pub resource: &'a Resource<Service>,
    /// It names our class; else another controller may write its status too.
    pub classed: bool,
    /// The ports that can be carried, and their places in the list.
    pub ports: Vec<(usize, Transport)>,
    pub wish: Wish,
    /// `externalIPs`.
    pub external: Vec<IpAddr>,
    /// The only clients that are let in; none: all.
    pub sources: Vec<IpNet>,
    /// Its addresses.
    pub places: Vec<ServicePlace>,
    /// What it had when it asked for nothing that can be read: nobody else gets that meanwhile.
    pub withheld: Vec<ServicePlace>,
    /// Its sockets: place of the port among `ports`.
    pub sockets: BTreeMap<(std::net::SocketAddr, Transport), usize>,
    /// Some endpoint could answer.
    pub audible: bool,
}

/// An address of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePlace {
    pub address: IpAddr,
    /// The pool it is from, which may have changed since; none: its user named it.
    pub pool: Option<Key>,
    /// One of `externalIPs`: not told as an address of ours.
    pub external: bool,
}

/// What a Service asks for.
pub(crate) struct Wish {
    /// It can be read; else nothing is given.
    pub sound: bool,
    pub families: Vec<Family>,
    pub one_will_do: bool,
    /// By number, and the field that says so.
    pub exact: Vec<IpAddr>,
    pub exact_field: String,
    /// Name of a pool.
    pub pool: Option<String>,
    pub tenancy: Tenancy,
}

/// Our Services, older first.
pub(crate) fn ours<'a>(
    snapshot: &'a Snapshot,
    machine: &Machine,
    modes: &Modes<'_>,
    verdicts: &mut Verdicts,
) -> Vec<OurService<'a>> {
    let mut services = Vec::new();
    for resource in snapshot.services.values() {
        if is_ours(resource, machine, verdicts) {
            services.push(Reader { resource, mode: modes.of(resource, None), verdicts }.read());
        }
    }
    services.sort_by_key(|service| service.resource.metadata.precedence());
    services
}

/// Its own labels, and those of its namespace.
pub(crate) fn asker<'a>(resource: &'a Resource<Service>, snapshot: &'a Snapshot) -> Asker<'a> {
    let key = resource.key();
    let namespace = snapshot.namespaces.get(&key.sibling("", &key.namespace));
    Asker {
        key,
        labels: &resource.metadata.labels,
        namespace_labels: namespace.map(|namespace| &namespace.metadata.labels),
    }
}

/// Addresses in the statuses of Services of type LoadBalancer that are another controller's.
pub(crate) fn foreign_addresses(snapshot: &Snapshot, ours: &[OurService<'_>]) -> BTreeSet<IpAddr> {
    let ours: BTreeSet<&Key> = ours.iter().map(|service| service.resource.key()).collect();
    let others = snapshot.services.iter().filter(|(key, service)| {
        service.spec.service_type == ServiceType::LoadBalancer && !ours.contains(key)
    });
    others.flat_map(|(_, service)| service.spec.given.iter().map(|given| given.ip)).collect()
}

fn is_ours(service: &Resource<Service>, machine: &Machine, verdicts: &mut Verdicts) -> bool {
    let field = || format!("metadata.annotations[{SERVE}]");
    let asked = match service.metadata.annotations.get(SERVE).map(String::as_str) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => {
            let message = format!("{other:?} is neither \"true\" nor \"false\", and counts for nothing");
            verdicts.part(Kind::Service, service.key(), "InvalidValue", field(), message);
            None
        }
        None => None,
    };
    let pointless = match (service.spec.service_type, service.spec.load_balancer_class.as_deref()) {
        (ServiceType::LoadBalancer, None) => return asked.unwrap_or(machine.default_load_balancer),
        (ServiceType::LoadBalancer, Some(class)) => format!("loadBalancerClass {class} decides"),
        _ => "the Service is not of type LoadBalancer".to_owned(),
    };
    if asked.is_some() {
        verdicts.warn(Kind::Service, service.key(), "NoEffect", field(), format!("{pointless}; remove it"));
    }
    service.spec.service_type == ServiceType::LoadBalancer
        && service.spec.load_balancer_class.as_deref() == Some(CLASS)
}

struct Reader<'a, 'v> {
    resource: &'a Resource<Service>,
    mode: EndpointMode,
    verdicts: &'v mut Verdicts,
}

impl<'a> Reader<'a, '_> {
    fn read(mut self) -> OurService<'a> {
        let spec = &self.resource.spec;
        let ports = self.ports();
        let mut wish = self.wish();
        let (sources, readable) = self.sources();
        if ports.is_empty() {
            let message =
                "no port can be carried, so it gets no address; it needs a TCP or UDP port".to_owned();
            self.whole("NothingToCarry", "spec.ports", message);
        }
        wish.sound &= readable && !ports.is_empty();
        self.note_policies();
        OurService {
            resource: self.resource,
            classed: spec.load_balancer_class.is_some(),
            ports,
            wish,
            external: self.external(),
            sources,
            places: Vec::new(),
            withheld: Vec::new(),
            sockets: BTreeMap::new(),
            audible: false,
        }
    }

    fn part(&mut self, reason: &'static str, field: &str, message: String) {
        self.verdicts.part(Kind::Service, self.resource.key(), reason, field, message);
    }

    fn whole(&mut self, reason: &'static str, field: &str, message: String) {
        self.verdicts.whole(Kind::Service, self.resource.key(), reason, field, message);
    }

    fn annotation(&self, names: &[&'static str]) -> Option<(String, &'a str)> {
        let annotations = &self.resource.metadata.annotations;
        let found = names.iter().find_map(|name| Some((name, annotations.get(*name)?)));
        let (name, value) = found.filter(|(_, value)| !value.trim().is_empty())?;
        Some((format!("metadata.annotations[{name}]"), value.trim()))
    }

    fn ports(&mut self) -> Vec<(usize, Transport)> {
        let mut carried = Vec::new();
        for (place, port) in self.resource.spec.ports.iter().enumerate() {
            match port.protocol {
                Protocol::Tcp => carried.push((place, Transport::Tcp)),
                Protocol::Udp => carried.push((place, Transport::Udp)),
                Protocol::Sctp => {
                    let message = format!("SCTP port {} is not carried by this version", port.port);
                    self.part("UnsupportedValue", &format!("spec.ports[{place}].protocol"), message);
                }
            }
        }
        carried
    }

    fn wish(&mut self) -> Wish {
        let spec = &self.resource.spec;
        let (families, one_will_do) = families(spec);
        let share = self.annotation(&SHARE_ANNOTATIONS).map(|(_, key)| Share {
            key: key.to_owned(),
            // Where traffic is to stay on the node it came to, only Services with the same pods may share.
            leads_to: if spec.local_traffic_only { selector(spec) } else { String::new() },
        });
        let tenancy = Tenancy { share, ports: spec.ports.iter().map(protocol_and_port).collect() };
        let mut wish = Wish {
            sound: true,
            families,
            one_will_do,
            exact: Vec::new(),
            exact_field: String::new(),
            pool: self.annotation(&POOL_ANNOTATIONS).map(|(_, name)| name.to_owned()),
            tenancy,
        };
        self.exact(&mut wish);
        wish
    }

    fn exact(&mut self, wish: &mut Wish) {
        let field = self.resource.spec.load_balancer_ip.as_deref();
        let written = match (self.annotation(&ADDRESS_ANNOTATIONS), field) {
            (Some((name, text)), other) => {
                if other.is_some_and(|other| other != text) {
                    let message = format!("{name} counts; remove one of them");
                    let key = self.resource.key();
                    self.verdicts.warn(Kind::Service, key, "NoEffect", "spec.loadBalancerIP", message);
                }
                (name, text)
            }
            (None, Some(text)) => ("spec.loadBalancerIP".to_owned(), text),
            (None, None) => return,
        };
        for text in written.1.split(',').map(str::trim).take(ASKED_MAX) {
            match text.parse::<IpAddr>() {
                Ok(address) if !wish.families.contains(&Family::of(address)) => {
                    let family = Family::of(address);
                    let message = format!(
                        "{address} is an {family} address, and the Service is of other families; correct it, or set spec.ipFamilies"
                    );
                    self.whole("InvalidAddress", &written.0, message);
                    wish.sound = false;
                }
                Ok(address) if wish.exact.contains(&address) => {}
                Ok(address) => wish.exact.push(address),
                Err(_) => {
                    let message = format!("{text:?} is no IP address; write one such as 10.0.50.10");
                    self.whole("InvalidAddress", &written.0, message);
                    wish.sound = false;
                }
            }
        }
        let families: BTreeSet<Family> = wish.exact.iter().map(|address| Family::of(*address)).collect();
        if families.len() < wish.exact.len() {
            let message = "a Service has one address of each family; name one of each".to_owned();
            self.whole("InvalidAddress", &written.0, message);
            wish.sound = false;
        }
        wish.exact_field = written.0;
    }

    /// The ranges of clients; whether all of them could be read. One that cannot would let in whom it should not.
    fn sources(&mut self) -> (Vec<IpNet>, bool) {
        let spec = &self.resource.spec;
        let annotation = self.annotation(&[RANGES_ANNOTATION]);
        let written: Vec<(String, &str)> = match annotation {
            Some((name, text)) if spec.source_ranges.is_empty() => {
                text.split(',').map(|each| (name.clone(), each)).collect()
            }
            _ => {
                let fields = spec.source_ranges.iter().enumerate();
                fields
                    .map(|(at, text)| (format!("spec.loadBalancerSourceRanges[{at}]"), text.as_str()))
                    .collect()
            }
        };
        let (mut ranges, mut readable) = (Vec::new(), true);
        for (field, text) in written {
            match text.trim().parse::<IpNet>() {
                Ok(range) => ranges.push(range.trunc()),
                Err(_) => {
                    let message = format!(
                        "{text:?} is no range of addresses such as 192.0.2.0/24; nobody is served until it is corrected"
                    );
                    self.whole("InvalidValue", &field, message);
                    readable = false;
                }
            }
        }
        (ranges, readable)
    }

    fn external(&mut self) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for (at, text) in self.resource.spec.external_ips.iter().enumerate() {
            let field = format!("spec.externalIPs[{at}]");
            match text.parse::<IpAddr>() {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) if is_one_machines(address) => addresses.push(address),
                Ok(address) => {
                    let message = format!("{address} is no address that could be brought here; remove it");
                    self.part("InvalidAddress", &field, message);
                }
                Err(_) => {
                    let message = format!("{text:?} is no IP address; write one such as 192.0.2.10");
                    self.part("InvalidAddress", &field, message);
                }
            }
        }
        addresses.truncate(ASKED_MAX);
        addresses
    }

    /// What is served otherwise than somebody may think.
    fn note_policies(&mut self) {
        let key = self.resource.key();
        let by_node_port = self.mode == EndpointMode::NodePort;
        for (place, _) in
            self.resource.spec.ports.iter().enumerate().filter(|(_, port)| {
                by_node_port && port.node_port.is_none() && port.protocol != Protocol::Sctp
            })
        {
            let message = "its pods are to be reached by NodePorts and this port has none, so nobody answers there; leave allocateLoadBalancerNodePorts out, or annotate the Service with tidegate.dev/endpoint-mode: Pod where pods can be reached directly".to_owned();
            let field = format!("spec.ports[{place}].nodePort");
            self.verdicts.part(Kind::Service, key, "UnsupportedValue", field, message);
        }
        if self.resource.spec.local_traffic_only && !by_node_port {
            let message = "a gateway reaches pods on every node, so traffic is not kept to one; pods see the gateway's address, unless a BackendTrafficPolicy says sourceAddress: Client".to_owned();
            self.verdicts.warn(Kind::Service, key, "NoEffect", "spec.externalTrafficPolicy", message);
        }
        if let SessionAffinity::ClientIp { timeout_secs } = self.resource.spec.session_affinity
            && timeout_secs != SESSION_AFFINITY_SECS
        {
            let message = format!(
                "a client address keeps its endpoint for as long as that is ready, not for {timeout_secs} s"
            );
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            self.verdicts.warn(Kind::Service, key, "NoEffect", field, message);
        }
    }
}

/// Kubernetes' default of `timeoutSeconds`.
const SESSION_AFFINITY_SECS: u32 = 10_800;

/// The pool that is asked for by name; says so if there is none.
pub(crate) fn named_pool(
    service: &OurService<'_>,
    pools: &Pools<'_>,
    verdicts: &mut Verdicts,
) -> Option<usize> {
    let (name, key) = (service.wish.pool.as_deref()?, service.resource.key());
    let is_meant = |place: &usize| {
        pools.get(*place).is_some_and(|pool| {
            pool.resource.key().source == key.source && *pool.resource.key().name == *name
        })
    };
    let found = pools.places(|_| true).into_iter().find(is_meant);
    if found.is_none() {
        let names = pools.iter().map(|pool| &*pool.resource.key().name);
        let message = format!(
            "no usable IPAddressPool is named {name:?}{}; create it, or correct the annotation",
            meant(name, names)
        );
        let field = format!("metadata.annotations[{}]", POOL_ANNOTATIONS[0]);
        verdicts.part(Kind::Service, key, "PoolNotFound", field, message);
    }
    found
}

/// The families wanted, the more wanted first, and whether one of them will do.
fn families(spec: &Service) -> (Vec<Family>, bool) {
    let family = |family: &IpFamily| match family {
        IpFamily::IPv4 => Family::V4,
        IpFamily::IPv6 => Family::V6,
    };
    let mut families: Vec<Family> = spec.ip_families.iter().map(family).collect();
    if families.is_empty() {
        families = spec.cluster_ips.first().map(|address| Family::of(*address)).into_iter().collect();
    }
    if families.is_empty() {
        families.push(Family::V4);
    }
    match spec.ip_family_policy {
        IpFamilyPolicy::SingleStack => families.truncate(1),
        // An API server that filled in one family has no other.
        IpFamilyPolicy::PreferDualStack if spec.ip_families.len() == 1 => {}
        IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack => {
            let missing = [Family::V4, Family::V6].into_iter().find(|family| !families.contains(family));
            families.extend(missing);
        }
    }
    (families, spec.ip_family_policy == IpFamilyPolicy::PreferDualStack)
}

fn selector(spec: &Service) -> String {
    let each = spec.selector.iter().map(|(name, value)| format!("{name}={value}"));
    each.collect::<Vec<_>>().join(",")
}

/// IANA's number of the protocol, and the port.
fn protocol_and_port(port: &ServicePort) -> (u8, u16) {
    let protocol = match port.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    (protocol, port.port)
}

/// Whether a user may have traffic for it brought to a gateway, as the API server sees it (`externalIPs`).
fn is_one_machines(address: IpAddr) -> bool {
    let is_link_local = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_unicast(address)
        && !address.is_unspecified()
        && !address.to_canonical().is_loopback()
        && !is_link_local
}
