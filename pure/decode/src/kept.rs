//! Objects as lines of text, for a snapshot on disk: written from what was decoded, and read again without a look at what the
//! API server said. The values of Secrets are in it, so whoever keeps it must keep it to himself.
//!
//! A line is JSON: who the object is, and its fields as this program holds them. Another version of it may hold them otherwise;
//! what it cannot read it leaves out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::ByteString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegate_objects::core::{ConfigMap, Secret};
use tidegate_objects::{Key, Kind, Metadata, Object, Resource};

/// Which object a line holds; its fields are passed over.
#[derive(Deserialize)]
struct Who {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    group: String,
    kind: String,
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    created_secs: i64,
    generation: i64,
    spec: T,
    /// Of a Gateway or Ingress, from its status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    listened_on: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct SecretSpec {
    secret_type: String,
    data: BTreeMap<String, ByteString>,
}

#[derive(Serialize, Deserialize)]
struct ConfigMapSpec {
    data: BTreeMap<String, String>,
    binary_data: BTreeMap<String, ByteString>,
}

macro_rules! plain {
    ($($kind:ident)+) => {
        /// An object as text.
        fn text(object: &Object) -> serde_json::Result<String> {
            match object {
                Object::Secret(secret) => whole(object, secret_spec(&secret.spec)),
                Object::ConfigMap(map) => whole(object, config_map_spec(&map.spec)),
                Object::Gateway(gateway) => whole(object, &gateway.spec),
                Object::Ingress(ingress) => whole(object, &ingress.spec),
                $(Object::$kind(found) => whole(object, &found.spec),)+
            }
        }

        /// An object of this kind.
        fn typed(kind: Kind, source: &str, text: &str) -> serde_json::Result<Object> {
            Ok(match kind {
                Kind::Secret => {
                    let (metadata, line) = parsed::<SecretSpec>(source, text)?;
                    Resource { metadata, spec: secret(line.spec) }.into()
                }
                Kind::ConfigMap => {
                    let (metadata, line) = parsed::<ConfigMapSpec>(source, text)?;
                    Resource { metadata, spec: config_map(line.spec) }.into()
                }
                Kind::Gateway => {
                    let (metadata, line) = parsed::<tidegate_objects::gateway::Gateway>(source, text)?;
                    let mut spec = line.spec;
                    spec.listened_on = line.listened_on;
                    Resource { metadata, spec }.into()
                }
                Kind::Ingress => {
                    let (metadata, line) = parsed::<tidegate_objects::ingress::Ingress>(source, text)?;
                    let mut spec = line.spec;
                    spec.listened_on = line.listened_on;
                    Resource { metadata, spec }.into()
                }
                $(Kind::$kind => {
                    let (metadata, line) = parsed(source, text)?;
                    Object::$kind(Arc::new(Resource { metadata, spec: line.spec }))
                })+
            })
        }
    };
}

/// A line whose fields are those of a kind, and the metadata in it. Its labels and annotations are taken out.
fn parsed<T: DeserializeOwned>(source: &str, text: &str) -> serde_json::Result<(Metadata, Line<T>)> {
    let mut line: Line<T> = serde_json::from_str(text)?;
    let metadata = Metadata {
        key: Key::new(source, &line.namespace, &line.name),
        labels: std::mem::take(&mut line.labels),
        annotations: std::mem::take(&mut line.annotations),
        created_secs: line.created_secs,
        generation: line.generation,
    };
    Ok((metadata, line))
}

plain! {
    Namespace Node ServiceCIDR Service Pod EndpointSlice GatewayClass ListenerSet HTTPRoute GRPCRoute TLSRoute TCPRoute UDPRoute
    BackendTLSPolicy ReferenceGrant IngressClass IPAddressPool BGPPeer BGPAdvertisement GatewayNode VRRPAdvertisement
    RouteImport
    RouteAdvertisement ClientTrafficPolicy BackendTrafficPolicy HTTPRouteFilter ClusterService ServiceImport
    ServiceExport CiliumEgressGatewayPolicy
}

/// An object as a line, without its end.
///
/// # Errors
/// The object cannot be written as JSON, which is a mistake in this program.
pub fn kept_line(object: &Object) -> Result<String, serde_json::Error> {
    text(object)
}

