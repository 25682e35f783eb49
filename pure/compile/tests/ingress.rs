//! What must hold for all Ingresses: who serves which request, and that a mistake in one changes nothing of another.

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use common::{machine, snapshot};
use proptest::prelude::*;
use tidegate_compile::compile;
use tidegate_compile::ingress::annotation::{ANNOTATIONS, PREFIX};
use tidegate_model::traffic::{Action, HttpRoute, Listener, Target};
use tidegate_model::{Machine, Model};
use tidegate_traffic::client::Origin;
use tidegate_traffic::{Decision, RequestView, Router};

const SERVICES: usize = 4;

fn services() -> String {
    (0..SERVICES).fold(String::new(), |text, number| {
        text + &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
        )
    })
}

/// A rule of the random ones: host, path, Exact, Service.
type Rule = (&'static str, &'static str, bool, usize);

fn ingress(number: usize, rules: &[Rule], annotations: &[(String, String)]) -> String {
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i{number}\n  namespace: shop\n  creationTimestamp: \"2026-01-01T00:00:{number:02}Z\"\n  annotations:\n    example.com/a: b\n"
    );
    for (name, value) in annotations {
        let _ = writeln!(text, "    {PREFIX}{name}: {}", serde_json::Value::from(value.as_str()));
    }
    text += "spec:\n  ingressClassName: tidegate\n  rules:\n";
    for (host, path, exact, service) in rules {
        let (host, path_type) = (serde_json::Value::from(*host), if *exact { "Exact" } else { "Prefix" });
        let _ = writeln!(
            text,
            "  - {{host: {host}, http: {{paths: [{{path: {path}, pathType: {path_type}, backend: {{service: {{name: s{service}, port: {{name: http}}}}}}}}]}}}}"
        );
    }
    text
}

/// Who serves a request, by Kubernetes' own words (documentation of Ingress, "Path types", "Multiple matches", "Hostname
/// wildcards"): among the rules of the host that names the request's most closely, the longest path, Exact before Prefix.
fn oracle(rules: &[Rule], host: &str, path: &str) -> Option<usize> {
    let closeness = |pattern: &str| match pattern.strip_prefix("*.") {
        _ if pattern == host => Some(3),
        Some(parent) => (host.split_once('.').is_some_and(|(_, rest)| rest == parent)).then_some(2),
        None => pattern.is_empty().then_some(1),
    };
    let closest = rules.iter().filter_map(|(pattern, ..)| closeness(pattern)).max()?;
    let elements =
        |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let matches = |rule: &&Rule| match rule.2 {
        true => rule.1 == path,
        false => elements(path).starts_with(&elements(rule.1)),
    };
    let rules = rules.iter().filter(|rule| closeness(rule.0) == Some(closest));
    let mut best: Option<&Rule> = None;
    for rule in rules.filter(matches) {
        let rank = |rule: &Rule| (elements(rule.1).len(), rule.2);
        // Of the same twice, the first counts.
        if best.is_none_or(|best| rank(rule) > rank(best)) {
            best = Some(rule);
        }
    }
    best.map(|rule| rule.3)
}

/// The Service that the Model sends a request to.
fn served(model: &Model, host: &str, path: &str) -> Option<usize> {
    let entrance = model.traffic.entrances.first()?;
    let router = Router::new(entrance);
    let none: Vec<(&str, &str)> = Vec::new();
    let view = RequestView {
        host,
        method: "GET",
        path,
        query: None,
        server_name: None,
        origin: Origin::UNKNOWN,
        headers: &none,
    };
    let Decision::Matched(matched) = router.route(&view) else { return None };
    let Action::Forward(shares) = &matched.rule.action else { return None };
    let Target::Backend(backend) = &shares.first()?.target else { return None };
    backend.id.service.name.strip_prefix('s')?.parse().ok()
}

fn rule() -> impl Strategy<Value = Rule> {
    let hosts = vec!["a.example", "b.example", "x.a.example", "*.a.example", "*.example", ""];
    let paths = vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b"];
    (prop::sample::select(hosts), prop::sample::select(paths), any::<bool>(), 0..SERVICES)
}

/// Values that an annotation might have, good, bad and wicked.
fn value() -> impl Strategy<Value = String> {
    let known = [
        "true",
        "false",
        "",
        "/",
        "/$1",
        "/a; return 200",
        "https://a.example$request_uri",
        "8m",
        "0",
        "99999999999999999999",
        "a\nserver { }",
        "\"",
        "'",
        "#",
        "{",
        "}",
        "$uri",
        "10.0.0.0/8",
        "0.0.0.0/0;",
        "cookie",
        "HTTPS",
        "GRPC",
        "AJP",
        "a.example",
        "*.a.example",
        "always",
        "(",
        "(a+)+$",
        "off",
        "error http_999",
        "$http_x",
        "-1",
        "nan",
        "a, b, c",
        "Lax",
        "\u{0}",
        "é",
        "../..",
    ];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        "\\PC{0,40}",
        "[\\x00-\\x7f]{0,20}"
    ]
}

