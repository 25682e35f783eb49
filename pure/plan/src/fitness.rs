//! Whether a machine is fit for a gateway: what was found of it becomes findings. `io/kernel` looks and tries; nothing here
//! touches a machine.

use std::collections::BTreeMap;
use std::fmt;

/// What was found of a machine. What could not be found out is absent, and is told as such.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Release of the kernel, as `uname -r` prints it.
    pub release: String,
    /// Effective capabilities, a bit each (capabilities(7)).
    pub capabilities: u64,
    /// What was tried, and how it went; the error is the kernel's.
    pub tried: BTreeMap<Feature, Result<(), String>>,
    /// Why nothing was tried that needs a network namespace.
    pub untried: Option<String>,
    /// Whether a tidegate runs here: what is taken is taken by it then.
    pub ours_runs: bool,
    /// Somebody listens on TCP port 179.
    pub bgp_port_taken: bool,
    /// Somebody has a raw socket of IP protocol 112.
    pub vrrp_spoken: bool,
    /// Settings by their path below `/proc/sys`.
    pub sysctls: BTreeMap<&'static str, String>,
    /// Most descriptors that a process may open, after it has raised its limit.
    pub descriptors: u64,
    /// Interfaces that are up, without loopback: name and MTU in bytes.
    pub links: Vec<(String, u32)>,
}

/// What a kernel may have or lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The nftables table of every gateway, as it is.
    Table,
    /// Interfaces of type macvlan.
    Macvlan,
    /// Interfaces of type vxlan.
    Vxlan,
    /// Nexthop objects.
    Nexthops,
    /// Nexthop groups that keep flows where they are.
    ResilientNexthops,
    /// Sockets that answer for addresses of others (`IP_TRANSPARENT`).
    Transparent,
    /// TCP-MD5 (RFC 2385).
    TcpMd5,
    /// TCP-AO (RFC 5925).
    TcpAo,
    /// Programs at interfaces (TC).
    Tc,
    /// Programs at drivers (XDP).
    Xdp,
}

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 10] = [
        Feature::Table,
        Feature::Macvlan,
        Feature::Vxlan,
        Feature::Nexthops,
        Feature::ResilientNexthops,
        Feature::Transparent,
        Feature::TcpMd5,
        Feature::TcpAo,
        Feature::Tc,
        Feature::Xdp,
    ];

    /// Its name, what lacks without it, what to do about it, and whether a gateway needs it at all events.
    fn row(self) -> (&'static str, &'static str, &'static str, bool) {
        match self {
            Feature::Table => (
                "nftables with NAT and sets of ranges",
                "nothing leaves with its egress address, and addresses that others use are not guarded",
                "modprobe nf_tables nft_nat nft_ct; Linux 5.6 or later",
                true,
            ),
            Feature::Macvlan => (
                "macvlan interfaces",
                "VRRP has no virtual MAC addresses",
                "modprobe macvlan, or leave virtualMAC off",
                false,
            ),
            Feature::Vxlan => (
                "vxlan interfaces",
                "pods behind VXLAN of the cluster's network cannot be joined",
                "modprobe vxlan, or let BGP announce the pods",
                false,
            ),
            Feature::Nexthops => (
                "nexthop objects",
                "routes over several gateways are changed one by one",
                "Linux 5.3 or later",
                false,
            ),
            Feature::ResilientNexthops => (
                "resilient nexthop groups",
                "a gateway that comes or goes moves flows of the others",
                "Linux 5.13 or later",
                false,
            ),
            Feature::Transparent => (
                "transparent sockets",
                "backends cannot see the client's own address (sourceAddress: Client)",
                "run with CAP_NET_ADMIN; modprobe nft_socket",
                false,
            ),
            Feature::TcpMd5 => (
                "TCP-MD5",
                "BGP sessions with a password cannot be held",
                "a kernel with CONFIG_TCP_MD5SIG",
                false,
            ),
            Feature::TcpAo => (
                "TCP-AO",
                "BGP sessions have TCP-MD5 at best",
                "Linux 6.7 or later with CONFIG_TCP_AO",
                false,
            ),
            Feature::Tc => (
                "eBPF at interfaces (TC)",
                "the kernel's load balancer cannot be loaded; the proxy carries everything",
                "run with CAP_BPF and CAP_NET_ADMIN; a kernel with CONFIG_BPF_SYSCALL",
                false,
            ),
            Feature::Xdp => (
                "eBPF at drivers (XDP)",
                "floods are dropped later than they could be",
                "run with CAP_BPF and CAP_NET_ADMIN; a kernel with CONFIG_XDP_SOCKETS",
                false,
            ),
        }
    }
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is there.
    Fine,
    /// It could not be found out.
    Unknown,
    /// Something does not work, or not as well.
    Lacks,
    /// A gateway cannot do its work.
    Missing,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Standing::Fine => "ok",
            Standing::Unknown => "unknown",
            Standing::Lacks => "lacks",
            Standing::Missing => "MISSING",
        })
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub standing: Standing,
    /// What it is about.
    pub about: String,
    /// What that means, and what to do; empty where it is fine.
    pub says: String,
}

