//! A Service of type LoadBalancer: an address of a pool that every gateway gives alike, announced to the ToR, carried while pods
//! scale, kept while its pool changes, withdrawn while nothing could answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::journey::OUTSIDE_NEXT_HOP;
use crate::lab::Lab;
use crate::load::Plan;
use crate::manifests::endpoint_slice;
use crate::report::Report;
use crate::settle::route;

const PORT: u16 = 8000;
/// A change is followed within this, by BGP at the ToR too.
const FOLLOWS: Duration = Duration::from_secs(5);

/// A pool of its own, for Services of the namespace only, so that the Gateway's address stays out of the story.
fn pool(ranges: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: services, namespace: tidegate-system}}\n\
         spec: {{addresses: [{ranges}], serviceAllocation: {{priority: 1, namespaces: [shop]}}}}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: VRRPAdvertisement\nmetadata: {{name: services}}\n\
         spec: {{ipAddressPools: [services], interfaces: [outside], advertisementInterval: 100ms, syncGroup: edge}}\n---\n\
         apiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\nmetadata: {{name: services, namespace: tidegate-system}}\n\
         spec: {{ipAddressPools: [services], peers: [tor]}}\n"
    )
}

fn service(status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: direct, namespace: shop}}\n\
         spec: {{type: LoadBalancer, loadBalancerClass: tidegate.dev/lb, ports: [{{name: http, port: {PORT}}}]}}\n{status}"
    )
}

/// The Service as a gateway shows it, once it has an address.
fn balanced(status: &Value) -> Option<(Ipv4Addr, bool)> {
    let rows = status["load_balancers"].as_array()?;
    let row = rows.iter().find(|row| row["service"] == "shop/direct")?;
    Some((row["addresses"][0].as_str()?.parse().ok()?, row["served"] == true))
}

/// The one address that all gateways give it, once every one of them is as it should be.
fn agreed(lab: &mut Lab, served: bool) -> Result<Option<Ipv4Addr>> {
    let shown: Option<Vec<_>> = lab.statuses()?.iter().map(|(_, status)| balanced(status)).collect();
    let shown = shown.context("a gateway does not show the Service")?;
    let first = shown[0].0;
    Ok(shown.iter().all(|one| *one == (first, served)).then_some(first))
}

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let pods = ["web-a1", "web-a2", "web-b1"].map(|name| lab.topology.pod(name));
    lab.manifests().put("services-pool.yaml", &pool("203.0.114.1-203.0.114.6"))?;
    lab.manifests().put("services.yaml", &service(""))?;
    lab.manifests().put("services-endpoints.yaml", &endpoint_slice("direct", &pods[..1]))?;
    let address = lab.wait("address that all gateways give", FOLLOWS, |lab| agreed(lab, true))?;
    report.holds("all gateways give one address", true, address);
    let tor = lab.ns("tor");
    let announced = lab
        .wait("route at the ToR", FOLLOWS, |_| route(&tor, &address.to_string(), OUTSIDE_NEXT_HOP).map(Some));
    report.holds("the ToR has a route to it over the floating next hop", announced.is_ok(), address);

    let plan = Plan::new(lab.ns("client"), (address, PORT), "any.example", 200);
    let first = lab.wait("first answer", FOLLOWS, |_| Ok(Some(plan.ask()?.who())))?;
    report.holds("the one endpoint answers", first == "web-a1", first);
    let load = plan.clone().start();
    lab.pause(Duration::from_secs(1))?;
    lab.manifests().put("services-endpoints.yaml", &endpoint_slice("direct", &pods))?;
    lab.pause(Duration::from_secs(1))?;
    lab.manifests().put("services-endpoints.yaml", &endpoint_slice("direct", &pods[2..]))?;
    lab.pause(Duration::from_secs(1))?;
    let scaled = lab.wait("address after pods scaled", FOLLOWS, |lab| agreed(lab, true))?;
    report.holds("its address stays while pods scale", scaled == address, scaled);

    // As whoever writes statuses would have it: several gateways go by nothing else.
    let record = format!(
        "status:\n  loadBalancer: {{ingress: [{{ip: {address}, ipMode: VIP}}]}}\n  conditions: [{{type: tidegate.dev/Assigned, \
         status: 'True', message: {address} from IPAddressPool services}}]\n"
    );
    lab.manifests().put("services.yaml", &service(&record))?;
    lab.manifests().put("services-pool.yaml", &pool("203.0.115.1-203.0.115.6"))?;
    let told = lab.wait("word of the pool", FOLLOWS, |lab| {
        let status = lab.status("gw1")?;
        let objects = status["objects"].as_array().cloned().unwrap_or_default();
        let pool =
            objects.into_iter().find(|one| one["kind"] == "IPAddressPool" && one["name"] == "services");
        let sentence = pool.context("no such pool")?["message"].as_str().unwrap_or_default().to_owned();
        Ok(sentence.contains("Service shop/direct").then_some(sentence))
    });
    report.holds("the pool's verdict names who is in the way", told.is_ok(), told.unwrap_or_default());
    let kept = lab.wait("address after its pool changed", FOLLOWS, |lab| agreed(lab, true))?;
    report.holds("its address stays while its pool changes", kept == address, kept);
    lab.pause(Duration::from_secs(1))?;
    let records = load.stop()?;
    report.none_failed("of 200 a second", &records, 700);
    let last = records.last().and_then(|record| record.who().map(str::to_owned)).unwrap_or_default();
    report.holds("the last came to the pod that is left", last == "web-b1", last);

    lab.manifests().put("services-endpoints.yaml", &endpoint_slice("direct", &[]))?;
    let silent = lab.wait("withdrawal", FOLLOWS, |lab| agreed(lab, false))?;
    report.holds("without an endpoint it keeps its address", silent == address, silent);
    let gone = lab.wait("end of the route", FOLLOWS, |_| {
        Ok(route(&tor, &address.to_string(), OUTSIDE_NEXT_HOP).is_err().then_some(()))
    });
    report.holds("and nothing announces it", gone.is_ok(), address);
    Ok(report)
}
