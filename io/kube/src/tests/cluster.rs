//! An API server in this process: lists in pages, watches with bookmarks, a history that can be dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An event of the history: version, plural, type, object.
type Event = (u64, String, &'static str, Value);

/// A write: method, path and query, type of content, content.
pub type Written = (String, String, String, Value);

#[derive(Default)]
struct Inner {
    version: u64,
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<Event>,
    /// What is older is gone.
    oldest: u64,
    /// Group, version, plural and kind.
    installed: BTreeSet<(String, String, String, String)>,
    forbidden: BTreeSet<String>,
    /// Codes with which lists and watches of a plural are answered.
    broken: BTreeMap<String, u16>,
    token: String,
    asked: Vec<String>,
    /// Writes that were answered well: method, path and query, type of content, content.
    written: Vec<Written>,
    /// Watches of an older age end.
    age: u64,
    /// How many watches there were, and up to which of them they say nothing any more.
    watches: u64,
    deaf: u64,
    /// Whether everything is answered with 503.
    down: bool,
}

/// The server, and the hands that change what it holds.
pub struct Cluster {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<()>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Server {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Receiver<()>,
    told: watch::Sender<()>,
}

impl Cluster {
    pub async fn start() -> Cluster {
        let core =
            [("namespaces", "Namespace"), ("services", "Service"), ("secrets", "Secret"), ("pods", "Pod")];
        let core = core.map(|(plural, kind)| (String::new(), "v1".into(), plural.into(), kind.into()));
        let inner = Inner { installed: core.into(), token: "t".into(), version: 100, ..Inner::default() };
        let mut cluster = Cluster {
            inner: Arc::new(Mutex::new(inner)),
            changed: watch::channel(()).0,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            task: None,
        };
        cluster.restart().await;
        cluster
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens again where it did before.
    pub async fn restart(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.address = listener.local_addr().expect("bound");
        self.lock().down = false;
        let server = Server {
            inner: self.inner.clone(),
            changed: self.changed.subscribe(),
            told: self.changed.clone(),
        };
        let router = Router::new().fallback(answer).with_state(server);
        self.task = Some(tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serves until it is stopped");
        }));
    }

    /// No listener and no watch any more; requests that are asked on connections that stand are refused.
    pub fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.lock().down = true;
        self.cut();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics with it")
    }

    /// Creates or changes an object.
    pub fn set(&self, plural: &str, object: Value) {
        let mut inner = self.lock();
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text("namespace"), text("name"));
        let what = if inner.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let object = inner.happens(plural, what, object);
        inner.objects.insert(key, object);
        drop(inner);
        self.changed.send_replace(());
    }

    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let mut inner = self.lock();
        let object = inner.objects.remove(&(plural.into(), namespace.into(), name.into()));
        inner.happens(plural, "DELETED", object.expect("it was there"));
        drop(inner);
        self.changed.send_replace(());
    }

    /// Tells watches of a plural how far they are; the version.
    pub fn bookmark(&self, plural: &str) -> u64 {
        let mut inner = self.lock();
        inner.happens(plural, "BOOKMARK", json!({"metadata": {}}));
        let version = inner.version;
        drop(inner);
        self.changed.send_replace(());
        version
    }

    /// Changes while every watch is cut, and drops the history of it.
    pub fn silently(&self, change: impl FnOnce(&Cluster)) {
        // Before the changes, so that nobody sees some of them.
        self.lock().down = true;
        self.cut();
        change(self);
        let mut inner = self.lock();
        inner.oldest = inner.version;
        inner.down = false;
    }

    /// Ends every watch.
    pub fn cut(&self) {
        self.lock().age += 1;
        self.changed.send_replace(());
    }

    pub fn install(&self, group: &str, version: &str, plural: &str, kind: &str) {
        self.lock().installed.insert((group.into(), version.into(), plural.into(), kind.into()));
    }

    pub fn uninstall(&self, group: &str) {
        self.lock().installed.retain(|(installed, ..)| installed != group);
        self.cut();
    }

    /// With `PLURAL/unnamed` only what is not asked for by name.
    pub fn forbid(&self, plural: &str) {
        self.lock().forbidden.insert(plural.into());
    }

    pub fn allow(&self, plural: &str) {
        self.lock().forbidden.remove(plural);
    }

    /// Answers with this code; with `PLURAL/continued` where a list is continued.
    pub fn break_with(&self, plural: &str, code: u16) {
        self.lock().broken.insert(plural.into(), code);
    }

    pub fn mend(&self, plural: &str) {
        self.lock().broken.remove(plural);
    }

    /// Every watch that stands says nothing any more, and does not end: as if its connection were dead.
    pub fn deafen(&self) {
        let mut inner = self.lock();
        inner.deaf = inner.watches;
    }

    /// Accepts this token only.
    pub fn accept(&self, token: &str) {
        self.lock().token = token.into();
    }

    /// Paths that were asked for and begin so.
    pub fn asked(&self, prefix: &str) -> Vec<String> {
        self.lock().asked.iter().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// Every write but those of Leases, that was answered well.
    pub fn written(&self) -> Vec<Written> {
        let inner = self.lock();
        inner.written.iter().filter(|(_, path, ..)| !path.contains("/leases")).cloned().collect()
    }

    /// An object as it stands.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(plural.into(), namespace.into(), name.into())).cloned()
    }

    /// Waits until it is asked for once more.
    pub async fn until_asked_again(&self, prefix: &str) {
        let before = self.asked(prefix).len();
        for _ in 0..3_000 {
            if self.asked(prefix).len() > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("within 60 s, once more: {prefix}");
    }

    pub async fn until_asked(&self, prefix: &str) {
        for _ in 0..3_000 {
            if !self.asked(prefix).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("within 60 s: {prefix}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    fn happens(&mut self, plural: &str, what: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push((self.version, plural.into(), what, object.clone()));
        object
    }
}

impl Inner {
    /// Reads or writes one object, as far as the writer does.
    fn one(&mut self, (plural, namespace): (&str, &str), named: &[&str], written: Written) -> Response {
        let (method, _, _, content) = &written;
        let name = named.first().copied().or(content["metadata"]["name"].as_str()).unwrap_or_default();
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let known = self.objects.get(&key).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let object = match (method.as_str(), known, named.get(1)) {
            ("GET", Some(known), _) => return Json(known).into_response(),
            ("POST", Some(_), _) => return status(StatusCode::CONFLICT, "it is there already"),
            ("POST", None, _) | ("PATCH", None, None) => content.clone(),
            (_, None, _) => return status(StatusCode::NOT_FOUND, "not found"),
            ("PUT", Some(known), _) if version(&known) != version(content) => {
                return status(StatusCode::CONFLICT, "it has been changed meanwhile");
            }
            (_, Some(known), Some(&"status")) => {
                let mut object = known;
                object["status"] = content["status"].clone();
                object
            }
            ("DELETE", Some(known), _) => {
                self.objects.remove(&key);
                self.written.push(written);
                return Json(self.happens(plural, "DELETED", known)).into_response();
            }
            _ => content.clone(),
        };
        let what = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let object = self.happens(plural, what, object);
        self.objects.insert(key, object.clone());
        self.written.push(written);
        Json(object).into_response()
    }
}

fn status(code: StatusCode, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
                      "reason": "", "code": code.as_u16()});
    (code, Json(body)).into_response()
}

