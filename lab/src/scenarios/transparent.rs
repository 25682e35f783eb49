//! Pods that see the client's own address in their packets: the gateway speaks to them from it, and what they answer to
//! the client comes back through the gateway, whose default route they use.

use std::time::Duration;

use anyhow::Result;

use crate::journey::SHOP;
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;
use crate::scenarios::inbound::from_client;

/// The client of the topology.
const CLIENT: &str = "198.51.100.10";
/// A TCP listener of its own.
const TCP_PORT: u16 = 5432;
const GATEWAY: &str = "shop.yaml";
const LISTENERS: &str = "  - name: http\n    port: 80\n    protocol: HTTP\n";
const ROUTE: &str = "
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: raw, namespace: shop}
spec:
  parentRefs: [{name: edge, sectionName: raw}]
  rules: [{backendRefs: [{name: admin, port: 80}]}]
";
const POLICY: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: admin, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: admin}]
  sourceAddress: Client
";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let http = from_client(lab, 100)?.path("/admin");
    let before = source(&http)?;
    report.holds("without a policy the pod sees the gateway", before != CLIENT, &before);

    let files = lab.topology.manifests;
    let shop = files.iter().find(|(name, _)| *name == GATEWAY).map_or("", |(_, text)| *text);
    let raw = format!("{LISTENERS}  - name: raw\n    port: {TCP_PORT}\n    protocol: TCP\n");
    lab.manifests().put(GATEWAY, &(shop.replace(LISTENERS, &raw) + ROUTE))?;
    lab.manifests().put("source.yaml", POLICY)?;
    let tcp = Plan::new(lab.ns("client"), (lab.vip()?, TCP_PORT), SHOP, 100);
    for (name, plan) in [("HTTP", &http), ("TCP", &tcp)] {
        let sees = lab.wait("the client's address at the pod", Duration::from_secs(3), |_| {
            Ok(source(plan).ok().filter(|source| source == CLIENT))
        });
        report.holds(&format!("over {name} the pod sees the client"), sees.is_ok(), CLIENT);
    }
    let loads = [http.clone().start(), tcp.clone().start()];
    lab.pause(Duration::from_secs(1))?;
    for load in loads {
        report.none_failed("of 100 a second", &load.stop()?, 80);
    }

    lab.manifests().remove("source.yaml")?;
    lab.manifests().put(GATEWAY, shop)?;
    let after = lab.wait("the gateway's address at the pod", Duration::from_secs(3), |_| {
        Ok(source(&http).ok().filter(|source| source != CLIENT))
    });
    report.holds("without the policy it sees the gateway again", after.is_ok(), "");
    let holder = lab.sole_holder(Duration::from_secs(1))?;
    // It stays for as long as what was under way may take (`drainTimeout`).
    let rules = lab.wait("the end of its rule", Duration::from_secs(20), |lab| {
        let rules = lab.ns(holder).output("ip", &["rule"])?;
        Ok((!rules.contains("fwmark 0x2000")).then_some(rules))
    });
    report.holds("and no rule is left", rules.is_ok(), "");
    Ok(report)
}

/// Whose address a pod's socket saw.
fn source(plan: &Plan) -> Result<String> {
    Ok(plan.clone().ask()?.json()["source"].as_str().unwrap_or_default().to_owned())
}
