use proptest::prelude::*;
use tidegate_objects::egress::EgressSelector;
use tidegate_objects::{Kind, LabelSelector, Metadata, ObjectRef};

use super::*;
use crate::Leaves;

fn labels(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), app.to_owned())])
}

fn pod(name: &str, app: &str, address: Ipv4Addr) -> Resource<Pod> {
    let key = Key::new("local", "shop", name);
    let metadata = Metadata {
        key,
        labels: labels(app),
        annotations: BTreeMap::new(),
        created_secs: i64::MAX,
        generation: 0,
    };
    let spec = Pod { addresses: vec![address.into()], ..Pod::default() };
    Resource { metadata, spec }
}

fn policy(name: &str, app: Option<&str>, to: &[&str], except: &[&str], identity: Identity) -> EgressPolicy {
    let selector =
        LabelSelector { match_labels: app.map(labels).unwrap_or_default(), match_expressions: Vec::new() };
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect();
    EgressPolicy {
        name: ObjectRef { kind: Kind::CiliumEgressGatewayPolicy, key: Key::new("local", "", name) },
        selectors: vec![EgressSelector { pod_selector: Some(selector), ..EgressSelector::default() }],
        destinations: nets(to),
        excluded: nets(except),
        identity,
    }
}

fn table(policies: Vec<EgressPolicy>) -> Table {
    Table::new(&Egress { pod_ranges: vec!["10.244.0.0/16".parse().expect("a prefix")], policies })
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

const A: Identity = Identity::Address(Ipv4Addr::new(10, 53, 0, 1));
const B: Identity = Identity::Address(Ipv4Addr::new(10, 53, 0, 2));

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// The longest prefix wins over precedence, an exclusion takes its own policy out, what is unavailable is dropped.
#[test]
fn decisions() {
    let gone = Identity::Unavailable("no gateway".into());
    let mut table = table(vec![
        policy("wide", Some("web"), &["0.0.0.0/0"], &["192.168.0.0/16"], A),
        policy("narrow", Some("web"), &["10.2.0.0/16", "192.168.7.0/24"], &["10.2.9.0/24"], B),
        policy("broken", Some("web"), &["10.3.0.0/16"], &[], gone),
    ]);
    let source = address("10.244.1.2");
    table.set_pod(&pod("web", "web", source), &none());
    for (to, policy, with, dropped) in [
        ("8.8.8.8", Some("wide"), Some("10.53.0.1"), None),
        ("10.2.3.4", Some("narrow"), Some("10.53.0.2"), None),
        ("10.2.9.4", Some("wide"), Some("10.53.0.1"), None),
        ("192.168.1.1", None, None, None),
        ("192.168.7.1", Some("narrow"), Some("10.53.0.2"), None),
        ("10.3.0.1", Some("broken"), None, Some("no gateway")),
    ] {
        let decision = table.decide(source, address(to));
        assert_eq!(decision.policy.map(|name| name.key.name.to_string()).as_deref(), policy, "{to}");
        assert_eq!(decision.source.map(|address| address.to_string()).as_deref(), with, "{to}");
        assert_eq!(decision.dropped.as_deref(), dropped, "{to}");
    }
}

/// An unknown source inside a pod range is dropped while a policy exists; without policies, and outside, it passes.
#[test]
fn unknown_sources() {
    let (inside, outside, to) = (address("10.244.1.2"), address("10.99.0.1"), address("8.8.8.8"));
    let with = table(vec![policy("p", None, &["0.0.0.0/0"], &[], A)]);
    assert!(with.decide(inside, to).dropped.is_some_and(|reason| reason.contains("no pod that is known")));
    assert_eq!(with.decide(outside, to).dropped, None);
    assert_eq!(table(Vec::new()).decide(inside, to).dropped, None);
}

/// Pods that share their node's address or have finished are not known, even if they were.
#[test]
fn pods_without_an_address_of_their_own() {
    let mut table = table(vec![policy("p", None, &["0.0.0.0/0"], &[], A)]);
    let mut web = pod("web", "web", address("10.244.1.2"));
    assert!(table.set_pod(&web, &none()));
    assert!(!table.set_pod(&web, &none()), "nothing changed");
    web.spec.finished = true;
    assert!(table.set_pod(&web, &none()));
    assert_eq!(table.kernel(), KernelTables::default());
    web.spec = Pod { host_network: true, finished: false, ..web.spec };
    assert!(!table.set_pod(&web, &none()));
}

/// An address that two pods claim is unknown while they differ, and known again when one is gone.
#[test]
fn an_address_claimed_twice() {
    let mut table = table(vec![policy("p", Some("web"), &["0.0.0.0/0"], &[], A)]);
    let at = address("10.244.1.2");
    table.set_pod(&pod("web", "web", at), &none());
    table.set_pod(&pod("db", "db", at), &none());
    assert!(!table.kernel().pods.contains(&at));
    assert!(
        table
            .decide(at, address("8.8.8.8"))
            .dropped
            .is_some_and(|reason| reason.contains("shop/db, shop/web"))
    );
    table.remove_pod(&Key::new("local", "shop", "db"));
    assert_eq!(table.decide(at, address("8.8.8.8")).source, Some(address("10.53.0.1").into()));
}

/// A gateway that starts again gives the same class the same number, in whatever order pods appear.
#[test]
fn class_numbers_follow_from_names() {
    let policies =
        || vec![policy("a", Some("web"), &["0.0.0.0/0"], &[], A), policy("b", None, &["10.0.0.0/8"], &[], B)];
    let pods = [pod("web", "web", address("10.244.1.2")), pod("db", "db", address("10.244.1.3"))];
    let (mut first, mut second) = (table(policies()), table(policies()));
    for (one, other) in pods.iter().zip(pods.iter().rev()) {
        first.set_pod(one, &none());
        second.set_pod(other, &none());
    }
    assert_eq!(first.kernel(), second.kernel());
    assert_eq!(first.kernel().destinations.len(), 2);
    assert_eq!(first.pods_per_policy().iter().map(|(_, pods)| *pods).collect::<Vec<_>>(), [1, 2]);
}

/// Neighbouring destinations that leave alike are one interval, up to the last address there is.
#[test]
fn intervals_are_merged_and_reach_the_end() {
    let mut table = table(vec![policy("p", None, &["0.0.0.0/1", "128.0.0.0/1"], &["255.255.255.255/32"], A)]);
    table.set_pod(&pod("web", "web", address("10.244.1.2")), &none());
    let destinations: Vec<_> = table.kernel().destinations.into_values().flatten().collect();
    let expected = Destination {
        first: address("0.0.0.0"),
        last: address("255.255.255.254"),
        leaves: Leaves::With(address("10.53.0.1")),
    };
    assert_eq!(destinations, [expected]);
    assert_eq!(expected.prefixes().count(), 32);
}

/// What the rules say, written as plainly as can be.
fn oracle(policies: &[EgressPolicy], app: &str, to: Ipv4Addr) -> Option<Leaves> {
    let mut best: Option<(u8, &EgressPolicy)> = None;
    for policy in policies {
        let selector = policy.selectors[0].pod_selector.as_ref().expect("a selector");
        let selected = selector.match_labels.get("app").is_none_or(|wanted| wanted == app);
        let holds = |net: &&ipnet::IpNet| net.contains(&IpAddr::V4(to));
        if !selected || policy.excluded.iter().any(|net| holds(&net)) {
            continue;
        }
        if let Some(length) = policy.destinations.iter().filter(holds).map(|net| net.prefix_len()).max()
            && best.is_none_or(|(other, _)| length > other)
        {
            best = Some((length, policy));
        }
    }
    best.map(|(_, policy)| crate::destination::leaves(&policy.identity))
}

/// What the kernel does with these tables.
fn kernel_decides(tables: &KernelTables, from: Ipv4Addr, to: Ipv4Addr) -> Option<Leaves> {
    if !tables.pods.contains(&from) {
        return Some(Leaves::Dropped);
    }
    let destinations = tables.destinations.get(tables.pod_class.get(&from)?)?;
    destinations.iter().find(|d| (d.first..=d.last).contains(&to)).map(|d| d.leaves)
}

fn prefix() -> impl Strategy<Value = ipnet::IpNet> {
    let text = (0..4u32, 0..4u32, prop::sample::select(vec![0u8, 1, 6, 7, 8, 14, 15, 16, 31, 32]));
    text.prop_map(|(a, b, length)| {
        let address = Ipv4Addr::from_bits((a << 24) | (b << 16) | (a * b));
        ipnet::Ipv4Net::new(address, length).expect("a length").trunc().into()
    })
}

fn random_policies() -> impl Strategy<Value = Vec<EgressPolicy>> {
    let nets = || prop::collection::vec(prefix(), 0..5);
    let one = (prop::option::of(prop::sample::select(vec!["a", "b", "c"])), nets(), nets(), 0..4u8);
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        let made = numbered.map(|(number, (app, destinations, excluded, identity))| {
            let identity = match identity {
                0 => Identity::Unavailable("gone".into()),
                n => Identity::Address(Ipv4Addr::new(10, 53, 0, n)),
            };
            EgressPolicy { destinations, excluded, ..policy(&format!("p{number}"), app, &[], &[], identity) }
        });
        made.collect()
    })
}

