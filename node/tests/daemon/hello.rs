//! `examples/hello`, as a newcomer runs it: without root, on a port of their own.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::origin::Origin;
use crate::place::{Daemon, Place};

/// The example, with other ports than those it has.
fn example(place: &Place, origin: &Origin) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello/hello.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("port: 8080") && text.contains("9001"), "the example has other ports now");
    text.replace("port: 8080", &format!("port: {}", place.port)).replace("9001", &origin.port.to_string())
}

fn hello(origin: &Origin) -> Daemon {
    let place = Place::new();
    place.put("hello.yaml", &example(&place, origin));
    place.start()
}

/// A request for shop.example reaches the origin, with the client's address; another host reaches nothing.
#[test]
fn a_request_reaches_the_origin() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    let answer = daemon.get("shop.example", "/cart?id=1");
    assert_eq!(answer.status, 200, "{}", answer.head);
    let seen: Vec<String> = answer.body.lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(seen[..2], ["web", "get /cart?id=1 http/1.1"]);
    assert!(seen.contains(&"host: shop.example".into()), "{seen:?}");
    assert!(seen.contains(&"x-forwarded-for: 127.0.0.1".into()), "{seen:?}");
    assert_eq!(daemon.get("other.example", "/").status, 404);
}

/// The example is accepted whole by `check`.
#[test]
fn the_example_is_without_fault() {
    let origin = Origin::start("web");
    let place = Place::new();
    place.put("hello.yaml", &example(&place, &origin));
    let answer = place.check();
    answer.exits(0);
    assert!(answer.out.lines().all(|line| line.starts_with("Accepted ")), "{}", answer.out);
}

/// The status has exactly the parts that the contract names, says that the node is ready, and shows who serves what.
#[test]
fn status_has_every_part() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    let status = daemon.status();
    let parts: BTreeSet<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let contract = [
        "node",
        "ready",
        "sources",
        "objects",
        "listeners",
        "addresses",
        "bgp",
        "bfd",
        "vrrp",
        "routes",
        "egress",
        "services",
        "kernel",
    ];
    assert_eq!(parts, BTreeSet::from(contract));
    assert_eq!(status["node"], "gw1");
    assert_eq!(status["ready"], true);
    let listener = &status["listeners"][0];
    assert_eq!(listener["listener"], "shop/hello/http");
    assert_eq!((&listener["listening"], &listener["routes"]), (&Value::Bool(true), &Value::from(1)));
    let service = &status["services"][0];
    assert_eq!(service["service"], "shop/web:80");
    assert_eq!(service["endpoints"][0], format!("127.0.0.1:{}", origin.port));
    for object in status["objects"].as_array().unwrap() {
        let fields: BTreeSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        let contract = ["kind", "namespace", "name", "source", "verdict", "reason", "message", "path"];
        assert!(fields.is_superset(&BTreeSet::from(contract)), "{object}");
        assert_eq!(object["verdict"], "Accepted", "{object}");
    }
    daemon.place.tidegate(&["status"]).exits(0).prints("gateway gw1: ready");
}

/// `explain http` names listener, route, rule, backend and endpoint, and exits with 0; where none serves, it gives the
/// first reason and exits with 1.
#[test]
fn explain_names_the_way() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    let url = |host: &str| format!("http://{host}:{}/", daemon.place.port);
    let way = daemon.place.tidegate(&["explain", "http", &url("shop.example")]);
    way.exits(0)
        .prints("listener  shop/hello/http")
        .prints("route     shop/shop")
        .prints("rule      0: path under /")
        .prints(&format!("backend   shop/web:80  weight 1  → 127.0.0.1:{}", origin.port));
    let none = daemon.place.tidegate(&["explain", "http", &url("other.example")]);
    none.exits(1).prints("answer    404 NoRoute");
    // A header on the command line counts as it does on the wire.
    let header = daemon.place.tidegate(&["explain", "http", &url("127.0.0.1"), "-H", "Host: shop.example"]);
    header.exits(0);
}

/// Health, readiness and metrics answer on the admin address; metrics count what was served.
#[test]
fn the_admin_address_answers() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    assert_eq!(daemon.admin("/healthz").status, 200);
    assert_eq!(daemon.admin("/readyz").status, 200);
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    let counted = "tidegate_http_requests_total{listener=\"shop/hello/http\",code=\"2xx\"} 1";
    daemon.eventually("the request is counted", || {
        daemon.admin("/metrics").body.lines().any(|line| line == counted).then_some(())
    });
}

/// Every metric that a daemon shows is on the page of metrics.
#[test]
fn the_page_names_every_metric() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    let page = include_str!("../../../docs/metrics.md");
    let shown = daemon.admin("/metrics").body;
    let types = shown.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}")), "docs/metrics.md lacks {name}");
    }
}

/// A line of the access log has exactly the fields of the contract, with what happened.
#[test]
fn the_access_log_has_every_field() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    daemon.get("shop.example", "/cart?id=1");
    let line: Value = daemon.eventually("a line in the access log", || {
        let log = daemon.log();
        let line = log.lines().find(|line| line.starts_with("{\"time\":"))?;
        serde_json::from_str(line).ok()
    });
    let fields: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let contract = [
        "time",
        "client",
        "peer",
        "listener",
        "host",
        "method",
        "path",
        "protocol",
        "status",
        "reason",
        "route",
        "backend",
        "endpoint",
        "bytes_in",
        "bytes_out",
        "duration_us",
        "upstream_us",
        "request_id",
        "trace_id",
        "tls",
        "user_agent",
    ];
    assert_eq!(fields, BTreeSet::from(contract));
    let endpoint = format!("127.0.0.1:{}", origin.port);
    for (field, expected) in [
        ("client", "127.0.0.1"),
        ("listener", "shop/hello/http"),
        ("host", "shop.example"),
        ("method", "GET"),
        ("protocol", "HTTP/1.1"),
        ("route", "shop/shop"),
        ("backend", "shop/web:80"),
        ("endpoint", endpoint.as_str()),
        ("tls", ""),
    ] {
        assert_eq!(line[field], expected, "{field} in {line}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["path"].as_str().unwrap().starts_with("/cart"), "{line}");
}

/// A reader that has seen enough does not make a command fall over.
#[test]
fn a_closed_pipe_is_no_panic() {
    let origin = Origin::start("web");
    let daemon = hello(&origin);
    let answer = daemon.place.closed_pipe(&["status", "-o", "json"]);
    assert_eq!(answer, "", "it complained");
}
