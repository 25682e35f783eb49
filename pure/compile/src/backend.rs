//! Backends: Services that routes point to, what is spoken to them, and the endpoints behind a Service's port.

mod imported;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::traffic::{
    Backend, BackendId, BackendKind, BackendPolicy, BackendProtocol, BackendTls, Balancing, Certificate,
    EndpointCell, EndpointMode, HashKey, HealthCheck, Outside, Probe, ResponsePolicy, Retry, Roots, Target,
    Transport, Unions, ZoneAware,
};
use tidegate_objects::core::{EndpointSlice, Protocol, Service, ServicePort, SessionAffinity};
use tidegate_objects::route::BackendObjectRef;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::backend_policy::retry::BUDGET_MIN_PER_SEC;
use crate::backend_policy::{Policies, Through};
use crate::backend_tls::BackendTlsPolicies;
use crate::cluster_service;
use crate::endpoint_mode::Modes;
use crate::endpoints::Reached;
use crate::filter::Extensions;
use crate::gateway::OurGateway;
use crate::grants::{self, Grants};
use crate::import::Exports;
use crate::outside::{self, Outsiders, served_port};
use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// EndpointSlices by Service.
pub(crate) type SlicesOf<'a> = BTreeMap<Key, Vec<&'a Resource<EndpointSlice>>>;

/// Makes backends. The cells of the previous Model are used again, so that live routes share them.
pub(crate) struct Backends<'a> {
    snapshot: &'a Snapshot,
    grants: Grants<'a>,
    slices: SlicesOf<'a>,
    tls: BackendTlsPolicies,
    policies: Policies,
    extensions: Extensions,
    modes: &'a Modes<'a>,
    outsiders: Outsiders<'a>,
    previous: &'a BTreeMap<BackendId, Arc<EndpointCell>>,
    cells: BTreeMap<BackendId, Arc<EndpointCell>>,
    exports: Exports<'a>,
    unions: Unions,
    made: BTreeMap<BackendId, Vec<Arc<Backend>>>,
    /// Which Gateways lead to which Services.
    led_to: BTreeMap<Key, BTreeSet<Key>>,
}

/// The route that refers, and which of its rules.
#[derive(Clone, Copy)]
pub(crate) struct From<'r> {
    /// HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute or Ingress.
    pub kind: Kind,
    pub key: &'r Key,
    /// The rule's name, if it has one.
    pub rule: Option<&'r str>,
}

/// The Gateway that traffic comes through. A route that hangs under several is built for each: what goes to its
/// backends may differ.
#[derive(Clone)]
pub(crate) struct Context<'c> {
    /// It, and the listener where a policy is for it alone.
    pub through: Through<'c>,
    /// What this Gateway shows to backends (`spec.tls.backend`).
    pub certificate: Option<Arc<Certificate>>,
    /// Whether what is carried is TLS already, so that none is added (TLSRoute, passed through).
    pub passthrough: bool,
    /// What an Ingress says is spoken to its backends, whatever the Service says.
    pub spoken: Option<Spoken>,
}

/// What is spoken to backends.
#[derive(Clone, Copy)]
pub(crate) struct Spoken {
    pub protocol: BackendProtocol,
    /// With TLS: as a BackendTLSPolicy says, or where none does with whoever is there.
    pub tls: bool,
}

/// A reference that cannot be followed.
pub(crate) struct Broken {
    /// For the access log and `explain`.
    pub short: &'static str,
    /// Gateway API's reason for `ResolvedRefs: False`.
    pub reason: &'static str,
    /// Below the reference; empty for all of it.
    pub field: &'static str,
    pub message: String,
}

impl<'a> Backends<'a> {
    pub fn new(
        snapshot: &'a Snapshot,
        modes: &'a Modes<'a>,
        outsiders: Outsiders<'a>,
        previous: &'a BTreeMap<BackendId, Arc<EndpointCell>>,
        verdicts: &mut Verdicts,
    ) -> Self {
        grants::note_mistakes(snapshot, verdicts);
        let grants = Grants::new(snapshot);
        cluster_service::note_mistakes(snapshot, modes.machine(), &grants, verdicts);
        Backends {
            snapshot,
            grants,
            exports: Exports::new(snapshot, modes, verdicts),
            unions: Unions::default(),
            slices: slices_of(snapshot),
            tls: BackendTlsPolicies::new(snapshot, verdicts),
            policies: Policies::new(snapshot, verdicts),
            extensions: Extensions::new(snapshot, verdicts),
            modes,
            outsiders,
            previous,
            cells: BTreeMap::new(),
            made: BTreeMap::new(),
            led_to: BTreeMap::new(),
        }
    }

