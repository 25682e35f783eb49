//! One object that is made wrong on purpose changes nothing of the others: what they serve, how, and what they are told.
//!
//! A good object of each kind that a tenant may write is changed in random places, to values that somebody thought of and to
//! random ones; it is decoded as from an API server and compiled beside objects that are well. What these mean must be, byte for
//! byte, what they mean alone.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use common::{machine, snapshot};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate_compile::status::{Facts, Opened, statuses};
use tidegate_compile::{Compiled, Membership, compile};
use tidegate_decode::Outcome;
use tidegate_model::Model;
use tidegate_model::traffic::EndpointCell;
use tidegate_objects::{Kind, Snapshot};

/// What is well: routes of every kind, Ingresses, a Service of type LoadBalancer, in namespaces of their own.
static WELL: LazyLock<Snapshot> = LazyLock::new(|| {
    snapshot(
        &[
            include_str!("../testdata/every-kind/in.yaml"),
            include_str!("../testdata/ingress/in.yaml"),
            include_str!("../testdata/services/in.yaml"),
        ]
        .join("\n---\n"),
    )
});

/// An object as somebody would write it, in a namespace of its own, younger than all others.
fn template(kind: Kind) -> Value {
    let metadata = json!({
        "name": "poison", "namespace": "poison", "creationTimestamp": "2099-01-01T00:00:00Z", "generation": 1,
        "labels": {"kubernetes.io/service-name": "poison", "a": "b"},
        "annotations": {
            "nginx.ingress.kubernetes.io/rewrite-target": "/$1",
            "nginx.ingress.kubernetes.io/upstream-vhost": "poison.example",
            "nginx.ingress.kubernetes.io/cors-allow-origin": "https://poison.example",
            "nginx.ingress.kubernetes.io/enable-cors": "true",
            "nginx.ingress.kubernetes.io/proxy-body-size": "8m",
            "tidegate.dev/endpoint-mode": "Pod",
            "metallb.io/allow-shared-ip": "poison"
        }
    });
    let mut object = match kind {
        Kind::Ingress => json!({"spec": {
            "ingressClassName": "tidegate",
            "tls": [{"hosts": ["poison.example"], "secretName": "poison"}],
            "rules": [{"host": "poison.example", "http": {"paths": [
                {"path": "/a(/|$)(.*)", "pathType": "ImplementationSpecific",
                 "backend": {"service": {"name": "poison", "port": {"number": 80}}}},
                {"path": "/b", "pathType": "Prefix", "backend": {"service": {"name": "poison", "port": {"name": "http"}}}}
            ]}}]
        }}),
        Kind::Gateway => json!({"spec": {
            "gatewayClassName": "tidegate",
            "allowedListeners": {"namespaces": {"from": "All"}},
            "tls": {"backend": {"clientCertificateRef": {"name": "poison"}}},
            "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP", "hostname": "poison.example"},
                {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "poison.example",
                 "tls": {"certificateRefs": [{"name": "poison"}]}},
                {"name": "tcp", "port": 6000, "protocol": "TCP"}
            ]
        }}),
        Kind::HTTPRoute => json!({"spec": {
            "parentRefs": [{"name": "poison"}],
            "hostnames": ["poison.example"],
            "rules": [{
                "matches": [{"path": {"type": "RegularExpression", "value": "/a.*"},
                             "headers": [{"name": "x", "type": "RegularExpression", "value": "a+"}],
                             "queryParams": [{"name": "q", "value": "1"}]}],
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-a", "value": "b"}]}},
                    {"type": "URLRewrite", "urlRewrite": {"hostname": "poison.example", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}}
                ],
                "timeouts": {"request": "10s", "backendRequest": "5s"},
                "backendRefs": [{"name": "poison", "port": 80, "weight": 1}]
            }]
        }}),
        Kind::EndpointSlice => json!({
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.66.0.1"], "conditions": {"ready": true}, "nodeName": "n", "zone": "z",
                           "hints": {"forZones": [{"name": "z"}]}}]
        }),
        Kind::Service => json!({
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "tidegate.dev/lb", "externalName": "poison.example",
                     "clusterIP": "10.66.0.2", "selector": {"a": "b"}, "sessionAffinity": "None",
                     "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
                     "ports": [{"name": "http", "port": 7000, "targetPort": 8080, "nodePort": 30000, "protocol": "TCP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.66.0.3"}]}}
        }),
        Kind::Secret => {
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "YQ==", "ca.crt": "YQ=="}})
        }
        Kind::BackendTrafficPolicy => json!({"spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "poison"}],
            "retry": {"numRetries": 3}, "timeout": {"tcp": {"connectTimeout": "1s"}}
        }}),
        Kind::ReferenceGrant => json!({"spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "poison"}],
            "to": [{"group": "", "kind": "Service", "name": "poison"}]
        }}),
        other => panic!("{other} has no template"),
    };
    object["metadata"] = metadata;
    object
}

