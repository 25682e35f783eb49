//! Changes of every kind to what a gateway serves, one after the other: routes, weights, filters, endpoints, policies,
//! certificates, listeners, Gateways, routes of TCP and UDP, and files that are broken. Each is one file put in place or
//! removed; what the load of `crowd` needs is there all the time, in whatever form.

use anyhow::Result;

use crate::certificates::Certificates;
use crate::election::CONTESTED;
use crate::manifests::Manifests;

/// Answers to requests of the host carry it, with the number of the change that they were made under.
pub const FIELD: &str = "x-change";

/// The gateway's own address, where Gateways that come and go listen.
const OWN: &str = "10.10.0.11";

/// A kind of change.
struct Kind {
    name: &'static str,
    make: fn(&Churn) -> Act,
}

/// What a change does.
enum Act {
    Put(&'static str, String),
    /// The same, of a file that must not count.
    Break(&'static str, String),
    Remove(&'static str),
}

/// A door that opens and closes with the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// What opens it.
    pub what: &'static str,
    /// Where.
    pub address: &'static str,
    /// UDP; else HTTP is spoken there.
    pub udp: bool,
    opens: &'static str,
    /// The change that closes it.
    pub closes: &'static str,
}

/// All of them.
pub const DOORS: &[Door] = &[
    door("a listener", "10.10.0.100:8081", false, "a listener comes", "a listener goes"),
    door("a Gateway", "10.10.0.11:8090", false, "a Gateway comes", "a Gateway goes"),
    door("a TCPRoute", "10.10.0.11:8091", false, "a TCPRoute comes", "a TCPRoute goes"),
    door("a UDPRoute", "10.10.0.11:5353", true, "a UDPRoute comes", "a UDPRoute goes"),
];

const fn door(
    what: &'static str,
    address: &'static str,
    udp: bool,
    opens: &'static str,
    closes: &'static str,
) -> Door {
    Door { what, address, udp, opens, closes }
}

/// Every kind, in the order in which they come round.
const KINDS: &[Kind] = &[
    Kind { name: "weights", make: |churn| Act::Put("web.yaml", churn.web()) },
    Kind {
        name: "an endpoint comes",
        make: |_| Act::Put("endpoints-web.yaml", slice("web", "TCP", &[8080, 8081])),
    },
    Kind { name: "a listener comes", make: |_| Act::Put("gateway.yaml", edge(true)) },
    Kind { name: "a route comes", make: |churn| Act::Put("more.yaml", churn.more()) },
    Kind {
        name: "a backend's policy",
        make: |churn| Act::Put("backend-policy.yaml", churn.backend_policy()),
    },
    Kind { name: "a Gateway comes", make: |_| Act::Put("extra.yaml", extra()) },
    Kind { name: "filters", make: |churn| Act::Put("web.yaml", churn.web()) },
    Kind {
        name: "another certificate",
        make: |churn| Act::Put("certificate.yaml", churn.certificates.secret(churn.turn() + 1)),
    },
    Kind { name: "a TCPRoute comes", make: |_| Act::Put("tcp.yaml", tcp()) },
    Kind {
        name: "a file that is no YAML",
        make: |_| Act::Break("broken.yaml", "kind: [HTTPRoute\n  spec: {".into()),
    },
    Kind { name: "an endpoint goes", make: |_| Act::Put("endpoints-web.yaml", slice("web", "TCP", &[8081])) },
    Kind { name: "a client policy", make: |churn| Act::Put("client-policy.yaml", churn.client_policy()) },
    Kind { name: "a listener goes", make: |_| Act::Put("gateway.yaml", edge(false)) },
    Kind {
        name: "a route with a mistake",
        make: |churn| Act::Break("web.yaml", churn.web().replace("port: 80,", "port: eighty,")),
    },
    Kind { name: "a UDPRoute comes", make: |_| Act::Put("udp.yaml", udp()) },
    Kind { name: "the mistake is mended", make: |churn| Act::Put("web.yaml", churn.web()) },
    Kind {
        name: "a UDP endpoint comes",
        make: |_| Act::Put("endpoints-dns.yaml", slice("dns", "UDP", &[8080, 8081])),
    },
    Kind { name: "a Gateway goes", make: |_| Act::Remove("extra.yaml") },
    Kind { name: "a route goes", make: |_| Act::Remove("more.yaml") },
    Kind { name: "the backend's policy goes", make: |_| Act::Remove("backend-policy.yaml") },
    Kind { name: "a TCPRoute goes", make: |_| Act::Remove("tcp.yaml") },
    Kind { name: "the broken file goes", make: |_| Act::Remove("broken.yaml") },
    Kind { name: "the client policy goes", make: |_| Act::Remove("client-policy.yaml") },
    Kind {
        name: "the first endpoint is back",
        make: |_| Act::Put("endpoints-web.yaml", slice("web", "TCP", &[8080])),
    },
    Kind { name: "a UDPRoute goes", make: |_| Act::Remove("udp.yaml") },
    Kind {
        name: "a UDP endpoint goes",
        make: |_| Act::Put("endpoints-dns.yaml", slice("dns", "UDP", &[8080])),
    },
];

/// Makes changes.
#[derive(Debug)]
pub struct Churn {
    manifests: Manifests,
    certificates: Certificates,
    /// The change that comes next.
    next: usize,
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number, from 0.
    pub number: usize,
    /// Whether answers show its number from now on.
    pub shows: bool,
    /// Whether what it put in place is broken.
    pub broken: bool,
}

impl Churn {
    /// Nothing is changed yet.
    pub fn new(manifests: Manifests, certificates: Certificates) -> Churn {
        Churn { manifests, certificates, next: 0 }
    }

    /// The door that the next change closes.
    pub fn about_to_close(&self) -> Option<&'static Door> {
        let name = self.kind().name;
        DOORS.iter().find(|door| door.closes == name)
    }

    /// How often each door was opened in so many changes, and how often closed.
    pub fn turns_of(door: &Door, changes: usize) -> (usize, usize) {
        let count = |name| (0..changes).filter(|number| KINDS[number % KINDS.len()].name == name).count();
        (count(door.opens), count(door.closes))
    }

    /// Makes the next change.
    pub fn make(&mut self) -> Result<Made> {
        let number = self.next;
        let act = (self.kind().make)(self);
        let shows = matches!(&act, Act::Put("web.yaml", _));
        let broken = matches!(&act, Act::Break(..));
        match act {
            Act::Put(name, text) | Act::Break(name, text) => self.manifests.put(name, &text)?,
            Act::Remove(name) => self.manifests.remove(name)?,
        }
        self.next += 1;
        Ok(Made { number, shows, broken })
    }

    fn kind(&self) -> &'static Kind {
        &KINDS[self.next % KINDS.len()]
    }

