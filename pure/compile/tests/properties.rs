//! What must hold for every Snapshot, not only for those that somebody thought of.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use common::{machine, objects, snapshot};
use proptest::prelude::*;
use tidegate_compile::{Compiled, Membership, changed_services, compile, membership};
use tidegate_model::traffic::{Action, Target};
use tidegate_model::{Machine, Model, Outcome};
use tidegate_objects::core::{Endpoint, EndpointPort, EndpointSlice, Protocol};
use tidegate_objects::{Key, Kind, Metadata, Object, ObjectRef, Resource, Snapshot};

const JOURNEY: &str = include_str!("../testdata/journey/in.yaml");

/// Every object of every case: good ones, and every mistake that has a sentence.
static ZOO: LazyLock<Vec<Object>> = LazyLock::new(|| {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).expect("testdata").map(|case| case.expect("a folder").path()).collect();
    cases.sort();
    let texts = cases.iter().map(|case| std::fs::read_to_string(case.join("in.yaml")).expect("in.yaml"));
    texts.flat_map(|text| objects(&text)).collect()
});

fn compiled(snapshot: &Snapshot, machine: &Machine) -> Compiled {
    compile(snapshot, machine, &Model::default())
}

/// The Model as text, so that two can be compared.
fn text(model: &Model) -> String {
    serde_json::to_string(model).expect("a Model is plain data")
}

