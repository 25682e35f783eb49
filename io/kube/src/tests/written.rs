//! What a writer sends: which method, which content, how often; and what keeps it from sending anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_compile::writeback::{Concern, Item, Piece, Wanted, digest};
use tidegate_objects::{Key, Kind, ObjectRef};
use tokio::sync::watch;

use super::cluster::{Cluster, Written};
use super::{Config, GATEWAYS, States, gateway, open, synced};
use crate::{Lease, Orders, WriterObserved};

const OURS: &str = "tidegate.dev/gateway-controller";

/// A source that is written to.
struct Setup {
    cluster: Cluster,
    _config: Config,
    _states: States,
    orders: watch::Sender<Orders>,
    observed: watch::Receiver<WriterObserved>,
}

impl Setup {
    async fn new(prepare: impl FnOnce(&Cluster)) -> Setup {
        let cluster = Cluster::start().await;
        cluster.install("coordination.k8s.io", "v1", "leases", "Lease");
        cluster.install("events.k8s.io", "v1", "events", "Event");
        cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
        cluster.install(GATEWAYS, "v1", "httproutes", "HTTPRoute");
        prepare(&cluster);
        let config = Config::new(&cluster.url(), "t");
        let (orders, obeyed) = watch::channel(Orders::default());
        let lease = Lease { namespace: "edge".into(), name: "status".into(), node: "gw1".into() };
        let (source, observed) = open(&config, Duration::from_millis(400)).writing(&lease, obeyed);
        let mut states = source.watch(watch::channel(0).1).0;
        synced(&mut states).await;
        Setup { cluster, _config: config, _states: states, orders, observed }
    }

    fn order(&self, pieces: Vec<(Item, Piece)>, concerns: BTreeMap<String, Concern>) {
        let wanted = Wanted { pieces: pieces.into_iter().collect(), concerns };
        let orders = Orders { may: true, wanted: Some(Arc::new(wanted)), is_complete: true };
        self.orders.send_replace(orders);
    }

    /// Waits until this holds of what was written.
    async fn until(&self, what: &str, holds: impl Fn(&[Written]) -> bool) -> Vec<Written> {
        for _ in 0..3_000 {
            let written = self.cluster.written();
            if holds(&written) {
                return written;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("within 60 s: {what}; written is {:?}", self.cluster.written());
    }

    async fn observed(&mut self, what: &str, holds: impl Fn(&WriterObserved) -> bool) {
        let found =
            tokio::time::timeout(Duration::from_secs(60), self.observed.wait_for(|seen| holds(seen))).await;
        found.unwrap_or_else(|_| panic!("within 60 s: {what}")).expect("the task lives");
    }
}

fn item(kind: Kind, name: &str) -> Item {
    Item { object: ObjectRef { kind, key: Key::new("blue", "shop", name) }, is_whole: false }
}

fn piece(content: Value) -> Piece {
    Piece { digest: digest(&content), content: content.into(), owner: None, rank: 1 }
}

fn accepted(time: Option<&str>) -> Value {
    let mut condition = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""});
    if let Some(time) = time {
        condition["lastTransitionTime"] = json!(time);
    }
    condition
}

fn route(name: &str, parents: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
           "metadata": {"name": name, "namespace": "shop"}, "spec": {"rules": []}, "status": {"parents": parents}})
}

fn entry(controller: &str, time: Option<&str>) -> Value {
    json!({"parentRef": {"name": "a"}, "controllerName": controller, "conditions": [accepted(time)]})
}