    /// Which Gateways lead to which Services.
    pub fn take_led_to(&mut self) -> BTreeMap<Key, BTreeSet<Key>> {
        std::mem::take(&mut self.led_to)
    }

    /// Which of the backends that were made are several as one.
    pub fn take_unions(&mut self) -> Unions {
        std::mem::take(&mut self.unions)
    }

    /// The cells of every backend that was made, and the Services outside among them; says of policies and filters that
    /// nothing leads to them.
    pub fn finish(self, verdicts: &mut Verdicts) -> (BTreeMap<BackendId, Arc<EndpointCell>>, Outside) {
        self.note_affinity(verdicts);
        self.tls.note_unused(verdicts);
        self.policies.note_unused(self.snapshot, verdicts);
        self.extensions.note_unused(verdicts);
        (self.cells, self.outsiders.finish(verdicts))
    }

    /// Services that ask for the same endpoint for the same client, and have no policy that sees to it.
    fn note_affinity(&self, verdicts: &mut Verdicts) {
        let sees_to_it =
            |backend: &Arc<Backend>| matches!(backend.policy.balancing, Balancing::ConsistentHash { .. });
        let services = self.made.iter().filter(|(id, _)| id.kind == BackendKind::Service);
        let careless = services.filter(|(_, made)| !made.iter().all(sees_to_it));
        let services: BTreeSet<&Key> = careless.map(|(id, _)| &id.service).collect();
        for key in services {
            let service = self.snapshot.services.get(key);
            if service.is_some_and(|service| service.spec.session_affinity != SessionAffinity::None) {
                let message = "routes choose its endpoints without regard to it; attach a BackendTrafficPolicy with loadBalancer: {type: ConsistentHash, consistentHash: {type: SourceIP}}, or give the rules a sessionPersistence";
                verdicts.warn(Kind::Service, key, "NoEffect", "spec.sessionAffinity", message.to_owned());
            }
        }
    }