const KINDS: [Kind; 8] = [
    Kind::Ingress,
    Kind::Gateway,
    Kind::HTTPRoute,
    Kind::EndpointSlice,
    Kind::Service,
    Kind::Secret,
    Kind::BackendTrafficPolicy,
    Kind::ReferenceGrant,
];

/// What everything may be replaced by.
fn wicked() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        " ",
        "\n",
        "a\r\nx-injected: 1",
        "\"",
        "'",
        ";",
        "#",
        "{",
        "}",
        "{{ }}",
        "${HOME}",
        "$1$2$99",
        "a; return 200 x; #",
        "\u{0}",
        "\u{202e}",
        "é\u{301}",
        "\u{fffd}",
        "*",
        "*.",
        "*.*",
        "..",
        "../../etc/passwd",
        "/%00",
        "//",
        "http://",
        "[::",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "0.0.0.0/0",
        "10.66.0.0/33",
        "-1",
        "1e999",
        "99999999999999999999",
        "0s",
        "-5s",
        "999999999h",
        "(",
        "(a+)+$",
        "(a{1000}){1000}",
        "(?:(?:(?:a{99}){99}){99})",
        "[[:x:]]",
        "\\",
        "(?P<a>",
        "localhost",
        "kubernetes.default.svc",
        "poison.poison.svc.cluster.local",
        "ExternalName",
        "NodePort",
        "TLS",
        "UDP",
        "HTTPS",
        "Passthrough",
        "All",
        "Selector",
        "RegularExpression",
        "Exact",
        "0001-01-01T00:00:00Z",
        "YQ==",
        "====",
        "tidegate",
        "true",
        "null",
    ];
    let numbers = [0, -1, 1, 80, 65_535, 65_536, 1 << 31, -(1 << 31), i64::MAX, i64::MIN];
    let nested = || {
        (0..60)
            .fold(json!("deep"), |inner, at| if at % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
    };
    prop_oneof![
        8 => prop::sample::select(texts.to_vec()).prop_map(Value::from),
        2 => "\\PC{0,60}".prop_map(Value::from),
        1 => "[\\x00-\\x7f]{0,40}".prop_map(Value::from),
        1 => (1..70_000usize).prop_map(|length| Value::from("a".repeat(length))),
        4 => prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        2 => prop::sample::select(vec![json!(null), json!(true), json!([]), json!({}), json!([null]), json!([[]]), json!({"": ""})]),
        1 => Just(nested()),
    ]
}

/// What is done to an object in one place.
#[derive(Clone, Debug)]
enum Harm {
    /// Another value stands there.
    Replace(Value),
    /// It is gone.
    Remove,
    /// An entry of a list stands there so often.
    Repeat(usize),
    /// It stands under another name too.
    Rename(String),
}

fn harm() -> impl Strategy<Value = Harm> {
    let key = wicked().prop_map(|value| Harm::Rename(value.as_str().unwrap_or("7").to_owned()));
    prop_oneof![
        8 => wicked().prop_map(Harm::Replace),
        2 => Just(Harm::Remove),
        1 => prop::sample::select(vec![2usize, 17, 65, 1_100]).prop_map(Harm::Repeat),
        1 => key,
    ]
}

/// Every place in a value, as a path of keys and indexes.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            all.push(place.clone());
            places(value, &place, all);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| {
            let place = format!("{at}/{index}");
            all.push(place.clone());
            places(value, &place, all);
        }),
        _ => {}
    }
}

