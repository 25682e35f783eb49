//! The one table of kinds: name, API group, accepted versions, scope, role. Everything that goes by kind derives from it.

use std::fmt;
use std::sync::Arc;

use crate::{
    Resource, backend_tls, core, egress, gateway, ingress, metallb, multicluster, ours, policy, route,
};

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// What a kind is for: whether its objects get a verdict, and what a change of one costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// States an intent: gets a verdict, and a change is compiled.
    Intent,
    /// What intents are made of (certificates, labels of namespaces): gets no verdict, but a change is compiled.
    Material,
    /// Who is there at the moment: gets no verdict, and a change is applied without compiling.
    Membership,
}

macro_rules! kinds {
    ($($kind:ident $map:ident $spec:ty, $group:literal [$($version:literal),+] $scope:ident $role:ident;)+) => {
        /// A kind that Tidegate reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Kind { $($kind),+ }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &[Kind] = &[$(Kind::$kind),+];

            /// Its name as written in `kind:`.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($kind)),+ }
            }

            /// Its API group; empty for core.
            pub fn group(self) -> &'static str {
                match self { $(Kind::$kind => $group),+ }
            }

            /// The versions accepted, preferred first.
            pub fn versions(self) -> &'static [&'static str] {
                match self { $(Kind::$kind => &[$($version),+]),+ }
            }

            /// Whether its objects live in a namespace.
            pub fn scope(self) -> Scope {
                match self { $(Kind::$kind => Scope::$scope),+ }
            }

            /// What it is for.
            pub fn role(self) -> Role {
                match self { $(Kind::$kind => Role::$role),+ }
            }

            /// Whether its objects state an intent and so get a verdict. Pods, Secrets and the like never do.
            pub fn states_intent(self) -> bool {
                self.role() == Role::Intent
            }
        }

        /// An object of any kind.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Object { $($kind(Arc<Resource<$spec>>)),+ }

        impl Object {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(Object::$kind(_) => Kind::$kind),+ }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &crate::Metadata {
                match self { $(Object::$kind(o) => &o.metadata),+ }
            }

            /// Whether the other is this very object, shared.
            pub fn is(&self, other: &Object) -> bool {
                match (self, other) {
                    $((Object::$kind(a), Object::$kind(b)) => Arc::ptr_eq(a, b),)+
                    _ => false,
                }
            }
        }

        $(impl From<Resource<$spec>> for Object {
            fn from(resource: Resource<$spec>) -> Self { Object::$kind(Arc::new(resource)) }
        })+

        /// All objects of all sources at one moment: what was asked for.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct Snapshot {
            $(pub $map: crate::snapshot::Objects<$spec>,)+
            /// What DNS says of the names in Services of type ExternalName; empty in what a source gives.
            pub answers: crate::dns::Answers,
        }

        impl Snapshot {
            /// Adds an object, replacing one of the same identity.
            pub fn insert(&mut self, object: Object) {
                match object { $(Object::$kind(o) => { self.$map.insert(o.key().clone(), o); })+ }
            }

            /// Takes an object out.
            pub fn remove(&mut self, object: &crate::ObjectRef) {
                match object.kind { $(Kind::$kind => { self.$map.remove(&object.key); })+ }
            }

            /// An object.
            pub fn get(&self, object: &crate::ObjectRef) -> Option<Object> {
                match object.kind { $(Kind::$kind => self.$map.get(&object.key).cloned().map(Object::$kind)),+ }
            }

            /// Every object, in the order of kinds and identities.
            pub fn objects(&self) -> impl Iterator<Item = Object> + '_ {
                let all: Vec<Box<dyn Iterator<Item = Object> + '_>> =
                    vec![$(Box::new(self.$map.values().cloned().map(Object::$kind))),+];
                all.into_iter().flatten()
            }

            /// The identities of all objects of a kind.
            pub fn keys(&self, kind: Kind) -> Box<dyn Iterator<Item = &crate::Key> + '_> {
                match kind { $(Kind::$kind => Box::new(self.$map.keys())),+ }
            }

            /// How many objects there are.
            pub fn len(&self) -> usize {
                0 $(+ self.$map.len())+
            }

            /// Whether there is none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Takes over what differs between two states of a source. Costs what differs.
            pub fn follow(&mut self, before: &Snapshot, now: &Snapshot) {
                $(crate::snapshot::follow(&mut self.$map, &before.$map, &now.$map);)+
            }

            /// How many objects of a kind there are.
            pub fn count(&self, kind: Kind) -> usize {
                match kind { $(Kind::$kind => self.$map.len()),+ }
            }

            /// Whether every intent, and all that intents are made of, is the same here and there (compared by pointer:
            /// sources share what has not changed). If so, there is nothing to compile.
            pub fn same_intent(&self, other: &Snapshot) -> bool {
                $((Kind::$kind.role() == Role::Membership || crate::snapshot::same(&self.$map, &other.$map)))&&+
            }

            /// Metadata of every object that states an intent.
            pub fn intents(&self) -> impl Iterator<Item = (Kind, &crate::Metadata)> {
                let all: Vec<(Kind, &crate::Metadata)> = [$(
                    self.$map.values().map(|o| (Kind::$kind, &o.metadata)).collect::<Vec<_>>()
                ),+].into_iter().flatten().collect();
                all.into_iter().filter(|(kind, _)| kind.states_intent())
            }
        }
    };
}

