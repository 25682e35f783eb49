//! The core kinds: read as Kubernetes' own types, so that every real field is known, then reduced to what Tidegate
//! uses.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_objects::core::{
    ASSIGNED, Endpoint, EndpointPort, EndpointSlice, IpFamily, IpFamilyPolicy, Namespace, Node,
    POOL_ANNOTATIONS, Pod, Protocol, Service, ServiceAddress, ServicePort, ServiceType, SessionAffinity,
    TrafficDistribution, read_assigned,
};
use tidegate_objects::{Metadata, Object, Resource};

use crate::path::Path;
use crate::problem::Fault;
use crate::read::{self, shortened};

/// The label that says to which Service an EndpointSlice belongs.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// How many addresses of a Service's status are read.
const GIVEN_MAX: usize = 16;

/// Reads one part (`spec`, `status`) of an object; an absent part is its default.
fn part<T: DeserializeOwned + Default>(
    value: &Value,
    name: &str,
    unknown: &mut Vec<Fault>,
) -> Result<T, Fault> {
    match value.get(name) {
        Some(value) => read::read(value, &Path::default().key(name), unknown),
        None => Ok(T::default()),
    }
}

pub(crate) fn namespace(
    metadata: Metadata,
    value: &Value,
    unknown: &mut Vec<Fault>,
) -> Result<Object, Fault> {
    part::<k8s::NamespaceSpec>(value, "spec", unknown)?;
    Ok(Resource { metadata, spec: Namespace {} }.into())
}

pub(crate) fn node(mut metadata: Metadata, value: &Value, unknown: &mut Vec<Fault>) -> Result<Object, Fault> {
    let spec: k8s::NodeSpec = part(value, "spec", unknown)?;
    // As of a pod: what a newer Kubernetes reports in a status concerns nobody who wrote the file.
    let status: k8s::NodeStatus = part(value, "status", &mut Vec::new())?;
    let list = Path::parse("status.addresses");
    let listed = status.addresses.unwrap_or_default().into_iter().enumerate();
    let internal = listed.filter(|(_, address)| address.type_ == "InternalIP");
    let addresses = internal.map(|(index, found)| address(list.index(index).key("address"), &found.address));
    let addresses = addresses.collect::<Result<_, _>>()?;
    // Written by the cluster itself; one that cannot be read is as good as none.
    let pod_cidrs = spec.pod_cidrs.unwrap_or_default();
    let pod_cidrs = pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect();
    metadata.annotations.clear();
    Ok(Resource { metadata, spec: Node { addresses, pod_cidrs } }.into())
}

pub(crate) fn service(metadata: Metadata, value: &Value, unknown: &mut Vec<Fault>) -> Result<Object, Fault> {
    let spec: k8s::ServiceSpec = part(value, "spec", unknown)?;
    let service_type = match spec.type_.as_deref() {
        None | Some("ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => {
            let known = "`ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`";
            let message = format!("expected one of {known}, found `{}`", shortened(other));
            return Err(Fault::at("spec.type", message));
        }
    };
    let session_affinity = session_affinity(&spec)?;
    let traffic_distribution = spec.traffic_distribution.as_deref().map(traffic_distribution).transpose()?;
    let cluster_ips = cluster_ips(&spec);
    let (ip_families, ip_family_policy) = (ip_families(&spec)?, ip_family_policy(&spec)?);
    let local_traffic_only = match spec.external_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => false,
        Some("Local") => true,
        Some(other) => return Err(unlisted("spec.externalTrafficPolicy", "`Cluster`, `Local`", other)),
    };
    let own = Path::parse("spec.healthCheckNodePort");
    let health_check_node_port = optional_port(&own, spec.health_check_node_port)?;
    let given = given(&metadata, value);
    let list = Path::parse("spec.ports");
    let ports = spec.ports.unwrap_or_default().into_iter().enumerate().map(|(index, port)| {
        let path = list.index(index);
        Ok(ServicePort {
            name: port.name.unwrap_or_default(),
            port: port_number(&path, port.port)?,
            protocol: protocol(&path, port.protocol.as_deref())?,
            node_port: optional_port(&path.key("nodePort"), port.node_port)?,
            target_port: target_port(port.target_port.as_ref()),
            app_protocol: port.app_protocol,
        })
    });
    let ports = ports.collect::<Result<_, Fault>>()?;
    let spec = Service {
        service_type,
        ports,
        load_balancer_class: spec.load_balancer_class,
        session_affinity,
        traffic_distribution,
        external_name: spec.external_name.filter(|name| !name.is_empty()),
        selector: spec.selector.unwrap_or_default(),
        cluster_ips,
        ip_families,
        ip_family_policy,
        local_traffic_only,
        health_check_node_port,
        load_balancer_ip: spec.load_balancer_ip.filter(|address| !address.is_empty()),
        external_ips: spec.external_ips.unwrap_or_default(),
        source_ranges: spec.load_balancer_source_ranges.unwrap_or_default(),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        given,
    };
    Ok(Resource { metadata, spec }.into())
}

