//! `tidegate status`: what the daemon serves now, as tables or JSON.

use std::net::SocketAddr;

use anyhow::Result;
use tidegate_model::observed::{EndpointStatus, ObjectStatus, ServiceStatus, SourceStatus, Status};

use crate::args::{self, Output, StatusPart};
use crate::client::Client;
use crate::table;

/// Prints the status; false when the node is not ready.
pub fn run(admin: SocketAddr, arguments: &args::Status) -> Result<bool> {
    let status: Status = Client::new(admin).get("/api/v1/status", &[])?;
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&json(&status, arguments.part)?)?),
        Output::Table => print(&status, arguments.part),
    }
    Ok(status.ready)
}

fn json(status: &Status, part: Option<StatusPart>) -> Result<serde_json::Value> {
    Ok(match part {
        None => serde_json::to_value(status)?,
        Some(StatusPart::Bgp) => serde_json::json!({ "bgp": status.bgp, "routes": status.routes }),
        Some(StatusPart::Bfd) => serde_json::json!({ "bfd": status.bfd }),
        Some(StatusPart::Vrrp) => serde_json::json!({ "vrrp": status.vrrp, "addresses": status.addresses }),
        Some(StatusPart::Egress) => serde_json::json!({ "egress": status.egress }),
        Some(StatusPart::Services) => {
            serde_json::json!({
                "services": status.services,
                "load_balancers": status.load_balancers,
                "drained": status.drained,
            })
        }
    })
}

fn print(status: &Status, part: Option<StatusPart>) {
    let shows = |wanted| part.is_none() || part == Some(wanted);
    if part.is_none() {
        println!("gateway {}: {}\n", status.node, if status.ready { "ready" } else { "NOT READY" });
        sources(status);
        listeners(status);
        addresses(status);
    }
    if shows(StatusPart::Vrrp) {
        elections(status);
    }
    if shows(StatusPart::Bgp) {
        sessions(status);
        routes(status);
    }
    if let Some(nothing) = nothing(status, part) {
        println!("{nothing}");
    }
    if part == Some(StatusPart::Bfd) {
        println!("no BFD sessions: this version does not speak BFD");
    }
    if shows(StatusPart::Egress) {
        egress(status);
    }
    if shows(StatusPart::Services) {
        services(status);
    }
    if part.is_none() {
        peers(status);
        kernel(status);
        objects(status);
    }
}

/// What to say of a part that was asked for and holds nothing.
fn nothing(status: &Status, part: Option<StatusPart>) -> Option<&'static str> {
    match part? {
        StatusPart::Bgp if status.bgp.is_empty() => {
            Some("no BGP sessions: no BGPPeer applies to this gateway")
        }
        StatusPart::Vrrp if status.vrrp.is_empty() => {
            Some("no elections: no VRRPAdvertisement applies to this gateway")
        }
        StatusPart::Egress if status.egress.is_empty() => Some("no egress policies"),
        StatusPart::Services if status.services.is_empty() && status.load_balancers.is_empty() => {
            Some("no Service is used by a route, or has an address of its own")
        }
        _ => None,
    }
}

fn sources(status: &Status) {
    let rows: Vec<_> = status
        .sources
        .iter()
        .map(|s| {
            vec![
                s.name.clone(),
                s.source_type.clone(),
                s.objects.to_string(),
                s.errors.len().to_string(),
                s.location.clone(),
            ]
        })
        .collect();
    table::print("Sources", &["name", "type", "objects", "errors", "location"], &rows);
    for error in status.sources.iter().flat_map(|source| &source.errors) {
        println!("  {}", source_error(error));
    }
    for source in status.sources.iter().filter(|source| !source.from_disk.is_empty()) {
        let (name, written) = (&source.name, &source.from_disk);
        println!(
            "  {name}: not read yet since the start; in force is its snapshot on disk, written {written}"
        );
    }
    for (source, held) in status.sources.iter().flat_map(|s| s.held.iter().map(move |held| (s, held))) {
        println!("  held: {held}; `tidegate confirm {}` believes it now", source.name);
    }
    for warning in status.sources.iter().flat_map(|source| &source.warnings) {
        println!("  warning: {}", source_error(warning));
    }
    let quiet = |s: &SourceStatus| {
        s.errors.is_empty() && s.held.is_empty() && s.warnings.is_empty() && s.from_disk.is_empty()
    };
    if !status.sources.iter().all(quiet) {
        println!();
    }
}

