//! Mistakes in manifests: each is named where it stands, by `check` and by `status`, and spoils nothing else.

use serde_json::Value;

use crate::origin::Origin;
use crate::place::{Daemon, Place};

/// A Gateway, a route for shop.example, a Service and its endpoint, all good.
fn shop(place: &Place, origin: &Origin) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: main, namespace: shop}}
spec:
  gatewayClassName: tidegate
  listeners:
  - {{name: http, port: {port}, protocol: HTTP}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: shop}}
spec:
  parentRefs: [{{name: main}}]
  hostnames: [shop.example]
  rules:
  - backendRefs: [{{name: web, port: 80}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  ports: [{{name: http, port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: {origin}, protocol: TCP}}]
endpoints:
- addresses: [127.0.0.1]
",
        port = place.port,
        origin = origin.port
    )
}

/// What is wrong, as both commands must say it.
struct Mistake<'a> {
    line: usize,
    object: &'a str,
    field: &'a str,
    message: &'a str,
}

impl Mistake<'_> {
    /// As `check` prints it, for a file of this place.
    fn line(&self, place: &Place, file: &str) -> String {
        let file = format!("{}/{file}:{}", place.manifests(), self.line);
        let parts = [file.as_str(), self.object, self.field, self.message];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    /// Waits until the running daemon names it, and nothing else, in its status and in its log.
    fn is_named_by(&self, daemon: &Daemon, file: &str) {
        let file = format!("{}/{file}", daemon.place.manifests());
        let errors = daemon.eventually("the mistake is in the status", || {
            let errors = daemon.status()["sources"][0]["errors"].as_array().unwrap().clone();
            (!errors.is_empty()).then_some(errors)
        });
        let Mistake { line, object, field, message } = self;
        let named = serde_json::json!({
            "file": file, "line": line, "object": object, "field": field, "message": message
        });
        assert_eq!(errors, [named]);
        assert!(daemon.log().contains(&serde_json::to_string(message).unwrap()), "{}", daemon.log());
        daemon
            .place
            .tidegate(&["status"])
            .exits(0)
            .prints(&format!("  {}", self.line(&daemon.place, "bad.yaml")));
    }
}

fn start_with_shop(origin: &Origin) -> Daemon {
    let place = Place::new();
    place.put("shop.yaml", &shop(&place, origin));
    place.start()
}

/// A file that is no YAML is named with its line; every other file is served.
#[test]
fn malformed_yaml() {
    let origin = Origin::start("web");
    let daemon = start_with_shop(&origin);
    daemon.place.put("bad.yaml", "apiVersion: v1\nkind: [\n");
    let mistake = Mistake {
        line: 3,
        object: "",
        field: "",
        message: "not valid YAML: while parsing a node, did not find expected node content",
    };
    daemon.place.check().exits(1).prints(&format!("Unread    {}", mistake.line(&daemon.place, "bad.yaml")));
    mistake.is_named_by(&daemon, "bad.yaml");
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    daemon.place.remove("bad.yaml");
    daemon.eventually("the mistake is forgotten with its file", || {
        daemon.status()["sources"][0]["errors"].as_array().unwrap().is_empty().then_some(())
    });
}

/// A good file that becomes malformed keeps its last good objects in force.
#[test]
fn a_file_that_breaks_keeps_serving() {
    let origin = Origin::start("web");
    let place = Place::new();
    place.put("bad.yaml", &shop(&place, &origin));
    let daemon = place.start();
    daemon.place.put("bad.yaml", "kind: {\n");
    daemon.eventually("the mistake is in the status", || {
        (daemon.status()["sources"][0]["errors"][0]["line"] == 2).then_some(())
    });
    assert_eq!(daemon.get("shop.example", "/").status, 200);
}

/// A value of a wrong type is named with line and field, and the last good object keeps serving; the objects beside it
/// in the same file change as they are written.
#[test]
fn wrong_type_of_a_field() {
    let origin = Origin::start("web");
    let place = Place::new();
    let good = shop(&place, &origin);
    place.put("bad.yaml", &good);
    let daemon = place.start();
    let second = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: new, namespace: shop}\n\
                  spec:\n  parentRefs: [{name: main}]\n  hostnames: [new.example]\n  rules:\n  \
                  - backendRefs: [{name: web, port: 80}]\n";
    daemon
        .place
        .put("bad.yaml", &(good.replace("{name: web, port: 80}", "{name: web, port: http}") + second));
    let mistake = Mistake {
        line: 16,
        object: "HTTPRoute shop/shop",
        field: "spec.rules[0].backendRefs[0].port",
        message: "expected a whole number from 0 to 65535, found the text `http`",
    };
    daemon.place.check().exits(1).prints(&format!("Unread    {}", mistake.line(&daemon.place, "bad.yaml")));
    mistake.is_named_by(&daemon, "bad.yaml");
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    daemon
        .eventually("the new route is live", || (daemon.get("new.example", "/").status == 200).then_some(()));
}