fn unlisted(field: &str, known: &str, found: &str) -> Fault {
    Fault::at(field, format!("expected one of {known}, found `{}`", shortened(found)))
}

/// What is no address (`None` of a headless Service) is left out.
fn cluster_ips(spec: &k8s::ServiceSpec) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.iter().flatten();
    let all = listed.chain(&spec.cluster_ip).filter_map(|text| text.parse().ok());
    all.fold(Vec::new(), |mut distinct, address: IpAddr| {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
        distinct
    })
}

fn ip_families(spec: &k8s::ServiceSpec) -> Result<Vec<IpFamily>, Fault> {
    let mut families = Vec::new();
    for text in spec.ip_families.iter().flatten() {
        let family = match text.as_str() {
            "IPv4" => IpFamily::IPv4,
            "IPv6" => IpFamily::IPv6,
            other => return Err(unlisted("spec.ipFamilies", "`IPv4`, `IPv6`", other)),
        };
        if !families.contains(&family) {
            families.push(family);
        }
    }
    Ok(families)
}

fn ip_family_policy(spec: &k8s::ServiceSpec) -> Result<IpFamilyPolicy, Fault> {
    match spec.ip_family_policy.as_deref() {
        None | Some("" | "SingleStack") => Ok(IpFamilyPolicy::SingleStack),
        Some("PreferDualStack") => Ok(IpFamilyPolicy::PreferDualStack),
        Some("RequireDualStack") => Ok(IpFamilyPolicy::RequireDualStack),
        Some(other) => {
            let known = "`SingleStack`, `PreferDualStack`, `RequireDualStack`";
            Err(unlisted("spec.ipFamilyPolicy", known, other))
        }
    }
}

/// The addresses in its status. What others wrote there is nobody's mistake: what cannot be read is passed over.
fn given(metadata: &Metadata, value: &Value) -> Vec<ServiceAddress> {
    let listed = value.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
    let is_ours = |condition: &&Value| condition.get("type").and_then(Value::as_str) == Some(ASSIGNED);
    let ours = conditions.into_iter().flatten().find(is_ours);
    let message = ours.and_then(|condition| condition.get("message")?.as_str()).unwrap_or_default();
    let annotation = POOL_ANNOTATIONS.iter().find_map(|name| metadata.annotations.get(*name));
    let address = |entry: &Value| {
        let ip = entry.get("ip")?.as_str()?.parse().ok()?;
        let pool = read_assigned(message, ip).or(annotation.map(String::as_str)).map(str::to_owned);
        Some(ServiceAddress { ip, pool })
    };
    listed.into_iter().flatten().filter_map(address).take(GIVEN_MAX).collect()
}

fn session_affinity(spec: &k8s::ServiceSpec) -> Result<SessionAffinity, Fault> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => Ok(SessionAffinity::None),
        Some("ClientIP") => {
            let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            let found = config.and_then(|client| client.timeout_seconds).unwrap_or(10_800);
            let timeout = u32::try_from(found).ok().filter(|secs| (1..=86_400).contains(secs));
            let timeout_secs = timeout.ok_or_else(|| {
                let message = format!("expected 1 to 86400 seconds, found the number `{found}`");
                Fault::at("spec.sessionAffinityConfig.clientIP.timeoutSeconds", message)
            })?;
            Ok(SessionAffinity::ClientIp { timeout_secs })
        }
        Some(other) => {
            let message = format!("expected one of `None`, `ClientIP`, found `{}`", shortened(other));
            Err(Fault::at("spec.sessionAffinity", message))
        }
    }
}

fn traffic_distribution(text: &str) -> Result<TrafficDistribution, Fault> {
    match text {
        "PreferSameZone" | "PreferClose" => Ok(TrafficDistribution::PreferSameZone),
        "PreferSameNode" => Ok(TrafficDistribution::PreferSameNode),
        other => {
            let known = "`PreferSameZone`, `PreferSameNode`, `PreferClose`";
            let message = format!("expected one of {known}, found `{}`", shortened(other));
            Err(Fault::at("spec.trafficDistribution", message))
        }
    }
}

pub(crate) fn pod(metadata: Metadata, value: &Value, unknown: &mut Vec<Fault>) -> Result<Object, Fault> {
    let spec: k8s::PodSpec = part(value, "spec", unknown)?;
    // What a newer Kubernetes reports in a status concerns nobody who wrote the file.
    let status: k8s::PodStatus = part(value, "status", &mut Vec::new())?;
    let listed = status.pod_ips.unwrap_or_default();
    let addresses = if listed.is_empty() {
        let single = status.pod_ip.filter(|ip| !ip.is_empty());
        single.map(|ip| address(Path::parse("status.podIP"), &ip)).into_iter().collect::<Result<_, _>>()?
    } else {
        let list = Path::parse("status.podIPs");
        let parsed =
            listed.iter().enumerate().map(|(index, pod)| address(list.index(index).key("ip"), &pod.ip));
        parsed.collect::<Result<_, _>>()?
    };
    let spec = Pod {
        node_name: spec.node_name.filter(|name| !name.is_empty()),
        addresses,
        host_network: spec.host_network.unwrap_or(false),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
    };
    Ok(Resource { metadata, spec }.into())
}

