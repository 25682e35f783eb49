//! What a cluster does to a source, and a writer to a cluster: pages, changes, cuts, restarts, kinds that come later, rights that are missing. The API
//! server here answers as the real one's documentation says ("Kubernetes API Concepts"); it is no proof that the real one
//! does.

mod cluster;
mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_decode::SourceState;
use tidegate_objects::{Key, Kind, Object, ObjectRef};
use tokio::sync::watch;

use self::cluster::Cluster;
use crate::KubeSource;
use crate::patience::Pace;

type States = watch::Receiver<Arc<SourceState>>;

const GATEWAYS: &str = "gateway.networking.k8s.io";

/// A kubeconfig in a directory of its own.
struct Config {
    folder: TempDir,
}

impl Config {
    fn new(server: &str, token: &str) -> Self {
        let config = Config { folder: tempfile::tempdir().expect("a directory") };
        config.write(server, token);
        config
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn write(&self, server: &str, token: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(self.path(), config.to_string()).expect("written");
    }
}

fn follow(config: &Config) -> States {
    follow_confirmed(config, Duration::from_millis(400), watch::channel(0).1)
}

/// With so much time between the two looks at a kind that was emptied, and what tells of confirmations.
fn follow_confirmed(config: &Config, emptied: Duration, confirmed: watch::Receiver<u64>) -> States {
    open(config, emptied).watch(confirmed).0
}

/// A source whose times are short.
fn open(config: &Config, emptied: Duration) -> KubeSource {
    KubeSource { pace: pace(emptied), ..KubeSource::open("blue", Some(config.path())) }
}

fn pace(emptied: Duration) -> Pace {
    Pace {
        look: Duration::from_millis(100),
        retry_first: Duration::from_millis(10),
        retry_most: Duration::from_millis(100),
        watch: Duration::from_secs(20),
        silence: Duration::from_secs(60),
        grace: Duration::from_secs(5),
        emptied,
        forbidden: Duration::from_millis(100),
        disk: Duration::from_millis(100),
        save: Duration::from_millis(20),
        publish: Duration::from_millis(1),
        complain: Duration::from_secs(60),
    }
}

/// With times of its own.
fn follow_paced(config: &Config, pace: Pace) -> States {
    let source = KubeSource { pace, ..open(config, pace.emptied) };
    source.watch(watch::channel(0).1).0
}

/// Waits for a state that fulfils the condition.
async fn until(
    states: &mut States,
    what: &str,
    condition: impl Fn(&SourceState) -> bool,
) -> Arc<SourceState> {
    let wait = states.wait_for(|state| condition(state));
    let found = tokio::time::timeout(Duration::from_secs(60), wait).await;
    let found = found.map(|found| found.expect("the task lives").clone());
    found.unwrap_or_else(|_| panic!("within 60 s: {what}; it is {:?}", states.borrow().status))
}

async fn synced(states: &mut States) -> Arc<SourceState> {
    until(states, "synced", |state| state.status.synced).await
}

fn service(name: &str, port: u16) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "managedFields": [{"manager": "x"}]},
           "spec": {"ports": [{"port": port}]}})
}

fn gateway(name: &str, secret: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
           "metadata": {"name": name, "namespace": "shop"},
           "spec": {"gatewayClassName": "tidegate", "listeners": [
               {"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": secret}]}}]}})
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "type": "Opaque", "data": {"a": "YQ=="}})
}

fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, key: Key::new("blue", "shop", name) }
}

fn port(state: &SourceState, name: &str) -> Option<u16> {
    state.objects.services.get(&reference(Kind::Service, name).key).map(|service| service.spec.ports[0].port)
}

fn told(state: &SourceState) -> String {
    state.status.errors.iter().map(|error| format!("{} {}\n", error.object, error.message)).collect()
}

