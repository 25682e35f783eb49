//! What the kernel does when asked: every feature is tried in a network namespace that ends with the thread that made it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use tidegate_plan::Op;
use tidegate_plan::fitness::Feature;

use crate::netlink::{CREATE, EXCL, Message, Requests};
use crate::nft;

/// What was tried, and how it went.
type Tried = BTreeMap<Feature, Result<(), String>>;

/// Tries every feature, or says why it cannot.
pub(super) fn all() -> Result<Tried, String> {
    let trying = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("a network namespace to try it in takes CAP_SYS_ADMIN ({error})"))?;
        let one = |feature: &Feature| (*feature, attempt(*feature).map_err(|error| error.to_string()));
        Ok(Feature::ALL.iter().map(one).collect())
    });
    trying.join().unwrap_or_else(|_| Err("the thread that tried it ended".to_owned()))
}

fn attempt(feature: Feature) -> io::Result<()> {
    match feature {
        Feature::Table => {
            let rebuild = Op::TableRebuild(Default::default());
            nft::encode::apply(&mut Requests::open(NETLINK_NETFILTER)?, &rebuild)
        }
        Feature::Macvlan => macvlan(),
        Feature::Vxlan => add_link("tg-vxlan", "vxlan", None),
        Feature::Nexthops => ask(vec![loopback_up(), blackhole(1)]),
        Feature::ResilientNexthops => ask(vec![loopback_up(), blackhole(2), resilient_group(3, 2)]),
        Feature::Transparent => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Ok(setsockopt(&socket, sockopt::IpTransparent, &true)?)
        }
        Feature::TcpMd5 => tcp_option(TCP_MD5SIG, &md5_key()),
        Feature::TcpAo => tcp_option(TCP_AO_INFO, &[0; AO_INFO_BYTES]),
        Feature::Tc => load_program(SCHED_CLS),
        Feature::Xdp => load_program(XDP),
    }
}

/// Sends changes of links or nexthops; what the first refusal says.
fn ask(messages: Vec<Message>) -> io::Result<()> {
    let last = messages.len() - 1;
    let refused = Requests::open(NETLINK_ROUTE)?.batch(messages, last)?;
    refused.into_iter().next().map_or(Ok(()), |first| Err(first.error))
}

/// A macvlan sits on an interface, for which one end of a veth serves.
fn macvlan() -> io::Result<()> {
    add_link("tg-under", "veth", None)?;
    add_link("tg-macvlan", "macvlan", Some(if_nametoindex("tg-under")?))
}

/// `RTM_NEWLINK`.
const NEWLINK: u16 = 16;

/// Adds an interface of a kind, over another if one is named.
fn add_link(name: &str, kind: &str, over: Option<u32>) -> io::Result<()> {
    // `struct ifinfomsg`, then IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO.
    let mut message = Message::new(NEWLINK, CREATE | EXCL, &[0; 16]);
    message.text(3, name);
    if let Some(index) = over {
        message.ne32(5, index);
    }
    message.nest(18, |about| {
        about.text(1, kind);
        if kind == "vxlan" {
            // IFLA_VXLAN_ID.
            about.nest(2, |data| {
                data.ne32(1, 1);
            });
        }
    });
    ask(vec![message])
}

/// A nexthop that drops what it gets stands on the loopback interface, which is down in a new namespace.
fn loopback_up() -> Message {
    let mut about = [0; 16];
    // Index, flags and the flags that are meant: IFF_UP.
    (about[4], about[8], about[12]) = (1, 1, 1);
    Message::new(NEWLINK, 0, &about)
}

/// `RTM_NEWNEXTHOP`.
const NEWNEXTHOP: u16 = 104;

/// A nexthop that drops what it gets.
fn blackhole(id: u32) -> Message {
    let mut message = Message::new(NEWNEXTHOP, CREATE, &nhmsg(libc::AF_INET as u8));
    message.ne32(1, id).attr(4, &[]);
    message
}

/// A group of one nexthop, which keeps flows where they are.
fn resilient_group(id: u32, member: u32) -> Message {
    let mut message = Message::new(NEWNEXTHOP, CREATE, &nhmsg(0));
    message.ne32(1, id).attr(2, &[&member.to_ne_bytes()[..], &[0; 4]].concat()).attr(3, &1u16.to_ne_bytes());
    message.nest(12, |group| {
        group.attr(1, &32u16.to_ne_bytes());
    });
    message
}

/// `struct nhmsg`: the family of a nexthop, or 0 of a group.
fn nhmsg(family: u8) -> [u8; 8] {
    [family, 0, 0, 0, 0, 0, 0, 0]
}

/// `TCP_MD5SIG` and `TCP_AO_INFO` of linux/tcp.h.
const TCP_MD5SIG: libc::c_int = 14;
const TCP_AO_INFO: libc::c_int = 40;
/// Length of `struct tcp_ao_info_opt`: two numbers of 32 bits, two of 8, six of 64.
const AO_INFO_BYTES: usize = 64;

/// `struct tcp_md5sig` with a key of one byte for 192.0.2.1: address (128 bytes), flags, prefix length, length of the key,
/// interface, key (80 bytes).
fn md5_key() -> [u8; 216] {
    let mut option = [0; 216];
    option[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    option[4..8].copy_from_slice(&[192, 0, 2, 1]);
    option[130..132].copy_from_slice(&1u16.to_ne_bytes());
    option[136] = b'k';
    option
}

/// Sets an option of TCP on a socket of its own.
fn tcp_option(name: libc::c_int, value: &[u8]) -> io::Result<()> {
    let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let len = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from a slice that long and keeps none of them.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, value.as_ptr().cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `BPF_PROG_TYPE_SCHED_CLS` and `BPF_PROG_TYPE_XDP` of linux/bpf.h.
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// Loads a program that answers nought, and lets it go; it is attached to nothing.
fn load_program(kind: u32) -> io::Result<()> {
    /// `BPF_PROG_LOAD`.
    const LOAD: libc::c_int = 5;
    /// `r0 = 0; exit`, eight bytes each.
    const PROGRAM: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let load = ProgramLoad {
        kind,
        instruction_count: 2,
        instructions: PROGRAM.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    // SAFETY: the attributes are as long as said, and what they point to lives for longer than the call; the kernel copies it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<ProgramLoad>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}