    /// How often every kind has come round.
    fn turn(&self) -> usize {
        self.next / KINDS.len()
    }

    /// The route of the load: its weights, filters and time limit differ from one change to the next.
    fn web(&self) -> String {
        let (number, share) = (self.next, self.next % 9 + 1);
        let rest = 10 - share;
        let filter = match (self.next + self.turn()) % 5 {
            0 => "",
            1 => {
                "\n    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-asked, value: again}]}}"
            }
            2 => {
                "\n    - {type: RequestMirror, requestMirror: {backendRef: {name: web-b, port: 80}, percent: 50}}"
            }
            3 => "\n    - {type: URLRewrite, urlRewrite: {hostname: inside.example}}",
            _ => "\n    - {type: CORS, cors: {allowOrigins: ['https://app.example']}}",
        };
        let limit = ["", "\n    timeouts: {request: 20s}"][self.next % 2];
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
             parentRefs: [{{name: edge}}]\n  rules:\n  - filters:\n    - {{type: ResponseHeaderModifier, \
             responseHeaderModifier: {{set: [{{name: {FIELD}, value: '{number}'}}]}}}}{filter}{limit}\n    backendRefs:\n    \
             - {{name: web, port: 80, weight: {share}}}\n    - {{name: web-b, port: 80, weight: {rest}}}\n"
        )
    }

    /// Routes of other hosts; what they match differs each time.
    fn more(&self) -> String {
        let host = format!("more-{}.example", self.turn());
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: more, namespace: shop}}\nspec:\n  \
             parentRefs: [{{name: edge}}]\n  hostnames: [{host}]\n  rules:\n  - matches: [{{path: {{type: PathPrefix, value: \
             /a}}, headers: [{{name: x-a, value: b}}]}}]\n    filters: [{{type: RequestRedirect, requestRedirect: \
             {{scheme: https, statusCode: 301}}}}]\n  - backendRefs: [{{name: web, port: 80}}]\n"
        )
    }

    fn backend_policy(&self) -> String {
        let (balancer, more) = match self.turn() % 4 {
            0 => ("{type: LeastRequest}", "retry: {numRetries: 2}"),
            1 => (
                "{type: ConsistentHash, consistentHash: {type: SourceIP}}",
                "circuitBreaker: {maxConnections: 900}",
            ),
            2 => ("{type: Random}", "timeout: {tcp: {connectTimeout: 3s}, http: {requestTimeout: 30s}}"),
            _ => ("{type: RoundRobin}", "healthCheck: {active: {type: TCP, interval: 1s, timeout: 1s}}"),
        };
        policy("BackendTrafficPolicy", "HTTPRoute, name: web", &format!("loadBalancer: {balancer}\n  {more}"))
    }

    fn client_policy(&self) -> String {
        let text = match self.turn() % 3 {
            0 => "timeout: {http: {idleTimeout: 30s, requestReceivedTimeout: 20s}}",
            1 => "connection: {connectionLimit: {value: 5000, maxRequestsPerConnection: 40}}",
            _ => {
                "limits: {maxRequestBodyBytes: 1Mi}\n  http2: {maxConcurrentStreams: 50}\n  headers: {requestID: Generate}"
            }
        };
        policy("ClientTrafficPolicy", "Gateway, name: edge", text)
    }
}