fn do_harm(object: &mut Value, where_to: prop::sample::Index, harm: Harm) {
    let mut all = Vec::new();
    places(object, "", &mut all);
    // Who it is stays: another name or namespace would be another object's, and its age is what a server wrote.
    all.retain(|place| {
        !["/metadata", "/metadata/name", "/metadata/namespace", "/metadata/creationTimestamp"]
            .contains(&place.as_str())
    });
    if all.is_empty() {
        return;
    }
    let place = where_to.get(&all);
    let (parent, last) = place.rsplit_once('/').expect("every place has a parent");
    let last = last.replace("~1", "/").replace("~0", "~");
    match (harm, object.pointer_mut(parent)) {
        (Harm::Replace(value), _) => *object.pointer_mut(place).expect("it is there") = value,
        (Harm::Remove, Some(Value::Object(fields))) => drop(fields.remove(&last)),
        (Harm::Remove, Some(Value::Array(items))) => items.clear(),
        (Harm::Repeat(times), Some(Value::Array(items))) => {
            let first = items.first().cloned().unwrap_or_default();
            items.extend(std::iter::repeat_n(first, times));
        }
        (Harm::Rename(name), Some(Value::Object(fields))) => {
            let value = fields.get(&last).cloned().unwrap_or_default();
            fields.insert(name, value);
        }
        _ => {}
    }
}

/// What the objects that are well mean and are told, in a form that can be compared.
fn meaning(snapshot: &Snapshot, compiled: &Compiled) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let is_poison = |text: &str| text.contains("poison");
    for entrance in &compiled.model.traffic.entrances {
        for listener in &entrance.listeners {
            let value = serde_json::to_value(listener).expect("plain data");
            let name = format!("{} {} {:?}", entrance.address, value["name"], listener.hostname);
            if !is_poison(&name) && !is_poison(&value["name"].to_string()) {
                all.insert(name, value.to_string());
            }
        }
    }
    let endpoints = |cell: &Arc<EndpointCell>| format!("{cell:?}");
    for (id, cell) in compiled.model.traffic.endpoints.iter().filter(|(id, _)| !is_poison(&id.to_string())) {
        all.insert(format!("endpoints of {id}"), endpoints(cell));
    }
    for (object, verdict) in compiled.verdicts.iter().filter(|(object, _)| !is_poison(&object.to_string())) {
        all.insert(format!("verdict of {object}"), format!("{verdict:?}"));
    }
    let machine = machine("");
    let sockets = |_, _| Opened::Yes;
    let (verdicts, standing) = (&compiled.verdicts, &compiled.standing);
    let facts = Facts { snapshot, verdicts, standing, notice: None, machine: &machine, sockets: &sockets };
    for status in statuses(&facts).into_iter().filter(|status| status.namespace != "poison") {
        let value = serde_json::to_value(&status.status).expect("plain data");
        all.insert(
            format!("status of {} {}/{}", status.kind, status.namespace, status.name),
            value.to_string(),
        );
    }
    all
}

/// Alone, with its Model.
static ALONE: LazyLock<(BTreeMap<String, String>, Model)> = LazyLock::new(|| {
    let compiled = compile(&WELL, &machine(""), &Model::default());
    (meaning(&WELL, &compiled), compiled.model)
});

/// The texts in a value, with what they are.
fn texts<'v>(value: &'v Value, all: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => all.push(text),
        Value::Array(items) => items.iter().for_each(|value| texts(value, all)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, all)),
        _ => {}
    }
}