    /// What an `ExtensionRef` may name.
    pub fn extensions(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Follows a reference. A target that is broken without a mistake in the route (the Service's BackendTLSPolicy is
    /// invalid) is no error here: the policy has the verdict.
    pub fn resolve(
        &mut self,
        from: &From<'_>,
        to: &BackendObjectRef,
        transport: Transport,
        context: &Context<'_>,
    ) -> Result<Target, Broken> {
        if names(to, Kind::ServiceImport) {
            return self.imported(from, to, transport, context);
        }
        let Some((key, service)) = self.service(from, to)? else {
            return Ok(Target::Broken("source is not looked at"));
        };
        // A status that names a Gateway means one of its own cluster.
        if from.kind != Kind::Ingress && key.source == context.through.gateway.source {
            self.led_to.entry(key.clone()).or_default().insert(context.through.gateway.clone());
        }
        let port = &*port(&key, service, to.port, from, transport)?;
        if outside::of(&service.spec) {
            self.outsiders.follow(service)?;
        }
        let tls = match self.tls(&key, port, transport, context) {
            Some(Ok(tls)) => Some(tls),
            Some(Err(short)) => return Ok(Target::Broken(short)),
            None => None,
        };
        let (protocol, tls) = match context.spoken {
            Some(Spoken { protocol, tls: wanted }) => {
                let unverified = || wanted.then(|| Arc::new(unverified(service)));
                (protocol, tls.or_else(unverified))
            }
            None => (protocol(from, &key, port, tls.is_some())?, tls),
        };
        let mode = self.mode(service, port, context)?;
        let policy = of_nodes(self.policy(from, &key, &service.spec, port, context), &service.spec, mode);
        let id = BackendId::of_service(key, port.port, transport, mode);
        let endpoints = self.cell(&id, service, port);
        Ok(Target::Backend(self.shared(Backend { id, protocol, tls, policy, endpoints })))
    }

    /// A port of a Service as the Service's own addresses lead to it: connections and datagrams, passed on as they are.
    pub fn direct(
        &mut self,
        service: &Resource<Service>,
        port: &ServicePort,
        transport: Transport,
    ) -> Arc<Backend> {
        let key = service.key();
        let kind = if transport == Transport::Udp { Kind::UDPRoute } else { Kind::TCPRoute };
        let policy = self.policies.direct(kind, key, &port.name);
        let mode = self.modes.of(service, None);
        let policy = with_affinity(in_zone(policy, &service.spec), &service.spec);
        let policy = of_nodes(policy, &service.spec, mode);
        let id = BackendId::of_service(key.clone(), port.port, transport, mode);
        let endpoints = self.cell(&id, service, port);
        self.shared(Backend { id, protocol: BackendProtocol::default(), tls: None, policy, endpoints })
    }

    /// The same target, with other settings of its backend.
    pub fn adapted(&mut self, target: Target, change: impl FnOnce(&mut BackendPolicy)) -> Target {
        let Target::Backend(backend) = target else { return target };
        let mut policy = (*backend.policy).clone();
        change(&mut policy);
        if policy == *backend.policy {
            return Target::Backend(backend);
        }
        Target::Backend(self.shared(Backend { policy: Arc::new(policy), ..(*backend).clone() }))
    }

    /// The TCP port of a Service with this name; none where there is no such Service.
    pub fn port_named(&self, key: &Key, name: &str) -> Result<Option<u16>, String> {
        let Some(service) = self.snapshot.services.get(key) else { return Ok(None) };
        let tcp = || service.spec.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        match tcp().find(|port| port.name == name) {
            Some(port) => Ok(Some(port.port)),
            None => {
                let names = tcp().map(|port| port.name.as_str()).filter(|name| !name.is_empty());
                Err(format!("Service {key} has no TCP port named {name:?}{}", meant(name, names)))
            }
        }
    }

    /// What becomes of responses: of those of a target, or without one of the gateway's own before a backend is chosen.
    pub fn responses(
        &mut self,
        from: &From<'_>,
        target: Option<&Target>,
        context: &Context<'_>,
    ) -> Arc<ResponsePolicy> {
        let port = match target {
            Some(Target::Backend(backend)) => {
                // Of several as one, as for the first of them.
                let id = self.unions.parts(&backend.id).map_or(Some(&backend.id), <[BackendId]>::first);
                id.and_then(|id| {
                    let service = self.snapshot.services.get(&id.service)?;
                    let port = served_port(&service.spec, id.port, id.transport)?;
                    Some((&id.service, port))
                })
            }
            _ => None,
        };
        let port = port.as_ref().map(|(service, port)| (*service, port.name.as_str()));
        self.policies.responses(from, port, context.through)
    }

    /// What becomes of a listener's own answers where no rule holds.
    pub fn responses_of_listener(&mut self, through: Through<'_>) -> Arc<ResponsePolicy> {
        self.policies.responses_of_listener(through)
    }

    /// What traffic of a listener comes through. Those that come through the same are served alike.
    pub fn through<'g>(&self, gateway: &'g OurGateway<'_>, listener: usize) -> Through<'g> {
        let key = gateway.resource.key();
        let listener = gateway.listeners.get(listener).filter(|listener| listener.owner.0 == Kind::Gateway);
        let section = listener.and_then(|listener| self.policies.section(key, &listener.spec.name));
        Through { gateway: key, listener: section }
    }

    /// The Service that is meant; none where it is of a source that is not looked at.
    #[allow(clippy::type_complexity)]
    fn service(
        &self,
        from: &From<'_>,
        to: &BackendObjectRef,
    ) -> Result<Option<(Key, &'a Resource<Service>)>, Broken> {
        if names(to, Kind::ClusterService) {
            return self.elsewhere(from, to);
        }
        if !names(to, Kind::Service) {
            let message = format!(
                "{} of group {:?} is no backend in this version; a backend is a Service",
                to.kind.as_deref().unwrap_or("Service"),
                to.group.as_deref().unwrap_or_default()
            );
            let (short, reason) = ("backend is not a Service", "InvalidKind");
            return Err(Broken { short, reason, field: "kind", message });
        }
        let key = self.permitted(from, to, Kind::Service)?;
        match self.snapshot.services.get(&key) {
            Some(service) => Ok(Some((key, service))),
            None => {
                let names = self.snapshot.services.range(key.sibling(&key.namespace, "")..);
                Err(missing(Kind::Service, &key, names.map(|(key, _)| key)))
            }
        }
    }

    /// What a reference names, if it may: it is in the same namespace, or a ReferenceGrant in the other allows it.
    fn permitted(&self, from: &From<'_>, to: &BackendObjectRef, kind: Kind) -> Result<Key, Broken> {
        let key = from.key.sibling(to.namespace.as_deref().unwrap_or(&from.key.namespace), &to.name);
        if self.grants.allow((from.kind, from.key), (kind, &key)) {
            return Ok(key);
        }
        let group = match kind.group() {
            "" => String::new(),
            group => format!(" (group {group})"),
        };
        let message = format!(
            "{kind} {key} is in another namespace and no ReferenceGrant there allows this; add one in namespace {} from {} in namespace {} to {kind}{group}",
            key.namespace, from.kind, from.key.namespace
        );
        let (short, reason) = ("reference not permitted", "RefNotPermitted");
        Err(Broken { short, reason, field: "namespace", message })
    }

    /// The Service of another source that a ClusterService stands for.
    #[allow(clippy::type_complexity)]
    fn elsewhere(
        &self,
        from: &From<'_>,
        to: &BackendObjectRef,
    ) -> Result<Option<(Key, &'a Resource<Service>)>, Broken> {
        let key = self.permitted(from, to, Kind::ClusterService)?;
        let Some(object) = self.snapshot.cluster_services.get(&key) else {
            let names = self.snapshot.cluster_services.range(key.sibling(&key.namespace, "")..);
            return Err(missing(Kind::ClusterService, &key, names.map(|(key, _)| key)));
        };
        match cluster_service::service(self.snapshot, self.modes.machine(), &self.grants, object) {
            Ok(found) => Ok(Some(found)),
            Err(lost) if lost.unseen => Ok(None),
            Err(lost) => {
                let message = format!("ClusterService {key}: {}: {}", lost.field, lost.message);
                let short = match lost.reason {
                    "RefNotPermitted" => "reference not permitted",
                    _ => "backend not found",
                };
                Err(Broken { short, reason: lost.reason, field: "name", message })
            }
        }
    }

    /// TLS towards a port: none without a policy, an error where the policy cannot be followed.
    fn tls(
        &mut self,
        service: &Key,
        port: &ServicePort,
        transport: Transport,
        context: &Context<'_>,
    ) -> Option<Result<Arc<BackendTls>, &'static str>> {
        if context.passthrough || transport == Transport::Udp {
            return None;
        }
        let tls = match self.tls.of(service, &port.name)? {
            Ok(tls) => tls,
            Err(short) => return Some(Err(short)),
        };
        let shown = |certificate: &Arc<Certificate>| {
            Arc::new(BackendTls { certificate: Some(Arc::clone(certificate)), ..(*tls).clone() })
        };
        Some(Ok(context.certificate.as_ref().map_or_else(|| Arc::clone(&tls), shown)))
    }

    /// The policy that holds; where it leaves zones open, what the Service itself asks for.
    fn policy(
        &mut self,
        from: &From<'_>,
        key: &Key,
        service: &Service,
        port: &ServicePort,
        context: &Context<'_>,
    ) -> Arc<BackendPolicy> {
        in_zone(self.policies.of(from, Some((key, &port.name)), context.through), service)
    }

    /// How a port is reached; an error where it is to be by a NodePort that it has not.
    fn mode(
        &self,
        service: &Resource<Service>,
        port: &ServicePort,
        context: &Context<'_>,
    ) -> Result<EndpointMode, Broken> {
        if outside::of(&service.spec) {
            return Ok(EndpointMode::Pod);
        }
        let mode = self.modes.of(service, Some(context.through.gateway));
        if mode == EndpointMode::NodePort && port.node_port.is_none() {
            let message = format!(
                "port {} of Service {} has no nodePort, and its pods are to be reached by it; make the Service one of type NodePort, or annotate it with tidegate.dev/endpoint-mode: Pod where pods can be reached directly",
                port.port,
                service.key()
            );
            let (short, reason) = ("backend has no NodePort", "UnsupportedValue");
            return Err(Broken { short, reason, field: "port", message });
        }
        Ok(mode)
    }

    fn cell(&mut self, id: &BackendId, service: &Resource<Service>, port: &ServicePort) -> Arc<EndpointCell> {
        let entry = match self.cells.entry(id.clone()) {
            btree_map::Entry::Occupied(cell) => return Arc::clone(cell.get()),
            btree_map::Entry::Vacant(entry) => entry,
        };
        let endpoints = if outside::of(&service.spec) {
            self.outsiders.endpoints(&id.service, port)
        } else {
            let slices = self.slices.get(&id.service).map_or(&[][..], Vec::as_slice);
            let reached = Reached { service, port, mode: id.mode, nodes: &self.snapshot.nodes };
            reached.endpoints(slices.iter().map(|slice| &slice.spec))
        };
        let cell = match self.previous.get(id) {
            Some(cell) => {
                cell.store(endpoints);
                Arc::clone(cell)
            }
            None => Arc::new(EndpointCell::new(endpoints)),
        };
        Arc::clone(entry.insert(cell))
    }

    /// One for all who use the same port with the same settings.
    fn shared(&mut self, backend: Backend) -> Arc<Backend> {
        let made = self.made.entry(backend.id.clone()).or_default();
        if let Some(known) = made.iter().find(|known| ***known == backend) {
            return Arc::clone(known);
        }
        let backend = Arc::new(backend);
        made.push(Arc::clone(&backend));
        backend
    }
}

/// Whether a reference names an object of this kind.
fn names(to: &BackendObjectRef, kind: Kind) -> bool {
    to.kind.as_deref().unwrap_or("Service") == kind.name()
        && to.group.as_deref().unwrap_or_default() == kind.group()
}

/// What is named is not there; `names` are those that come after it, of which some may have been meant.
fn missing<'k>(kind: Kind, key: &Key, names: impl Iterator<Item = &'k Key>) -> Broken {
    let near = names.take_while(|other| other.source == key.source && other.namespace == key.namespace);
    let message = format!(
        "{kind} {key} does not exist; create it or correct the name{}",
        meant(&key.name, near.map(|other| &*other.name))
    );
    Broken { short: "backend not found", reason: "BackendNotFound", field: "name", message }
}