async fn answer(
    Shared(server): Shared<Server>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    content: Bytes,
) -> Response {
    let mut inner = server.inner.lock().expect("no test panics with it");
    inner.asked.push(uri.to_string());
    if inner.down {
        return status(StatusCode::SERVICE_UNAVAILABLE, "down");
    }
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if token != format!("Bearer {}", inner.token) {
        return status(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["apis"] => return Json(groups(&inner)).into_response(),
        ["api", rest @ ..] => ("", rest),
        ["apis", group, rest @ ..] => (*group, rest),
        _ => return status(StatusCode::NOT_FOUND, "not found"),
    };
    let (version, plural, namespace, named) = match rest {
        [version] => return resources(&inner, group, version),
        [version, "namespaces", namespace, plural, named @ ..] => (*version, *plural, *namespace, named),
        [version, plural, named @ ..] => (*version, *plural, "", named),
        _ => return status(StatusCode::NOT_FOUND, "not found"),
    };
    if !inner
        .installed
        .iter()
        .any(|(g, v, p, _)| (g.as_str(), v.as_str(), p.as_str()) == (group, version, plural))
    {
        return status(StatusCode::NOT_FOUND, "the server could not find the requested resource");
    }
    let unnamed = uri.query().is_none_or(|query| !query.contains("fieldSelector="));
    if inner.forbidden.contains(plural) || unnamed && inner.forbidden.contains(&format!("{plural}/unnamed")) {
        return status(StatusCode::FORBIDDEN, &format!("{plural} is forbidden: no right"));
    }
    if !named.is_empty() || method != Method::GET {
        let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content = serde_json::from_slice(&content).unwrap_or_default();
        let written = (method.to_string(), uri.to_string(), kind.to_owned(), content);
        let answer = inner.one((plural, namespace), named, written);
        drop(inner);
        server.told.send_replace(());
        return answer;
    }
    let asked = Asked::new(&uri, plural, namespace);
    let continued = (asked.from > 0).then(|| inner.broken.get(&format!("{plural}/continued"))).flatten();
    if let Some(code) = inner.broken.get(plural).or(continued) {
        return status(StatusCode::from_u16(*code).expect("a code"), &format!("{plural} are broken"));
    }
    if asked.watch {
        let at = asked.version;
        inner.watches += 1;
        let born = (inner.age, inner.watches);
        drop(inner);
        watched(server, asked, at, born)
    } else {
        asked.page(&inner)
    }
}

fn groups(inner: &Inner) -> Value {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (group, version, ..) in inner.installed.iter().filter(|(group, ..)| !group.is_empty()) {
        groups.entry(group).or_default().insert(version);
    }
    let versions =
        |all: BTreeSet<&str>| -> Vec<Value> { all.iter().map(|v| json!({"version": v})).collect() };
    let groups: Vec<Value> =
        groups.into_iter().map(|(name, all)| json!({"name": name, "versions": versions(all)})).collect();
    json!({"kind": "APIGroupList", "groups": groups})
}

fn resources(inner: &Inner, group: &str, version: &str) -> Response {
    let here = inner.installed.iter().filter(|(g, v, ..)| (g.as_str(), v.as_str()) == (group, version));
    let all: Vec<Value> = here
        .flat_map(|(.., plural, kind)| {
            let status =
                json!({"name": format!("{plural}/status"), "kind": kind, "verbs": ["patch", "update"]});
            [json!({"name": plural, "kind": kind, "verbs": ["list", "watch"]}), status]
        })
        .collect();
    match all.is_empty() {
        true => status(StatusCode::NOT_FOUND, "not found"),
        false => Json(json!({"kind": "APIResourceList", "resources": all})).into_response(),
    }
}

/// A list or watch, as asked for.
struct Asked {
    plural: String,
    namespace: String,
    name: String,
    watch: bool,
    version: u64,
    limit: usize,
    from: usize,
}

impl Asked {
    fn new(uri: &Uri, plural: &str, namespace: &str) -> Self {
        let query = uri.query().unwrap_or_default();
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            pair.unwrap_or_default().to_owned()
        };
        Asked {
            plural: plural.into(),
            namespace: namespace.into(),
            name: value("fieldSelector").trim_start_matches("metadata.name%3D").to_owned(),
            watch: value("watch") == "1",
            version: value("resourceVersion").parse().unwrap_or(0),
            limit: value("limit").parse().unwrap_or(usize::MAX),
            from: value("continue").parse().unwrap_or(0),
        }
    }

    fn covers(&self, namespace: &str, name: &str) -> bool {
        (self.namespace.is_empty() || self.namespace == namespace)
            && (self.name.is_empty() || self.name == name)
    }

    fn page(&self, inner: &Inner) -> Response {
        let all = inner
            .objects
            .iter()
            .filter(|((plural, namespace, name), _)| *plural == self.plural && self.covers(namespace, name));
        let all: Vec<&Value> = all.map(|(_, object)| object).collect();
        let page: Vec<&Value> = all.iter().skip(self.from).take(self.limit).copied().collect();
        let next = self.from + page.len();
        let token = if next < all.len() { next.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": inner.version.to_string(), "continue": token});
        Json(json!({"kind": "List", "metadata": metadata, "items": page})).into_response()
    }

    fn line(&self, (_, plural, what, object): &Event) -> Option<String> {
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let here =
            *plural == self.plural && (*what == "BOOKMARK" || self.covers(text("namespace"), text("name")));
        here.then(|| json!({"type": what, "object": object}).to_string() + "\n")
    }
}

fn watched(server: Server, asked: Asked, at: u64, (age, number): (u64, u64)) -> Response {
    let lines = stream::unfold((server, asked, at), move |(mut server, asked, at)| async move {
        loop {
            // Before the look, so that a change after it is seen by the next.
            server.changed.mark_unchanged();
            let seen = {
                let inner = server.inner.lock().expect("no test panics with it");
                if inner.age != age || at == u64::MAX {
                    return None;
                }
                if number <= inner.deaf {
                    None
                } else if at < inner.oldest {
                    let gone = json!({"kind": "Status", "code": 410, "message": "too old resource version"});
                    let line = json!({"type": "ERROR", "object": gone}).to_string() + "\n";
                    Some((line, u64::MAX))
                } else {
                    let new = inner.history.iter().filter(|(version, ..)| *version > at);
                    let lines: String = new.filter_map(|event| asked.line(event)).collect();
                    (!lines.is_empty()).then_some((lines, inner.version))
                }
            };
            match seen {
                Some((lines, at)) => return Some((Ok::<_, Infallible>(lines), (server, asked, at))),
                None => {
                    if server.changed.changed().await.is_err() {
                        return None;
                    }
                }
            }
        }
    });
    Body::from_stream(lines).into_response()
}