/// An object with these fields, as text.
fn whole<T: Serialize>(object: &Object, spec: T) -> serde_json::Result<String> {
    let Metadata { key, labels, annotations, created_secs, generation } = object.metadata();
    let listened_on = match object {
        Object::Gateway(gateway) => gateway.spec.listened_on.clone(),
        Object::Ingress(ingress) => ingress.spec.listened_on.clone(),
        _ => Vec::new(),
    };
    serde_json::to_string(&Line {
        group: object.kind().group().to_owned(),
        kind: object.kind().name().to_owned(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        labels: labels.clone(),
        annotations: annotations.clone(),
        created_secs: *created_secs,
        generation: *generation,
        spec,
        listened_on,
    })
}

/// The object of a line that [`kept_line`] wrote. `source` becomes the source of its key.
///
/// # Errors
/// This version does not read its kind, or holds its fields otherwise; for people, without the values of a Secret.
pub fn of_kept_line(source: &str, line: &str) -> Result<Object, String> {
    let Who { group, kind, namespace, name } =
        serde_json::from_str(line).map_err(|_| "it is no object".to_owned())?;
    let object = format!("{kind} {namespace}/{name}");
    let kind = Kind::find(&group, &kind).ok_or_else(|| format!("{object}: its kind is not read"))?;
    typed(kind, source, line).map_err(|_| format!("{object}: its fields are those of another version"))
}

fn secret_spec(secret: &Secret) -> SecretSpec {
    let data = secret.data.iter().map(|(name, value)| (name.clone(), ByteString(value.expose().to_vec())));
    SecretSpec { secret_type: secret.secret_type.clone(), data: data.collect() }
}

fn secret(spec: SecretSpec) -> Secret {
    let data = spec.data.into_iter().map(|(name, value)| (name, value.0.into()));
    Secret { secret_type: spec.secret_type, data: data.collect() }
}

fn config_map_spec(map: &ConfigMap) -> ConfigMapSpec {
    let binary = map.binary_data.iter().map(|(name, value)| (name.clone(), ByteString(value.to_vec())));
    ConfigMapSpec { data: map.data.clone(), binary_data: binary.collect() }
}

fn config_map(spec: ConfigMapSpec) -> ConfigMap {
    let binary = spec.binary_data.into_iter().map(|(name, value)| (name, value.0.into()));
    ConfigMap { data: spec.data, binary_data: binary.collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::{Outcome, decode};

    /// Every object that a text of the folder gives.
    fn objects(folder: &Path) -> Vec<Object> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                found.extend(objects(&entry));
            } else if entry.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&entry).expect("a text");
                let documents = decode("a", &text).unwrap_or_default();
                found.extend(documents.into_iter().filter_map(|document| match document.outcome {
                    Outcome::Object { object, .. } => Some(object),
                    _ => None,
                }));
            }
        }
        found
    }

    const MORE: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n, labels: {app: x}, creationTimestamp: '2026-01-02T03:04:05Z', generation: 7}
spec: {nodeName: n1, hostNetwork: true}
status: {phase: Failed, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: n, annotations: {a: b}}
spec:
  type: LoadBalancer
  loadBalancerClass: x/y
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 7}}
  trafficDistribution: PreferSameNode
  ports: [{name: a, port: 53, protocol: UDP, appProtocol: x}]
  selector: {app: x}
  clusterIPs: [10.96.0.7, 'fd00:96::7']
  ipFamilies: [IPv6, IPv4]
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  loadBalancerIP: 192.0.2.7
  externalIPs: [192.0.2.8]
  loadBalancerSourceRanges: [198.51.100.0/24]
  publishNotReadyAddresses: true
status:
  loadBalancer: {ingress: [{ip: 192.0.2.7, ipMode: VIP}, {hostname: a.example}]}
  conditions: [{type: tidegate.dev/Assigned, status: 'True', message: 192.0.2.7 from IPAddressPool p}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e, namespace: n, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: a, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}, nodeName: n1, zone: z,
   hints: {forZones: [{name: z}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: n}
data: {a: text}
binaryData: {b: AP8=}
---
apiVersion: v1
kind: Secret
metadata: {name: k, namespace: n}
data: {b: AP8=}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: n}
spec: {gatewayClassName: tidegate, listeners: [{name: a, port: 80, protocol: HTTP}]}
status: {addresses: [{value: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n, labels: {a: b}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/12]}
";

    /// What was written is read again as it was: every object of the golden cases of compile, and more, of every kind.
    #[test]
    fn every_object_comes_back() {
        let mut objects = objects(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../compile/testdata")));
        objects.extend(decode("a", MORE).expect("YAML").into_iter().map(|document| match document.outcome {
            Outcome::Object { object, .. } => object,
            other => panic!("{other:?}"),
        }));
        for object in &objects {
            let line = kept_line(object).expect("a line");
            assert!(!line.contains('\n'));
            assert_eq!(of_kept_line("a", &line).as_ref(), Ok(object), "{line}");
        }
        let kinds: BTreeSet<Kind> = objects.iter().map(Object::kind).collect();
        let missing: Vec<&Kind> = Kind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// What this version does not read is named, and nothing of a Secret is told.
    #[test]
    fn others_are_named() {
        let line = |kind: &str, spec: &str| {
            format!(
                r#"{{"group":"","kind":"{kind}","namespace":"n","name":"x","created_secs":1,"generation":2,"spec":{spec}}}"#
            )
        };
        let told = |text: &str| of_kept_line("a", text).expect_err("refused");
        assert_eq!(told(&line("Later", "{}")), "Later n/x: its kind is not read");
        let refused = told(&line("Secret", r#"{"data":{"key":"hidden"}}"#));
        assert_eq!(refused, "Secret n/x: its fields are those of another version");
        assert_eq!(told("{"), "it is no object");
    }
}
