//! SIGTERM ends in good order; SIGHUP opens the access log anew.

use std::fs;

use nix::sys::signal::Signal;

use crate::http;
use crate::origin::{Origin, SLOW_BODY};
use crate::place::{Daemon, Place};

pub fn start(settings: &str, origin: &Origin) -> Daemon {
    let place = Place::new();
    place.settings(settings);
    place.put(
        "all.yaml",
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: main, namespace: shop}}\nspec:\n  \
             gatewayClassName: tidegate\n  listeners: [{{name: http, port: {}, protocol: HTTP}}]\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: all, namespace: shop}}\nspec:\n  \
             parentRefs: [{{name: main}}]\n  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec:\n  ports: [{{port: 80}}]\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\nports: [{{port: {}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n",
            place.port, origin.port
        ),
    );
    place.start()
}

/// On SIGTERM an answer that is under way arrives whole and is logged, and the exit status is 0.
#[test]
fn an_answer_under_way_arrives() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let address = ([127, 0, 0, 1], daemon.place.port).into();
    let slow = http::send(address, "any.example", "/slow", "").unwrap();
    origin.half_way.recv().unwrap();
    daemon.signal(Signal::SIGTERM);
    let answer = http::read(slow).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, SLOW_BODY));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    let log = daemon.log();
    let logged = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    assert!(logged.into_iter().any(|line| line["path"] == "/slow" && line["status"] == 200), "{log}");
}

/// A second signal waits for nobody: it ends although an answer is under way, and in success.
#[test]
fn a_second_signal_cuts_it_short() {
    let origin = Origin::start("web");
    let mut daemon = start("drainTimeout: 10m\n", &origin);
    // Half a request.
    let mut waits = std::net::TcpStream::connect(("127.0.0.1", daemon.place.port)).unwrap();
    std::io::Write::write_all(&mut waits, b"GET / HTTP/1.1\r\nHost: any").unwrap();
    daemon.eventually("the connection", || {
        daemon.admin("/metrics").body.contains("tidegate_http_open_connections 1").then_some(())
    });
    daemon.signal(Signal::SIGTERM);
    daemon.eventually("that it is not ready", || (daemon.admin("/readyz").status == 503).then_some(()));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains("closed before they had ended"), "{}", daemon.log());
}

/// A client that is connected and asks for nothing does not keep SIGTERM from ending in success.
#[test]
fn an_idle_client_is_let_go() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let _idle = std::net::TcpStream::connect(("127.0.0.1", daemon.place.port)).unwrap();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

/// After a rotation and SIGHUP new lines are in the new file, and only there.
#[test]
fn the_access_log_is_opened_anew() {
    let origin = Origin::start("web");
    let daemon = start("accessLog: {output: access.log, fields: [path, status]}\n", &origin);
    let (path, rotated) = (daemon.place.path("access.log"), daemon.place.path("access.log.1"));
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    daemon.get("any.example", "/first");
    daemon.eventually("the first line", || (!text(&path).is_empty()).then_some(()));
    fs::rename(&path, &rotated).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.eventually("a new file", || path.exists().then_some(()));
    daemon.get("any.example", "/second");
    daemon.eventually("the second line", || (!text(&path).is_empty()).then_some(()));
    assert_eq!(text(&path), "{\"path\":\"/second\",\"status\":200}\n");
    assert_eq!(text(&rotated), "{\"path\":\"/first\",\"status\":200}\n");
    assert!(!daemon.log().contains("/first"), "the access log is on stderr too");
}
