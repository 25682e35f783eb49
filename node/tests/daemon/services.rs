//! A Service of type LoadBalancer, from its manifest to its endpoint and back, on an address of loopback.

use std::net::{Ipv4Addr, Shutdown};

use crate::http;
use crate::origin::Origin;
use crate::place::{Daemon, Place};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

fn pool(range: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: vips, namespace: m}}\nspec: {{addresses: [{range}]}}\n"
    )
}

fn service(port: u16, endpoint: u16, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{type: LoadBalancer, ports: [{{port: {port}}}]{more}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{port: {endpoint}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n"
    )
}

fn first_line(daemon: &Daemon) -> Option<String> {
    let stream = http::send((ADDRESS, daemon.place.port).into(), "any.example", "/", "").ok()?;
    // The origin closes when its client has, and nobody between them reads what `Connection: close` says.
    stream.shutdown(Shutdown::Write).ok()?;
    let answer = http::read(stream).ok()?;
    answer.body.lines().next().map(str::to_owned)
}

/// A Service without a class is served where the bootstrap file says so: by its own address, as status and explain say;
/// its address stays when its pool changes, and clients from elsewhere are turned away once there are ranges.
#[test]
fn by_its_own_address() {
    let origin = Origin::start("origin");
    let place = Place::new();
    place.settings("loadBalancer: {default: true}\n");
    place.put("pool.yaml", &pool("127.0.0.77/32"));
    place.put("web.yaml", &service(place.port, origin.port, ""));
    let daemon = place.start();
    daemon.eventually("the endpoint's answer", || (first_line(&daemon)? == "origin").then_some(()));
    let row = daemon.status()["load_balancers"][0].clone();
    assert_eq!((&row["service"], &row["addresses"][0]), (&"shop/web".into(), &ADDRESS.to_string().into()));
    let shown = daemon.place.tidegate(&["status", "services"]);
    assert!(shown.exits(0).out.contains("127.0.0.77"), "{}", shown.out);
    let url = format!("http://{ADDRESS}:{}/", daemon.place.port);
    let explained = daemon.place.tidegate(&["explain", "http", &url]);
    let listener = format!("shop/web/{}/tcp", daemon.place.port);
    assert!(explained.exits(0).out.contains(&listener), "{}", explained.out);
    assert!(daemon.admin("/api/v1/statuses").body.contains("127.0.0.77 from IPAddressPool vips"));

    daemon.place.put("pool.yaml", &pool("127.0.0.80/32"));
    let told = daemon.eventually("the pool's verdict", || {
        let object = daemon.object("IPAddressPool", "vips");
        (object["reason"] == "InUse").then(|| object["message"].as_str().unwrap_or_default().to_owned())
    });
    assert!(told.contains("127.0.0.77 (Service shop/web)"), "{told}");
    assert_eq!(first_line(&daemon).as_deref(), Some("origin"));

    let ranges = ", loadBalancerSourceRanges: [192.0.2.0/24]";
    daemon.place.put("web.yaml", &service(daemon.place.port, origin.port, ranges));
    daemon.eventually("nobody is let in", || first_line(&daemon).is_none().then_some(()));
    assert!(daemon.admin("/metrics").body.contains("tidegate_http_excluded_connections_total"));
}
