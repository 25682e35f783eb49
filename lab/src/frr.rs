//! FRR on a router: zebra and bgpd with configuration, sockets and logs of their own, so that the machine's own
//! service and any other lab are never touched. eBGP with every gateway on a shared LAN.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::netns::Netns;
use crate::topology::{Host, Kind, Topology};

/// Where Debian keeps the daemons.
const DAEMONS: &str = "/usr/lib/frr";
/// Whose members may use FRR's terminals.
const GROUP: &str = "frrvty";
/// The gateways' AS.
const GATEWAYS_AS: u32 = 64512;
/// As low as is safe in the field.
const HOLD_SECS: u32 = 9;

/// Writes the configuration of a router into `dir`, and gives the commands that run it, by name.
pub fn prepare(
    topology: &Topology,
    host: &Host,
    dir: &Path,
    logs: &Path,
) -> Result<Vec<(String, Vec<String>)>> {
    let Kind::Router { asn } = host.kind else { anyhow::bail!("{} is no router", host.name) };
    std::fs::create_dir_all(dir.join("vty"))?;
    let mut commands = Vec::new();
    for daemon in ["zebra", "bgpd"] {
        let mut config = format!(
            "hostname {}\nlog file {}\n",
            host.name,
            logs.join(format!("{}-{daemon}.frr.log", host.name)).display()
        );
        if daemon == "bgpd" {
            config += &bgpd(topology, host, asn)?;
        }
        let file = dir.join(format!("{daemon}.conf"));
        std::fs::write(&file, config)?;
        let path = |name: &str| match name {
            "pid" => dir.join(format!("{daemon}.pid")).display().to_string(),
            name => dir.join(name).display().to_string(),
        };
        let mut argv = as_root(dir)?;
        argv.extend([format!("{DAEMONS}/{daemon}"), "-f".into(), file.display().to_string()]);
        argv.extend(["-i".into(), path("pid"), "-z".into(), path("zserv.api")]);
        argv.extend(["--vty_socket".into(), path("vty"), "-P".into(), "0".into()]);
        argv.extend(["-u", "root", "-g", "root"].map(String::from));
        commands.push((format!("{}-{daemon}", host.name), argv));
    }
    Ok(commands)
}

/// The socket that appears once zebra serves its clients.
pub fn zebra_socket(dir: &Path) -> PathBuf {
    dir.join("zserv.api")
}

/// Runs a `show … json` command, or any other, on a router.
pub fn vtysh(ns: &Netns, dir: &Path, command: &str) -> Result<String> {
    let sockets = dir.join("vty").display().to_string();
    ns.output("vtysh", &["--vty_socket", &sockets, "-c", command])
}

/// The same, with JSON as the answer.
pub fn show(ns: &Netns, dir: &Path, command: &str) -> Result<serde_json::Value> {
    let text = vtysh(ns, dir, command)?;
    serde_json::from_str(&text).with_context(|| format!("{command} answered {text:?}"))
}

/// The words before a command that let FRR run as root. As another user it would lose the order to die with the lab,
/// and as root it starts only if root is a member of its group: so it sees a group file of its own, in a mount
/// namespace of its own.
fn as_root(dir: &Path) -> Result<Vec<String>> {
    let groups = std::fs::read_to_string("/etc/group").context("reading /etc/group")?;
    let with_root = |line: &str| match line.strip_prefix(&format!("{GROUP}:")) {
        Some(rest) if rest.ends_with(':') => format!("{line}root\n"),
        Some(_) => format!("{line},root\n"),
        None => format!("{line}\n"),
    };
    let file = dir.join("group");
    std::fs::write(&file, groups.lines().map(with_root).collect::<String>())?;
    let script = r#"mount --bind "$0" /etc/group && exec "$@""#;
    Ok(vec![
        "unshare".into(),
        "--mount".into(),
        "sh".into(),
        "-c".into(),
        script.into(),
        file.display().to_string(),
    ])
}

fn bgpd(topology: &Topology, host: &Host, asn: u32) -> Result<String> {
    let mut config = String::new();
    let id = topology.address(host.name, host.at.first().context("a router without a LAN")?.0);
    writeln!(config, "router bgp {asn}")?;
    writeln!(config, " bgp router-id {id}")?;
    // By default FRR 8 neither accepts nor announces anything over eBGP without a policy.
    writeln!(config, " no bgp ebgp-requires-policy")?;
    writeln!(config, " bgp bestpath as-path multipath-relax")?;
    for gateway in topology.gateways() {
        let Some(lan) = host.shared_lan(gateway) else { continue };
        let peer = topology.address(gateway.name, lan);
        writeln!(config, " neighbor {peer} remote-as {GATEWAYS_AS}")?;
        writeln!(config, " neighbor {peer} description {}", gateway.name)?;
        writeln!(config, " neighbor {peer} timers {} {HOLD_SECS}", HOLD_SECS / 3)?;
        writeln!(config, " neighbor {peer} timers connect 1")?;
        writeln!(config, " neighbor {peer} advertisement-interval 0")?;
    }
    writeln!(config, " address-family ipv4 unicast\n  maximum-paths 8\n exit-address-family")?;
    Ok(config)
}