/// The Gateway of the load, with or without one more listener.
fn edge(more: bool) -> String {
    let more = if more { "  - {name: more, port: 8081, protocol: HTTP}\n" } else { "" };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate\n  addresses: [{{value: {CONTESTED}}}]\n  listeners:\n  - {{name: http, port: 80, \
         protocol: HTTP}}\n  - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: any}}]}}}}\n  - \
         {{name: dns, port: 53, protocol: UDP}}\n{more}"
    )
}

fn extra() -> String {
    gateway("extra", 8090, "HTTP") + "---\n" + &route("v1", "HTTPRoute", "extra", "web", 80)
}

fn tcp() -> String {
    gateway("tcp", 8091, "TCP") + "---\n" + &route("v1alpha2", "TCPRoute", "tcp", "web", 80)
}

fn udp() -> String {
    gateway("udp", 5353, "UDP") + "---\n" + &route("v1alpha2", "UDPRoute", "udp", "dns", 53)
}

fn gateway(name: &str, port: u16, protocol: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate\n  addresses: [{{value: {OWN}}}]\n  listeners: [{{name: only, port: {port}, protocol: \
         {protocol}}}]\n"
    )
}

fn route(version: &str, kind: &str, name: &str, backend: &str, port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: {name}}}]\n  rules:\n  - backendRefs: [{{name: {backend}, port: {port}}}]\n"
    )
}

fn policy(kind: &str, target: &str, text: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: changing, namespace: shop}}\nspec:\n  \
         targetRefs: [{{group: gateway.networking.k8s.io, kind: {target}}}]\n  {text}\n"
    )
}

/// One EndpointSlice for each port, since they differ; all on the one server.
fn slice(service: &str, protocol: &str, ports: &[u16]) -> String {
    let name = if protocol == "UDP" { "dns" } else { "http" };
    let one = |port: &u16| {
        // The first has the name of the Service, as in the beginning.
        let suffix = if *port == 8080 { String::new() } else { format!("-{port}") };
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}{suffix}\n  namespace: shop\n  \
             labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\nports: [{{name: {name}, port: {port}, \
             protocol: {protocol}}}]\nendpoints:\n- addresses: [10.10.0.3]\n"
        )
    };
    ports.iter().map(one).collect::<Vec<_>>().join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::HANDOVER;

    /// A round of changes ends where it began: what it puts last of each file is what the drawing has, or the file is gone.
    #[test]
    fn a_round_ends_where_it_began() {
        let file = |name| HANDOVER.manifests.iter().find(|(file, _)| *file == name).map(|(_, text)| *text);
        assert_eq!(Some(&*edge(false)), file("gateway.yaml"));
        assert_eq!(Some(&*slice("web", "TCP", &[8080])), file("endpoints-web.yaml"));
        assert_eq!(Some(&*slice("dns", "UDP", &[8080])), file("endpoints-dns.yaml"));
        for door in DOORS {
            let (opened, closed) = Churn::turns_of(door, KINDS.len() * 3);
            assert_eq!((opened, closed), (3, 3), "{}", door.what);
        }
    }

    /// A mistake is one: the text that is put in place differs from the good one.
    #[test]
    fn mistakes() {
        let dir = std::env::temp_dir().join(format!("tidegate-churn-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let certificates = Certificates::make(&dir, "any.example", &["first"]).unwrap();
        let churn = Churn::new(Manifests::of(&dir), certificates);
        let texts: Vec<_> = KINDS.iter().map(|kind| (kind.make)(&churn)).collect();
        let broken =
            texts.iter().filter(|act| matches!(act, Act::Break("web.yaml", text) if *text != churn.web()));
        assert_eq!(broken.count(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