/// Capabilities that a gateway works with: bit, name, what lacks without it, whether it is needed at all events.
const CAPABILITIES: [(u32, &str, &str, bool); 4] = [
    (12, "CAP_NET_ADMIN", "addresses, routes and nftables cannot be changed", true),
    (13, "CAP_NET_RAW", "VRRP, ARP and NDP cannot be spoken", true),
    (10, "CAP_NET_BIND_SERVICE", "ports below 1024 cannot be opened", true),
    (23, "CAP_SYS_NICE", "adverts of VRRP may be late on a busy machine", false),
];

/// The oldest kernel that is tested: Debian 12's.
const OLDEST: (u32, u32) = (6, 1);
/// Descriptors below which a gateway turns connections away early: each proxied connection takes two.
const DESCRIPTORS_WANTED: u64 = 65_536;
/// The least that IPv6 asks of a link (RFC 8200, section 5).
const MTU_IPV6: u32 = 1280;

/// All findings, in an order to read.
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = vec![kernel(&survey.release)];
    found.extend(CAPABILITIES.iter().map(|(bit, name, without, needed)| {
        let has = survey.capabilities & (1 << bit) != 0;
        let remedy = "run as root, or as the systemd unit does";
        held(has, *needed, (*name).to_owned(), format!("{without}; {remedy}"))
    }));
    found.extend(Feature::ALL.iter().map(|feature| tried(survey, *feature)));
    found.extend(neighbours(survey));
    found.extend(settings(survey));
    found.push(descriptors(survey.descriptors));
    found.extend(mtu(&survey.links));
    found
}

fn held(has: bool, needed: bool, about: String, without: String) -> Finding {
    match (has, needed) {
        (true, _) => Finding { standing: Standing::Fine, about, says: String::new() },
        (false, true) => Finding { standing: Standing::Missing, about, says: without },
        (false, false) => Finding { standing: Standing::Lacks, about, says: without },
    }
}

fn kernel(release: &str) -> Finding {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let (major, minor) = OLDEST;
    let without = format!("nothing older than {major}.{minor} is tested; docs/kernel.md says what is used");
    held(version >= OLDEST, false, format!("Linux {release}"), without)
}

fn tried(survey: &Survey, feature: Feature) -> Finding {
    let (name, without, remedy, needed) = feature.row();
    let about = name.to_owned();
    match (survey.tried.get(&feature), &survey.untried) {
        (Some(Ok(())), _) => held(true, needed, about, String::new()),
        (Some(Err(why)), _) => held(false, needed, about, format!("{without}; {remedy} (the kernel: {why})")),
        (None, why) => {
            let says = format!("not tried: {}", why.as_deref().unwrap_or("no reason is known"));
            Finding { standing: Standing::Unknown, about, says }
        }
    }
}

/// What else speaks here.
fn neighbours(survey: &Survey) -> [Finding; 2] {
    let free = |taken: bool| !taken || survey.ours_runs;
    [
        held(
            free(survey.bgp_port_taken),
            false,
            "TCP port 179".into(),
            "another BGP speaker listens there; end it, or let it peer with this gateway from another machine".into(),
        ),
        held(
            free(survey.vrrp_spoken),
            false,
            "IP protocol 112".into(),
            "another VRRP speaker (keepalived?) runs here; two may not hold the same virtual router id".into(),
        ),
    ]
}

/// Settings that `run` does not set itself.
fn settings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut judge = |path: &'static str, is_fine: fn(u64) -> bool, without: &str| {
        let Some(value) = survey.sysctls.get(path) else { return };
        let about = format!("{} = {value}", path.replace('/', "."));
        found.push(held(value.parse().is_ok_and(is_fine), false, about, without.to_owned()));
    };
    judge(
        "net/ipv4/conf/all/rp_filter",
        |value| value != 1,
        "strict: packets that come back another way are dropped; set 2 (loose) or 0, also for the interfaces",
    );
    judge("net/core/somaxconn", |value| value >= 4096, "bursts of new connections are cut; set 4096 or more");
    judge(
        "net/netfilter/nf_conntrack_max",
        |value| value >= 262_144,
        "with more flows than this new ones are dropped; set 262144 or more",
    );
    judge(
        "net/ipv6/conf/all/disable_ipv6",
        |value| value == 0,
        "IPv6 is off: Gateways, pools and peers of that family are refused",
    );
    found
}