/// A list comes in pages, and then every change; what does not change stays the same pointer.
#[tokio::test]
async fn pages_and_changes() {
    let cluster = Cluster::start().await;
    (0..1_200).for_each(|n| cluster.set("services", service(&format!("s{n}"), 80)));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    let first = synced(&mut states).await;
    assert_eq!((first.objects.services.len(), first.status.objects), (1_200, 1_200));
    assert_eq!((first.status.source_type.as_str(), first.status.errors.len()), ("kubernetes", 0));
    let pages = cluster.asked("/api/v1/services?limit=");
    assert_eq!(pages.len(), 3, "{pages:?}");
    cluster.set("services", service("s7", 81));
    cluster.set("services", service("new", 82));
    cluster.remove("services", "shop", "s8");
    let changed = |state: &SourceState| {
        (port(state, "s7"), port(state, "new"), port(state, "s8")) == (Some(81), Some(82), None)
    };
    let now = until(&mut states, "changed", changed).await;
    let pointer = |state: &SourceState| match state.objects.get(&reference(Kind::Service, "s9")) {
        Some(Object::Service(service)) => Arc::as_ptr(&service),
        other => panic!("{other:?}"),
    };
    assert_eq!(pointer(&first), pointer(&now));
}

/// A watch that is cut goes on from its last version, a bookmark's too, without a list.
#[tokio::test]
async fn a_cut_watch_is_resumed() {
    let cluster = Cluster::start().await;
    cluster.set("services", service("web", 80));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    cluster.set("services", service("web", 81));
    until(&mut states, "changed", |state| port(state, "web") == Some(81)).await;
    cluster.set("pods", json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {}}));
    let at = cluster.bookmark("services");
    until(&mut states, "the pod", |state| state.objects.pods.len() == 1).await;
    let lists = cluster.asked("/api/v1/services?limit=").len();
    let resumed = format!("resourceVersion={at}");
    let is_resumed = || cluster.asked("/api/v1/services?watch=1").iter().any(|path| path.ends_with(&resumed));
    for _ in 0..1_200 {
        if is_resumed() {
            break;
        }
        // A bookmark may still be on its way when the watch is cut: then the version before it is asked for.
        cluster.cut();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_resumed());
    cluster.set("services", service("web", 82));
    until(&mut states, "changed again", |state| port(state, "web") == Some(82)).await;
    assert_eq!(cluster.asked("/api/v1/services?limit=").len(), lists);
}

/// Where the history has been dropped (410 Gone), everything is listed anew: what went meanwhile goes, and nothing else.
#[tokio::test]
async fn gone_is_listed_anew() {
    let cluster = Cluster::start().await;
    ["web", "old", "api"].iter().for_each(|name| cluster.set("services", service(name, 80)));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    cluster.silently(|cluster| {
        cluster.remove("services", "shop", "old");
        cluster.set("services", service("web", 81));
    });
    let state = until(&mut states, "listed anew", |state| port(state, "web") == Some(81)).await;
    assert_eq!((port(&state, "old"), port(&state, "api")), (None, Some(80)));
}

/// While the server is away the last state stays and the status says since when; another set on return is taken over.
#[tokio::test]
async fn away_and_back() {
    let mut cluster = Cluster::start().await;
    ["web", "old"].iter().for_each(|name| cluster.set("services", service(name, 80)));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    cluster.stop();
    let away = until(&mut states, "away", |state| told(state).contains("(since 2")).await;
    assert_eq!((port(&away, "web"), port(&away, "old"), away.status.synced), (Some(80), Some(80), true));
    cluster.set("services", service("web", 81));
    cluster.remove("services", "shop", "old");
    cluster.restart().await;
    let back = |state: &SourceState| port(state, "web") == Some(81) && state.status.errors.is_empty();
    let state = until(&mut states, "back", back).await;
    assert_eq!(port(&state, "old"), None);
}

