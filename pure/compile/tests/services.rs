//! Services of type LoadBalancer over time: nobody loses an address, and all gateways come to the same.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::{machine, snapshot};
use proptest::prelude::*;
use serde_json::Value;
use tidegate_compile::status::{Facts, Opened, statuses};
use tidegate_compile::{Compiled, Membership, changed_services, compile};
use tidegate_model::{Model, Outcome};
use tidegate_objects::{Key, Kind, ObjectRef, Snapshot};

fn pool(name: &str, ranges: &str) -> String {
    format!(
        "---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: {name}, namespace: m}}\nspec: {{addresses: [{ranges}]}}\n"
    )
}

fn service(name: &str, annotations: &str, spec: &str, status: &Value) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop, annotations: {{{annotations}}}}}\nspec: {{type: LoadBalancer, loadBalancerClass: tidegate.dev/lb, {spec}}}\nstatus: {status}\n"
    )
}

fn slice(service: &str, ready: bool) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.244.1.2], conditions: {{ready: {ready}}}}}]\n"
    )
}

const ADVERTISEMENT: &str = "---\napiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\nmetadata: {name: p, namespace: m}\nspec: {ipAddressPools: [p]}\n";

const GATEWAYS: &str = "---\napiVersion: tidegate.dev/v1alpha1\nkind: GatewayNode\nmetadata: {name: gw1}\nspec: {addresses: [198.51.100.1]}\n---\napiVersion: tidegate.dev/v1alpha1\nkind: GatewayNode\nmetadata: {name: gw2}\nspec: {addresses: [198.51.100.2]}\n";

/// What the statuses of Services would be, by name; all sockets are open.
fn written(snapshot: &Snapshot, compiled: &Compiled) -> BTreeMap<String, Value> {
    let sockets = |_, _| Opened::Yes;
    let machine = machine("");
    let facts = Facts {
        snapshot,
        verdicts: &compiled.verdicts,
        standing: &compiled.standing,
        notice: None,
        machine: &machine,
        sockets: &sockets,
    };
    let services = statuses(&facts).into_iter().filter(|of| of.kind == "Service");
    services.map(|of| (of.name, serde_json::to_value(of.status).expect("plain data"))).collect()
}

/// The addresses of each Service.
fn addresses(compiled: &Compiled) -> BTreeMap<String, Vec<IpAddr>> {
    let all = compiled.standing.balanced.iter();
    let each = all.map(|(key, standing)| {
        (key.name.to_string(), standing.addresses.iter().map(|(address, _)| *address).collect())
    });
    each.collect()
}

/// A gateway that is alone remembers what it gave, and a pool that changes, shrinks or goes takes nothing away: the
/// pool's verdict names who is in the way, and what names the pool announces the address still.
#[test]
fn a_changed_pool_takes_nothing() {
    let text = |pool: &str| {
        pool.to_owned()
            + ADVERTISEMENT
            + &service("web", "", "ports: [{port: 80}]", &Value::Null)
            + &slice("web", true)
    };
    let machine = machine("");
    let first = compile(&snapshot(&text(&pool("p", "10.0.50.0/28"))), &machine, &Model::default());
    let had = addresses(&first)["web"].clone();
    assert_eq!(had.len(), 1);
    for changed in
        [pool("p", "10.0.60.0/28"), pool("q", "10.0.60.0/28"), pool("p", "nonsense"), String::new()]
    {
        let after = compile(&snapshot(&text(&changed)), &machine, &first.model);
        assert_eq!(addresses(&after)["web"], had, "{changed}");
        assert!(after.model.addresses.held.contains_key(&had[0]), "{changed}");
        assert!(after.standing.balanced[&Key::new("local", "shop", "web")].announced, "{changed}");
        let verdict =
            after.verdicts.get(&ObjectRef { kind: Kind::IPAddressPool, key: Key::new("local", "m", "p") });
        if let Some(verdict) = verdict {
            let problem = verdict.problems.iter().find(|problem| problem.reason == "InUse");
            let message = &problem.expect("the pool is told").message;
            assert!(message.contains(&format!("{} (Service shop/web)", had[0])), "{message}");
        }
        // And on: the memory outlives a second compile.
        let on = compile(&snapshot(&text(&changed)), &machine, &after.model);
        assert_eq!(addresses(&on)["web"], had, "{changed}");
    }
}

/// A Service whose wish cannot be read is not served meanwhile, but nobody else gets its address.
#[test]
fn a_mistake_costs_no_address() {
    let ports = "ports: [{port: 80}]";
    let text = |spec: &str, more: &str| {
        pool("p", "10.0.50.1/32") + &service("web", "", &format!("{ports}{spec}"), &Value::Null) + more
    };
    let machine = machine("");
    let first = compile(&snapshot(&text("", "")), &machine, &Model::default());
    let other = service("a-other", "", ports, &Value::Null);
    let wrong = compile(&snapshot(&text(", loadBalancerIP: 10.0.50.", &other)), &machine, &first.model);
    assert!(wrong.model.traffic.entrances.is_empty());
    assert_eq!(addresses(&wrong)["web"], addresses(&first)["web"]);
    assert!(addresses(&wrong)["a-other"].is_empty());
    let again = compile(&snapshot(&text("", &other)), &machine, &wrong.model);
    assert_eq!(addresses(&again)["web"], addresses(&first)["web"]);
}

