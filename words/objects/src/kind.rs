//! The one table of kinds: name, API group, accepted versions, scope. Everything that goes by kind derives from it.

use std::fmt;
use std::sync::Arc;

use crate::{Resource, core, egress, gateway, metallb, ours, route};

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

macro_rules! kinds {
    ($($kind:ident $map:ident $spec:ty, $group:literal [$($version:literal),+] $scope:ident $intent:literal;)+) => {
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

            /// Whether its objects state an intent and so get a verdict. Pods, EndpointSlices and the like never do.
            pub fn states_intent(self) -> bool {
                match self { $(Kind::$kind => $intent),+ }
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
        }

        $(impl From<Resource<$spec>> for Object {
            fn from(resource: Resource<$spec>) -> Self { Object::$kind(Arc::new(resource)) }
        })+

        /// All objects of all sources at one moment: what was asked for.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct Snapshot { $(pub $map: crate::snapshot::Objects<$spec>),+ }

        impl Snapshot {
            /// Adds an object, replacing one of the same identity.
            pub fn insert(&mut self, object: Object) {
                match object { $(Object::$kind(o) => { self.$map.insert(o.key().clone(), o); })+ }
            }

            /// Takes an object out.
            pub fn remove(&mut self, object: &crate::ObjectRef) {
                match object.kind { $(Kind::$kind => { self.$map.remove(&object.key); })+ }
            }

            /// How many objects of a kind there are.
            pub fn count(&self, kind: Kind) -> usize {
                match kind { $(Kind::$kind => self.$map.len()),+ }
            }

            /// Whether every kind that states an intent is the same here and there (compared by pointer: sources share
            /// what has not changed).
            pub fn same_intent(&self, other: &Snapshot) -> bool {
                $((!Kind::$kind.states_intent() || crate::snapshot::same(&self.$map, &other.$map)))&&+
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

//    kind                      map                      spec                               group  [versions]  scope  states an intent
kinds! {
    Namespace                   namespaces               core::Namespace,                   "" ["v1"] Cluster false;
    Service                     services                 core::Service,                     "" ["v1"] Namespaced true;
    Pod                         pods                     core::Pod,                         "" ["v1"] Namespaced false;
    EndpointSlice               endpoint_slices          core::EndpointSlice,               "discovery.k8s.io" ["v1"] Namespaced false;
    GatewayClass                gateway_classes          gateway::GatewayClass,             "gateway.networking.k8s.io" ["v1"] Cluster true;
    Gateway                     gateways                 gateway::Gateway,                  "gateway.networking.k8s.io" ["v1", "v1beta1"] Namespaced true;
    HTTPRoute                   http_routes              route::HttpRoute,                  "gateway.networking.k8s.io" ["v1", "v1beta1"] Namespaced true;
    ReferenceGrant              reference_grants         gateway::ReferenceGrant,           "gateway.networking.k8s.io" ["v1", "v1beta1"] Namespaced true;
    IPAddressPool               ip_address_pools         metallb::IpAddressPool,            "metallb.io" ["v1beta1"] Namespaced true;
    BGPPeer                     bgp_peers                metallb::BgpPeer,                  "metallb.io" ["v1beta2"] Namespaced true;
    BGPAdvertisement            bgp_advertisements       metallb::BgpAdvertisement,         "metallb.io" ["v1beta1"] Namespaced true;
    GatewayNode                 gateway_nodes            ours::GatewayNode,                 "tidegate.dev" ["v1alpha1"] Cluster true;
    VRRPAdvertisement           vrrp_advertisements      ours::VrrpAdvertisement,           "tidegate.dev" ["v1alpha1"] Cluster true;
    RouteImport                 route_imports            ours::RouteImport,                 "tidegate.dev" ["v1alpha1"] Cluster true;
    RouteAdvertisement          route_advertisements     ours::RouteAdvertisement,          "tidegate.dev" ["v1alpha1"] Cluster true;
    CiliumEgressGatewayPolicy   cilium_egress_policies   egress::CiliumEgressGatewayPolicy, "cilium.io" ["v2"] Cluster true;
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
