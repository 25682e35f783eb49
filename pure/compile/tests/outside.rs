//! Services of type ExternalName over time: what DNS says holds without a compile, is judged at every answer, and bounded.

mod common;

use common::{machine, snapshot};
use tidegate_compile::{Compiled, Membership, compile};
use tidegate_model::{Model, Outcome};
use tidegate_objects::{Key, Kind, ObjectRef, Snapshot};

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: db, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {type: ExternalName, externalName: db.example}
";

fn said(answers: &str) -> Snapshot {
    snapshot(&format!("{answers}\n{ROUTE}"))
}

fn compiled(snapshot: &Snapshot, previous: &Model) -> Compiled {
    compile(snapshot, &machine("# machine gw1 eth0=192.0.2.20/24"), previous)
}

fn endpoints(model: &Model) -> Vec<String> {
    let cells = model.traffic.endpoints.values();
    cells.flat_map(|cell| cell.load().addresses().map(|a| a.to_string()).collect::<Vec<_>>()).collect()
}

fn outcome(compiled: &Compiled, kind: Kind, name: &str) -> Outcome {
    compiled.verdicts[&ObjectRef { kind, key: Key::new("local", "shop", name) }].outcome
}

/// Other addresses of a name fill the cell that routes hold, and a compile afterwards changes nothing.
#[test]
fn answers_are_membership() {
    let before = said("# answer db.example 198.51.100.1");
    let model = compiled(&before, &Model::default()).model;
    let mut membership = Membership::new(&before);
    assert_eq!(endpoints(&model), ["198.51.100.1:80"]);
    for (answers, expected, filled) in [
        ("# answer db.example 198.51.100.2 2001:db8::2", &["198.51.100.2:80", "[2001:db8::2]:80"][..], 1),
        (
            "# answer db.example 198.51.100.2 2001:db8::2\n# answer b.example 198.51.100.9",
            &["198.51.100.2:80", "[2001:db8::2]:80"],
            0,
        ),
        ("", &[], 1),
        ("# answer db.example 198.51.100.3", &["198.51.100.3:80"], 1),
    ] {
        let now = said(answers);
        assert!(before.same_intent(&now), "{answers}");
        assert_eq!(membership.apply(&now, &model), filled, "{answers}");
        assert!(!Membership::is_refused_otherwise(&now, &model), "{answers}");
        assert_eq!(endpoints(&model), expected, "{answers}");
        let again = compiled(&now, &model).model;
        assert_eq!(endpoints(&again), expected, "{answers}");
        assert_eq!(again.traffic.outside, model.traffic.outside, "{answers}");
    }
}

/// A name that is bound anew to an address that is refused leads nowhere at once, before anything is compiled; the compile that
/// is asked for tells it, and the same again where the name is well again.
#[test]
fn rebinding_is_refused_at_once() {
    for address in ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "192.0.2.20", "0.0.0.0", "fe80::1"] {
        let before = said("# answer db.example 198.51.100.1");
        let first = compiled(&before, &Model::default());
        let mut membership = Membership::new(&before);
        let bad = said(&format!("# answer db.example {address}"));
        assert_eq!(membership.apply(&bad, &first.model), 1, "{address}");
        assert!(endpoints(&first.model).is_empty(), "{address}");
        assert!(Membership::is_refused_otherwise(&bad, &first.model), "{address}");
        let second = compiled(&bad, &first.model);
        assert_eq!(outcome(&second, Kind::Service, "db"), Outcome::Rejected, "{address}");
        assert_eq!(outcome(&second, Kind::HTTPRoute, "all"), Outcome::Partially, "{address}");
        assert!(second.model.traffic.endpoints.is_empty(), "{address}");
        // It is asked for on, or it would never be well again.
        assert_eq!(second.model.traffic.outside.wanted().values().collect::<Vec<_>>(), [&true], "{address}");
        assert!(!Membership::is_refused_otherwise(&bad, &second.model), "{address}");
        assert!(Membership::is_refused_otherwise(&before, &second.model), "{address}");
        let third = compiled(&before, &second.model);
        assert_eq!(endpoints(&third.model), ["198.51.100.1:80"], "{address}");
        assert_eq!(outcome(&third, Kind::Service, "db"), Outcome::Accepted, "{address}");
    }
}

/// Among good addresses a bad one is left out, by a delta as by a compile.
#[test]
fn a_bad_address_among_good_ones() {
    let before = said("# answer db.example 198.51.100.1");
    let model = compiled(&before, &Model::default()).model;
    let mixed = said("# answer db.example 198.51.100.1 127.0.0.1 198.51.100.2");
    Membership::new(&before).apply(&mixed, &model);
    assert_eq!(endpoints(&model), ["198.51.100.1:80", "198.51.100.2:80"]);
    let second = compiled(&mixed, &model);
    assert_eq!(endpoints(&second.model), ["198.51.100.1:80", "198.51.100.2:80"]);
    assert_eq!(outcome(&second, Kind::Service, "db"), Outcome::Partially);
}

/// A Service that is given another name does not keep the addresses of the one before.
#[test]
fn another_name_is_another_place() {
    let before = said("# answer db.example 198.51.100.1");
    let model = compiled(&before, &Model::default()).model;
    let text = ROUTE.replace("db.example", "other.example");
    let second = compiled(&snapshot(&format!("# answer db.example 198.51.100.1\n{text}")), &model);
    assert!(endpoints(&second.model).is_empty());
    let wanted: Vec<String> = second.model.traffic.outside.wanted().keys().map(ToString::to_string).collect();
    assert_eq!(wanted, ["other.example"]);
}

/// However many Services routes use, no more names are asked for than may be, of one namespace as of all.
#[test]
fn names_are_bounded() {
    let mut text = ROUTE.to_owned();
    for namespace in 0..12 {
        let refs: Vec<String> = (0..120).map(|n| format!("{{name: s{n}, port: 80}}")).collect();
        let rules = refs.chunks(15).map(|part| format!("{{backendRefs: [{}]}}", part.join(", ")));
        text += &format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: all, namespace: n{namespace}}}\nspec: {{parentRefs: [{{name: edge, namespace: shop}}], rules: [{}]}}\n",
            rules.collect::<Vec<_>>().join(", ")
        );
        for n in 0..120 {
            text += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: n{namespace}}}\nspec: {{type: ExternalName, externalName: s{n}.n{namespace}.example}}\n"
            );
        }
    }
    let text = text.replace("protocol: HTTP}", "protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}");
    let compiled = compiled(&snapshot(&text), &Model::default());
    let wanted = compiled.model.traffic.outside.wanted();
    assert_eq!(wanted.len(), 1_000);
    let of = |namespace: &str| wanted.keys().filter(|name| name.as_str().contains(namespace)).count();
    assert_eq!(of(".n0."), 100);
    let refused = compiled.verdicts.values().flat_map(|verdict| &verdict.problems);
    assert!(refused.filter(|problem| problem.message.contains("one more")).count() >= 200);
}