//    kind                      map                        spec                               group  [versions]  scope  role
kinds! {
    Namespace                 namespaces                 core::Namespace,                   "" ["v1"] Cluster Material;
    Node                      nodes                      core::Node,                        "" ["v1"] Cluster Material;
    Service                   services                   core::Service,                     "" ["v1"] Namespaced Intent;
    ServiceCIDR               service_cidrs              core::ServiceCidr,                 "networking.k8s.io" ["v1"] Cluster Material;
    Secret                    secrets                    core::Secret,                      "" ["v1"] Namespaced Material;
    ConfigMap                 config_maps                core::ConfigMap,                   "" ["v1"] Namespaced Material;
    Pod                       pods                       core::Pod,                         "" ["v1"] Namespaced Membership;
    EndpointSlice             endpoint_slices            core::EndpointSlice,               "discovery.k8s.io" ["v1"] Namespaced Membership;
    GatewayClass              gateway_classes            gateway::GatewayClass,             "gateway.networking.k8s.io" ["v1"] Cluster Intent;
    Gateway                   gateways                   gateway::Gateway,                  "gateway.networking.k8s.io" ["v1", "v1beta1"] Namespaced Intent;
    ListenerSet               listener_sets              gateway::ListenerSet,              "gateway.networking.k8s.io" ["v1"] Namespaced Intent;
    HTTPRoute                 http_routes                route::HttpRoute,                  "gateway.networking.k8s.io" ["v1", "v1beta1"] Namespaced Intent;
    GRPCRoute                 grpc_routes                route::GrpcRoute,                  "gateway.networking.k8s.io" ["v1"] Namespaced Intent;
    TLSRoute                  tls_routes                 route::TlsRoute,                   "gateway.networking.k8s.io" ["v1", "v1alpha3", "v1alpha2"] Namespaced Intent;
    TCPRoute                  tcp_routes                 route::TcpRoute,                   "gateway.networking.k8s.io" ["v1", "v1alpha2"] Namespaced Intent;
    UDPRoute                  udp_routes                 route::UdpRoute,                   "gateway.networking.k8s.io" ["v1", "v1alpha2"] Namespaced Intent;
    BackendTLSPolicy          backend_tls_policies       backend_tls::BackendTlsPolicy,     "gateway.networking.k8s.io" ["v1", "v1alpha3"] Namespaced Intent;
    ReferenceGrant            reference_grants           gateway::ReferenceGrant,           "gateway.networking.k8s.io" ["v1", "v1beta1"] Namespaced Intent;
    IngressClass              ingress_classes            ingress::IngressClass,             "networking.k8s.io" ["v1"] Cluster Intent;
    Ingress                   ingresses                  ingress::Ingress,                  "networking.k8s.io" ["v1"] Namespaced Intent;
    IPAddressPool             ip_address_pools           metallb::IpAddressPool,            "metallb.io" ["v1beta1"] Namespaced Intent;
    BGPPeer                   bgp_peers                  metallb::BgpPeer,                  "metallb.io" ["v1beta2"] Namespaced Intent;
    BGPAdvertisement          bgp_advertisements         metallb::BgpAdvertisement,         "metallb.io" ["v1beta1"] Namespaced Intent;
    GatewayNode               gateway_nodes              ours::GatewayNode,                 "tidegate.dev" ["v1alpha1"] Cluster Intent;
    VRRPAdvertisement         vrrp_advertisements        ours::VrrpAdvertisement,           "tidegate.dev" ["v1alpha1"] Cluster Intent;
    RouteImport               route_imports              ours::RouteImport,                 "tidegate.dev" ["v1alpha1"] Cluster Intent;
    RouteAdvertisement        route_advertisements       ours::RouteAdvertisement,          "tidegate.dev" ["v1alpha1"] Cluster Intent;
    ClientTrafficPolicy       client_traffic_policies    policy::ClientTrafficPolicy,       "tidegate.dev" ["v1alpha1"] Namespaced Intent;
    BackendTrafficPolicy      backend_traffic_policies   policy::BackendTrafficPolicy,      "tidegate.dev" ["v1alpha1"] Namespaced Intent;
    HTTPRouteFilter           http_route_filters         policy::RouteFilter,               "tidegate.dev" ["v1alpha1"] Namespaced Intent;
    ClusterService            cluster_services           ours::ClusterService,              "tidegate.dev" ["v1alpha1"] Namespaced Intent;
    ServiceImport             service_imports            multicluster::ServiceImport,       "multicluster.x-k8s.io" ["v1alpha1"] Namespaced Intent;
    ServiceExport             service_exports            multicluster::ServiceExport,       "multicluster.x-k8s.io" ["v1alpha1"] Namespaced Intent;
    CiliumEgressGatewayPolicy cilium_egress_policies     egress::CiliumEgressGatewayPolicy, "cilium.io" ["v2"] Cluster Intent;
}

impl Kind {
    /// The kind with this group and name.
    pub fn find(group: &str, name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.group() == group && kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Object {
    /// Its identity.
    pub fn reference(&self) -> crate::ObjectRef {
        crate::ObjectRef { kind: self.kind(), key: self.metadata().key.clone() }
    }
}
