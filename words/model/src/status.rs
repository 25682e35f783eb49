//! The statuses of objects, spelled as `kubectl get -o json` shows them: those of Gateway API (v1.6), of Ingresses, of Services of
//! type LoadBalancer, of MetalLB's pools, and of our own kinds.
//!
//! Without `lastTransitionTime`: whoever writes a status knows the time, and what stood there before.

use serde::Serialize;
use tidegate_objects::route::ParentRef;
use tidegate_objects::{Key, Kind, ObjectRef};

/// The status of one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusOf {
    /// Where the object comes from.
    pub source: String,
    /// Group and version, as `gateway.networking.k8s.io/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for what is cluster-scoped.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What to write under `status`.
    pub status: StatusBody,
}

impl StatusOf {
    /// The status of an object of this kind.
    pub fn new(kind: Kind, key: &Key, status: StatusBody) -> StatusOf {
        StatusOf {
            source: key.source.to_string(),
            api_version: api_version(kind),
            kind: kind.name().to_owned(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            status,
        }
    }

    /// Whether it is about this object.
    pub fn is_of(&self, object: &ObjectRef) -> bool {
        let key = &object.key;
        self.kind == object.kind.name()
            && (&*self.source, &*self.namespace, &*self.name) == (&*key.source, &*key.namespace, &*key.name)
    }
}

/// Group and version; the version alone in the core group.
fn api_version(kind: Kind) -> String {
    let version = kind.versions().first().copied().unwrap_or_default();
    if kind.group().is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group()) }
}

/// What stands under `status`, by kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StatusBody {
    /// GatewayClass.
    Class(ClassStatus),
    /// Gateway.
    Gateway(GatewayStatus),
    /// ListenerSet.
    ListenerSet(ListenerSetStatus),
    /// HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute.
    Route(RouteStatus),
    /// BackendTLSPolicy.
    Policy(PolicyStatus),
    /// Service.
    Service(ServiceStatus),
    /// IPAddressPool.
    Pool(PoolStatus),
    /// Our own kinds.
    Conditions(ConditionsStatus),
    /// Ingress.
    Ingress(IngressStatus),
}

/// A condition (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub condition_type: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// A CamelCase reason; Gateway API's own, where it has one.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// `metadata.generation` of the object that it was found for.
    pub observed_generation: i64,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Not known yet.
    Unknown,
}

/// GatewayClass `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassStatus {
    /// `Accepted`.
    pub conditions: Vec<Condition>,
    /// What of Gateway API is served, by name, sorted.
    pub supported_features: Vec<Feature>,
}

/// A feature of Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
}

/// Gateway `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Where clients reach it.
    pub addresses: Vec<StatusAddress>,
    /// `Accepted`, `Programmed`, `ResolvedRefs`, and `InsecureFrontendValidationMode` where it holds.
    pub conditions: Vec<Condition>,
    /// One for each listener.
    pub listeners: Vec<ListenerStatus>,
    /// How many ListenerSets it has accepted.
    pub attached_listener_sets: usize,
}

/// An address of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusAddress {
    /// `IPAddress`.
    #[serde(rename = "type")]
    pub address_type: &'static str,
    /// The address.
    pub value: String,
}

/// A listener's part of a status.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Kinds of routes that may attach, of those asked for.
    pub supported_kinds: Vec<GroupKind>,
    /// Routes that are accepted and attach here.
    pub attached_routes: usize,
    /// `Accepted`, `Conflicted`, `ResolvedRefs`, `Programmed`, and `OverlappingTLSConfig` where it holds.
    pub conditions: Vec<Condition>,
}

/// A kind with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupKind {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// ListenerSet `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerSetStatus {
    /// `Accepted`, `Programmed`.
    pub conditions: Vec<Condition>,
    /// One for each listener; none, if the Gateway does not take the set.
    pub listeners: Vec<ListenerStatus>,
}

/// The `status` of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteStatus {
    /// One for each parent that is ours. Others belong to other controllers and stay as they are.
    pub parents: Vec<ParentStatus>,
}

/// What a parent makes of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parent, as the route names it.
    pub parent_ref: ParentRef,
    /// Our controller.
    pub controller_name: &'static str,
    /// `Accepted`, `ResolvedRefs`, and `PartiallyInvalid` where it holds.
    pub conditions: Vec<Condition>,
}

/// The `status` of a policy (GEP-713).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyStatus {
    /// One for each Gateway of ours that it bears on; at most 16, as Gateway API allows.
    pub ancestors: Vec<AncestorStatus>,
}

/// A `status` of nothing but conditions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionsStatus {
    /// `Accepted`, `ResolvedRefs`, `Programmed`.
    pub conditions: Vec<Condition>,
}

/// What a Gateway makes of a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AncestorStatus {
    /// The Gateway.
    pub ancestor_ref: ParentRef,
    /// Our controller.
    pub controller_name: &'static str,
    /// `Accepted`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// What we say in the `status` of a Service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Where clients reach it; absent: what others wrote there is theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerStatus>,
    /// `tidegate.dev/Assigned` and `tidegate.dev/Served`.
    pub conditions: Vec<Condition>,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadBalancerStatus {
    /// One for each address.
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    /// The address.
    pub ip: String,
    /// `VIP`: packets come to an endpoint with another destination than this.
    pub ip_mode: &'static str,
}

/// IPAddressPool `status`, as MetalLB has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// IPv4 addresses in use.
    #[serde(rename = "assignedIPv4")]
    pub assigned_v4: i64,
    /// IPv6 addresses in use.
    #[serde(rename = "assignedIPv6")]
    pub assigned_v6: i64,
    /// IPv4 addresses that are free.
    #[serde(rename = "availableIPv4")]
    pub available_v4: i64,
    /// IPv6 addresses that are free; 2^63 - 1 stands for more.
    #[serde(rename = "availableIPv6")]
    pub available_v6: i64,
}

/// Ingress `status` (networking.k8s.io/v1).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressStatus {
    /// Where clients reach it.
    pub load_balancer: IngressLoadBalancer,
}

/// Where clients reach an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IngressLoadBalancer {
    /// One for each address; none: it is served nowhere.
    pub ingress: Vec<IngressAddress>,
}

/// An address of an Ingress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IngressAddress {
    /// The address.
    pub ip: String,
    /// Its ports.
    pub ports: Vec<IngressPort>,
}

/// A port of an Ingress's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngressPort {
    /// The number.
    pub port: u16,
    /// `TCP`.
    pub protocol: &'static str,
    /// A CamelCase reason why it takes no connections, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
}
