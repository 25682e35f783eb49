//! What must hold for every Snapshot, not only for those that somebody thought of.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use common::{machine, objects, snapshot};
use proptest::prelude::*;
use tidegate_compile::{Compiled, Membership, changed_services, compile, membership};
use tidegate_model::traffic::{Action, Entrance, Listener, Serves, Target, Transport};
use tidegate_model::{Machine, Model, Outcome};
use tidegate_objects::core::{Endpoint, EndpointPort, EndpointSlice, Protocol};
use tidegate_objects::{Key, Kind, Metadata, Object, ObjectRef, Resource, Snapshot};

const JOURNEY: &str = include_str!("../testdata/journey/in.yaml");

/// Every kind of route, with backends of both transports.
const EVERY_KIND: &str = include_str!("../testdata/every-kind/in.yaml");

/// Services whose endpoints come and go: namespace and name.
const SERVICES: [(&str, &str); 3] = [("shop", "web"), ("shop", "web-next"), ("engine", "all")];

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

fn slice(key: Key, service: &str, endpoints: &[(u8, u8, u8)]) -> Resource<EndpointSlice> {
    let endpoint = |(last, condition, zone): &(u8, u8, u8)| Endpoint {
        address: [10, 244, 9, *last].into(),
        ready: *condition == 0,
        serving: *condition <= 1,
        terminating: *condition == 1,
        node_name: None,
        zone: [None, Some("a".into()), Some("b".into())][usize::from(*zone)].clone(),
        for_zones: Vec::new(),
    };
    let metadata = Metadata {
        key,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created_secs: i64::MAX,
        generation: 0,
    };
    let port =
        |name: &str, number, protocol| EndpointPort { name: name.into(), port: Some(number), protocol };
    let ports = vec![
        port("http", 8080, Protocol::Tcp),
        port("secure", 8443, Protocol::Tcp),
        port("dns", 5353, Protocol::Udp),
        port("dns-tcp", 5353, Protocol::Tcp),
    ];
    let endpoints = endpoints.iter().map(endpoint).collect();
    Resource { metadata, spec: EndpointSlice { service: Some(service.into()), ports, endpoints } }
}

/// Which Service it belongs to, and its endpoints: last byte, condition, zone.
type State = (prop::sample::Index, Vec<(u8, u8, u8)>);

/// Whether the listeners of a socket can share it: one protocol, each host once, and a certificate wherever one is shown.
fn sound(entrance: &Entrance) -> bool {
    let mut hosts = std::collections::BTreeSet::new();
    let family = |listener: &Listener| match (&listener.serves, &listener.tls) {
        (Serves::Http(_), None) => 0,
        (Serves::Http(_), Some(_)) | (Serves::Tls(_), _) => 1,
        (Serves::Tcp(_), _) => 2,
        (Serves::Udp(_), _) => 3,
    };
    let families: std::collections::BTreeSet<_> =
        entrance.listeners.iter().map(|listener| family(listener)).collect();
    families.len() == 1
        && (families.contains(&3) == (entrance.transport == Transport::Udp))
        && (families.iter().all(|family| *family < 2) || entrance.listeners.len() == 1)
        && entrance.listeners.iter().all(|listener| hosts.insert(listener.hostname.clone()))
        && entrance.listeners.iter().filter_map(|l| l.tls.as_ref()).all(|tls| !tls.certificates.is_empty())
}

