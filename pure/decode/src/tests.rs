//! Golden texts, the table of sentences, lines, and texts that mean harm.

use std::net::IpAddr;

use proptest::prelude::*;
use tidegate_objects::core::ServiceType;
use tidegate_objects::{Kind, Object};

use crate::{Document, Outcome, decode};

mod fields;

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: web\n";

/// One line for each document, one for each warning.
fn rendered(text: &str) -> String {
    let documents = match decode("files", text) {
        Ok(documents) => documents,
        Err(problem) => return format!("file: {problem}\n"),
    };
    let mut out = String::new();
    for Document { line, outcome, warnings } in documents {
        out += &match outcome {
            Outcome::Object { object, .. } => format!("line {line}: {} read\n", object.reference()),
            Outcome::Refused { problem, reference } => {
                let certain = if reference.is_some() { "" } else { " (not identified)" };
                format!("refused{certain}: {problem}\n")
            }
            Outcome::Ignored { problem, .. } => format!("ignored: {problem}\n"),
        };
        for warning in warnings {
            out += &format!("  warning: {warning}\n");
        }
    }
    out
}

fn object(text: &str) -> Object {
    match decode("files", text).expect("YAML").remove(0).outcome {
        Outcome::Object { object, .. } => object,
        other => panic!("{other:?}"),
    }
}

/// Whole files give the objects, problems and warnings that a person would want to read.
#[test]
fn golden() {
    for (name, text) in [
        ("mistakes", include_str!("tests/cases/mistakes.yaml")),
        ("warnings", include_str!("tests/cases/warnings.yaml")),
        ("list", include_str!("tests/cases/list.yaml")),
        ("routes", include_str!("tests/cases/routes.yaml")),
        ("policies", include_str!("tests/cases/policies.yaml")),
        ("secrets", include_str!("tests/cases/secrets.yaml")),
    ] {
        insta::with_settings!({ snapshot_path => "tests/cases", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, rendered(text));
        });
    }
}