fn slice(name: &str, service: &str, endpoints: &[(u8, u8)]) -> Resource<EndpointSlice> {
    let endpoint = |(last, condition): &(u8, u8)| Endpoint {
        address: [10, 244, 9, *last].into(),
        ready: *condition == 0,
        serving: *condition <= 1,
        terminating: *condition == 1,
        node_name: None,
        zone: None,
    };
    let metadata = Metadata {
        key: Key::new("local", "shop", name),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created_secs: i64::MAX,
        generation: 0,
    };
    let spec = EndpointSlice {
        service: Some(service.into()),
        ports: vec![EndpointPort { name: "http".into(), port: Some(8080), protocol: Protocol::Tcp }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    };
    Resource { metadata, spec }
}

/// Whether it belongs to the second Service, and its endpoints: last byte and condition.
type State = (bool, Vec<(u8, u8)>);

/// A change of slices: one comes or differs, or one goes.
fn change() -> impl Strategy<Value = (u8, Option<State>)> {
    (0..5u8, prop::option::weighted(0.8, (any::<bool>(), prop::collection::vec((0..5u8, 0..3u8), 0..4))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any history of slices, deltas, a full fill and a full compile leave the same endpoints.
    #[test]
    fn deltas_end_where_a_full_compile_ends(history in prop::collection::vec(change(), 1..16)) {
        let (mut now, machine) = (snapshot(JOURNEY), machine(JOURNEY));
        let by_delta = compiled(&now, &machine).model;
        let by_fill = compiled(&now, &machine).model;
        let mut known = Membership::new(&now);
        for (number, state) in history {
            let before = now.clone();
            let key = Key::new("local", "shop", &format!("slice-{number}"));
            match state {
                Some((next, endpoints)) => {
                    let service = if next { "web-next" } else { "web" };
                    now.insert(slice(&key.name, service, &endpoints).into());
                }
                None => now.remove(&ObjectRef { kind: Kind::EndpointSlice, key }),
            }
            let changed = changed_services(&before, &now).len();
            prop_assert!(known.apply(&now, &by_delta) <= changed);
            prop_assert_eq!(known.apply(&now, &by_delta), 0, "nothing is left to do");
            membership(&now, &by_fill);
            let full = text(&compiled(&now, &machine).model);
            prop_assert_eq!(&text(&by_delta), &full);
            prop_assert_eq!(&text(&by_fill), &full);
        }
    }

    /// Any handful of objects compiles, on any machine, with one verdict for each that states an intent.
    #[test]
    fn any_snapshot_compiles(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        first_line in prop::sample::select(vec!["", "# machine gw1 outside=10.0.0.11/24", "# machine gw2 outside=10.0.0.12/24 cluster=10.20.0.12/24 default=outside", "# machine gw9"]),
    ) {
        let machine = machine(first_line);
        let mut snapshot = Snapshot::default();
        picks.iter().for_each(|pick| snapshot.insert(pick.get(&ZOO).clone()));
        let compiled = compiled(&snapshot, &machine);
        prop_assert_eq!(compiled.verdicts.len(), snapshot.intents().count());
        for verdict in compiled.verdicts.values() {
            prop_assert_eq!(verdict.outcome == Outcome::Accepted, verdict.problems.iter().all(|p| p.severity == tidegate_model::verdict::Severity::Warning));
            prop_assert!(verdict.problems.iter().all(|p| !p.message.is_empty()));
        }
        for entrance in &compiled.model.traffic.entrances {
            prop_assert!(!entrance.listeners.is_empty());
        }
        let sockets = compiled.model.traffic.entrances.iter().map(|entrance| entrance.address);
        prop_assert_eq!(sockets.collect::<std::collections::BTreeSet<_>>().len(), compiled.model.traffic.entrances.len());
        for (name, group) in &compiled.model.speaker.groups {
            prop_assert_eq!(name, &group.name);
            prop_assert!(!group.legs.is_empty() && (1..=254).contains(&group.priority));
            prop_assert!(group.legs.iter().all(|leg| leg.virtual_router_id > 0 && !leg.addresses.is_empty()));
        }
        let legs = || compiled.model.speaker.groups.values().flat_map(|group| &group.legs);
        let routers = legs().map(|leg| (&leg.interface, leg.virtual_router_id)).collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(routers.len(), legs().count(), "a virtual router stands twice on one segment");
        for peer in compiled.model.speaker.peers.values() {
            for export in peer.exports.values() {
                let announced = export.next_hop.is_some_and(|hop| peer.exports.contains_key(&hop.into()));
                prop_assert!(!announced, "a next hop is announced to the peer that must resolve it");
            }
        }
    }
}

/// An object that is refused as a whole changes nothing for those that are good.
#[test]
fn a_refused_object_changes_nothing() {
    let (good, machine) = (snapshot(JOURNEY), machine(JOURNEY));
    let before = compiled(&good, &machine);
    let mut refused = 0;
    for object in ZOO.iter().filter(|object| !before.verdicts.contains_key(&object.reference())) {
        let mut snapshot = good.clone();
        snapshot.insert(object.clone());
        let after = compiled(&snapshot, &machine);
        let verdict = after.verdicts.get(&object.reference());
        if verdict.is_none_or(|verdict| verdict.outcome != Outcome::Rejected) {
            continue;
        }
        refused += 1;
        for (name, verdict) in &before.verdicts {
            assert_eq!(verdict, &after.verdicts[name], "{name} because of {}", object.reference());
        }
        // A refused egress policy stays in the Model, so that what it selects is dropped.
        if object.kind() != Kind::CiliumEgressGatewayPolicy {
            assert!(text(&before.model) == text(&after.model), "{} changes the Model", object.reference());
        }
    }
    assert!(refused > 50, "{refused} refused objects are too few to mean anything");
}

/// A compile takes over the cells of the one before, so that live routes see what changed.
#[test]
fn backends_are_the_same_cells_after_a_compile() {
    let (mut now, machine) = (snapshot(JOURNEY), machine(JOURNEY));
    let first = compiled(&now, &machine).model;
    now.insert(slice("late", "web", &[(7, 0)]).into());
    let second = compile(&now, &machine, &first).model;
    assert_eq!(first.traffic.endpoints.len(), 2);
    for (id, cell) in &first.traffic.endpoints {
        assert!(Arc::ptr_eq(cell, &second.traffic.endpoints[id]));
    }
    assert_eq!(text(&first), text(&second));
    assert!(text(&first).contains("10.244.9.7:8080"));
}

/// All gateways agree on everything that they must: addresses, groups with their ids, and who is preferred where.
#[test]
fn gateways_choose_alike() {
    let snapshot = snapshot(JOURNEY);
    let on = |name: &str, last: u8| {
        let line =
            format!("# machine {name} outside=10.0.0.{last}/24 cluster=10.20.0.{last}/24 default=outside");
        compiled(&snapshot, &machine(&line)).model
    };
    let models = [on("gw1", 11), on("gw2", 12), on("gw3", 13)];
    for model in &models {
        assert_eq!(model.addresses, models[0].addresses);
        assert_eq!(model.egress, models[0].egress);
        let legs =
            |model: &Model| model.speaker.groups.values().map(|group| group.legs.clone()).collect::<Vec<_>>();
        assert_eq!(legs(model), legs(&models[0]));
    }
    let priorities: std::collections::BTreeSet<u8> =
        models.iter().filter_map(|model| Some(model.speaker.groups.values().next()?.priority)).collect();
    assert_eq!(priorities.len(), 3, "priorities are distinct");
}

/// Ids end at 255: the advertisements that come last by name are told, the others are not disturbed.
#[test]
fn the_advertisement_without_an_id_is_told() {
    let one = |number: usize| {
        format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: VRRPAdvertisement\nmetadata: {{name: a{number:03}}}\nspec: {{addresses: [10.0.0.{number}]}}\n"
        )
    };
    let (mut all, line) = (Snapshot::default(), "# machine lonely eth0=10.0.0.254/16\n");
    objects(&(0..256).map(one).collect::<String>()).into_iter().for_each(|object| all.insert(object));
    let compiled = compiled(&all, &machine(line));
    assert_eq!(compiled.model.speaker.groups.len(), 255);
    for (name, verdict) in &compiled.verdicts {
        let expected = (&*name.key.name == "a255").then_some("NoVirtualRouterID");
        assert_eq!(verdict.worst().map(|problem| problem.reason), expected, "{name}");
    }
}

/// Gateways, routes and Services of two sources that are named alike share a socket, and each keeps its own endpoints.
#[test]
fn sources_with_the_same_names_are_apart() {
    let text = include_str!("../testdata/gateways-of-two-sources/in.yaml");
    let model = compiled(&snapshot(text), &machine(text)).model;
    assert_eq!(model.traffic.endpoints.len(), 2);
    let entrance = model.traffic.entrances.iter().find(|entrance| entrance.address.port() == 80);
    let listeners = &entrance.expect("a socket on port 80").listeners;
    for (source, endpoint) in [("blue", "10.244.1.1:8080"), ("green", "10.245.1.1:8080")] {
        let listener = listeners.iter().find(|listener| *listener.name.gateway.source == *source);
        let listener = listener.expect("each source has a listener");
        assert_eq!(
            listener.hostname.as_ref().map(ToString::to_string),
            Some(format!("{source}.example")),
            "{source}"
        );
        assert_eq!(listener.http_routes().len(), 1, "{source}");
        let Action::Forward(targets) = &listener.http_routes()[0].rules[0].action else { panic!("no backend") };
        let Target::Backend(backend) = &targets[0].target else { panic!("no backend") };
        assert_eq!(*backend.id.service.source, *source);
        assert_eq!(backend.endpoints.load().usable, [tidegate_model::traffic::Endpoint::plain(endpoint.parse().expect("an address"))]);
    }
}

/// What changes one route leaves every other entrance the very same, and what changes nothing leaves all.
#[test]
fn entrances_that_do_not_change_are_the_same() {
    let object = |kind: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        )
    };
    let gateway = |name: &str, port: u16| {
        let spec = format!(
            "{{gatewayClassName: tidegate, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}"
        );
        object("Gateway", name, &spec)
    };
    let route = |name: &str, gateway: &str, path: &str| {
        let rule =
            format!("{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: web, port: 80}}]}}");
        object("HTTPRoute", name, &format!("{{parentRefs: [{{name: {gateway}}}], rules: [{rule}]}}"))
    };
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";
    let text = |path: &str| {
        let gateways = gateway("one", 80) + &gateway("other", 81);
        gateways + &route("one", "one", path) + &route("other", "other", "/") + service
    };
    let (before, after) = (snapshot(&text("/a")), snapshot(&text("/b")));
    let first = compile(&before, &Machine::default(), &Model::default()).model;
    let again = compile(&before, &Machine::default(), &first).model;
    let changed = compile(&after, &Machine::default(), &again).model;
    let same = |a: &Model, b: &Model| -> Vec<bool> {
        a.traffic.entrances.iter().zip(&b.traffic.entrances).map(|(a, b)| Arc::ptr_eq(a, b)).collect()
    };
    assert_eq!(same(&first, &again), [true, true]);
    assert_eq!(same(&again, &changed), [false, true]);
    // Equal in words, but with cells of its own: routes that kept the old ones would miss every endpoint to come.
    assert_ne!(first.traffic.entrances, compiled(&before, &Machine::default()).model.traffic.entrances);
}

/// However they are grouped and whatever their sources are called, every election has a name of its own.
#[test]
fn elections_never_share_a_name() {
    let text = include_str!("../testdata/vrrp-names/in.yaml");
    let (all, machine) = (snapshot(text), machine(text));
    let compiled = compiled(&all, &machine);
    let moved: Vec<_> = compiled
        .model
        .speaker
        .groups
        .values()
        .flat_map(|group| &group.legs)
        .flat_map(|leg| &leg.addresses)
        .collect();
    let asked = all.vrrp_advertisements.values().filter(|adv| &*adv.key().name != "bad");
    let asked: Vec<_> = asked.flat_map(|adv| &adv.spec.addresses).collect();
    assert_eq!(moved.len(), asked.len(), "an election is lost");
    for name in ["cp", "cp:green", "edge"] {
        assert!(compiled.model.speaker.groups.contains_key(name), "{name}");
    }
}
