//! Several clusters as one: endpoints of a ServiceImport follow those of every source, without a compile, and what stands
//! between sources is refused when its grant goes.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::{machine, snapshot};
use proptest::prelude::*;
use tidegate_compile::{Membership, compile, membership};
use tidegate_model::traffic::{Action, BackendId, BackendKind, Endpoints, Target, Transport};
use tidegate_model::{Machine, Model, Outcome};
use tidegate_objects::core::{Endpoint, EndpointPort, EndpointSlice, Protocol};
use tidegate_objects::{Key, Kind, Metadata, ObjectRef, Resource, Snapshot};

const IMPORT: &str = include_str!("../testdata/service-import/in.yaml");
const SOURCES: [&str; 3] = ["green", "blue", "red"];

fn compiled(snapshot: &Snapshot) -> Model {
    compile(snapshot, &machine(IMPORT), &Model::default()).model
}

fn import() -> BackendId {
    BackendId::of_import(Key::new("green", "shop", "web"), 80, Transport::Tcp)
}

fn usable(model: &Model) -> Vec<String> {
    model.traffic.endpoints[&import()].load().addresses().map(|address| address.to_string()).collect()
}

/// A slice of Service `shop/web`; its endpoints by last byte, and whether they leave.
fn slice(source: &str, number: usize, endpoints: &[(u8, bool)]) -> Resource<EndpointSlice> {
    let third = SOURCES.iter().position(|name| *name == source).expect("a source") as u8;
    let endpoint = |(last, leaves): &(u8, bool)| Endpoint {
        address: [10, 240, third, *last].into(),
        ready: !leaves,
        serving: true,
        terminating: *leaves,
        node_name: (source == "red").then(|| "n1".into()),
        zone: None,
        for_zones: Vec::new(),
    };
    let metadata = Metadata {
        key: Key::new(source, "shop", &format!("web-{number}")),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created_secs: i64::MAX,
        generation: 0,
    };
    let port = |name: &str| EndpointPort { name: name.into(), port: Some(8000), protocol: Protocol::Tcp };
    let spec = EndpointSlice {
        service: Some("web".into()),
        ports: vec![port("http"), port("web")],
        endpoints: endpoints.iter().map(endpoint).collect(),
    };
    Resource { metadata, spec }
}

fn without_slices(mut snapshot: Snapshot) -> Snapshot {
    let keys: Vec<Key> = snapshot.endpoint_slices.keys().cloned().collect();
    for key in keys {
        snapshot.remove(&ObjectRef { kind: Kind::EndpointSlice, key });
    }
    snapshot
}

/// A change of one source's slice reaches the cell that routes hold, whatever the other sources do: that of the Service and
/// that of the import, and no third.
#[test]
fn a_slice_of_another_source() {
    let mut now = without_slices(snapshot(IMPORT));
    now.insert(slice("green", 1, &[(1, false)]).into());
    let model = compiled(&now);
    let mut known = Membership::new(&now);
    assert_eq!(usable(&model), ["10.240.0.1:8000"]);
    now.insert(slice("blue", 1, &[(7, false)]).into());
    assert_eq!(known.apply(&now, &model), 2);
    assert_eq!(usable(&model), ["10.240.0.1:8000", "10.240.1.7:8000"]);
    now.insert(slice("red", 1, &[(9, false), (8, false)]).into());
    assert_eq!(known.apply(&now, &model), 2);
    assert_eq!(usable(&model), ["10.30.0.1:30080", "10.240.0.1:8000", "10.240.1.7:8000"]);
    now.remove(&ObjectRef { kind: Kind::EndpointSlice, key: Key::new("green", "shop", "web-1") });
    assert_eq!(known.apply(&now, &model), 2);
    assert_eq!(usable(&model), ["10.30.0.1:30080", "10.240.1.7:8000"]);
}