/// Every mistake has its exact line, object, field and sentence.
#[test]
fn sentences() {
    let spec = |text: &str| format!("{ROUTE}spec:\n{text}");
    let meta = |text: &str| format!("apiVersion: v1\nkind: Service\nmetadata:\n{text}spec: {{}}\n");
    let table = [
        (spec("  hostnames: shop.example\n"), "line 6: HTTPRoute default/web: spec.hostnames: expected a list, found the text `shop.example`; each item of a list begins with `- `"),
        (spec("  hostnames: [80]\n"), "line 6: HTTPRoute default/web: spec.hostnames[0]: expected text, found the number `80`; write it in quotes"),
        (spec("  parentRefs:\n  - sectionName: a\n"), "line 7: HTTPRoute default/web: spec.parentRefs[0].name: `name` is missing; it is required"),
        (spec("  parentRefs:\n  - name: a\n    port: 70000\n"), "line 8: HTTPRoute default/web: spec.parentRefs[0].port: expected a whole number from 0 to 65535, found the number `70000`"),
        (spec("  rules:\n  - matches:\n    - path:\n        type: Exat\n"), "line 9: HTTPRoute default/web: spec.rules[0].matches[0].path.type: expected one of `Exact`, `PathPrefix`, `RegularExpression`, found `Exat`; did you mean `Exact`?"),
        (spec("  rules: [1]\n"), "line 6: HTTPRoute default/web: spec.rules[0]: expected a mapping of fields, found the number `1`"),
        (ROUTE.to_owned(), "line 1: HTTPRoute default/web: spec: `spec` is missing; it holds what the HTTPRoute asks for"),
        (spec(""), "line 5: HTTPRoute default/web: spec: `spec` is missing; it holds what the HTTPRoute asks for"),
        (meta("  namespace: shop\n"), "line 3: Service: metadata.name: the name is missing; it is required"),
        (meta("  name: Web_1\n"), "line 4: Service Web_1: metadata.name: the name of a Service has at most 63 lower-case letters, digits and `-`, and begins and ends with a letter or a digit; found `Web_1`"),
        (meta("  name: web\n  namespace: a.b\n"), "line 5: Service a.b/web: metadata.namespace: a namespace has at most 63 lower-case letters, digits and `-`, and begins and ends with a letter or a digit; found `a.b`"),
        (meta("  name: web\n  labels: {version: 1.30}\n"), "line 5: Service web: metadata.labels.version: expected text, found the number `1.3`; write it in quotes"),
        ("kind: Service\n".into(), "line 1: Service: apiVersion: `apiVersion` is missing; every object names it, as `gateway.networking.k8s.io/v1`"),
        ("apiVersion: v1\n".into(), "line 1: kind: `kind` is missing; every object names it, as `HTTPRoute`"),
        ("apiVersion: 1\nkind: Service\n".into(), "line 1: Service: apiVersion: expected text such as `gateway.networking.k8s.io/v1`, found the number `1`"),
        ("apiVersion: v1\nkind: Service\n".into(), "line 1: Service: metadata: `metadata` is missing; an object has at least `metadata.name`"),
        ("apiVersion: networking.k8s.io/v1\nkind: Gateway\n".into(), "line 1: Gateway: apiVersion: Gateway is not a kind of `networking.k8s.io/v1`; write `gateway.networking.k8s.io/v1`"),
        ("apiVersion: v1\nkind: EndpointSlice\n".into(), "line 1: EndpointSlice: apiVersion: EndpointSlice is not a kind of `v1`; write `discovery.k8s.io/v1`"),
        ("apiVersion: metallb.io/v1beta1\nkind: BGPPeer\n".into(), "line 1: BGPPeer: apiVersion: BGPPeer is not read in version `metallb.io/v1beta1`; write `metallb.io/v1beta2`"),
        ("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: HTTPRoute\n".into(), "line 1: HTTPRoute: apiVersion: HTTPRoute is not read in version `gateway.networking.k8s.io/v1alpha2`; write `gateway.networking.k8s.io/v1` or `gateway.networking.k8s.io/v1beta1`"),
        ("apiVersion: gateway.networking.k8s.io/v1\nkind: HttpRoute\n".into(), "line 2: HttpRoute: kind: unknown kind `HttpRoute`; did you mean `HTTPRoute`?"),
        ("apiVersion: tidegate.dev/v1alpha1\nkind: VRRPAdvertisement\nmetadata: {name: v}\nspec: {preempt: yes}\n".into(), "line 4: VRRPAdvertisement v: spec.preempt: expected `true` or `false`, found the text `yes`; write `true` or `false`, without quotes"),
        ("apiVersion: tidegate.dev/v1alpha1\nkind: GatewayNode\nmetadata: {name: v}\nspec:\n  addresses:\n  - 192.0.2\n".into(), "line 6: GatewayNode v: spec.addresses[0]: expected an IP address such as `192.0.2.1`, found `192.0.2`"),
        ("apiVersion: tidegate.dev/v1alpha1\nkind: RouteAdvertisement\nmetadata: {name: v}\nspec:\n  prefixes: [192.0.2.1]\n".into(), "line 5: RouteAdvertisement v: spec.prefixes[0]: expected a network such as `192.0.2.0/24`, found `192.0.2.1`"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  type: Loadbalancer\n".into(), "line 5: Service default/a: spec.type: expected one of `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`, found `Loadbalancer`"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: 0\n".into(), "line 6: Service default/a: spec.ports[0].port: expected a port from 1 to 65535, found the number `0`"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1, protocol: tcp}]}\n".into(), "line 4: Service default/a: spec.ports[0].protocol: expected one of `TCP`, `UDP`, `SCTP`, found `tcp`"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\nendpoints: []\n".into(), "line 1: EndpointSlice default/a: addressType: `addressType` is missing; write `IPv4` or `IPv6`"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: ['0.0.0.0']}]\n".into(), "line 5: EndpointSlice default/a: endpoints[0].addresses[0]: `0.0.0.0` is the unspecified address, which is no endpoint; an API server refuses it as well"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: ['224.0.0.1']}]\n".into(), "line 5: EndpointSlice default/a: endpoints[0].addresses[0]: `224.0.0.1` is a multicast address, which is no endpoint; an API server refuses it as well"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: ['255.255.255.255']}]\n".into(), "line 5: EndpointSlice default/a: endpoints[0].addresses[0]: `255.255.255.255` is the broadcast address, which is no endpoint; an API server refuses it as well"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: ['169.254.169.254']}]\n".into(), "line 5: EndpointSlice default/a: endpoints[0].addresses[0]: `169.254.169.254` is a link-local address, which is no endpoint; an API server refuses it as well"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv6\nendpoints: [{addresses: ['fe80::1']}]\n".into(), "line 5: EndpointSlice default/a: endpoints[0].addresses[0]: `fe80::1` is a link-local address, which is no endpoint; an API server refuses it as well"),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv6\nendpoints: [{addresses: [10.0.0.1]}]\n".into(), "line 5: EndpointSlice default/a: endpoints[0].addresses[0]: the slice's addressType is `IPv6`, but the address is `10.0.0.1`"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: x}\n".into(), "line 4: Pod default/a: status.podIP: expected an IP address such as `192.0.2.1`, found `x`"),
        ("just text".into(), "line 1: expected an object with `apiVersion` and `kind`, found the text `just text`"),
        ("a: !odd b".into(), "line 1: a: the tag `!odd` has no meaning here"),
        (format!("a: {}{}", "[".repeat(150), "]".repeat(150)), "nested deeper than 100 levels"),
        ("a: .inf".into(), "line 1: a: `inf` is no number that a field can hold"),
        ("{a: 1}: b".into(), "line 1: line 1: the name of a field must be text"),
    ];
    for (text, sentence) in table {
        let documents = decode("files", &text).expect("YAML");
        let [Document { outcome: Outcome::Refused { problem, .. }, .. }] = documents.as_slice() else {
            panic!("{text}\ngave {documents:?}");
        };
        let found = problem.to_string();
        if sentence.starts_with("nested") {
            assert_eq!(problem.message, sentence);
        } else {
            assert_eq!(found, sentence, "{text}");
        }
    }
}