/// `value` is the whole object without `metadata`: an EndpointSlice has no spec.
pub(crate) fn endpoint_slice(
    metadata: Metadata,
    value: &Value,
    unknown: &mut Vec<Fault>,
) -> Result<Object, Fault> {
    let slice: discovery::EndpointSlice = read::read(value, &Path::default(), unknown)?;
    let family = match slice.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        "" => return Err(Fault::at("addressType", "`addressType` is missing; write `IPv4` or `IPv6`")),
        other => {
            let message = format!("expected one of `IPv4`, `IPv6`, found `{}`", shortened(other));
            return Err(Fault::at("addressType", message));
        }
    };
    let list = Path::parse("ports");
    let ports = slice.ports.unwrap_or_default().into_iter().enumerate().map(|(index, port)| {
        let path = list.index(index);
        Ok(EndpointPort {
            name: port.name.unwrap_or_default(),
            port: port.port.map(|port| port_number(&path, port)).transpose()?,
            protocol: protocol(&path, port.protocol.as_deref())?,
        })
    });
    let ports = ports.collect::<Result<_, Fault>>()?;
    let list = Path::parse("endpoints");
    let endpoints = slice.endpoints.unwrap_or_default().into_iter().enumerate();
    let endpoints = endpoints.map(|(index, found)| endpoint(list.index(index), family, found));
    let endpoints = endpoints.collect::<Result<_, _>>()?;
    let service = metadata.labels.get(SERVICE_NAME).filter(|name| !name.is_empty()).cloned();
    Ok(Resource { metadata, spec: EndpointSlice { service, ports, endpoints } }.into())
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    V4,
    V6,
}

/// An endpoint, with the defaults for conditions that are absent: ready; serving as it is ready; not terminating.
fn endpoint(path: Path, family: Family, found: discovery::Endpoint) -> Result<Endpoint, Fault> {
    let list = path.key("addresses");
    let Some(first) = found.addresses.first() else {
        return Err(Fault::new(list, "an endpoint has at least one address"));
    };
    let place = list.index(0);
    let parsed = address(place.clone(), first)?;
    if parsed.is_ipv4() != (family == Family::V4) {
        let wanted = if family == Family::V4 { "IPv4" } else { "IPv6" };
        let message = format!("the slice's addressType is `{wanted}`, but the address is `{parsed}`");
        return Err(Fault::new(place, message));
    }
    if let Some(what) = special(parsed) {
        let message = format!("`{parsed}` is {what}, which is no endpoint; an API server refuses it as well");
        return Err(Fault::new(place, message));
    }
    let conditions = found.conditions.unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let zones = found.hints.and_then(|hints| hints.for_zones).unwrap_or_default();
    Ok(Endpoint {
        address: parsed,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node_name: found.node_name,
        zone: found.zone.map(Arc::from),
        for_zones: zones.into_iter().map(|zone| Arc::from(zone.name)).collect(),
    })
}

/// What makes an address none of an endpoint, as in the validation of EndpointSlices. Loopback is one in a file: this
/// machine may be the endpoint.
pub(crate) fn special(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match address {
        address if address.is_unspecified() => Some("the unspecified address"),
        address if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        _ if is_link_local => Some("a link-local address"),
        _ => None,
    }
}

fn address(path: Path, text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::new(path, format!("expected an IP address such as `192.0.2.1`, found `{}`", shortened(text)))
    })
}

/// The port of an entry of a list of ports.
fn port_number(entry: &Path, port: i32) -> Result<u16, Fault> {
    one_port(&entry.key("port"), port)
}

/// A port that an API server writes as 0, or not at all, where there is none.
/// A name is the pods' affair, and so is a number that is none.
fn target_port(written: Option<&IntOrString>) -> Option<u16> {
    match written? {
        IntOrString::Int(number) => u16::try_from(*number).ok().filter(|port| *port > 0),
        IntOrString::String(_) => None,
    }
}

fn optional_port(path: &Path, port: Option<i32>) -> Result<Option<u16>, Fault> {
    port.filter(|port| *port != 0).map(|port| one_port(path, port)).transpose()
}

fn one_port(path: &Path, port: i32) -> Result<u16, Fault> {
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
        Fault::new(path.clone(), format!("expected a port from 1 to 65535, found the number `{port}`"))
    })
}

fn protocol(path: &Path, text: Option<&str>) -> Result<Protocol, Fault> {
    match text {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(Fault::new(
            path.key("protocol"),
            format!("expected one of `TCP`, `UDP`, `SCTP`, found `{}`", shortened(other)),
        )),
    }
}