/// `file:line: object: field: message`, leaving out what is unknown.
pub fn source_error(error: &tidegate_model::observed::SourceError) -> String {
    let place = if error.line > 0 { format!("{}:{}", error.file, error.line) } else { error.file.clone() };
    [place.as_str(), &error.object, &error.field, &error.message]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ")
}

fn listeners(status: &Status) {
    let rows: Vec<_> = status
        .listeners
        .iter()
        .map(|l| {
            let address = l.address.map(|a| a.to_string()).unwrap_or_default();
            let state = if l.listening { "listening".to_owned() } else { format!("closed: {}", l.error) };
            vec![l.listener.clone(), address, l.hostname.clone(), l.routes.to_string(), state]
        })
        .collect();
    table::print("Listeners", &["listener", "address", "host", "routes", "state"], &rows);
}

fn addresses(status: &Status) {
    let rows: Vec<_> = status
        .addresses
        .iter()
        .map(|a| {
            let here = if a.here { "here" } else { "" };
            vec![a.address.to_string(), a.usage.clone(), a.protocol.clone(), a.holder.clone(), here.into()]
        })
        .collect();
    table::print("Addresses", &["address", "use", "by", "holder", ""], &rows);
}

fn elections(status: &Status) {
    let rows: Vec<_> = status
        .vrrp
        .iter()
        .map(|v| {
            let since = format!("{}.{:01} s", v.since_ms / 1000, v.since_ms % 1000 / 100);
            vec![
                v.group.clone(),
                v.state.clone(),
                v.priority.to_string(),
                v.master.clone(),
                v.legs.join(" "),
                since,
                v.reason.clone(),
            ]
        })
        .collect();
    table::print(
        "Elections (VRRP)",
        &["group", "state", "priority", "master", "legs", "since", "reason"],
        &rows,
    );
}

fn sessions(status: &Status) {
    let rows: Vec<_> = status
        .bgp
        .iter()
        .map(|b| {
            vec![
                b.peer.clone(),
                b.address.clone(),
                b.remote_as.to_string(),
                b.state.clone(),
                format!("{} s", b.since_secs),
                b.received.to_string(),
                b.refused.to_string(),
                b.announced.to_string(),
                if b.state == "Established" { String::new() } else { b.last_error.clone() },
            ]
        })
        .collect();
    let columns =
        ["peer", "address", "as", "state", "since", "received", "refused", "announced", "last error"];
    table::print("BGP sessions", &columns, &rows);
}

fn routes(status: &Status) {
    let rows: Vec<_> = status
        .routes
        .iter()
        .map(|r| {
            vec![
                r.prefix.clone(),
                r.next_hops.join(" "),
                r.peers.join(" "),
                if r.stale { "stale".into() } else { String::new() },
            ]
        })
        .collect();
    table::print("Learned routes", &["prefix", "next hops", "from", ""], &rows);
}

fn egress(status: &Status) {
    let rows: Vec<_> = status
        .egress
        .iter()
        .map(|e| {
            let here = if e.here { "here".to_owned() } else { String::new() };
            let state = if e.dropped.is_empty() { here } else { format!("dropped: {}", e.dropped) };
            vec![e.policy.clone(), e.address.clone(), e.pods.to_string(), state]
        })
        .collect();
    table::print("Egress", &["policy", "address", "pods", ""], &rows);
}