/// A change of slices: one comes or differs, or one goes.
fn change() -> impl Strategy<Value = (u8, Option<State>)> {
    let endpoints = prop::collection::vec((0..5u8, 0..3u8, 0..3u8), 0..4);
    (0..5u8, prop::option::weighted(0.8, (any::<prop::sample::Index>(), endpoints)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any history of slices, deltas, a full fill and a full compile leave the same endpoints.
    #[test]
    fn deltas_end_where_a_full_compile_ends(history in prop::collection::vec(change(), 1..16)) {
        let (mut now, machine) = (snapshot(&format!("{JOURNEY}{EVERY_KIND}")), machine(JOURNEY));
        let by_delta = compiled(&now, &machine).model;
        let by_fill = compiled(&now, &machine).model;
        let mut known = Membership::new(&now);
        prop_assert!(by_delta.traffic.endpoints.keys().any(|id| id.transport == Transport::Udp));
        for (number, state) in history {
            let before = now.clone();
            let key = |namespace: &str| Key::new("local", namespace, &format!("slice-{number}"));
            match state {
                Some((service, endpoints)) => {
                    let (namespace, name) = *service.get(&SERVICES);
                    now.insert(slice(key(namespace), name, &endpoints).into());
                }
                None => ["shop", "engine"].into_iter().for_each(|namespace| {
                    now.remove(&ObjectRef { kind: Kind::EndpointSlice, key: key(namespace) });
                }),
            }
            let services = changed_services(&before, &now);
            let cells = by_delta.traffic.endpoints.keys().filter(|id| services.contains(&id.service)).count();
            prop_assert!(known.apply(&now, &by_delta) <= cells);
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
            prop_assert!(sound(entrance), "{entrance:?}");
        }
        let entrances = || compiled.model.traffic.entrances.iter();
        let sockets = entrances().map(|entrance| (entrance.address, entrance.transport));
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
        // A refused egress policy stays in the Model, so that what it selects is dropped; a refused BackendTLSPolicy
        // breaks its backends, so that nothing goes to them in the clear.
        if !matches!(object.kind(), Kind::CiliumEgressGatewayPolicy | Kind::BackendTLSPolicy) {
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
    now.insert(slice(Key::new("local", "shop", "late"), "web", &[(7, 0, 0)]).into());
    let second = compile(&now, &machine, &first).model;
    assert_eq!(first.traffic.endpoints.len(), 2);
    for (id, cell) in &first.traffic.endpoints {
        assert!(Arc::ptr_eq(cell, &second.traffic.endpoints[id]));
    }
    assert_eq!(text(&first), text(&second));
    assert!(text(&first).contains("10.244.9.7:8080"));
}

/// Who uses the same port of a Service with the same settings shares one backend.
#[test]
fn backends_are_made_once() {
    let model = compiled(&snapshot(&format!("{JOURNEY}{EVERY_KIND}")), &machine(JOURNEY)).model;
    let listeners = model.traffic.entrances.iter().flat_map(|entrance| &entrance.listeners);
    let rules = listeners.flat_map(|listener| listener.http_routes()).flat_map(|route| &route.rules);
    let shares = rules.flat_map(|rule| match &rule.action {
        Action::Forward(shares) => shares.as_slice(),
        _ => &[],
    });
    let backends: Vec<_> = shares
        .filter_map(|share| match &share.target {
            Target::Backend(backend) => Some(backend),
            Target::Broken(_) => None,
        })
        .collect();
    let mut pairs = 0;
    for (number, one) in backends.iter().enumerate() {
        for other in backends[..number].iter().filter(|other| ***other == **one) {
            pairs += 1;
            assert!(Arc::ptr_eq(one, other), "{} is there twice", one.id);
        }
    }
    assert!(pairs > 0, "nothing is shared here, so nothing is tested");
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
        let Action::Forward(targets) = &listener.http_routes()[0].rules[0].action else {
            panic!("no backend")
        };
        let Target::Backend(backend) = &targets[0].target else { panic!("no backend") };
        assert_eq!(*backend.id.service.source, *source);
        assert_eq!(
            backend.endpoints.load().usable,
            [tidegate_model::traffic::Endpoint::plain(endpoint.parse().expect("an address"))]
        );
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

/// A certificate that is read again is the same one, whatever else changes; what shows it stays the same too.
#[test]
fn certificates_that_do_not_change_are_the_same() {
    let mut now = snapshot(include_str!("../testdata/tls-listeners/in.yaml"));
    let first = compile(&now, &Machine::default(), &Model::default()).model;
    let again = compile(&now, &Machine::default(), &first).model;
    let entrances = |model: &Model| model.traffic.entrances.clone();
    assert!(entrances(&first).iter().zip(entrances(&again)).all(|(a, b)| Arc::ptr_eq(a, &b)));
    now.http_routes.clear();
    let changed = compile(&now, &Machine::default(), &again).model;
    let certificates = |model: &Model| {
        let tls = model.traffic.entrances[0].listeners.iter().filter_map(|listener| listener.tls.clone());
        tls.flat_map(|tls| tls.certificates.clone()).collect::<Vec<_>>()
    };
    let (before, after) = (certificates(&again), certificates(&changed));
    assert!(before.len() >= 5 && before.len() == after.len());
    assert!(before.iter().zip(&after).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(!Arc::ptr_eq(&again.traffic.entrances[0], &changed.traffic.entrances[0]));
}

/// A Secret that goes bad costs the listeners that show it, and only them.
#[test]
fn a_bad_secret_costs_its_listeners_only() {
    let mut now = snapshot(include_str!("../testdata/tls-mixed-port/in.yaml"));
    let before = compiled(&now, &Machine::default()).model;
    now.secrets.clear();
    let after = compiled(&now, &Machine::default()).model;
    let kept = |listener: &&Arc<Listener>| listener.tls.is_none();
    let expected: Vec<_> =
        before.traffic.entrances[0].listeners.iter().filter(kept).map(|l| &l.name).collect();
    assert_eq!(expected.len(), 2);
    assert_eq!(after.traffic.entrances[0].listeners.iter().map(|l| &l.name).collect::<Vec<_>>(), expected);
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

/// A Gateway without an address of its own, as old as its number.
fn pooled_gateway(number: u32, status: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g{number}, namespace: ns, \
         creationTimestamp: \"2026-01-01T00:00:{number:02}Z\"}}\nspec: {{gatewayClassName: tidegate, listeners: [{{name: http, \
         port: 80, protocol: HTTP}}]}}\n{status}"
    )
}

/// A pool that is almost full of the Gateways with these numbers, so that most do not get the address they would have alone.
fn pooled(numbers: impl IntoIterator<Item = u32>) -> String {
    let pool = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p, namespace: m}\nspec: {addresses: \
                [192.0.2.1-192.0.2.10]}\n";
    numbers.into_iter().fold(pool.to_owned(), |text, number| text + &pooled_gateway(number, ""))
}

fn given(compiled: &Compiled) -> BTreeMap<String, String> {
    let given = compiled.model.addresses.given.iter();
    let each = given.map(|(object, given)| {
        let addresses: Vec<String> = given.iter().map(|given| given.address.to_string()).collect();
        (object.key.name.to_string(), addresses.join(" "))
    });
    each.collect()
}

/// What a pool gave stays where it is when another Gateway goes, and when an older one comes.
#[test]
fn an_address_of_a_pool_stays() {
    let first = compiled(&snapshot(&pooled(2..10)), &machine(""));
    let before = given(&first);
    assert_eq!(before.len(), 8);
    for gone in 2..10 {
        let left = (1..10).filter(|number| *number != gone);
        let mut after = given(&compile(&snapshot(&pooled(left)), &machine(""), &first.model));
        assert!(after.remove("g1").is_some(), "the older one that came has an address");
        let mut expected = before.clone();
        expected.remove(&format!("g{gone}"));
        assert_eq!(after, expected, "without g{gone}");
    }
}

/// Machines that are several go by what is written, never by what one of them remembers.
#[test]
fn gateways_of_a_set_remember_no_address() {
    let node = "---\napiVersion: tidegate.dev/v1alpha1\nkind: GatewayNode\nmetadata: {name: gw1}\nspec: {addresses: [198.51.100.1]}\n";
    let before = compiled(&snapshot(&(pooled(2..10) + node)), &machine("# machine gw1"));
    for gone in 2..10 {
        let left = snapshot(&(pooled((2..10).filter(|number| *number != gone)) + node));
        assert_eq!(
            given(&compile(&left, &machine("# machine gw1"), &before.model)),
            given(&compiled(&left, &machine("# machine gw1"))),
            "without g{gone}"
        );
    }
}

/// The address in a Gateway's status is given again after a restart, to the elder where two name it, and never one that no
/// pool may give.
#[test]
fn an_address_in_a_status_is_given_again() {
    let status = |address: &str| format!("status: {{addresses: [{{type: IPAddress, value: {address}}}]}}\n");
    let text = pooled([])
        + &pooled_gateway(1, "")
        + &pooled_gateway(2, &status("192.0.2.9"))
        + &pooled_gateway(3, &status("192.0.2.9"))
        + &pooled_gateway(4, &status("198.51.100.7"))
        + &pooled_gateway(
            5,
            "status: {addresses: [{type: Hostname, value: a.example}, {value: 192.0.2.4}]}\n",
        );
    let given = given(&compiled(&snapshot(&text), &machine("")));
    assert_eq!(given["g2"], "192.0.2.9");
    assert_eq!(given["g5"], "192.0.2.4");
    let others = [&given["g1"], &given["g3"], &given["g4"]];
    assert!(
        others.iter().all(|address| address.starts_with("192.0.2.") && *address != "192.0.2.9"),
        "{given:?}"
    );
}

/// A status that names an address of another pool than the one asked for hides nothing of what was given since.
#[test]
fn a_stale_status_gives_way_to_what_is_remembered() {
    let other = "---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: q, namespace: m}\nspec: {addresses: \
                 [198.51.100.1-198.51.100.3]}\n";
    let gateways = |numbers: &[u32]| {
        let gateways = numbers.iter().map(|number| {
            pooled_gateway(*number, "status: {addresses: [{value: 192.0.2.1}]}\n")
                .replace("namespace: ns,", "namespace: ns, annotations: {metallb.io/address-pool: q},")
        });
        snapshot(&(pooled([]) + other + &gateways.collect::<String>()))
    };
    let first = compiled(&gateways(&[1, 2, 3]), &machine(""));
    for gone in 1..=3 {
        let left: Vec<u32> = (1..=3).filter(|number| *number != gone).collect();
        let mut expected = given(&first);
        expected.remove(&format!("g{gone}"));
        assert_eq!(
            given(&compile(&gateways(&left), &machine(""), &first.model)),
            expected,
            "without g{gone}"
        );
    }
}