fn annotations() -> impl Strategy<Value = Vec<(String, String)>> {
    let names: Vec<&str> = ANNOTATIONS.iter().map(|row| row.name).collect();
    let name = prop_oneof![9 => prop::sample::select(names).prop_map(str::to_owned), 1 => "[a-z-]{1,12}"];
    prop::collection::btree_map(name, value(), 0..12).prop_map(|all| all.into_iter().collect())
}

/// The routes of an Ingress, with the host of their listener.
fn routes(model: &Model, name: &str) -> Vec<(Option<String>, Arc<HttpRoute>)> {
    let listeners = model.traffic.entrances.iter().flat_map(|entrance| &entrance.listeners);
    let own = |listener: &Arc<Listener>| {
        let host = listener.hostname.as_ref().map(ToString::to_string);
        let routes = listener.http_routes().iter().filter(|route| &*route.name.name == name);
        routes.map(|route| (host.clone(), route.clone())).collect::<Vec<_>>()
    };
    listeners.flat_map(own).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// However rules are spread over Ingresses, requests go where Kubernetes says.
    #[test]
    fn requests_go_where_kubernetes_says(
        ingresses in prop::collection::vec(prop::collection::vec(rule(), 1..4), 1..5),
        asked in prop::collection::vec((
            prop::sample::select(vec!["a.example", "b.example", "x.a.example", "y.x.a.example", "c.example", "other"]),
            prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/a/bc", "/ab", "/a/b/c/d", "/c"]),
        ), 1..12),
    ) {
        let text = ingresses.iter().enumerate().fold(services(), |text, (number, rules)| text + &ingress(number, rules, &[]));
        let model = compile(&snapshot(&text), &Machine::default(), &Model::default()).model;
        let rules: Vec<Rule> = ingresses.into_iter().flatten().collect();
        for (host, path) in asked {
            prop_assert_eq!(served(&model, host, path), oracle(&rules, host, path), "{} {} {:?}", host, path, rules);
        }
    }

    /// Whatever the annotations of one Ingress hold, the rules of another on the same host and elsewhere are as they were, and
    /// nothing panics.
    #[test]
    fn a_poisoned_ingress_changes_no_other(annotations in annotations()) {
        let good = ingress(1, &[("a.example", "/good", false, 1), ("g.example", "/", false, 2)], &[("rewrite-target".into(), "/x".into())]);
        let bad = ingress(2, &[("a.example", "/bad", false, 3), ("b.example", "/", false, 3)], &annotations);
        let alone = compile(&snapshot(&(services() + &good)), &machine(""), &Model::default());
        let both = compile(&snapshot(&(services() + &good + &bad)), &machine(""), &alone.model);
        let (before, after) = (routes(&alone.model, "i1"), routes(&both.model, "i1"));
        // Another name of the other's host may be one of this one's; then this one keeps its own.
        let after: Vec<_> = after.into_iter().filter(|(host, _)| before.iter().any(|(known, _)| known == host)).collect();
        prop_assert_eq!(before, after, "{:?}", annotations);
        let verdict = both.verdicts.iter().find(|(object, _)| &*object.key.name == "i1").map(|(_, verdict)| verdict.outcome);
        prop_assert_eq!(verdict, Some(tidegate_model::Outcome::Accepted));
    }
}

/// A status names every address and port where an Ingress is served, and none where it is served nowhere.
#[test]
fn statuses() {
    use tidegate_compile::status::{Facts, Opened, statuses};
    let text = services()
        + &ingress(1, &[("a.example", "/", false, 1)], &[])
        + &ingress(2, &[("192.0.2.1", "/", false, 1)], &[])
        + "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: tidegate, annotations: {tidegate.dev/addresses: \"192.0.2.1, 192.0.2.2\"}}\nspec: {controller: tidegate.dev/ingress-controller}\n";
    let (snapshot, machine) = (snapshot(&text), Machine::default());
    let compiled = compile(&snapshot, &machine, &Model::default());
    let facts = Facts {
        snapshot: &snapshot,
        verdicts: &compiled.verdicts,
        standing: &compiled.standing,
        notice: None,
        machine: &machine,
        sockets: &|address, _| match address.ip().to_string().as_str() {
            "192.0.2.1" => Opened::Yes,
            _ => Opened::Failed("in use".into()),
        },
    };
    let found = serde_json::to_value(statuses(&facts)).expect("plain data");
    let ports =
        |error: serde_json::Value| serde_json::json!([{"port": 80, "protocol": "TCP", "error": error}]);
    let status = |name: &str, ingress: serde_json::Value| {
        serde_json::json!({
            "source": "local", "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": "shop", "name": name,
            "status": {"loadBalancer": {"ingress": ingress}},
        })
    };
    let mut open = ports(serde_json::Value::Null);
    open[0].as_object_mut().expect("a port").remove("error");
    let expected = serde_json::json!([
        status(
            "i1",
            serde_json::json!([
                {"ip": "192.0.2.1", "ports": open}, {"ip": "192.0.2.2", "ports": ports("PortUnavailable".into())},
            ])
        ),
        status("i2", serde_json::json!([])),
    ]);
    assert_eq!(found, expected);
}