/// Decodes, compiles and compares.
fn check(kind: Kind, object: Value) -> Result<(), TestCaseError> {
    let version = kind.versions()[0];
    let document = tidegate_decode::value("local", kind, version, object.clone());
    // A server would not have such an object; a directory may.
    let text = object.to_string();
    let as_file = tidegate_decode::decode("local", &text);
    prop_assert!(as_file.is_ok_and(|documents| documents.len() <= 1), "a document is one");
    let Outcome::Object { object, .. } = document.outcome else { return Ok(()) };
    let (alone, model) = &*ALONE;
    let mut with = WELL.clone();
    // Support, so that more of the object is followed.
    for (kind, support) in KINDS.into_iter().map(|kind| (kind, template(kind))) {
        let document = tidegate_decode::value("local", kind, kind.versions()[0], support);
        if let Outcome::Object { object, .. } = document.outcome {
            with.insert(object);
        }
    }
    with.insert(object);
    let compiled = compile(&with, &machine(""), model);
    let found = meaning(&with, &compiled);
    for (what, known) in alone {
        prop_assert_eq!(Some(known), found.get(what), "{} changed {}", text, what);
    }
    // Endpoints alone: a delta ends where the compile ends.
    if kind == Kind::EndpointSlice {
        let mut without = with.clone();
        without.endpoint_slices = WELL.endpoint_slices.clone();
        let before = compile(&without, &machine(""), &Model::default()).model;
        let mut membership = Membership::new(&without);
        membership.apply(&with, &before);
        let after = compile(&with, &machine(""), &Model::default()).model;
        let cells =
            |model: &Model| model.traffic.endpoints.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>();
        prop_assert_eq!(cells(&before), cells(&after), "{}", text);
    }
    // What is written into heads on the way, or into lines of a log, holds no end of line.
    let served: Value = serde_json::to_value(&compiled.model.traffic.entrances).expect("plain data");
    let mut all = Vec::new();
    texts(&served, &mut all);
    let broken = all.into_iter().find(|text| text.contains(['\n', '\r', '\0']));
    prop_assert_eq!(broken, None, "{}", text);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to one object, the others are as they were.
    #[test]
    fn one_object_stops_no_other(
        kind in prop::sample::select(KINDS.to_vec()),
        harms in prop::collection::vec((any::<prop::sample::Index>(), harm()), 1..5),
    ) {
        let mut object = template(kind);
        harms.into_iter().for_each(|(place, harm)| do_harm(&mut object, place, harm));
        check(kind, object)?;
    }
}

/// What is not random: sizes and depths at which a program breaks. Objects that are well are as they were.
#[test]
fn large_and_deep() {
    let mut cases: Vec<(Kind, Value)> = KINDS.into_iter().map(|kind| (kind, template(kind))).collect();
    let with = |kind, change: &dyn Fn(&mut Value)| {
        let mut object = template(kind);
        change(&mut object);
        (kind, object)
    };
    cases.push(with(Kind::Ingress, &|object| {
        let path = |n: usize| json!({"path": format!("/p{n}"), "pathType": "Prefix", "backend": {"service": {"name": "poison", "port": {"number": 80}}}});
        object["spec"]["rules"][0]["http"]["paths"] = (0..10_000).map(path).collect();
    }));
    cases.push(with(Kind::Ingress, &|object| {
        let rule = |n: usize| json!({"host": format!("h{n}.poison.example"), "http": {"paths": [{"path": "/(a+)+$", "pathType": "ImplementationSpecific", "backend": {"service": {"name": "poison", "port": {"number": 80}}}}]}});
        object["spec"]["rules"] = (0..2_000).map(rule).collect();
        object["metadata"]["annotations"]["nginx.ingress.kubernetes.io/use-regex"] = json!("true");
    }));
    for regex in ["(a{1000}){1000}", "(?:(?:(?:a{99}){99}){99})", &"(".repeat(10_000), &"(a|".repeat(1_000)] {
        cases.push(with(Kind::HTTPRoute, &|object| {
            object["spec"]["rules"][0]["matches"][0]["path"]["value"] = format!("/{regex}").into();
            object["spec"]["rules"][0]["matches"][0]["headers"][0]["value"] = regex.into();
        }));
    }
    cases.push(with(Kind::Gateway, &|object| {
        let listener = |n: usize| json!({"name": format!("l{n}"), "port": n % 65_536, "protocol": "HTTP"});
        object["spec"]["listeners"] = (0..10_000).map(listener).collect();
    }));
    cases.push(with(Kind::EndpointSlice, &|object| {
        let endpoint = |n: usize| json!({"addresses": [format!("10.66.{}.{}", n / 256 % 256, n % 256)]});
        object["endpoints"] = (0..10_000).map(endpoint).collect();
    }));
    cases.push(with(Kind::Service, &|object| {
        let port = |n: usize| json!({"name": format!("p{n}"), "port": n % 65_536});
        object["spec"]["ports"] = (0..10_000).map(port).collect();
    }));
    cases.push(with(Kind::Secret, &|object| {
        object["data"]["tls.crt"] = "A".repeat(1 << 20).into();
    }));
    cases.push(with(Kind::Ingress, &|object| {
        let annotation =
            |n: usize| (format!("nginx.ingress.kubernetes.io/{}", "a".repeat(n)), json!("\n\";#{}"));
        let all: Map<String, Value> = (1..500).map(annotation).collect();
        object["metadata"]["annotations"] = all.into();
    }));
    for (kind, object) in cases {
        check(kind, object).unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}