/// An unknown field is a warning that names the nearest known one, once; the object is served.
#[test]
fn unknown_field() {
    let origin = Origin::start("web");
    let place = Place::new();
    place.put("bad.yaml", &shop(&place, &origin).replace("hostnames:", "hostname: []\n  hostnames:"));
    let warning = Mistake {
        line: 14,
        object: "HTTPRoute shop/shop",
        field: "spec.hostname",
        message: "unknown field `hostname`; it has no effect",
    };
    place.check().exits(0).prints(&format!("Warning   {}", warning.line(&place, "bad.yaml")));
    place.put("bad.yaml", &shop(&place, &origin).replace("  hostnames:", "  hostnamse:"));
    let warning = Mistake {
        field: "spec.hostnamse",
        message: "unknown field `hostnamse`; did you mean `hostnames`?",
        ..warning
    };
    place.check().exits(0).prints(&format!("Warning   {}", warning.line(&place, "bad.yaml")));
    let daemon = place.start();
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    assert_eq!(daemon.log().matches(warning.message).count(), 1, "{}", daemon.log());
    assert_eq!(daemon.object("HTTPRoute", "shop")["verdict"], "Accepted");
}

/// A kind that is not ours is left alone, with a warning; it costs nothing.
#[test]
fn unknown_kind() {
    let origin = Origin::start("web");
    let place = Place::new();
    place.put("shop.yaml", &shop(&place, &origin));
    place.put(
        "other.yaml",
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {any: thing}\n",
    );
    let warning = format!(
        "Warning   {}/other.yaml:1: Widget w: this version of Tidegate does not read Widget of example.com; left alone",
        place.manifests()
    );
    place.check().exits(0).prints(&warning);
    let daemon = place.start();
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    let status = daemon.status();
    assert_eq!(status["sources"][0]["errors"], Value::Array(Vec::new()));
    assert!(!status["objects"].as_array().unwrap().iter().any(|object| object["kind"] == "Widget"));
}

/// Of a Gateway with two conflicting listeners, both are refused by name, and the third serves.
#[test]
fn conflicting_listeners() {
    let origin = Origin::start("web");
    let place = Place::new();
    let good = format!("  - {{name: http, port: {}, protocol: HTTP}}\n", place.port);
    let twin = |name| {
        format!("  - {{name: {name}, port: {}, protocol: HTTP, hostname: same.example}}\n", place.port)
    };
    place.put("bad.yaml", &shop(&place, &origin).replace(&good, &(twin("one") + &twin("two") + &good)));
    let message = format!(
        "listeners one, two all ask for port {} and host same.example, so none of them is served; change the port or \
         the hostname of all but one",
        place.port
    );
    let said = |index: usize| {
        let place = format!("{}/bad.yaml:{}", place.manifests(), 7 + index);
        format!("Partially Gateway shop/main  {place}  HostnameConflict: spec.listeners[{index}]: {message}")
    };
    place.check().exits(1).prints(&said(0)).prints(&said(1));
    let daemon = place.start();
    let gateway = daemon.object("Gateway", "main");
    assert_eq!(gateway["verdict"], "Partially");
    assert_eq!(gateway["reason"], "HostnameConflict");
    assert_eq!(gateway["message"], message);
    assert_eq!(gateway["path"], "spec.listeners[0]");
    assert_eq!(gateway["location"], format!("{}/bad.yaml:7", daemon.place.manifests()));
    let status = daemon.status();
    assert_eq!(status["listeners"].as_array().unwrap().len(), 1, "{status:#}");
    assert_eq!(daemon.get("shop.example", "/").status, 200);
}

/// A route to a Service that does not exist answers 500 and says which one was meant; other routes serve.
#[test]
fn route_to_a_missing_service() {
    let origin = Origin::start("web");
    let place = Place::new();
    place.put("shop.yaml", &shop(&place, &origin));
    place.put(
        "bad.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: typo, namespace: shop}\nspec:\n  \
         parentRefs: [{name: main}]\n  hostnames: [typo.example]\n  rules:\n  - backendRefs:\n    - name: wep\n      \
         port: 80\n",
    );
    let message = "Service shop/wep does not exist; create it or correct the name (is \"web\" meant?)";
    let field = "spec.rules[0].backendRefs[0].name";
    let location = format!("{}/bad.yaml:9", place.manifests());
    let said = format!("Partially HTTPRoute shop/typo  {location}  BackendNotFound: {field}: {message}");
    place.check().exits(1).prints(&said);
    let daemon = place.start();
    let route = daemon.object("HTTPRoute", "typo");
    assert_eq!(route["verdict"], "Partially");
    assert_eq!(route["reason"], "BackendNotFound");
    assert_eq!((&route["message"], &route["path"]), (&message.into(), &field.into()));
    assert_eq!(route["location"], location);
    assert_eq!(daemon.get("typo.example", "/").status, 500);
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    let url = format!("http://typo.example:{}/", daemon.place.port);
    daemon.place.tidegate(&["explain", "http", &url]).exits(1).prints("route     shop/typo");
}