/// The policy, with what the Service itself asks for where that leaves zones open.
fn in_zone(policy: Arc<BackendPolicy>, service: &Service) -> Arc<BackendPolicy> {
    match service.traffic_distribution {
        // A gateway runs on no node of the pods', so "the same node" comes down to the same zone.
        Some(_) if policy.zone_aware.is_none() => {
            let zone_aware = Some(ZoneAware { endpoints_min: 0, force_min: Some(1) });
            Arc::new(BackendPolicy { zone_aware, ..(*policy).clone() })
        }
        _ => policy,
    }
}

/// The policy, with `sessionAffinity` where that leaves open how an endpoint is chosen: the same for the same address.
fn with_affinity(policy: Arc<BackendPolicy>, service: &Service) -> Arc<BackendPolicy> {
    match (service.session_affinity, &policy.balancing) {
        (SessionAffinity::ClientIp { .. }, Balancing::RoundRobin) => {
            let balancing =
                Balancing::ConsistentHash { key: HashKey::SourceIp, table_size: AFFINITY_TABLE_SIZE };
            Arc::new(BackendPolicy { balancing, ..(*policy).clone() })
        }
        _ => policy,
    }
}

/// The policy, with what nodes need where it says nothing: the question to each whether it has pods, and repeats over some
/// seconds. kube-proxy learns later than we do that a pod is gone, and the next connection leads to another.
fn of_nodes(policy: Arc<BackendPolicy>, service: &Service, mode: EndpointMode) -> Arc<BackendPolicy> {
    if mode == EndpointMode::Pod {
        return policy;
    }
    let port = service.health_check_node_port.filter(|_| service.local_traffic_only);
    let asked = || Some(HealthCheck { probe: Probe::Node { port: port? }, ..NODE_CHECK });
    let health_check = policy.health_check.clone().or_else(asked);
    let retry = policy.retry.clone().or(Some(NODE_REPEATS));
    Arc::new(BackendPolicy { health_check, retry, ..(*policy).clone() })
}