/// A text that is not YAML, or beyond a bound, is one error with its line.
#[test]
fn whole_files() {
    for (text, sentence) in [
        (
            "a: 1\nb: 'x\n".to_owned(),
            "line 2: not valid YAML: while scanning a quoted scalar, found unexpected end of stream",
        ),
        (
            "a:\n  b: 1\n  b: 2\n".into(),
            "line 3: not valid YAML: `b` is given twice in the same mapping; keep one",
        ),
        ("a:\n\tb: 1\n".into(), "line 2: not valid YAML: the line is indented by a tab; use spaces"),
        (format!("{}x", "- ".repeat(5_000)), "line 1: the line is indented by more than 256 columns"),
        // Found by fuzzing: what a carriage return, a byte order mark or the want of a scalar hid from that bound.
        (format!("# a\r{}x", "- ".repeat(5_000)), "line 2: the line is indented by more than 256 columns"),
        (format!("# a\r\n{}x", "- ".repeat(5_000)), "line 2: the line is indented by more than 256 columns"),
        (
            format!("\u{feff}\u{feff}{}x", "- ".repeat(5_000)),
            "line 1: the line is indented by more than 256 columns",
        ),
        ("- ".repeat(5_000), "line 1: the line is indented by more than 256 columns"),
        (" ".repeat(crate::BYTES_MAX + 1), "the file has 16777217 bytes; at most 16777216 are read"),
    ] {
        let problem = decode("files", &text).expect_err("not readable");
        assert_eq!(problem.to_string(), sentence);
    }
}

/// The deepest texts that pass the bounds are refused without leaving the stack.
#[test]
fn deepest() {
    let flow = format!("{}{}", "[".repeat(250), "]".repeat(250));
    let maps = format!("{}1{}", "{a: ".repeat(250), "}".repeat(250));
    let columns: String = (0..256).map(|column| format!("{}a:\n", " ".repeat(column))).collect();
    for inner in [flow, maps] {
        for outer in ["- ".repeat(128), "? ".repeat(128), format!("{columns}{}", " ".repeat(256))] {
            let documents = decode("files", &format!("{outer}{inner}\n")).expect("inside the bounds");
            assert!(matches!(documents[0].outcome, Outcome::Refused { .. }));
        }
    }
}