proptest! {
    /// The kernel's tables, `decide`, and the plain reading of the rules agree, whatever pods came and went before.
    #[test]
    fn kernel_explain_and_oracle_agree(
        policies in random_policies(),
        history in prop::collection::vec((0..6u8, prop::option::of(prop::sample::select(vec!["a", "b", "c", "d"]))), 0..24),
        destinations in prop::collection::vec((0..5u32, 0..5u32, 0..10u32), 12),
    ) {
        let mut table = table(policies.clone());
        let mut alive: BTreeMap<u8, &str> = BTreeMap::new();
        for (number, app) in history {
            let pod = pod(&format!("pod-{number}"), app.unwrap_or_default(), Ipv4Addr::new(10, 244, 0, number));
            match app {
                Some(app) => { table.set_pod(&pod, &none()); alive.insert(number, app); }
                None => { table.remove_pod(pod.key()); alive.remove(&number); }
            }
        }
        let tables = table.kernel();
        prop_assert_eq!(tables.pods.len(), alive.len());
        for intervals in tables.destinations.values() {
            prop_assert!(intervals.iter().all(|d| d.first <= d.last));
            prop_assert!(intervals.windows(2).all(|pair| pair[0].last < pair[1].first));
        }
        for (number, app) in &alive {
            let from = Ipv4Addr::new(10, 244, 0, *number);
            for (a, b, c) in &destinations {
                let to = Ipv4Addr::from_bits((a << 24) | (b << 16) | c);
                let expected = oracle(&policies, app, to);
                prop_assert_eq!(kernel_decides(&tables, from, to), expected, "{} to {}", from, to);
                let decision = table.decide(from, to);
                let told = match (decision.source, decision.dropped) {
                    (Some(IpAddr::V4(with)), None) => Some(Leaves::With(with)),
                    (None, Some(_)) => Some(Leaves::Dropped),
                    _ => None,
                };
                prop_assert_eq!(told, expected, "{} to {}", from, to);
            }
        }
    }
}