/// Endpoints on their way out are used where no source has another, and only there.
#[test]
fn those_that_leave_come_last() {
    let mut now = without_slices(snapshot(IMPORT));
    now.insert(slice("green", 1, &[(1, true)]).into());
    let model = compiled(&now);
    let mut known = Membership::new(&now);
    assert_eq!(usable(&model), ["10.240.0.1:8000"]);
    now.insert(slice("blue", 1, &[(7, false)]).into());
    known.apply(&now, &model);
    assert_eq!(usable(&model), ["10.240.1.7:8000"]);
    now.insert(slice("blue", 1, &[(7, true)]).into());
    known.apply(&now, &model);
    assert_eq!(usable(&model), ["10.240.0.1:8000", "10.240.1.7:8000"]);
}

/// The cells of a Model, by all that tells two backends apart.
fn cells(model: &Model) -> Vec<(BackendId, Endpoints)> {
    model.traffic.endpoints.iter().map(|(id, cell)| (id.clone(), (**cell.load()).clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any history of slices of three sources, deltas, a full fill and a full compile leave the same endpoints.
    #[test]
    fn deltas_end_where_a_full_compile_ends(
        history in prop::collection::vec((0..3usize, 0..3usize, prop::collection::vec((0..4u8, any::<bool>()), 0..3)), 1..16),
    ) {
        let mut now = without_slices(snapshot(IMPORT));
        let (by_delta, by_fill) = (compiled(&now), compiled(&now));
        let mut known = Membership::new(&now);
        for (source, number, endpoints) in history {
            now.insert(slice(SOURCES[source], number, &endpoints).into());
            known.apply(&now, &by_delta);
            prop_assert_eq!(known.apply(&now, &by_delta), 0, "nothing is left to do");
            membership(&now, &by_fill);
            let full = cells(&compiled(&now));
            prop_assert_eq!(&cells(&by_delta), &full);
            prop_assert_eq!(&cells(&by_fill), &full);
        }
    }
}

/// What an export brings goes with it, and live routes see that in the cell they hold.
#[test]
fn an_export_that_goes() {
    let mut now = snapshot(IMPORT);
    let before = compiled(&now);
    assert_eq!(usable(&before), ["10.30.0.1:30080", "10.244.1.1:8080", "10.245.1.1:8000"]);
    now.remove(&ObjectRef { kind: Kind::ServiceExport, key: Key::new("green", "shop", "web") });
    let after = compile(&now, &machine(IMPORT), &before).model;
    assert_eq!(usable(&after), ["10.30.0.1:30080", "10.245.1.1:8000"]);
    assert_eq!(usable(&before), usable(&after), "the same cell");
    for source in ["blue", "red", "lying-empty"] {
        now.remove(&ObjectRef { kind: Kind::ServiceExport, key: Key::new(source, "shop", "web") });
    }
    assert_eq!(usable(&compile(&now, &machine(IMPORT), &after).model), [""; 0]);
}

const ELSEWHERE: &str = include_str!("../testdata/cluster-service/in.yaml");

/// A ClusterService leads to the Service of the source it names and to no other of that name; its grant's end ends it.
#[test]
fn the_source_that_is_named() {
    let (mut now, machine) = (snapshot(ELSEWHERE), machine(ELSEWHERE));
    let first = compile(&now, &machine, &Model::default());
    let mut found: Vec<(String, Vec<SocketAddr>)> = Vec::new();
    for (id, cell) in &first.model.traffic.endpoints {
        assert_eq!(id.kind, BackendKind::Service);
        found.push((format!("{} {id}", id.service.source), cell.load().addresses().collect()));
    }
    let address = |text: &str| vec![text.parse().expect("an address")];
    for (id, endpoint) in [
        ("blue shop/web:80", "10.245.1.1:8080"),
        ("blue shop/web:443", "10.245.1.1:8443"),
        ("blue data/db:5432", "10.245.2.1:5432"),
        ("blue data/db:53/udp", "10.245.2.1:5353"),
        ("green shop/web:80", "10.244.1.1:8080"),
        ("red shop/web:80 by NodePort", "10.30.0.1:30080"),
    ] {
        assert!(found.contains(&(id.to_owned(), address(endpoint))), "{id}: {found:?}");
    }
    assert_eq!(found.len(), 6);
    let outcome = |compiled: &tidegate_compile::Compiled, kind, name| {
        compiled.verdicts[&ObjectRef { kind, key: Key::new("green", "shop", name) }].outcome
    };
    assert_eq!(outcome(&first, Kind::ClusterService, "granted"), Outcome::Accepted);
    now.remove(&ObjectRef { kind: Kind::ReferenceGrant, key: Key::new("blue", "data", "clusters") });
    let second = compile(&now, &machine, &first.model);
    assert_eq!(outcome(&second, Kind::ClusterService, "granted"), Outcome::Rejected);
    assert_eq!(outcome(&second, Kind::TCPRoute, "db"), Outcome::Partially);
    assert!(!second.model.traffic.endpoints.keys().any(|id| &*id.service.namespace == "data"));
}

/// A grant counts where it stands: one of the same words in the ClusterService's own source allows nothing.
#[test]
fn a_grant_of_the_wrong_source() {
    let (mut now, machine) = (snapshot(ELSEWHERE), machine(ELSEWHERE));
    let key = Key::new("blue", "data", "clusters");
    let mut grant = (*now.reference_grants[&key]).clone();
    now.remove(&ObjectRef { kind: Kind::ReferenceGrant, key });
    grant.metadata.key = Key::new("green", "data", "clusters");
    now.insert(grant.into());
    let compiled = compile(&now, &machine, &Model::default());
    let granted = ObjectRef { kind: Kind::ClusterService, key: Key::new("green", "shop", "granted") };
    assert_eq!(compiled.verdicts[&granted].worst().map(|problem| problem.reason), Some("RefNotPermitted"));
}

/// Where nobody has said which sources there are, as with `tidegate check`, another's Service is nobody's mistake.
#[test]
fn sources_that_are_not_looked_at() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}\n---\napiVersion: tidegate.dev/v1alpha1\nkind: ClusterService\nmetadata: {name: web, namespace: shop}\nspec: {source: blue, namespace: shop, service: web}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{group: tidegate.dev, kind: ClusterService, name: web, port: 80}]}]}\n";
    let compiled = compile(&snapshot(text), &Machine::default(), &Model::default());
    assert!(compiled.verdicts.values().all(|verdict| verdict.outcome == Outcome::Accepted));
    let object = ObjectRef { kind: Kind::ClusterService, key: Key::new("local", "shop", "web") };
    assert_eq!(compiled.verdicts[&object].worst().map(|problem| problem.reason), Some("NotLookedAt"));
}