/// Documents that hold nothing are no objects and no mistakes.
#[test]
fn empty_documents() {
    for text in ["", "# only a comment\n", "---\n", "---\n---\n# x\n---\n", "\u{feff}"] {
        assert_eq!(decode("files", text).expect("YAML"), [], "{text:?}");
    }
}

/// Kinds of other projects are left alone, even where the name is one of ours.
#[test]
fn left_alone() {
    for (version, kind) in [
        ("v1", "PersistentVolumeClaim"),
        ("apps/v1", "Deployment"),
        ("networking.istio.io/v1", "Gateway"),
        ("serving.knative.dev/v1", "Service"),
        ("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy"),
        ("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy"),
    ] {
        let documents = decode("files", &format!("apiVersion: {version}\nkind: {kind}\n")).expect("YAML");
        let Outcome::Ignored { kind: found, problem } = &documents[0].outcome else {
            panic!("{version} {kind}: {documents:?}");
        };
        assert_eq!(found, kind);
        assert!(problem.message.contains("does not read"), "{problem}");
    }
}

/// Lines are those of the fields' names, in block and in flow style, behind anchors and in later documents.
#[test]
fn lines_of_nested_fields() {
    let text = format!(
        "# comment\n---\nkind: ConfigMap\napiVersion: v1\n---\n{ROUTE}  labels:\n    example.com/a: b\nspec:\n  \
         hostnames: [a.example,\n    b.example]\n  rules:\n  -\n    matches:\n    - path:\n        value: /\n    \
         - path: {{type: Exact,\n        value: /b}}\n"
    );
    let documents = decode("files", &text).expect("YAML");
    let Outcome::Object { lines, .. } = &documents[1].outcome else { panic!("{documents:?}") };
    for (field, line) in [
        ("", 6),
        ("kind", 7),
        ("metadata.labels[example.com/a]", 11),
        ("spec.hostnames[0]", 13),
        ("spec.hostnames[1]", 14),
        ("spec.rules", 15),
        ("spec.rules[0]", 17),
        ("spec.rules[0].matches[0].path.value", 19),
        ("spec.rules[0].matches[1].path.type", 20),
        ("spec.rules[0].matches[1].path.value", 21),
        ("spec.rules[0].backendRefs[0].port", 17),
        ("spec.rules[7].backendRefs", 15),
    ] {
        assert_eq!(lines.of(field), line, "{field}");
    }
}

/// Fields that are null are absent, merge keys are written out, and the namespace is `default`.
#[test]
fn as_kubectl_reads() {
    let text = format!(
        "{ROUTE}  labels: &l {{a: b}}\n  annotations:\n    <<: *l\n    c: d\nspec:\n  hostnames:\n  rules: null\n"
    );
    let Object::HTTPRoute(route) = object(&text) else { panic!("an HTTPRoute") };
    assert_eq!(&*route.metadata.key.namespace, "default");
    assert_eq!(route.metadata.annotations.len(), 2);
    assert_eq!(route.metadata.created_secs, i64::MAX);
    assert!(route.spec.hostnames.is_empty() && route.spec.rules.is_empty());
    let dated = object(
        "{apiVersion: v1, kind: Namespace, metadata: {name: a, generation: 3, creationTimestamp: 1970-01-02T00:00:00Z}}",
    );
    assert_eq!((dated.metadata().created_secs, dated.metadata().generation), (86_400, 3));
}

/// JSON is read too, with tabs and surrogate pairs, which YAML would refuse.
#[test]
fn json() {
    let text = "{\n\t\"apiVersion\":\t\"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"web\"},\n\t\"spec\": {\"type\":\t\"x\"}\n}";
    assert!(
        rendered(text).starts_with("refused: line 5: Service default/web: spec.type"),
        "{}",
        rendered(text)
    );
    let pair = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a","annotations":{"x":"\ud83d\ude00"},"labels":null}}"#;
    assert_eq!(object(pair).metadata().annotations["x"], "😀");
}