/// What is repeated where the next connection to a node may lead to another pod: only what certainly does no harm.
const NODE_REPEATS: Retry = Retry {
    codes: BTreeSet::new(),
    grpc_codes: BTreeSet::new(),
    attempts: 5,
    connection_errors: true,
    timeouts: false,
    backoff: Duration::from_millis(50),
    backoff_max: Duration::from_secs(1),
    attempt_timeout: None,
    budget_percent: None,
    budget_min_per_sec: BUDGET_MIN_PER_SEC,
};

/// How nodes are asked. What a node says follows its pods within a second, and EndpointSlices tell the same a little sooner.
const NODE_CHECK: HealthCheck = HealthCheck {
    probe: Probe::Node { port: 0 },
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(1),
    unhealthy_after: 2,
    healthy_after: 1,
};

/// Slots of the table of a Service's `sessionAffinity`; as without a size in a BackendTrafficPolicy.
const AFFINITY_TABLE_SIZE: u32 = 65_537;

fn port<'s>(
    key: &Key,
    service: &'s Resource<Service>,
    asked: Option<u16>,
    from: &From<'_>,
    transport: Transport,
) -> Result<Cow<'s, ServicePort>, Broken> {
    let broken = |short, reason, field, message| Err(Broken { short, reason, field, message });
    let ports = || list(service.spec.ports.iter().map(|port| port.port));
    let Some(asked) = asked else {
        let message = format!("a reference to a Service needs a port; Service {key} has {}", ports());
        return broken("backend port missing", "BackendNotFound", "port", message);
    };
    served_port(&service.spec, asked, transport).map_or_else(
        || {
            let word = match transport {
                Transport::Tcp => "TCP",
                Transport::Udp => "UDP",
            };
            let message = match service.spec.ports.iter().find(|port| port.port == asked) {
                Some(_) => {
                    let vowel = matches!(from.kind, Kind::HTTPRoute | Kind::Ingress);
                    let article = if vowel { "an" } else { "a" };
                    format!(
                        "port {asked} of Service {key} is not {word}; {article} {} needs a {word} port",
                        from.kind
                    )
                }
                None => format!("Service {key} has no port {asked}; it has {}", ports()),
            };
            broken("backend port not found", "BackendNotFound", "port", message)
        },
        Ok,
    )
}