fn services(status: &Status) {
    // Most people have one source, and its name would be a word without news.
    let several = status.services.iter().any(|s| s.source != status.services[0].source);
    let named = |s: &ServiceStatus| match several {
        true => format!("{}: {}", s.source, s.service),
        false => s.service.clone(),
    };
    let rows: Vec<_> = status
        .services
        .iter()
        .map(|s| {
            let mut notes: Vec<_> = s.impaired.iter().map(endpoint).collect();
            if !s.parts.is_empty() {
                notes.push(format!("made of those of {}", s.parts.join(", ")));
            }
            if !s.crowded.is_empty() {
                notes.push(format!("several pods share one endpoint on {}", s.crowded.join(", ")));
            }
            vec![
                named(s),
                s.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                notes.join("; "),
            ]
        })
        .collect();
    table::print("Services", &["service", "endpoints", ""], &rows);
    let rows: Vec<_> = status
        .load_balancers
        .iter()
        .map(|balanced| {
            let addresses: Vec<String> = balanced.addresses.iter().map(ToString::to_string).collect();
            let state = if balanced.served { "served".to_owned() } else { balanced.message.clone() };
            vec![balanced.service.clone(), addresses.join(" "), balanced.pools.join(" "), state]
        })
        .collect();
    table::print("Load-balanced Services", &["service", "addresses", "of pools", "state"], &rows);
    if !status.drained.is_empty() {
        let all: Vec<String> = status.drained.iter().map(ToString::to_string).collect();
        println!("  drained by hand: {}\n", all.join(" "));
    }
}

/// Why an endpoint does not get its share.
fn endpoint(status: &EndpointStatus) -> String {
    let mut reasons = Vec::new();
    if status.draining {
        reasons.push(format!("drained, {} under way", status.under_way));
    }
    if !status.healthy {
        reasons.push("unhealthy".to_owned());
    }
    if let Some(secs) = status.ejected_secs {
        reasons.push(format!("ejected for {secs} s"));
    }
    if let Some(percent) = status.slow_percent {
        reasons.push(format!("new, with {percent} % of its share"));
    }
    format!("{} {}", status.address, reasons.join(", "))
}

fn peers(status: &Status) {
    let rows: Vec<_> = status
        .peers
        .gateways
        .iter()
        .map(|peer| {
            let state = match (peer.connected, peer.called) {
                (true, _) => format!("linked for {} s", peer.since_secs),
                (false, true) => "called in vain".to_owned(),
                (false, false) => "has not called".to_owned(),
            };
            let address = peer.address.map(|address| address.to_string()).unwrap_or_default();
            vec![peer.name.clone(), address, state, peer.last_error.clone()]
        })
        .collect();
    table::print("Peers", &["gateway", "address", "state", "last error"], &rows);
    if !status.peers.message.is_empty() {
        println!("  {}\n", status.peers.message);
    }
}

fn kernel(status: &Status) {
    let kernel = &status.kernel;
    if kernel.programmable {
        println!(
            "Kernel  {} addresses, {} routes of ours; {} repairs",
            kernel.addresses, kernel.routes, kernel.repairs
        );
    } else {
        println!("Kernel  not programmed: {}", kernel.message);
    }
    for error in &kernel.errors {
        println!("  {error}");
    }
    println!();
    for draining in &status.draining {
        let (pid, connections) = (draining.pid, draining.connections);
        println!(
            "Draining  process {pid}, which was taken over from, still holds {connections} connections\n"
        );
    }
}

fn objects(status: &Status) {
    let troubled: Vec<&ObjectStatus> = status.objects.iter().filter(|o| !o.message.is_empty()).collect();
    let rows: Vec<_> = troubled
        .iter()
        .map(|o| {
            vec![
                o.verdict.clone(),
                o.kind.clone(),
                name(o),
                o.reason.clone(),
                o.location.clone(),
                o.path.clone(),
                o.message.clone(),
            ]
        })
        .collect();
    let all = status.objects.len();
    println!("Objects  {all} with a verdict, {} of them with a problem or a word of warning", troubled.len());
    table::print("", &["verdict", "kind", "name", "reason", "place", "field", "message"], &rows);
}

/// `namespace/name`, or the name alone.
pub fn name(object: &ObjectStatus) -> String {
    if object.namespace.is_empty() {
        object.name.clone()
    } else {
        format!("{}/{}", object.namespace, object.name)
    }
}
