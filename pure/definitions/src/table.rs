//! The table: every kind of ours, by which names it is asked for, and what `kubectl get` shows of it.

use schemars::{JsonSchema, Schema};
use tidegate_objects::{Kind, ours, policy};

use crate::structural;

/// A kind that we define.
#[derive(Clone, Copy, Debug)]
pub struct Defined {
    /// Which.
    pub kind: Kind,
    /// Its name in paths.
    pub plural: &'static str,
    /// What may be typed in its place.
    pub short: &'static str,
    /// For who asks what it is.
    pub about: &'static str,
    /// What a table of them shows, beside name, verdict and age.
    pub columns: &'static [Column],
    pub(crate) spec: fn() -> Schema,
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// What it holds, as OpenAPI calls it.
    pub holds: &'static str,
    /// Where that stands.
    pub path: &'static str,
}

const fn column(name: &'static str, holds: &'static str, path: &'static str) -> Column {
    Column { name, holds, path }
}

/// Every kind of ours, in the order of [`Kind::ALL`].
pub const DEFINED: &[Defined] = &[
    Defined {
        kind: Kind::GatewayNode,
        plural: "gatewaynodes",
        short: "gwn",
        about: "A machine that is a gateway: of a set outside of the cluster, or a Node of it.",
        columns: &[
            column("Addresses", "string", ".spec.addresses"),
            column("Drain", "boolean", ".spec.drain"),
        ],
        spec: schema::<ours::GatewayNode>,
    },
    Defined {
        kind: Kind::VRRPAdvertisement,
        plural: "vrrpadvertisements",
        short: "vrrp",
        about: "Addresses that VRRP (RFC 9568) moves between gateways: sibling of MetalLB's L2Advertisement.",
        columns: &[
            column("Pools", "string", ".spec.ipAddressPools"),
            column("Addresses", "string", ".spec.addresses"),
            column("Interval", "string", ".spec.advertisementInterval"),
        ],
        spec: schema::<ours::VrrpAdvertisement>,
    },
    Defined {
        kind: Kind::RouteImport,
        plural: "routeimports",
        short: "rimp",
        about: "What may be learned over BGP and installed in the kernel.",
        columns: &[
            column("Peers", "string", ".spec.peers"),
            column("Prefixes", "string", ".spec.prefixes[*].cidr"),
        ],
        spec: schema::<ours::RouteImport>,
    },
    Defined {
        kind: Kind::RouteAdvertisement,
        plural: "routeadvertisements",
        short: "radv",
        about: "What is announced over BGP beside the addresses of services.",
        columns: &[
            column("Prefixes", "string", ".spec.prefixes"),
            column("Active", "string", ".spec.active"),
            column("Next-Hop", "string", ".spec.nextHop"),
        ],
        spec: schema::<ours::RouteAdvertisement>,
    },
    Defined {
        kind: Kind::ClientTrafficPolicy,
        plural: "clienttrafficpolicies",
        short: "ctp",
        about: "How a Gateway, a ListenerSet or one listener deals with clients (a direct policy, GEP-713).",
        columns: &[
            column("Target-Kind", "string", ".spec.targetRefs[*].kind"),
            column("Target", "string", ".spec.targetRefs[*].name"),
        ],
        spec: schema::<policy::ClientTrafficPolicy>,
    },
    Defined {
        kind: Kind::BackendTrafficPolicy,
        plural: "backendtrafficpolicies",
        short: "btp",
        about: "How traffic goes to backends: for a Service, a route, a rule, a listener or a Gateway (GEP-713).",
        columns: &[
            column("Target-Kind", "string", ".spec.targetRefs[*].kind"),
            column("Target", "string", ".spec.targetRefs[*].name"),
        ],
        spec: schema::<policy::BackendTrafficPolicy>,
    },
    Defined {
        kind: Kind::HTTPRouteFilter,
        plural: "httproutefilters",
        short: "hrf",
        about: "A filter that Gateway API has not, named by the ExtensionRef of a route's rule.",
        columns: &[column("Status", "integer", ".spec.directResponse.statusCode")],
        spec: schema::<policy::RouteFilter>,
    },
    Defined {
        kind: Kind::ClusterService,
        plural: "clusterservices",
        short: "csvc",
        about: "A Service of another cluster that the gateways read, for routes to name as a backend.",
        columns: &[
            column("Source", "string", ".spec.source"),
            column("Namespace", "string", ".spec.namespace"),
            column("Service", "string", ".spec.service"),
        ],
        spec: schema::<ours::ClusterService>,
    },
];

fn schema<T: JsonSchema>() -> Schema {
    structural::schema::<T>()
}