fn descriptors(descriptors: u64) -> Finding {
    let without = format!(
        "a proxied connection takes two: some {} at once; set LimitNOFILE= or ulimit -Hn to {DESCRIPTORS_WANTED} or more",
        descriptors / 2
    );
    held(descriptors >= DESCRIPTORS_WANTED, false, format!("{descriptors} descriptors"), without)
}

/// A path is as wide as its narrowest link, and what is too large is lost where ICMP is filtered.
fn mtu(links: &[(String, u32)]) -> Vec<Finding> {
    let Some(widest) = links.iter().map(|(_, mtu)| *mtu).max() else {
        let says = "no interface is up".into();
        return vec![Finding { standing: Standing::Missing, about: "interfaces".into(), says }];
    };
    let one = |(name, mtu): &(String, u32)| {
        let about = format!("MTU of {name}: {mtu}");
        let without = match *mtu {
            mtu if mtu < MTU_IPV6 => format!("IPv6 needs {MTU_IPV6}"),
            mtu if mtu < widest => {
                format!(
                    "others take {widest}: what passes between needs ICMP \"too big\" let through, or one MTU"
                )
            }
            _ => String::new(),
        };
        held(without.is_empty(), false, about, without)
    };
    links.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Survey {
        Survey {
            release: "6.1.0-28-amd64".into(),
            capabilities: 1 << 12 | 1 << 13 | 1 << 10 | 1 << 23,
            tried: Feature::ALL.iter().map(|feature| (*feature, Ok(()))).collect(),
            sysctls: [("net/ipv4/conf/all/rp_filter", "2".into()), ("net/core/somaxconn", "4096".into())]
                .into(),
            descriptors: 1 << 20,
            links: vec![("eth0".into(), 1500), ("eth1".into(), 1500)],
            ..Survey::default()
        }
    }

    fn bad(survey: &Survey) -> Vec<(Standing, String)> {
        let bad = findings(survey).into_iter().filter(|finding| finding.standing != Standing::Fine);
        bad.map(|finding| (finding.standing, finding.about)).collect()
    }

    /// Of a sound machine nothing is said; each thing that it lacks is said once, and what a gateway cannot do without is
    /// told apart.
    #[test]
    fn each_lack_is_said_once() {
        assert_eq!(bad(&sound()), []);
        let one = |change: &dyn Fn(&mut Survey)| {
            let mut survey = sound();
            change(&mut survey);
            let found = bad(&survey);
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].clone()
        };
        use Standing::{Lacks, Missing, Unknown};
        assert_eq!(one(&|machine| machine.release = "5.15.0".into()), (Lacks, "Linux 5.15.0".into()));
        assert_eq!(one(&|machine| machine.release = "of my own".into()).0, Lacks);
        assert_eq!(one(&|machine| machine.capabilities &= !(1 << 13)), (Missing, "CAP_NET_RAW".into()));
        assert_eq!(one(&|machine| machine.capabilities &= !(1 << 23)), (Lacks, "CAP_SYS_NICE".into()));
        let refused = || Err("Operation not supported".to_owned());
        assert_eq!(one(&|machine| drop(machine.tried.insert(Feature::Table, refused()))).0, Missing);
        assert_eq!(one(&|machine| drop(machine.tried.insert(Feature::TcpAo, refused()))).0, Lacks);
        assert_eq!(one(&|machine| drop(machine.tried.remove(&Feature::Xdp))).0, Unknown);
        assert_eq!(one(&|machine| machine.bgp_port_taken = true), (Lacks, "TCP port 179".into()));
        assert_eq!(one(&|machine| machine.vrrp_spoken = true), (Lacks, "IP protocol 112".into()));
        let strict =
            |machine: &mut Survey| drop(machine.sysctls.insert("net/ipv4/conf/all/rp_filter", "1".into()));
        assert_eq!(one(&strict), (Lacks, "net.ipv4.conf.all.rp_filter = 1".into()));
        assert_eq!(one(&|machine| machine.descriptors = 1024).0, Lacks);
        assert_eq!(one(&|machine| machine.links[1].1 = 1450), (Lacks, "MTU of eth1: 1450".into()));
        assert_eq!(one(&|machine| machine.links.clear()).0, Missing);
    }

    /// What our own daemon has taken is no lack.
    #[test]
    fn our_own_daemon_is_no_stranger() {
        assert_eq!(bad(&Survey { bgp_port_taken: true, vrrp_spoken: true, ours_runs: true, ..sound() }), []);
    }
}