/// A kind that is installed later is read then, in a version that we read; one that is taken away takes its objects along.
#[tokio::test]
async fn kinds_come_and_go() {
    let cluster = Cluster::start().await;
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    cluster.install(GATEWAYS, "v1beta1", "gateways", "Gateway");
    cluster.set("gateways", gateway("main", "web"));
    until(&mut states, "the Gateway", |state| state.objects.gateways.len() == 1).await;
    cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
    cluster.until_asked(&format!("/apis/{GATEWAYS}/v1/gateways?watch=1")).await;
    assert_eq!(states.borrow().objects.gateways.len(), 1);
    cluster.uninstall(GATEWAYS);
    until(&mut states, "no Gateway", |state| state.objects.gateways.is_empty()).await;
}

/// Only Secrets that something names are asked for, by name; and no longer when nothing does.
#[tokio::test]
async fn secrets_that_are_named() {
    let cluster = Cluster::start().await;
    cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
    ["web", "other", "third"].iter().for_each(|name| cluster.set("secrets", secret(name)));
    cluster.set("gateways", gateway("main", "web"));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    let names = |state: &SourceState| -> Vec<String> {
        state.objects.secrets.keys().map(|key| key.name.to_string()).collect()
    };
    let state = until(&mut states, "its Secret", |state| !state.objects.secrets.is_empty()).await;
    assert_eq!(names(&state), ["web"]);
    cluster.set("gateways", gateway("main", "third"));
    // The state that names the other Secret has it already.
    let renamed = |state: &SourceState| {
        let gateway = state.objects.gateways.values().next().expect("the Gateway");
        gateway.spec.listeners[0].tls.as_ref().expect("TLS").certificate_refs[0].name == "third"
    };
    let state = until(&mut states, "renamed", renamed).await;
    assert_eq!(names(&state), ["third"]);
    let asked = cluster.asked("/api/v1/");
    let broad: Vec<_> = asked.iter().filter(|path| path.contains("/secrets?")).collect();
    assert!(broad.iter().all(|path| path.contains("fieldSelector=metadata.name%3D")), "{broad:?}");
}

/// A list that would take many objects to none is believed at the second look only.
#[tokio::test]
async fn emptied_is_looked_at_twice() {
    let cluster = Cluster::start().await;
    (0..12).for_each(|n| cluster.set("services", service(&format!("s{n}"), 80)));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    cluster.silently(|cluster| (0..12).for_each(|n| cluster.remove("services", "shop", &format!("s{n}"))));
    let held = until(&mut states, "held", |state| !state.status.held.is_empty()).await;
    assert_eq!(held.objects.services.len(), 12);
    assert!(held.status.held[0].contains("second look"), "{:?}", held.status.held);
    let state = until(&mut states, "believed", |state| state.objects.services.is_empty()).await;
    assert!(state.status.held.is_empty(), "{:?}", state.status.held);
}

/// What is held, because a list has none of it or because its kind has gone, is believed at once when it is confirmed.
#[tokio::test]
async fn emptied_is_confirmed() {
    let cluster = Cluster::start().await;
    cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
    (0..12).for_each(|n| cluster.set("services", service(&format!("s{n}"), 80)));
    (0..12).for_each(|n| cluster.set("gateways", gateway(&format!("g{n}"), "web")));
    let config = Config::new(&cluster.url(), "t");
    let (confirm, confirmed) = watch::channel(0);
    let mut states = follow_confirmed(&config, Duration::from_secs(3_600), confirmed);
    synced(&mut states).await;
    cluster.silently(|cluster| {
        (0..12).for_each(|n| cluster.remove("services", "shop", &format!("s{n}")));
        cluster.uninstall(GATEWAYS);
    });
    let held = until(&mut states, "held", |state| state.status.held.len() == 2).await;
    assert_eq!((held.objects.services.len(), held.objects.gateways.len()), (12, 12));
    confirm.send_modify(|number| *number += 1);
    let gone = |state: &SourceState| state.objects.services.is_empty() && state.objects.gateways.is_empty();
    let state = until(&mut states, "believed", gone).await;
    assert!(state.status.held.is_empty(), "{:?}", state.status.held);
}

