//! What the fields of routes, policies and Secrets become, defaults above all.

use tidegate_objects::core::{SessionAffinity, TrafficDistribution};
use tidegate_objects::gateway::{FromNamespaces, TlsMode};
use tidegate_objects::policy::RetryTrigger;
use tidegate_objects::{Kind, Object, Quantity};

use super::{object, rendered};

/// An object of a kind in its preferred version, from its spec.
fn of(kind: Kind, spec: &str) -> Object {
    let group = if kind.group().is_empty() { String::new() } else { format!("{}/", kind.group()) };
    object(&format!(
        "apiVersion: {group}{}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n",
        kind.versions()[0]
    ))
}

/// Absent fields of routes have the defaults that Gateway API documents.
#[test]
fn defaults_of_routes() {
    let filters = "[{type: RequestRedirect, requestRedirect: {}}, {type: CORS, cors: {}}, {type: RequestMirror, requestMirror: {backendRef: {name: a}, fraction: {numerator: 3}}}]";
    let Object::HTTPRoute(route) = of(Kind::HTTPRoute, &format!("{{rules: [{{filters: {filters}}}]}}"))
    else {
        panic!("an HTTPRoute")
    };
    let filters = &route.spec.rules[0].filters;
    assert_eq!(filters[0].request_redirect.as_ref().unwrap().status_code, 302);
    assert_eq!(filters[1].cors.as_ref().unwrap().max_age, 5);
    assert_eq!(filters[2].request_mirror.as_ref().unwrap().fraction.unwrap().denominator, 100);
    let Object::TCPRoute(route) = of(Kind::TCPRoute, "{rules: [{backendRefs: [{name: a, port: 1}]}]}") else {
        panic!("a TCPRoute")
    };
    assert_eq!(route.spec.rules[0].backend_refs[0].weight, 1);
}

/// A Gateway takes no ListenerSets unless it says so; a listener ends TLS unless it says otherwise.
#[test]
fn defaults_of_gateways() {
    let spec = "{gatewayClassName: a, allowedListeners: {}, listeners: [{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}]}";
    let Object::Gateway(gateway) = of(Kind::Gateway, spec) else { panic!("a Gateway") };
    let allowed = gateway.spec.allowed_listeners.as_ref().unwrap();
    assert_eq!(allowed.namespaces.from, FromNamespaces::None);
    let tls = gateway.spec.listeners[0].tls.as_ref().unwrap();
    assert_eq!((tls.mode, tls.certificate_refs[0].kind.as_str()), (TlsMode::Terminate, "Secret"));
}

/// Absent fields of policies have the defaults that Envoy Gateway documents; amounts are bytes.
#[test]
fn defaults_of_policies() {
    let spec = "{targetRefs: [], loadBalancer: {type: PeakEWMA, consistentHash: {type: SourceIP}}, healthCheck: {active: {type: TCP}, passive: {}}, circuitBreaker: {}, retry: {retryOn: {triggers: [5xx, retriable-4xx]}, budget: {}}}";
    let Object::BackendTrafficPolicy(policy) = of(Kind::BackendTrafficPolicy, spec) else {
        panic!("a policy")
    };
    let policy = policy.spec.clone();
    assert_eq!(policy.load_balancer.unwrap().consistent_hash.unwrap().table_size, 65_537);
    let health = policy.health_check.unwrap();
    let (active, passive) = (health.active.unwrap(), health.passive.unwrap());
    assert_eq!((active.interval.as_str(), active.timeout.as_str()), ("3s", "1s"));
    assert_eq!((active.unhealthy_threshold, active.healthy_threshold), (3, 1));
    assert_eq!((passive.consecutive_5xx_errors, passive.max_ejection_percent), (5, 10));
    assert_eq!(policy.circuit_breaker.unwrap().max_pending_requests, 1_024);
    let retry = policy.retry.unwrap();
    let triggers = retry.retry_on.unwrap().triggers;
    assert_eq!(triggers, [RetryTrigger::Status5xx, RetryTrigger::Retriable4xx]);
    assert_eq!((retry.num_retries, retry.budget.unwrap().percent), (2, 20));
    let spec = "{targetRefs: [], limits: {maxRequestBodyBytes: 10Mi, maxRequestHeaderBytes: 1000}}";
    let Object::ClientTrafficPolicy(policy) = of(Kind::ClientTrafficPolicy, spec) else { panic!("a policy") };
    let limits = policy.spec.limits.as_ref().unwrap();
    assert_eq!(limits.max_request_body_bytes, Some(Quantity(10 << 20)));
    assert_eq!(limits.max_request_header_bytes, Some(Quantity(1_000)));
}

