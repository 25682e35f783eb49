//! Changes on disk are live soon, and touch nothing else.

use crate::origin::Origin;
use crate::place::{Daemon, Place, free_port};

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: main}]
  hostnames: [shop.example]
  rules:
  - backendRefs: [{name: web, port: 80}]
";

fn gateway(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: main, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate\n  listeners:\n  - {{name: http, port: {port}, protocol: HTTP}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec:\n  ports: [{{name: http, port: 80}}]\n"
    )
}

/// The slice of a Service with these servers; they differ in port only, so each has a port of its own in the slice.
pub fn slices(origins: &[&Origin]) -> String {
    let slice = |origin: &&Origin| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-{port}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {port}, protocol: TCP}}]\n\
             endpoints: [{{addresses: [127.0.0.1]}}]\n",
            port = origin.port
        )
    };
    origins.iter().map(slice).collect::<Vec<_>>().join("---\n")
}

pub fn start(origins: &[&Origin]) -> Daemon {
    let place = Place::new();
    place.put("gateway.yaml", &gateway(place.port));
    place.put("route.yaml", ROUTE);
    place.put("endpoints.yaml", &slices(origins));
    place.start()
}

fn until_status(daemon: &Daemon, host: &str, status: u16) {
    daemon.eventually(&format!("{host} is answered with {status}"), || {
        (daemon.get(host, "/").status == status).then_some(())
    });
}

/// A route that appears is served, and one whose file is deleted is not; the other goes on.
#[test]
fn a_route_comes_and_goes() {
    let origin = Origin::start("web");
    let daemon = start(&[&origin]);
    assert_eq!(daemon.get("new.example", "/").status, 404);
    let new = ROUTE.replace("name: shop,", "name: new,").replace("shop.example", "new.example");
    daemon.place.put("new.yaml", &new);
    until_status(&daemon, "new.example", 200);
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    daemon.place.remove("new.yaml");
    until_status(&daemon, "new.example", 404);
    assert_eq!(daemon.get("shop.example", "/").status, 200);
}

/// Both endpoints are used; one that is removed gets no further request; with none left the answer is 503.
#[test]
fn an_endpoint_goes() {
    let (a, b) = (Origin::start("a"), Origin::start("b"));
    let daemon = start(&[&a, &b]);
    let who = || daemon.get("shop.example", "/").body.lines().next().unwrap().to_owned();
    for name in ["a", "b"] {
        daemon.eventually("both are asked", || (who() == name).then_some(()));
    }
    daemon.place.put("endpoints.yaml", &slices(&[&a]));
    daemon.eventually("one endpoint is left", || {
        let status = daemon.status();
        (status["services"][0]["endpoints"].as_array().unwrap().len() == 1).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(who(), "a");
    }
    daemon.place.remove("endpoints.yaml");
    until_status(&daemon, "shop.example", 503);
    daemon.place.put("endpoints.yaml", &slices(&[&b]));
    until_status(&daemon, "shop.example", 200);
    assert_eq!(who(), "b");
}

/// A Gateway that moves to another port listens there, and no longer where it was.
#[test]
fn a_listener_moves() {
    let origin = Origin::start("web");
    let mut daemon = start(&[&origin]);
    let (old, new) = (daemon.place.port, free_port());
    daemon.place.put("gateway.yaml", &gateway(new));
    daemon.eventually("the old port is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", old)).is_err().then_some(())
    });
    daemon.place.port = new;
    until_status(&daemon, "shop.example", 200);
}

/// A manifest in a new sub-folder counts, and so does one that is written in place.
#[test]
fn folders_and_plain_writes_count() {
    let origin = Origin::start("web");
    let daemon = start(&[&origin]);
    let folder = daemon.place.path("manifests/team");
    std::fs::create_dir(&folder).unwrap();
    let named = |name: &str| {
        ROUTE.replace("name: shop,", &format!("name: {name},")).replace("shop.", &format!("{name}."))
    };
    std::fs::write(folder.join("new.yaml"), named("new")).unwrap();
    until_status(&daemon, "new.example", 200);
    std::fs::write(folder.join("new.yaml"), named("newer")).unwrap();
    until_status(&daemon, "newer.example", 200);
    std::fs::remove_dir_all(&folder).unwrap();
    until_status(&daemon, "newer.example", 404);
}