/// An object that makes no sense keeps its last good version and is named, and the others are not disturbed.
#[tokio::test]
async fn one_bad_object() {
    let cluster = Cluster::start().await;
    ["web", "api"].iter().for_each(|name| cluster.set("services", service(name, 80)));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    let mut bad = service("web", 1);
    bad["spec"]["ports"] = json!([{"port": 70_000}]);
    cluster.set("services", bad);
    cluster.set("services", service("api", 81));
    let state = until(&mut states, "the error", |state| told(state).contains("1 to 65535")).await;
    assert!(told(&state).contains("Service shop/web"), "{}", told(&state));
    assert_eq!(port(&state, "web"), Some(80));
    until(&mut states, "the other", |state| port(state, "api") == Some(81)).await;
    cluster.set("services", service("web", 82));
    let mended = |state: &SourceState| port(state, "web") == Some(82) && state.status.errors.is_empty();
    until(&mut states, "mended", mended).await;
}

/// A kubeconfig that is wrong is told of, and read again when it is mended; so is one whose token was renewed.
#[tokio::test]
async fn kubeconfig_is_read_again() {
    let cluster = Cluster::start().await;
    cluster.set("services", service("web", 80));
    let config = Config::new(&cluster.url(), "t");
    std::fs::write(config.path(), "clusters: 7").expect("written");
    let mut states = follow(&config);
    let state = until(&mut states, "told", |state| told(state).contains("kubeconfig")).await;
    assert!(!state.status.synced);
    config.write(&cluster.url(), "t");
    synced(&mut states).await;
    let lists = cluster.asked("/api/v1/services?limit=").len();
    cluster.accept("renewed");
    cluster.cut();
    until(&mut states, "refused", |state| told(state).contains("Unauthorized")).await;
    config.write(&cluster.url(), "renewed");
    cluster.set("services", service("web", 81));
    let well = |state: &SourceState| port(state, "web") == Some(81) && state.status.errors.is_empty();
    until(&mut states, "well", well).await;
    // The same server: it went on from its version.
    assert_eq!(cluster.asked("/api/v1/services?limit=").len(), lists);
}

/// A kubeconfig that names another server has everything listed there: versions of the first mean nothing to it.
#[tokio::test]
async fn another_server() {
    let (first, second) = (Cluster::start().await, Cluster::start().await);
    ["web", "old", "api"].iter().for_each(|name| first.set("services", service(name, 80)));
    second.set("services", service("web", 90));
    let config = Config::new(&first.url(), "t");
    let mut states = follow(&config);
    synced(&mut states).await;
    config.write(&second.url(), "t");
    let moved = |state: &SourceState| port(state, "web") == Some(90);
    let state = until(&mut states, "what the second holds", moved).await;
    assert_eq!((port(&state, "old"), port(&state, "api")), (None, None));
    assert!(state.status.location.starts_with(&second.url()), "{:?}", state.status);
}

/// A watch that says nothing, as on a dead connection, is resumed by another one long before its time is over, and this is
/// no trouble to tell of.
#[tokio::test]
async fn a_silent_watch_is_resumed() {
    let cluster = Cluster::start().await;
    cluster.set("services", service("web", 80));
    let config = Config::new(&cluster.url(), "t");
    let hour = Duration::from_secs(3_600);
    let silence = Duration::from_millis(300);
    let mut states = follow_paced(&config, Pace { watch: hour, silence, ..pace(hour) });
    synced(&mut states).await;
    cluster.until_asked("/api/v1/services?watch=1").await;
    let lists = cluster.asked("/api/v1/services?limit=").len();
    cluster.deafen();
    cluster.set("services", service("web", 81));
    let state = until(&mut states, "changed", |state| port(state, "web") == Some(81)).await;
    assert_eq!(told(&state), "");
    assert_eq!(cluster.asked("/api/v1/services?limit=").len(), lists);
}