/// What one exporting cluster's BackendTLSPolicy asks for holds for all parts; where that cannot be followed, nothing is sent.
#[test]
fn never_in_the_clear() {
    let policy = |validation: &str| {
        format!(
            "{IMPORT}# source red\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: web, namespace: shop}}\nspec: {{targetRefs: [{{group: '', kind: Service, name: web}}], validation: {validation}}}\n"
        )
    };
    let target = |text: &str| {
        let model = compiled(&snapshot(text));
        let entrance = model.traffic.entrances.iter().find(|entrance| entrance.address.port() == 80);
        let listener = &entrance.expect("a socket").listeners[0];
        let mut routes = listener.http_routes().iter();
        let route = routes.find(|route| route.name.to_string() == "shop/good").expect("the route");
        let Action::Forward(targets) = &route.rules[0].action else { panic!("no backend") };
        targets[0].target.clone()
    };
    let Target::Backend(backend) = target(IMPORT) else { panic!("no backend") };
    assert_eq!(backend.tls, None);
    let sound = policy("{hostname: web.example, wellKnownCACertificates: System}");
    let Target::Backend(backend) = target(&sound) else { panic!("no backend") };
    assert_eq!(backend.tls.as_ref().map(|tls| tls.server_name.as_str()), Some("web.example"));
    assert_eq!(backend.id, import());
    let unsound = policy("{hostname: web.example, wellKnownCACertificates: Nobody}");
    assert_eq!(target(&unsound), Target::Broken("BackendTLSPolicy is invalid"));
}
