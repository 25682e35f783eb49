//! What this machine has, found by looking, and by trying in a network namespace of its own that ends with the look: nothing
//! of the machine is changed. What the answers mean is said by `tidegate_plan::fitness`.

mod trial;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use tidegate_plan::fitness::Survey;

use crate::capability::effective;

const BGP: u16 = 179;
const VRRP: u16 = 112;

/// Settings that are looked at.
const SYSCTLS: [&str; 4] = [
    "net/ipv4/conf/all/rp_filter",
    "net/core/somaxconn",
    "net/netfilter/nf_conntrack_max",
    "net/ipv6/conf/all/disable_ipv6",
];

/// Looks and tries; `ours_runs`: whether a tidegate has this machine's kernel. Blocks for some milliseconds, or for as long as
/// the kernel takes to load modules.
pub fn survey(ours_runs: bool) -> Survey {
    let proc = |path: &str| fs::read_to_string(Path::new("/proc").join(path)).unwrap_or_default();
    let ports = |files: [&str; 2], state| -> BTreeSet<u16> {
        files.iter().flat_map(|file| local_ports(&proc(file), state)).collect()
    };
    let (tried, untried) = match trial::all() {
        Ok(tried) => (tried, None),
        Err(why) => (Default::default(), Some(why)),
    };
    Survey {
        release: proc("sys/kernel/osrelease").trim().to_owned(),
        capabilities: effective(),
        tried,
        untried,
        ours_runs,
        bgp_port_taken: ports(["net/tcp", "net/tcp6"], Some("0A")).contains(&BGP),
        vrrp_spoken: ports(["net/raw", "net/raw6"], None).contains(&VRRP),
        sysctls: SYSCTLS.iter().filter_map(|path| setting(path)).collect(),
        descriptors: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
        links: links(Path::new("/sys/class/net")),
    }
}

fn setting(path: &'static str) -> Option<(&'static str, String)> {
    let value = fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
    Some((path, value.trim().to_owned()))
}

/// Local ports, or protocols of raw sockets, in a table of `/proc/net`; those in a state, if one is named.
fn local_ports(table: &str, state: Option<&str>) -> Vec<u16> {
    let port = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (_, port) = words.next()?.rsplit_once(':')?;
        let found = words.nth(1)?;
        state.is_none_or(|state| state == found).then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// Interfaces that are up, without loopback, and their MTU.
fn links(classes: &Path) -> Vec<(String, u32)> {
    /// `ARPHRD_LOOPBACK`.
    const LOOPBACK: &str = "772";
    let mut found: Vec<(String, u32)> = fs::read_dir(classes)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let word = |name: &str| Some(fs::read_to_string(entry.path().join(name)).ok()?.trim().to_owned());
            let is_up = matches!(word("operstate")?.as_str(), "up" | "unknown") && word("type")? != LOOPBACK;
            let name = entry.file_name().into_string().ok()?;
            is_up.then_some(())?;
            Some((name, word("mtu")?.parse().ok()?))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Listening sockets are told from others, IPv6 as IPv4; raw sockets have their protocol where others have a port.
    #[test]
    fn ports_of_the_tables() {
        let table = "  sl  local_address rem_address   st\n   0: 00000000:00B3 00000000:0000 0A 00000000:00000000\n   \
            1: 0100007F:00B4 0100007F:8BCA 01 00000000:00000000\n  2: 00000000000000000000000000000000:01BB 00:0 0A x\n  3: bad\n";
        assert_eq!(local_ports(table, Some("0A")), [179, 443]);
        assert_eq!(local_ports("sl\n  112: 00000000:0070 00000000:0000 07 x\n", None), [112]);
    }

    /// Looking needs no privilege, and leaves the machine as it was.
    #[test]
    fn a_look() {
        let before = links(Path::new("/sys/class/net"));
        let survey = survey(false);
        assert!(!survey.release.is_empty() && survey.descriptors > 0);
        assert_eq!(survey.tried.is_empty(), survey.untried.is_some());
        assert_eq!(links(Path::new("/sys/class/net")), before);
    }
}