/// A watch that the server does not end when it was asked to is resumed all the same, however much it says.
#[tokio::test]
async fn an_endless_watch_is_resumed() {
    let cluster = Cluster::start().await;
    let config = Config::new(&cluster.url(), "t");
    let second = Duration::from_secs(1);
    let mut states = follow_paced(&config, Pace { watch: second, grace: second, ..pace(second) });
    synced(&mut states).await;
    let watches = || cluster.asked("/api/v1/services?watch=1").len();
    for _ in 0..3_000 {
        if watches() > 1 {
            break;
        }
        cluster.bookmark("services");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(watches() > 1);
}

/// A list whose next page the server never has any more is told of, and read when it can be.
#[tokio::test]
async fn pages_that_are_gone() {
    let cluster = Cluster::start().await;
    (0..600).for_each(|n| cluster.set("services", service(&format!("s{n}"), 80)));
    cluster.break_with("services/continued", 410);
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    until(&mut states, "told", |state| told(state).contains("Service: ") && told(state).contains("410"))
        .await;
    cluster.mend("services/continued");
    let read = |state: &SourceState| state.objects.services.len() == 600 && state.status.errors.is_empty();
    until(&mut states, "read", read).await;
}

/// A kind that the server can only answer with an error is named, and waited for with a few tries; then the others serve, and
/// it is read when it can be.
#[tokio::test]
async fn a_kind_that_is_broken() {
    let cluster = Cluster::start().await;
    cluster.break_with("pods", 500);
    cluster.set("services", service("web", 80));
    cluster.set("pods", json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {}}));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    let settled = |state: &SourceState| state.status.synced && told(state).contains("not waited for");
    let state = until(&mut states, "the others", settled).await;
    assert!(told(&state).contains("Pod: pods are broken; not read since the start"), "{}", told(&state));
    assert!(cluster.asked("/api/v1/pods?limit=").len() >= 5);
    assert_eq!(port(&state, "web"), Some(80));
    cluster.mend("pods");
    let read = |state: &SourceState| state.objects.pods.len() == 1 && state.status.errors.is_empty();
    until(&mut states, "read", read).await;
}

/// A server that does not know who asks (401) says nothing about rights: a kind that it answers so is waited for.
#[tokio::test]
async fn unknown_is_not_without_rights() {
    let cluster = Cluster::start().await;
    cluster.break_with("services", 401);
    cluster.set("services", service("web", 80));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    until(&mut states, "told", |state| told(state).contains("Service: ")).await;
    for _ in 0..20 {
        cluster.until_asked_again("/api/v1/services?limit=").await;
        assert!(!states.borrow().status.synced);
    }
    cluster.mend("services");
    assert_eq!(port(&*synced(&mut states).await, "web"), Some(80));
}

/// A kind that may not be read is named, and keeps nothing else back.
#[tokio::test]
async fn a_right_that_is_missing() {
    let cluster = Cluster::start().await;
    cluster.forbid("pods");
    cluster.set("services", service("web", 80));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    let state =
        until(&mut states, "synced", |state| state.status.synced && !state.status.errors.is_empty()).await;
    assert!(told(&state).contains("Pod: pods is forbidden"), "{}", told(&state));
    assert_eq!(port(&state, "web"), Some(80));
}