/// A status is applied once, server side and by force, and not again when its own write comes back; a repeated order writes
/// nothing, and a concern becomes one Event.
#[tokio::test]
async fn applied_once() {
    let mut setup = Setup::new(|cluster| cluster.set("gateways", gateway("a", "web"))).await;
    let wanted = vec![(item(Kind::Gateway, "a"), piece(json!({"conditions": [accepted(None)]})))];
    let concern =
        Concern { object: Some(item(Kind::Gateway, "a").object), reason: "R".into(), note: "n".into() };
    let concerns = BTreeMap::from([("a.1".to_owned(), concern)]);
    setup.order(wanted.clone(), concerns.clone());
    let written = setup.until("a status and an Event", |written| written.len() == 2).await;
    let status = written.iter().find(|(method, ..)| method == "PATCH").expect("a status");
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/a/status?fieldManager=tidegate&force=true";
    assert_eq!((status.1.as_str(), status.2.as_str()), (path, "application/apply-patch+yaml"));
    assert!(status.3["status"]["conditions"][0]["lastTransitionTime"].is_string(), "{status:?}");
    let event = written.iter().find(|(method, ..)| method == "POST").expect("an Event");
    assert_eq!((&event.3["regarding"]["name"], &event.3["note"]), (&json!("a"), &json!("n")));
    setup.observed("nothing waits", |seen| seen.pending == 0 && seen.leads).await;
    setup.order(wanted, concerns);
    // Something later is written, and nothing before it.
    setup.cluster.set("gateways", gateway("b", "web"));
    setup.order(
        vec![
            (item(Kind::Gateway, "a"), piece(json!({"conditions": [accepted(None)]}))),
            (item(Kind::Gateway, "b"), piece(json!({"conditions": [accepted(None)]}))),
        ],
        BTreeMap::new(),
    );
    let written = setup.until("another status", |written| written.len() > 2).await;
    assert!(written[2].1.contains("/gateways/b/"), "{written:?}");
}

/// Of a route the entries of others are sent back as they stand, by PUT with the version that was read; what nobody wants any
/// more is taken out of it, and a route that has nothing of ours is left alone.
#[tokio::test]
async fn shared_lists() {
    let theirs = entry("example.com/x", Some("then"));
    let prepare = |cluster: &Cluster| {
        cluster.set("httproutes", route("web", json!([theirs])));
        cluster.set("httproutes", route("stale", json!([theirs, entry(OURS, Some("then"))])));
        cluster.set("httproutes", route("foreign", json!([theirs])));
    };
    let setup = Setup::new(prepare).await;
    setup.order(
        vec![(item(Kind::HTTPRoute, "web"), piece(json!({"parents": [entry(OURS, None)]})))],
        BTreeMap::new(),
    );
    let written = setup.until("two routes", |written| written.len() == 2).await;
    assert!(
        written.iter().all(|(method, path, ..)| method == "PUT" && path.contains("/status?")),
        "{written:?}"
    );
    let parents = |name: &str| {
        setup.cluster.get("httproutes", "shop", name).expect("there")["status"]["parents"].clone()
    };
    assert_eq!(parents("stale"), json!([theirs]));
    assert_eq!((&parents("web")[0], &parents("web")[1]["controllerName"]), (&theirs, &json!(OURS)));
}

/// Without a right to the Lease nothing is written, which is told, and the source is followed as before.
#[tokio::test]
async fn without_a_right() {
    let prepare = |cluster: &Cluster| {
        cluster.set("gateways", gateway("a", "web"));
        cluster.forbid("leases");
    };
    let mut setup = Setup::new(prepare).await;
    setup.order(
        vec![(item(Kind::Gateway, "a"), piece(json!({"conditions": [accepted(None)]})))],
        BTreeMap::new(),
    );
    setup.observed("it is told", |seen| seen.trouble.contains("leases is forbidden")).await;
    assert_eq!((setup.cluster.written(), setup.observed.borrow().leads), (Vec::new(), false));
}

/// The Lease is given back when this process may not write any more.
#[tokio::test]
async fn gives_the_lease_back() {
    let mut setup = Setup::new(|_| ()).await;
    setup.order(Vec::new(), BTreeMap::new());
    setup.observed("it leads", |seen| seen.leads && seen.holder.starts_with("gw1_")).await;
    setup.orders.send_replace(Orders::default());
    setup.observed("it does not", |seen| !seen.leads).await;
    let lease = setup.cluster.get("leases", "edge", "status").expect("there");
    assert_eq!(lease["spec"]["holderIdentity"], "");
}