/// What is spoken to a port, by who asks and by its `appProtocol` (KEP-3726). For other routes than HTTPRoute and
/// GRPCRoute it is their clients' affair.
fn protocol(
    from: &From<'_>,
    service: &Key,
    port: &ServicePort,
    tls: bool,
) -> Result<BackendProtocol, Broken> {
    let grpc = from.kind == Kind::GRPCRoute;
    if !matches!(from.kind, Kind::HTTPRoute | Kind::Ingress) && !grpc {
        return Ok(BackendProtocol::default());
    }
    let usual = if grpc { BackendProtocol::Http2 } else { BackendProtocol::Http1 };
    let unserved = |why: &str| {
        let written = port.app_protocol.as_deref().unwrap_or_default();
        let message = format!("port {} of Service {service} has appProtocol {written}; {why}", port.port);
        let (short, reason) = ("backend protocol is not served", "UnsupportedProtocol");
        Err(Broken { short, reason, field: "port", message })
    };
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "http2" | "grpc") => Ok(BackendProtocol::Http2),
        Some("kubernetes.io/ws" | "kubernetes.io/wss") if grpc => unserved("no gRPC passes over a WebSocket"),
        Some("https" | "kubernetes.io/wss") if !tls => unserved(match from.kind {
            Kind::Ingress => {
                "add a BackendTLSPolicy for it, which says what its certificate must be, or the annotation backend-protocol"
            }
            _ => "add a BackendTLSPolicy for it, which says what its certificate must be",
        }),
        Some("kubernetes.io/ws" | "kubernetes.io/wss") => Ok(BackendProtocol::Http1),
        _ => Ok(usual),
    }
}

/// TLS with whoever is there, by the name that the Service stands for, or has in its cluster.
fn unverified(service: &Resource<Service>) -> BackendTls {
    let outside = service.spec.external_name.as_ref().filter(|_| outside::of(&service.spec));
    let key = service.key();
    BackendTls {
        server_name: outside.map_or_else(
            || format!("{}.{}.svc", key.name, key.namespace),
            |name| name.trim_end_matches('.').to_ascii_lowercase(),
        ),
        alternative_names: Vec::new(),
        roots: Roots::Unverified,
        certificate: None,
    }
}

fn slices_of(snapshot: &Snapshot) -> SlicesOf<'_> {
    let mut slices = SlicesOf::new();
    for (key, slice) in &snapshot.endpoint_slices {
        if let Some(service) = &slice.spec.service {
            slices.entry(key.sibling(&key.namespace, service)).or_default().push(slice);
        }
    }
    slices
}
