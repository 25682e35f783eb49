//! Which GatewayNode a daemon is, and what it does when it is none.

use crate::http;
use crate::place::{Daemon, Place};

fn manifests(place: &Place, nodes: &[&str]) {
    let node = |name: &&str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayNode\nmetadata: {{name: {name}}}\nspec: {{addresses: []}}\n"
        )
    };
    place.put("nodes.yaml", &nodes.iter().map(node).collect::<Vec<_>>().join("---\n"));
    place.put(
        "gateway.yaml",
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: main, namespace: shop}}\nspec:\n  \
             gatewayClassName: tidegate\n  listeners: [{{name: http, port: {}, protocol: HTTP}}]\n",
            place.port
        ),
    );
}

fn serves(daemon: &Daemon) -> bool {
    http::get(([127, 0, 0, 1], daemon.place.port).into(), "any.example", "/").is_ok()
}

/// Where GatewayNodes exist and none has its name, a daemon serves nothing and says so in status and log; once one has,
/// it serves.
#[test]
fn none_is_this_machine() {
    let place = Place::new();
    manifests(&place, &["gw2", "gw3"]);
    let daemon = place.start();
    let notice = "no GatewayNode is named \"gw1\", so this machine serves nothing; there are gw2, gw3. Start it with \
                  --node and one of these names, or add a GatewayNode for it";
    assert!(!serves(&daemon));
    let status = daemon.status();
    assert_eq!(status["sources"][0]["errors"][0]["message"], notice, "{status:#}");
    assert_eq!(status["listeners"].as_array().unwrap().len(), 0);
    daemon.place.tidegate(&["status"]).prints(&format!("  {notice}"));
    assert!(daemon.log().contains(&serde_json::to_string(notice).unwrap()), "{}", daemon.log());

    manifests(&daemon.place, &["gw1", "gw2"]);
    daemon.eventually("it serves under its name", || serves(&daemon).then_some(()));
    let errors = daemon.status()["sources"][0]["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 0, "{errors}");
}

/// The name on the command line counts more than the one in the settings.
#[test]
fn the_flag_counts_first() {
    let place = Place::new();
    place.settings("node: gw2\n");
    manifests(&place, &["gw1", "gw2"]);
    let daemon = place.start_as(&[]);
    assert_eq!(daemon.status()["node"], "gw2");
    drop(daemon);
    let place = Place::new();
    place.settings("node: gw2\n");
    manifests(&place, &["gw1", "gw2"]);
    assert_eq!(place.start_as(&["--node", "gw1"]).status()["node"], "gw1");
}
