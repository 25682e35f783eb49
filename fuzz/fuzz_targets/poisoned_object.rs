//! Whatever objects a text holds, they compile without a panic, to the same twice; and objects of another source that are well are
//! led to as they are alone.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate_compile::{Compiled, compile};
use tidegate_decode::{Outcome, decode};
use tidegate_model::{Machine, Model};
use tidegate_objects::Snapshot;

/// Sockets, addresses and gateways of their own, so that nobody may take them away by right of being older.
const WELL: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: well, namespace: well, creationTimestamp: '1970-01-01T00:00:00Z'}
spec:
  gatewayClassName: tidegate
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: well.example}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: well, namespace: well, creationTimestamp: '1970-01-01T00:00:00Z'}
spec: {parentRefs: [{name: well}], rules: [{backendRefs: [{name: well, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: well, namespace: well}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: well-1, namespace: well, labels: {kubernetes.io/service-name: well}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.1]}]
";

fn read(source: &str, text: &str, into: &mut Snapshot) {
    for document in decode(source, text).unwrap_or_default() {
        if let Outcome::Object { object, .. } = document.outcome {
            into.insert(object);
        }
    }
}

static ALONE: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut snapshot = Snapshot::default();
    read("a-well", WELL, &mut snapshot);
    snapshot
});

/// Endpoints of what is well.
fn endpoints(compiled: &Compiled) -> Vec<String> {
    let cells = compiled.model.traffic.endpoints.iter().filter(|(id, _)| &*id.service.source == "a-well");
    cells.map(|(id, cell)| format!("{id} {cell:?}")).collect()
}

fuzz_target!(|text: &str| {
    // A class of the other source may be older, and Gateways of both may want one socket: that is no poison but their right.
    if text.contains("GatewayClass") || text.contains("well") {
        return;
    }
    let machine = Machine::default();
    let alone = compile(&ALONE, &machine, &Model::default());
    let mut both = ALONE.clone();
    read("poison", text, &mut both);
    let first = compile(&both, &machine, &alone.model);
    let second = compile(&both, &machine, &first.model);
    assert_eq!(first.verdicts, second.verdicts);
    let text = |compiled: &Compiled| serde_json::to_string(&compiled.model).expect("plain data");
    assert_eq!(text(&first), text(&second));
    let (endpoints, _) = meaning(&alone);
    assert_eq!(endpoints(&alone), endpoints(&first));
});