/// Conditions that are absent have the defaults of the API; loopback addresses are fine in a file.
#[test]
fn endpoint_conditions() {
    let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: a\n  labels: {kubernetes.io/service-name: web}\naddressType: IPv4\nports: [{port: 80}]\nendpoints:\n- addresses: [127.0.0.1]\n  zone: a\n  hints: {forZones: [{name: a}, {name: b}]}\n- addresses: [127.0.0.2]\n  conditions: {ready: false}\n- addresses: [127.0.0.3]\n  conditions: {ready: false, serving: true, terminating: true}\n";
    let Object::EndpointSlice(slice) = object(text) else { panic!("an EndpointSlice") };
    let conditions: Vec<_> =
        slice.spec.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
    assert_eq!(conditions, [(true, true, false), (false, false, false), (false, true, true)]);
    let first = &slice.spec.endpoints[0];
    assert_eq!(
        (first.zone.as_deref(), first.for_zones.iter().map(|z| &**z).collect::<Vec<_>>()),
        (Some("a"), vec!["a", "b"])
    );
    assert_eq!((slice.spec.service.as_deref(), slice.spec.ports[0].port), (Some("web"), Some(80)));
}

/// A Pod's addresses come from its status; a finished one says so.
#[test]
fn pods_and_services() {
    let pod = |status: &str| match object(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{nodeName: n, hostNetwork: true}}\nstatus: {status}\n"
    )) {
        Object::Pod(pod) => pod.spec.clone(),
        other => panic!("{other:?}"),
    };
    let both = pod("{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], phase: Running}");
    assert_eq!(both.addresses, ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    assert!(both.host_network && !both.finished && both.node_name.as_deref() == Some("n"));
    let done = pod("{podIP: 10.0.0.1, phase: Succeeded}");
    assert!(done.finished && done.addresses.len() == 1);
    let Object::Service(service) = object(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: LoadBalancer, ports: [{name: http, port: 80, targetPort: web, appProtocol: h2c}]}\n",
    ) else {
        panic!("a Service")
    };
    assert_eq!(service.spec.service_type, ServiceType::LoadBalancer);
    assert_eq!(service.spec.ports[0].app_protocol.as_deref(), Some("h2c"));
}

/// Of a Node its addresses inside the cluster and its labels are kept; what agents write all day changes nothing.
#[test]
fn nodes() {
    let node = |more: &str| {
        object(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n, labels: {{a: b}}, annotations: {{{more}}}}}\nspec: {{podCIDRs: [10.244.1.0/24, none]}}\nstatus: {{conditions: [{{type: Ready, status: 'True', lastHeartbeatTime: '2026-01-01T00:00:0{}Z'}}], addresses: [{{type: Hostname, address: n}}, {{type: ExternalIP, address: 192.0.2.1}}, {{type: InternalIP, address: 10.0.0.1}}, {{type: InternalIP, address: 'fd00::1'}}]}}\n",
            more.len()
        ))
    };
    assert_eq!(node(""), node("x: y"));
    let Object::Node(read) = node("") else { panic!("a Node") };
    assert_eq!(read.spec.addresses, ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    assert_eq!(read.spec.address(false), "fd00::1".parse().ok());
    assert_eq!(read.spec.pod_cidrs, ["10.244.1.0/24".parse().unwrap()]);
    assert_eq!(read.metadata.labels["a"], "b");
}

