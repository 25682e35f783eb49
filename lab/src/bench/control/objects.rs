//! The objects of a large cluster, as their controllers would write them, and the requests that make and change them. Every
//! endpoint is an address at which somebody answers (`lab endpoints`), so that a request that fails has no excuse.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// How many namespaces the Services and routes are spread over.
const NAMESPACES: usize = 100;
/// The first address of an endpoint. What follows is one block for endpoints, and one for those that take their places.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 32, 0, 0);
/// How many addresses each block has.
const BLOCK: usize = 1 << 17;
/// Both blocks, as a route has them.
pub const ADDRESSES: &str = "10.32.0.0/14";
/// The port of every endpoint.
pub const PORT: u16 = 8080;

/// How large a cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Services, each with one EndpointSlice.
    pub services: usize,
    /// Endpoints of each Service; at most 32.
    pub endpoints: usize,
    /// HTTPRoutes, each with a host of its own and two rules, each of which leads to another Service.
    pub routes: usize,
}

/// Which endpoints of a Service are replaced by others: a bit for each.
pub type Replaced = u32;

impl Size {
    /// Whether every endpoint has an address of its own.
    pub fn fits(&self) -> bool {
        self.services * self.endpoints <= BLOCK && (1..=32).contains(&self.endpoints) && self.routes > 0
    }

    /// Requests that make the namespaces; before all others.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        (0..NAMESPACES).map(|number| {
            let name = format!("bench-{number}");
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            format!("POST /api/v1/namespaces {object}")
        })
    }

    /// Requests that make everything else, in any order.
    pub fn creations(self) -> impl Iterator<Item = String> {
        let services = (0..self.services).flat_map(move |number| {
            let (namespace, slice) = (self.namespace(number), self.slice(number, 0));
            [
                format!("POST /api/v1/namespaces/{namespace}/services {}", self.service(number)),
                format!("POST /apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices {slice}"),
            ]
        });
        let routes = (0..self.routes).map(move |number| {
            let namespace = self.namespace(2 * number);
            let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes");
            format!("POST {path} {}", self.route(number))
        });
        services.chain(routes)
    }

    /// The request that replaces endpoints of a Service.
    pub fn change(&self, number: usize, replaced: Replaced) -> String {
        let (namespace, slice) = (self.namespace(number), self.slice(number, replaced));
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/s{number}-0");
        format!("PUT {path} {slice}")
    }

    /// The host that leads to a Service, by the rule of its path.
    pub fn way_to(&self, service: usize) -> (String, &'static str) {
        (format!("r{}.example", service / 2), if service.is_multiple_of(2) { "/" } else { "/other" })
    }

    /// How many Services some route leads to.
    pub fn routed(&self) -> usize {
        self.services.min(self.routes * 2)
    }

    /// All of a Service's endpoints replaced.
    pub fn all(&self) -> Replaced {
        u32::MAX >> (32 - self.endpoints)
    }

    /// The address of an endpoint of a Service.
    pub fn address(&self, service: usize, endpoint: usize, replaced: Replaced) -> Ipv4Addr {
        let block = if replaced >> endpoint & 1 == 1 { BLOCK } else { 0 };
        let offset = service * self.endpoints + endpoint + block;
        Ipv4Addr::from(u32::from(FIRST) + u32::try_from(offset).unwrap_or(u32::MAX))
    }

    /// The endpoints of a slice, as its controller writes them.
    pub fn endpoints(&self, service: usize, replaced: Replaced) -> Value {
        let namespace = self.namespace(service);
        let endpoint = |number| {
            let node = (service + number) % 50;
            json!({
                "addresses": [self.address(service, number, replaced)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": format!("node-{node}"), "zone": format!("zone-{}", node % 3),
                "targetRef": {
                    "kind": "Pod", "namespace": namespace, "name": format!("s{service}-5d8f9c7b64-{number:05}"),
                    "uid": format!("{service:08x}-0000-4000-8000-{number:012x}"),
                },
            })
        };
        (0..self.endpoints).map(endpoint).collect()
    }

    /// A route and the two Services that it leads to are in one.
    fn namespace(&self, service: usize) -> String {
        format!("bench-{}", service / 2 % NAMESPACES)
    }

    fn service(&self, number: usize) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{number}"), "labels": {"app": format!("s{number}"), "team": "bench"}},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        })
    }

    fn slice(&self, number: usize, replaced: Replaced) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("s{number}-0"), "namespace": self.namespace(number),
                "labels": {
                    "kubernetes.io/service-name": format!("s{number}"), "app": format!("s{number}"),
                    "endpointslice.kubernetes.io/managed-by": "bench.tidegate.dev",
                },
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
            "endpoints": self.endpoints(number, replaced),
        })
    }

    fn route(&self, number: usize) -> Value {
        let backend = |service: usize| json!([{"name": format!("s{}", service % self.services), "port": 80}]);
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": format!("r{number}")},
            "spec": {
                "parentRefs": [{"name": "main", "namespace": "default"}], "hostnames": [format!("r{number}.example")],
                "rules": [
                    {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backend(2 * number)},
                    {"matches": [{"path": {"type": "PathPrefix", "value": "/other"}}], "backendRefs": backend(2 * number + 1)},
                ],
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two endpoints share an address, whichever of them are replaced, and all are in the range that answers.
    #[test]
    fn own_addresses() {
        let size = Size { services: 10_000, endpoints: 10, routes: 5_000 };
        assert!(size.fits());
        let mut all: Vec<Ipv4Addr> = Vec::new();
        for replaced in [0, size.all()] {
            let each =
                (0..size.services).flat_map(|service| (0..size.endpoints).map(move |at| (service, at)));
            all.extend(each.map(|(service, at)| size.address(service, at, replaced)));
        }
        assert!(
            all.iter().all(|address| address.octets()[0] == 10 && (32..36).contains(&address.octets()[1]))
        );
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 200_000);
    }
}