/// Without an endpoint that could answer nothing is announced; the last that goes and the first that comes ask for a
/// compile, and no other change of endpoints does.
#[test]
fn a_silent_service_is_not_announced() {
    let text = |ready| {
        pool("p", "10.0.50.1/32")
            + ADVERTISEMENT
            + &service("web", "", "ports: [{port: 80}]", &Value::Null)
            + &slice("web", ready)
    };
    let (awake, silent, machine) = (snapshot(&text(true)), snapshot(&text(false)), machine(""));
    let address: IpAddr = "10.0.50.1".parse().expect("an address");
    let mut model = compile(&silent, &machine, &Model::default()).model;
    assert!(!model.addresses.held.contains_key(&address) && model.traffic.entrances.len() == 1);
    for (before, now, held) in [(&silent, &awake, true), (&awake, &silent, false)] {
        let mut membership = Membership::new(before);
        assert_eq!(membership.apply(now, &model), 1);
        let services = changed_services(before, now);
        assert!(Membership::falls_silent_or_wakes(&services, &model));
        model = compile(now, &machine, &model).model;
        assert!(!Membership::falls_silent_or_wakes(&services, &model));
        assert_eq!(model.addresses.held.contains_key(&address), held);
    }
}

/// One Service at one moment: name, which wish it has, port.
type State = (u8, u8, u16);

/// A wish by its number: annotations and spec.
fn wish(number: u8, port: u16) -> (&'static str, String) {
    let ports = format!("ports: [{{port: {port}}}]");
    match number {
        0 | 1 => ("", ports),
        2 => ("metallb.io/allow-shared-ip: k", ports),
        3 => ("metallb.io/loadBalancerIPs: 10.0.50.3", ports),
        4 => ("", format!("{ports}, ipFamilyPolicy: PreferDualStack")),
        _ => ("metallb.io/address-pool: q", ports),
    }
}

fn moment() -> impl Strategy<Value = (u8, Vec<State>)> {
    (0..4u8, prop::collection::vec((0..8u8, 0..6u8, 80..82u16), 0..9))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, goes and changes, and however pools change: two gateways that read the same come to the same; an
    /// address has two Services only where both share it; and a Service that asks for what it asked for before keeps what its
    /// status says, unless somebody that it shared with now asks for something else.
    #[test]
    fn histories(history in prop::collection::vec(moment(), 1..6)) {
        let mut status: BTreeMap<String, Value> = BTreeMap::new();
        let mut before: BTreeMap<String, (State, Vec<IpAddr>)> = BTreeMap::new();
        for (pools, services) in history {
            let pools = match pools {
                0 => pool("p", "10.0.50.1-10.0.50.6, fd00::/64") + &pool("q", "10.0.51.1-10.0.51.2"),
                1 => pool("p", "10.0.50.1-10.0.50.2") + &pool("q", "10.0.51.1-10.0.51.3"),
                2 => pool("p", "10.0.60.1-10.0.60.9"),
                _ => pool("p", "10.0.50.1-10.0.50.6, 10.0.51.9/32"),
            };
            let now: BTreeMap<String, State> = services.into_iter().map(|one| (format!("s{}", one.0), one)).collect();
            let mut text = GATEWAYS.to_owned() + &pools;
            for (name, (_, number, port)) in &now {
                let (annotations, spec) = wish(*number, *port);
                text += &service(name, annotations, &spec, status.get(name).unwrap_or(&Value::Null));
            }
            let snapshot = snapshot(&text);
            let one = compile(&snapshot, &machine("# machine gw1 eth0=198.51.100.1/24"), &Model::default());
            let other = compile(&snapshot, &machine("# machine gw2 eth0=198.51.100.2/24"), &one.model);
            let given = addresses(&one);
            prop_assert_eq!(&given, &addresses(&other));
            let mut users: BTreeMap<IpAddr, Vec<&State>> = BTreeMap::new();
            for (name, addresses) in &given {
                for address in addresses {
                    users.entry(*address).or_default().push(&now[name]);
                }
            }
            for (address, users) in users.iter().filter(|(_, users)| users.len() > 1) {
                let ports: BTreeSet<u16> = users.iter().map(|(_, _, port)| *port).collect();
                prop_assert!(users.iter().all(|(_, number, _)| *number == 2), "{}", address);
                prop_assert_eq!(ports.len(), users.len());
            }
            for (name, (was, had)) in &before {
                let calm = |address: &&IpAddr| before.iter().all(|(other, (was, had))| {
                    !had.contains(address) || now.get(other).is_none_or(|is| is == was)
                });
                if now.get(name) == Some(was) {
                    let kept = &given[name];
                    prop_assert!(had.iter().filter(calm).all(|address| kept.contains(address)), "{}: {:?} became {:?}", name, had, kept);
                }
            }
            for (name, addresses) in &given {
                let object = ObjectRef { kind: Kind::Service, key: Key::new("local", "shop", name) };
                prop_assert_eq!(addresses.is_empty(), one.verdicts[&object].outcome == Outcome::Rejected);
            }
            status = written(&snapshot, &one);
            before = now.into_iter().map(|(name, state)| { let had = given[&name].clone(); (name, (state, had)) }).collect();
        }
    }
}