/// A start while the server is away begins with what was kept on disk, Secrets included, and says so; on the server's return
/// what it holds then is in force.
#[tokio::test]
async fn starts_from_disk() {
    let mut cluster = Cluster::start().await;
    cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
    ["web", "old"].iter().for_each(|name| cluster.set("services", service(name, 80)));
    cluster.set("gateways", gateway("main", "web"));
    cluster.set("secrets", secret("web"));
    let config = Config::new(&cluster.url(), "t");
    let disk = tempfile::tempdir().expect("a directory");
    let start = || {
        let source = open(&config, Duration::from_millis(400)).kept_in(disk.path());
        source.watch(watch::channel(0).1).0
    };
    let mut before = start();
    let complete = |state: &SourceState| state.status.synced && state.objects.secrets.len() == 1;
    let known = until(&mut before, "all of it", complete).await;
    assert_eq!(known.status.from_disk, "");
    let file = disk.path().join("blue.snapshot");
    let kept = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"kind\":\"Secret\""));
    for _ in 0..3_000 {
        if kept() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(kept());
    drop(before);
    cluster.stop();
    let mut after = start();
    let state = until(&mut after, "what was on disk", |state| state.status.synced).await;
    assert_eq!(state.objects, known.objects);
    assert!(state.status.from_disk.starts_with("20"), "{:?}", state.status);
    cluster.set("services", service("web", 81));
    cluster.remove("services", "shop", "old");
    cluster.restart().await;
    let state = until(&mut after, "read again", |state| state.status.from_disk.is_empty()).await;
    assert_eq!((port(&state, "web"), port(&state, "old"), state.status.synced), (Some(81), None, true));
    assert_eq!(state.objects.secrets.len(), 1);
}

/// A server that gives no right to anything, as one that has just started, is not taken for an empty one.
#[tokio::test]
async fn no_rights_at_all() {
    let cluster = Cluster::start().await;
    let all = ["namespaces", "services", "secrets", "pods"];
    all.iter().for_each(|plural| cluster.forbid(plural));
    cluster.set("services", service("web", 80));
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    let refused = |state: &SourceState| told(state).contains("services is forbidden");
    let state = until(&mut states, "told", refused).await;
    assert!(!state.status.synced);
    for _ in 0..20 {
        cluster.until_asked_again("/api/v1/services?limit=").await;
        assert!(!states.borrow().status.synced);
    }
    all.iter().for_each(|plural| cluster.allow(plural));
    assert_eq!(port(&*synced(&mut states).await, "web"), Some(80));
}

/// Secrets named in very many namespaces are had by a bounded number of watches, and where the one of all namespaces is refused,
/// one by one; none that nobody names is kept.
#[tokio::test]
async fn many_namespaces() {
    for is_refused in [false, true] {
        let cluster = Cluster::start().await;
        cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
        if is_refused {
            cluster.forbid("secrets/unnamed");
        }
        for n in 0..135 {
            let place = |mut object: Value| {
                object["metadata"]["namespace"] = json!(format!("n{n}"));
                object
            };
            cluster.set("secrets", place(secret("web")));
            if n < 134 {
                cluster.set("gateways", place(gateway("main", "web")));
            }
        }
        let config = Config::new(&cluster.url(), "t");
        let mut states = follow(&config);
        let all = |state: &SourceState| state.objects.secrets.len() >= 134 && state.status.errors.is_empty();
        let state = until(&mut states, "all that are named", all).await;
        let other = Key::new("blue", "n134", "web");
        assert_eq!((state.objects.secrets.len(), state.objects.secrets.get(&other)), (134, None));
        assert!(!cluster.asked("/api/v1/secrets?limit=").is_empty());
    }
}

/// Many Secrets of a namespace are asked for by their namespace, and one by one where there is no right for all of it.
#[tokio::test]
async fn rights_by_name() {
    let cluster = Cluster::start().await;
    cluster.install(GATEWAYS, "v1", "gateways", "Gateway");
    cluster.forbid("secrets/unnamed");
    for n in 0..12 {
        cluster.set("secrets", secret(&format!("s{n}")));
        cluster.set("gateways", gateway(&format!("g{n}"), &format!("s{n}")));
    }
    let config = Config::new(&cluster.url(), "t");
    let mut states = follow(&config);
    let all = |state: &SourceState| state.objects.secrets.len() == 12 && state.status.errors.is_empty();
    until(&mut states, "each by its name", all).await;
    assert!(!cluster.asked("/api/v1/namespaces/shop/secrets?limit=").is_empty());
}