/// Every kind of the table is read in every version it names, from no more than its required fields.
#[test]
fn every_kind() {
    for kind in Kind::ALL.iter().copied() {
        let rest = match kind {
            Kind::EndpointSlice => "addressType: IPv4",
            Kind::GatewayClass => "spec: {controllerName: tidegate.dev/gateway-controller}",
            Kind::Gateway => "spec: {gatewayClassName: tidegate, listeners: []}",
            Kind::ReferenceGrant => "spec: {from: [], to: []}",
            Kind::IPAddressPool => "spec: {addresses: [192.0.2.0/24]}",
            Kind::BGPPeer => "spec: {myASN: 64512}",
            Kind::RouteImport | Kind::RouteAdvertisement => "spec: {prefixes: []}",
            Kind::CiliumEgressGatewayPolicy => "spec: {selectors: [], destinationCIDRs: []}",
            Kind::ListenerSet => "spec: {parentRef: {name: a}, listeners: []}",
            Kind::TLSRoute | Kind::TCPRoute | Kind::UDPRoute => "spec: {rules: []}",
            Kind::BackendTLSPolicy => "spec: {targetRefs: [], validation: {hostname: a.example}}",
            Kind::ClientTrafficPolicy | Kind::BackendTrafficPolicy => "spec: {targetRefs: []}",
            Kind::ClusterService => "spec: {source: blue, namespace: shop, service: web}",
            Kind::BGPAdvertisement
            | Kind::Secret
            | Kind::ConfigMap
            | Kind::ServiceImport
            | Kind::ServiceExport => "",
            _ => "spec: {}",
        };
        for version in kind.versions() {
            let group = if kind.group().is_empty() { String::new() } else { format!("{}/", kind.group()) };
            let text = format!("apiVersion: {group}{version}\nkind: {kind}\nmetadata: {{name: a}}\n{rest}\n");
            assert_eq!(object(&text).kind(), kind, "{text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No text makes the decoder panic.
    #[test]
    fn any_text(text in "\\PC{0,200}|[-:?&*!|>'\"{}\\[\\],# \\n\\ta-c0]{0,120}") {
        let _ = decode("files", &text);
    }

    /// No mutation of a real file makes it panic, and lines stay inside the text.
    #[test]
    fn mutated(at in 0usize..2_000, cut in 0usize..40, put in "[-:?&*!|>{}\\[\\], \\n\\ta0]{0,6}") {
        let text = include_str!("tests/cases/mistakes.yaml");
        let from = at % text.len();
        let to = (from + cut).min(text.len());
        let mutated = format!("{}{put}{}", &text[..from], &text[to..]);
        let lines = mutated.lines().count().max(1);
        for document in decode("files", &mutated).unwrap_or_default() {
            prop_assert!(document.line >= 1 && document.line <= lines);
            if let Outcome::Refused { problem, .. } = &document.outcome {
                prop_assert!(problem.line >= 1 && problem.line <= lines, "{problem}");
            }
        }
    }
}

/// A value from an API server reads as the text of a file does, in the same words; what a list leaves out and what nobody
/// reads makes no difference, nor does a field of a newer Kubernetes.
#[test]
fn values_of_an_api_server() {
    let text = r#"{"metadata": {"name": "web", "namespace": "shop", "annotations": {"a": "b"}},
                   "spec": {"ports": [{"port": 80}], "selector": null, "clusterIPs": ["10.0.0.1"]}}"#;
    let file = text.replacen('{', r#"{"apiVersion": "v1", "kind": "Service", "#, 1);
    let mut value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    value["metadata"]["managedFields"] = serde_json::json!([{"manager": "x"}]);
    value["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}".into();
    value["spec"]["fieldOfTomorrow"] = 1.into();
    let read = |value: serde_json::Value| crate::value("files", Kind::Service, "v1", value);
    let document = read(value.clone());
    assert_eq!(document.warnings, []);
    match document.outcome {
        Outcome::Object { object: found, .. } => assert_eq!(found, object(&file)),
        other => panic!("{other:?}"),
    }
    value["spec"]["ports"][0]["port"] = "http".into();
    let file = file.replace("\"port\": 80", "\"port\": \"http\"");
    let told = |outcome| match outcome {
        Outcome::Refused { problem, .. } => (problem.object, problem.field, problem.message),
        other => panic!("{other:?}"),
    };
    let of_file = decode("files", &file).expect("YAML").remove(0).outcome;
    assert_eq!(told(read(value).outcome), told(of_file));
}

/// Of what comes by the hundred thousand no annotation is kept, and no field of a newer server is told of.
#[test]
fn members_are_kept_small() {
    let value = serde_json::json!({"metadata": {"name": "p", "namespace": "shop", "annotations": {"a": "b"}},
        "spec": {"nodeName": "n1", "fieldOfTomorrow": 1}, "status": {"podIP": "10.0.0.1"}});
    let document = crate::value("files", Kind::Pod, "v1", value);
    assert_eq!(document.warnings, []);
    match document.outcome {
        Outcome::Object { object, .. } => assert!(object.metadata().annotations.is_empty()),
        other => panic!("{other:?}"),
    }
}
