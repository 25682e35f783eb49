//! What is made for each Gateway in a cluster: one Service without endpoints, so that tools find by label and annotation
//! what belongs to a Gateway (Gateway API `spec.infrastructure`, GEP-1762).
//!
//! Where objects come from a directory nobody makes anything: there these are shown, and written nowhere. In a cluster whoever
//! writes statuses makes them too.

use serde_json::{Value, json};
use tidegate_objects::gateway::Gateway;
use tidegate_objects::{Key, Resource};

use super::Facts;
use crate::writeback::{MANAGED_BY, MANAGER};

/// The label by which everything made for a Gateway is found, and the one that names its class.
const LABELS: [&str; 2] =
    ["gateway.networking.k8s.io/gateway-name", "gateway.networking.k8s.io/gateway-class-name"];

/// The longest name of a Service (RFC 1035 label).
const NAME_MAX: usize = 63;

/// An object that is made for a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The Gateway.
    pub gateway: Key,
    /// The object, as `kubectl apply` would take it.
    pub object: Value,
}

/// One Service for each Gateway of ours.
pub fn infrastructure(facts: &Facts<'_>) -> Vec<Made> {
    let gateways = facts.standing.gateways.iter();
    let each = gateways.filter_map(|(key, standing)| {
        let resource = facts.snapshot.gateways.get(key)?;
        let mut ports: Vec<(u16, &str)> = standing
            .listeners
            .iter()
            .filter(|listener| listener.served)
            .map(|listener| match listener.transport {
                tidegate_model::traffic::Transport::Tcp => (listener.port, "TCP"),
                tidegate_model::traffic::Transport::Udp => (listener.port, "UDP"),
            })
            .collect();
        ports.sort_unstable();
        ports.dedup();
        (!ports.is_empty()).then(|| Made { gateway: key.clone(), object: service(resource, &ports) })
    });
    each.collect()
}

fn service(gateway: &Resource<Gateway>, ports: &[(u16, &str)]) -> Value {
    let key = gateway.key();
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let mut labels = infrastructure.map(|asked| asked.labels.clone()).unwrap_or_default();
    labels.insert(LABELS[0].to_owned(), key.name.to_string());
    labels.insert(LABELS[1].to_owned(), gateway.spec.gateway_class_name.clone());
    // By it they are known as ours, and taken away again.
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let annotations = infrastructure.map(|asked| asked.annotations.clone()).unwrap_or_default();
    let ports = ports.iter().map(|(port, protocol)| {
        json!({ "name": format!("{}-{port}", protocol.to_ascii_lowercase()), "port": port, "protocol": protocol })
    });
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name(&key.name),
            "namespace": &*key.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": { "clusterIP": "None", "ports": ports.collect::<Vec<_>>() },
    })
}

/// `tidegate-` and the Gateway's name; where that is too long, or has dots, a hash keeps it apart from others.
fn name(gateway: &str) -> String {
    let whole = format!("tidegate-{gateway}");
    if whole.len() <= NAME_MAX && !gateway.contains('.') {
        return whole;
    }
    let hash = gateway.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let begin: String = whole.replace('.', "-").chars().take(NAME_MAX - 9).collect();
    format!("{begin}-{:08x}", hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that is no RFC 1035 label becomes one, and no two Gateways share it.
    #[test]
    fn names() {
        assert_eq!(name("edge"), "tidegate-edge");
        let long = "a".repeat(200);
        for odd in ["edge.shop", long.as_str()] {
            let name = name(odd);
            assert!(name.len() <= NAME_MAX && !name.contains('.'), "{name}");
        }
        assert_ne!(name("a.b"), name("a-b"));
    }
}
