//! An election with a stranger: one virtual router id, Tidegate on one side, keepalived on the other.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::election::CONTESTED;
use crate::lab::Lab;
use crate::report::Report;

const OTHER: &str = "other";
/// Three adverts of 100 ms and the skew, and room for the look itself.
const TAKEOVER: Duration = Duration::from_millis(500);
/// A master that stops in good order says so with priority 0, and its heir waits for the skew only (RFC 9568, 6.4.3).
const HANDED_OVER: Duration = Duration::from_millis(200);
/// Longer than any takeover: what was going to happen has happened.
const CALM: Duration = Duration::from_millis(1500);

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    lab.start_gateway("gw1")?;
    answers(lab, "gw1", Duration::from_secs(5)).context("Tidegate, alone, holds the address")?;

    start_keepalived(lab)?;
    lab.pause(CALM)?;
    let answering = who_answers(lab)?;
    report.holds("a living master stays", answering.as_deref() == Some("gw1"), format!("{answering:?}"));

    lab.kill_gateway("gw1")?;
    let took = answers(lab, OTHER, Duration::from_secs(3)).ok();
    report.at_most_ms("keepalived takes over from a killed Tidegate in", took, TAKEOVER);

    lab.start_gateway("gw1")?;
    lab.pause(Duration::from_secs(2))?;
    let answering = who_answers(lab)?;
    report.holds(
        "Tidegate comes back and takes nothing",
        answering.as_deref() == Some(OTHER),
        format!("{answering:?}"),
    );
    let state = lab.status("gw1")?["vrrp"][0]["state"].clone();
    report.holds("and says so", state == "Backup", state);

    lab.kill_host(OTHER)?;
    // A dead keepalived may leave its address behind; the heir's announcement must win over it.
    let took = answers(lab, "gw1", Duration::from_secs(3)).ok();
    report.at_most_ms("Tidegate takes over from a killed keepalived in", took, TAKEOVER);
    // If the half of it that holds the address died last, it has taken it away.
    lab.ns(OTHER).output("ip", &["addr", "flush", "dev", "outside", "to", &format!("{CONTESTED}/32")])?;

    start_keepalived(lab)?;
    lab.pause(CALM)?;
    let stopped = Instant::now();
    let went = lab.stop_gateway("gw1")?;
    report.holds("Tidegate stops in good order", went, format!("{:?}", stopped.elapsed()));
    let answering = answers(lab, OTHER, Duration::from_secs(3)).ok();
    report.at_most_ms("keepalived has the address after that stop in", answering, HANDED_OVER);
    Ok(report)
}

/// Starts keepalived, which competes for the address with priority 150.
pub fn start_keepalived(lab: &mut Lab) -> Result<()> {
    let dir = lab.dir(OTHER)?;
    let config = "\
global_defs {
  vrrp_version 3
  vrrp_garp_master_refresh 1
}
vrrp_instance contested {
  state BACKUP
  interface outside
  virtual_router_id 51
  priority 150
  advert_int 0.1
  nopreempt
  virtual_ipaddress { 10.10.0.100/32 }
}
";
    std::fs::write(dir.join("keepalived.conf"), config)?;
    for pid_file in ["pid", "vrrp.pid"] {
        // A keepalived that was killed leaves them, and the next one would think that it still runs.
        let _ = std::fs::remove_file(dir.join(pid_file));
    }
    let path = |name: &str| dir.join(name).display().to_string();
    let mut argv =
        ["keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp"].map(String::from).to_vec();
    argv.extend([
        "-f".into(),
        path("keepalived.conf"),
        "-p".into(),
        path("pid"),
        "-r".into(),
        path("vrrp.pid"),
    ]);
    lab.start(OTHER, OTHER, &argv)
}

/// Waits until this host answers ARP for the address; how long that took.
fn answers(lab: &mut Lab, host: &str, limit: Duration) -> Result<Duration> {
    let began = Instant::now();
    let what = format!("answer of {host} for {CONTESTED}");
    lab.wait(&what, limit, |lab| Ok((who_answers(lab)?.as_deref() == Some(host)).then(|| began.elapsed())))
}

/// Whose MAC address the client has for the contested address: as announced, or asked for if it has none.
pub fn who_answers(lab: &Lab) -> Result<Option<String>> {
    let client = lab.ns("client");
    let known = |lab: &Lab| -> Result<Option<String>> {
        let text = client.output("ip", &["-j", "neigh", "show", &CONTESTED.to_string()])?;
        let rows: serde_json::Value =
            serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text })?;
        let Some(mac) = rows[0]["lladdr"].as_str() else { return Ok(None) };
        for host in ["gw1", OTHER] {
            if lab.ns(host).output("ip", &["-j", "link", "show", "outside"])?.contains(mac) {
                return Ok(Some(host.to_owned()));
            }
        }
        Ok(None)
    };
    match known(lab)? {
        Some(host) => Ok(Some(host)),
        None => {
            // A datagram makes the client ask for the MAC address; nobody need take it.
            client.inside(|| Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(b"who?", (CONTESTED, 9))?))?;
            std::thread::sleep(Duration::from_millis(20));
            known(lab)
        }
    }
}
