//! A random route table: gateways whose listeners share ports, routes that overlap, rules of every kind.

use std::fmt::Write;

use crate::random::Random;

/// Services with an endpoint of their own, `127.0.0.11` and so on.
pub const SERVICES: usize = 8;
const ROUTES: usize = 30;

/// A gateway of its own on the third port: one listener with a single rule, one without a route.
const LONE: &str = "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lone, namespace: shop}
spec:
  parentRefs: [{name: lone, sectionName: narrow}]
  rules:
  - matches: [{path: {type: Exact, value: /a}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: lone/0}]}}]
    backendRefs: [{name: s0, port: 80}]
";

/// Listeners of the first gateway: name, which of its two ports, host name.
const LISTENERS: [(&str, usize, &str); 6] = [
    ("any", 0, ""),
    ("wild", 0, "*.example"),
    ("shop", 0, "shop.example"),
    ("deep", 0, "*.shop.example"),
    ("only", 1, "shop.example"),
    ("wide", 1, "*.test"),
];
const HOSTS: [&str; 7] =
    ["shop.example", "*.example", "*.shop.example", "a.shop.example", "b.example", "*.test", "x.y.test"];

/// Words of paths, of which prefixes and whole segments are made.
pub const SEGMENTS: [&str; 6] = ["a", "b", "admin", "administration", "A", "v1"];
pub const METHODS: [&str; 6] = ["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS"];
pub const HEADERS: [&str; 3] = ["x-version", "x-team", "x-kind"];
pub const QUERIES: [&str; 2] = ["v", "team"];
pub const VALUES: [&str; 4] = ["1", "2", "beta", "beta2"];

/// The manifests; every rule marks its responses with `x-rule: ROUTE/INDEX`.
pub fn manifests(random: &mut Random, ports: [u16; 3], origin_port: u16) -> String {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec:\n  \
         gatewayClassName: tidegate\n  listeners:\n",
    );
    for (name, port, host) in LISTENERS {
        let host = if host.is_empty() { String::new() } else { format!(", hostname: '{host}'") };
        let port = ports[port];
        writeln!(text, "  - {{name: {name}, port: {port}, protocol: HTTP{host}}}").unwrap();
    }
    let third = ports[2];
    write!(
        text,
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: lone, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate\n  listeners:\n  - {{name: narrow, port: {third}, protocol: HTTP, hostname: narrow.alone}}\n  \
         - {{name: void, port: {third}, protocol: HTTP, hostname: void.alone}}\n{LONE}"
    )
    .unwrap();
    for number in 0..SERVICES {
        service(&mut text, &format!("s{number}"), Some((11 + number, origin_port)));
    }
    service(&mut text, "nobody", None);
    text.push_str(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: page, namespace: shop}\n\
         spec: {directResponse: {statusCode: 418, body: {type: Inline, inline: x}}}\n",
    );
    for number in 0..ROUTES {
        route(&mut text, random, number, ports);
    }
    text
}

fn service(text: &mut String, name: &str, endpoint: Option<(usize, u16)>) {
    write!(
        text,
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  ports: [{{port: 80}}]\n"
    )
    .unwrap();
    if let Some((last, port)) = endpoint {
        write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{port: {port}}}]\nendpoints: [{{addresses: [127.0.0.{last}]}}]\n"
        )
        .unwrap();
    }
}

fn route(text: &mut String, random: &mut Random, number: usize, ports: [u16; 3]) {
    let parent = match random.below(4) {
        0 => format!(", sectionName: {}", random.pick(&LISTENERS).0),
        1 => format!(", port: {}", random.pick(&ports[..2])),
        _ => String::new(),
    };
    let hosts: Vec<_> = (0..random.below(3)).map(|_| format!("'{}'", random.pick(&HOSTS))).collect();
    // A later route has a later time only now and then: age is among what decides.
    let second = random.below(4);
    write!(
        text,
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{name: r{number}, namespace: shop, creationTimestamp: '2024-01-01T00:00:0{second}Z'}}\nspec:\n  \
         parentRefs: [{{name: edge{parent}}}]\n  hostnames: [{}]\n  rules:\n",
        hosts.join(", ")
    )
    .unwrap();
    for index in 0..=random.below(3) {
        rule(text, random, number, index);
    }
}

fn rule(text: &mut String, random: &mut Random, route: usize, index: usize) {
    let matches: Vec<_> = (0..random.pick(&[1, 1, 1, 2, 2, 0])).map(|_| one_match(random)).collect();
    let mark = format!(
        "{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-rule, value: r{route}/{index}}}]}}}}"
    );
    let (filter, backends) = match random.below(10) {
        0 => {
            let code = random.pick(&[301, 302]);
            (
                format!(
                    ", {{type: RequestRedirect, requestRedirect: {{hostname: new.example, statusCode: {code}}}}}"
                ),
                vec![],
            )
        }
        1 => (
            ", {type: ExtensionRef, extensionRef: {group: tidegate.dev, kind: HTTPRouteFilter, name: page}}"
                .into(),
            vec![],
        ),
        2 => (String::new(), vec![]),
        _ => (String::new(), (0..=random.below(3)).map(|_| backend(random)).collect()),
    };
    writeln!(
        text,
        "  - matches: [{}]\n    filters: [{mark}{filter}]\n    backendRefs: [{}]",
        matches.join(", "),
        backends.join(", ")
    )
    .unwrap();
}

fn backend(random: &mut Random) -> String {
    let name = match random.below(20) {
        0 => "nobody".to_owned(),
        1 => "missing".to_owned(),
        _ => format!("s{}", random.below(SERVICES)),
    };
    format!("{{name: {name}, port: 80, weight: {}}}", random.pick(&[0, 1, 1, 3]))
}

fn one_match(random: &mut Random) -> String {
    let mut parts = Vec::new();
    let path = path(random);
    match random.below(8) {
        0 => {}
        1..=3 => parts.push(format!("path: {{type: Exact, value: {path}}}")),
        4 => parts.push(format!("path: {{type: RegularExpression, value: '{path}(/[a-z]+)?'}}")),
        _ => parts.push(format!("path: {{type: PathPrefix, value: {path}}}")),
    }
    if random.percent(20) {
        parts.push(format!("method: {}", random.pick(&METHODS)));
    }
    for (field, names, percent) in [("headers", &HEADERS[..], 30), ("queryParams", &QUERIES[..], 20)] {
        if random.percent(percent) {
            let name = random.pick(names);
            let value = if random.percent(30) {
                "type: RegularExpression, value: 'beta[0-9]*'".to_owned()
            } else {
                format!("value: '{}'", random.pick(&VALUES))
            };
            parts.push(format!("{field}: [{{name: {name}, {value}}}]"));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

fn path(random: &mut Random) -> String {
    let segments: Vec<_> = (0..random.pick(&[0, 1, 1, 2, 2, 2])).map(|_| random.pick(&SEGMENTS)).collect();
    let end = if random.percent(15) && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}