/// `stringData` wins over `data`; line breaks in base64 do not matter; what kubectl noted of the values is forgotten.
#[test]
fn secrets() {
    let Object::Secret(secret) = object(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter2, b: c}\ndata:\n  a: |\n    aHVu\n    dGVyMg==\n  b: aHVudGVyMg==\n  c: ''\nstringData: {b: other}\n",
    ) else {
        panic!("a Secret")
    };
    let value = |key: &str| secret.spec.data[key].expose().to_vec();
    assert_eq!((value("a"), value("b"), value("c")), (b"hunter2".to_vec(), b"other".to_vec(), Vec::new()));
    assert_eq!(secret.spec.secret_type, "Opaque");
    assert!(!format!("{secret:?}").contains("hunter2"));
    assert_eq!(secret.metadata.annotations.len(), 1);
    let Object::ConfigMap(map) = object(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: text}\nbinaryData: {b: /wA=}\n",
    ) else {
        panic!("a ConfigMap")
    };
    assert_eq!((map.spec.get("a"), map.spec.get("b")), (Some(&b"text"[..]), Some(&[0xff, 0][..])));
    assert_eq!(map.spec.get("c"), None);
}

/// However a Secret is wrong, no message shows a value of it.
#[test]
fn no_message_shows_a_value() {
    let told = rendered(include_str!("cases/secrets.yaml"));
    for value in ["hunter2", "aHVudGVyMg", "271828", "inf`"] {
        assert!(!told.contains(value), "{value} in\n{told}");
    }
}

/// A changed Secret, ConfigMap or Namespace is a matter for the compiler though it gets no verdict; a Pod is not.
#[test]
fn material_is_compiled() {
    for (text, compiled) in [
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", true),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", true),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", true),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", false),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n",
            false,
        ),
    ] {
        let mut snapshot = tidegate_objects::Snapshot::default();
        snapshot.insert(object(text));
        assert_eq!(snapshot.intents().count(), 0, "{text}");
        assert_eq!(snapshot.same_intent(&Default::default()), !compiled, "{text}");
    }
}

/// A Service's stickiness, preference and name elsewhere are read, and wrong ones named.
#[test]
fn services() {
    let service = |spec: &str| match of(Kind::Service, spec) {
        Object::Service(service) => service.spec.clone(),
        other => panic!("{other:?}"),
    };
    let affinity = |spec: &str| service(spec).session_affinity;
    assert_eq!(affinity("{sessionAffinity: None}"), SessionAffinity::None);
    assert_eq!(affinity("{sessionAffinity: ClientIP}"), SessionAffinity::ClientIp { timeout_secs: 10_800 });
    let config = "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}}";
    assert_eq!(affinity(config), SessionAffinity::ClientIp { timeout_secs: 60 });
    let near = service("{trafficDistribution: PreferClose, type: ExternalName, externalName: a.example}");
    assert_eq!(near.traffic_distribution, Some(TrafficDistribution::PreferSameZone));
    assert_eq!(near.external_name.as_deref(), Some("a.example"));
    for (spec, sentence) in [
        (
            "{sessionAffinity: Cookie}",
            "spec.sessionAffinity: expected one of `None`, `ClientIP`, found `Cookie`",
        ),
        (
            "{trafficDistribution: Near}",
            "spec.trafficDistribution: expected one of `PreferSameZone`, `PreferSameNode`, `PreferClose`, found `Near`",
        ),
        (
            "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}}",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: expected 1 to 86400 seconds, found the number `0`",
        ),
    ] {
        let told = rendered(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n"));
        assert!(told.contains(sentence), "{told}");
    }
}
