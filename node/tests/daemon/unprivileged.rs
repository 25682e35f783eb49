//! Without capabilities everything that needs none works, and what needs one says which.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::origin::Origin;
use crate::place::{Daemon, Place};

/// A Gateway that serves on a high port and wishes to on a low one, an election, a BGP session and an egress policy.
fn everything(origin: &Origin, peer_port: u16) -> Daemon {
    let place = Place::new();
    place.put(
        "all.yaml",
        &format!(
            "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: main, namespace: shop}}
spec:
  gatewayClassName: tidegate
  listeners:
  - {{name: high, port: {port}, protocol: HTTP}}
  - {{name: low, port: 80, protocol: HTTP}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: shop}}
spec:
  parentRefs: [{{name: main}}]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{port: {origin}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
---
apiVersion: tidegate.dev/v1alpha1
kind: VRRPAdvertisement
metadata: {{name: vips}}
spec: {{addresses: [192.0.2.20]}}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {{name: tor, namespace: shop}}
spec: {{myASN: 64512, peerASN: 64513, peerAddress: 127.0.0.1, peerPort: {peer_port}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: batch, namespace: shop, labels: {{app: batch}}}}
status: {{podIP: 10.244.1.5, podIPs: [{{ip: 10.244.1.5}}]}}
---
apiVersion: cilium.io/v2
kind: CiliumEgressGatewayPolicy
metadata: {{name: legacy}}
spec:
  selectors: [{{podSelector: {{matchLabels: {{app: batch}}}}}}]
  destinationCIDRs: [198.51.100.0/24]
  egressGateway: {{nodeSelector: {{}}, egressIP: 192.0.2.20}}
",
            port = place.port,
            origin = origin.port
        ),
    );
    place.start()
}

fn silent_peer() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

fn first(status: &Value, part: &str) -> Value {
    status[part].get(0).unwrap_or_else(|| panic!("no {part} in {status:#}")).clone()
}

/// Whether ports from here on need a capability on this machine.
fn first_open_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    text.trim().parse().unwrap()
}

/// Proxying works, the node is ready, and the kernel's row says what is missing and what would grant it.
#[test]
fn proxying_needs_no_rights() {
    let (origin, peer) = (Origin::start("web"), silent_peer());
    let daemon = everything(&origin, peer.local_addr().unwrap().port());
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    let status = daemon.status();
    assert_eq!(status["ready"], true);
    assert_eq!(status["kernel"]["programmable"], false);
    let message = "not permitted to change addresses, routes and nftables: CAP_NET_ADMIN is missing; run as root, or \
                   grant it to the binary with `setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep`";
    assert_eq!(status["kernel"]["message"], message);
    let table = daemon.place.tidegate(&["status"]);
    table.exits(0).prints(&format!("Kernel  not programmed: {message}"));
    assert!(daemon.log().contains("the kernel is not programmed"), "{}", daemon.log());
    assert_eq!(status["addresses"][0]["here"], false, "nobody holds an address without an election");
}

/// An election that cannot open its sockets never becomes Master, and says which capability it lacks.
#[test]
fn elections_say_what_they_lack() {
    let routes = fs::read_to_string("/proc/net/route").unwrap();
    if !routes.lines().any(|line| line.split('\t').nth(1) == Some("00000000")) {
        eprintln!(
            "skipped: this machine has no default route, so there is no interface to hold an election on"
        );
        return;
    }
    let (origin, peer) = (Origin::start("web"), silent_peer());
    let daemon = everything(&origin, peer.local_addr().unwrap().port());
    let election = daemon.eventually("the election gives a reason", || {
        let election = first(&daemon.status(), "vrrp");
        election["reason"].as_str().unwrap().contains("CAP_").then_some(election)
    });
    assert_eq!(election["state"], "Initialize");
    let (interface, _) = election["legs"][0].as_str().unwrap().rsplit_once('/').unwrap();
    let reason = format!("raw sockets on {interface} need CAP_NET_RAW; run as root or grant it");
    assert_eq!(election["reason"], reason);
    let table = daemon.place.tidegate(&["status", "vrrp"]);
    assert!(table.exits(0).out.contains(&reason), "{}", table.out);
}

/// A BGP session is opened all the same, from an ordinary port: the peer hears an OPEN (RFC 4271 section 4.2). That
/// port 179 cannot be listened on is said.
#[test]
fn sessions_are_opened_from_our_side() {
    let (origin, peer) = (Origin::start("web"), silent_peer());
    let port = peer.local_addr().unwrap().port();
    // Accepting must not wait for ever when nobody connects.
    let (sender, opened) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = peer.accept().unwrap();
        let mut header = [0; 19];
        stream.read_exact(&mut header).unwrap();
        sender.send(header).unwrap();
    });
    let daemon = everything(&origin, port);
    let header = opened.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{}", daemon.log()));
    assert_eq!((&header[..16], header[18]), (&[0xff; 16][..], 1));
    if first_open_port() > 179 {
        let session = first(&daemon.status(), "bgp");
        let said =
            "port 179 needs root or CAP_NET_BIND_SERVICE; peers cannot connect to us, we connect to them";
        assert!(session["last_error"].as_str().unwrap().contains(said), "{session}");
    } else {
        eprintln!("skipped in part: this machine lets anyone listen on port 179");
    }
}

/// A listener on port 80 is closed and says why; the other listener of its Gateway is not disturbed.
#[test]
fn low_ports_say_what_they_lack() {
    if first_open_port() <= 80 {
        eprintln!("skipped: this machine lets anyone listen on port 80");
        return;
    }
    let (origin, peer) = (Origin::start("web"), silent_peer());
    let daemon = everything(&origin, peer.local_addr().unwrap().port());
    let low = daemon.eventually("the low port is given up", || {
        let status = daemon.status();
        let mut listeners = status["listeners"].as_array().unwrap().iter();
        let low = listeners.find(|listener| listener["listener"] == "shop/main/low").unwrap();
        (low["error"] != "").then(|| low.clone())
    });
    assert_eq!(low["listening"], false);
    assert_eq!(low["error"], "port 80 needs root or CAP_NET_BIND_SERVICE; choose a port above 1023");
    assert_eq!(daemon.get("shop.example", "/").status, 200);
}

/// `cleanup` without rights changes nothing and says what it lacks.
#[test]
fn cleanup_says_what_it_lacks() {
    let answer = Place::new().tidegate(&["cleanup", "--config", "tidegate.yaml"]);
    answer.exits(2);
    assert!(answer.err.contains("CAP_NET_ADMIN is missing"), "{}", answer.err);
    assert_eq!(answer.err.lines().count(), 1, "{}", answer.err);
}
