//! The one table `inet tidegate`: which chains hook in where, in which order, and what each rule is for.
//!
//! ```text
//! table inet tidegate {
//!   chain prerouting {                filter, mangle       # answers to a socket bound to a client's address
//!     ip  saddr @transparent_endpoints  socket transparent 1  meta mark set meta mark | 0x2000
//!     ip6 saddr @transparent_endpoints6 socket transparent 1  meta mark set meta mark | 0x2000
//!   }
//!   chain local_service {                              # packets to an address that sockets serve
//!     tcp flags ! syn ct state invalid,new  counter drop   # no such connection: the kernel would answer RST
//!     socket transparent <= 1               return         # a socket takes it, whatever its flag
//!     meta l4proto tcp                      counter drop   # no socket: RST again
//!     meta l4proto udp                      counter drop   # no socket: port unreachable
//!   }
//!   chain input   { filter - 1;  ip daddr @local_addresses jump local_service }
//!   chain egress_checks {                              # packets from a pod that a policy selects
//!     ct direction reply                    return         # answers of the pod to a connection from outside
//!     ct state invalid,untracked            counter drop   # would leave without translation
//!     ip saddr . ip daddr @egress_drop      counter drop   # a policy forbids it or has no address now: never leak
//!   }
//!   chain forward {                   filter - 1
//!     ip daddr @forwarded_addresses         counter drop   # no translation took it: two gateways would pass it to and fro
//!     ip saddr @pod_ranges ip saddr != @pods counter drop  # not known yet, so no policy has been looked up for it
//!     ip saddr @egress_pods jump egress_checks
//!   }
//!   chain postrouting_nat {           nat, srcnat - 5
//!     snat ip to ip saddr . ip daddr map @egress_to
//!   }
//!   chain guard {                                      # a selected pod's packet that still has the pod's address
//!     ct direction reply                    return
//!     ip saddr . ip daddr @egress_to        counter drop   # its connection is older than the policy
//!   }
//!   chain postrouting_guard {         filter, srcnat + 10;  ip saddr @egress_pods jump guard }
//! }
//! ```
//! One bit of the packet mark is written, and only on answers to a transparent socket, which a routing rule then delivers
//! here ([`TRANSPARENT_MARK`]): it is none of those that kube-proxy, Calico, Cilium, Istio or Tailscale use. Otherwise no
//! packet or connection mark is read or written, so nothing can collide. That is why the maps know pods and not classes of pods: carrying a class from one lookup to the next needs a
//! mark, or registers in a way that makes nft(8) 1.0.6 abort when it lists the table. A translated packet has left
//! `egress_pods` behind, so only the first packet of its connection pays for the large map.
//!
//! Nothing here accepts on behalf of other tables: every packet is dropped or goes on. Of IPv6, only answers to
//! transparent sockets are touched.

use crate::nft::expr::{Base, CmpOp, CtKey, Expr, MetaKey, Reg, Verdict};
use crate::nft::table::{ChainSpec, Field, Hook, RuleSpec, SetKind, SetSpec, TableSpec};

/// Name of our table, of family `inet`.
pub const TABLE: &str = "tidegate";

/// Set: addresses on `lo` that sockets serve.
pub const LOCAL_ADDRESSES: &str = "local_addresses";
/// Set: addresses that stand on no interface.
pub const FORWARDED_ADDRESSES: &str = "forwarded_addresses";
/// Set of ranges: where pods get their addresses from.
pub const POD_RANGES: &str = "pod_ranges";
/// Set: pods that are known.
pub const PODS: &str = "pods";
/// Set: pods that a policy selects.
pub const EGRESS_PODS: &str = "egress_pods";
/// Map of ranges: pod and destination to source address.
pub const EGRESS_TO: &str = "egress_to";
/// Set of ranges: pod and destination that must not leave.
pub const EGRESS_DROP: &str = "egress_drop";

/// Set: IPv4 endpoints that are spoken to from the client's own address.
pub const TRANSPARENT_ENDPOINTS: &str = "transparent_endpoints";
/// Set: IPv6 endpoints that are spoken to from the client's own address.
pub const TRANSPARENT_ENDPOINTS6: &str = "transparent_endpoints6";

/// The bit of the packet mark by which answers to a transparent socket are delivered here.
pub const TRANSPARENT_MARK: u32 = 0x2000;

/// Counter: TCP to a served address that belongs to no connection.
pub const STRAY_TCP: &str = "stray_tcp";
/// Counter: TCP or UDP to a served address for which no socket exists.
pub const NO_SOCKET: &str = "no_socket";
/// Counter: packets to an address on no interface that no translation took.
pub const STRAY_FORWARDED: &str = "stray_forwarded";
/// Counter: packets from a pod address that no known pod has.
pub const UNKNOWN_POD: &str = "unknown_pod";
/// Counter: packets of a selected pod that conntrack cannot place.
pub const EGRESS_INVALID: &str = "egress_invalid";
/// Counter: packets of a selected pod that a policy forbids or has no address for.
pub const EGRESS_DENIED: &str = "egress_denied";
/// Counter: packets of a selected pod whose connection began before its policy.
pub const UNTRANSLATED: &str = "untranslated";

const COUNTERS: &[&str] =
    &[STRAY_TCP, NO_SOCKET, STRAY_FORWARDED, UNKNOWN_POD, EGRESS_INVALID, EGRESS_DENIED, UNTRANSLATED];

const PREROUTING: u32 = 0;
const LOCAL_IN: u32 = 1;
const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
const MANGLE: i32 = -150;

const CT_INVALID: u32 = 0x01;
const CT_NEW: u32 = 0x08;
const CT_UNTRACKED: u32 = 0x40;

const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// For whatever one step needs.
const R0: Reg = Reg(0);
/// The second part of a key that starts in `R0`.
const R1: Reg = Reg(1);

/// The skeleton.
pub fn skeleton() -> TableSpec {
    TableSpec { counters: COUNTERS, sets: sets(), chains: chains() }
}

fn sets() -> Vec<SetSpec> {
    const ADDRESS: &[Field] = &[Field::Ipv4];
    const PAIR: &[Field] = &[Field::Ipv4, Field::Ipv4];
    let set = |name, key, data, kind| SetSpec { name, key, data, kind };
    vec![
        set(LOCAL_ADDRESSES, ADDRESS, None, SetKind::Hash),
        set(FORWARDED_ADDRESSES, ADDRESS, None, SetKind::Hash),
        set(POD_RANGES, ADDRESS, None, SetKind::Interval),
        set(PODS, ADDRESS, None, SetKind::Hash),
        set(EGRESS_PODS, ADDRESS, None, SetKind::Hash),
        set(EGRESS_TO, PAIR, Some(Field::Ipv4), SetKind::Ranges),
        set(EGRESS_DROP, PAIR, None, SetKind::Ranges),
        set(TRANSPARENT_ENDPOINTS, ADDRESS, None, SetKind::Hash),
        set(TRANSPARENT_ENDPOINTS6, &[Field::Ipv6], None, SetKind::Hash),
    ]
}

fn chains() -> Vec<ChainSpec> {
    let base = |name, chain_type, number, priority, rules| ChainSpec {
        name,
        hook: Some(Hook { chain_type, number, priority }),
        rules,
    };
    let inner = |name, rules| ChainSpec { name, hook: None, rules };
    vec![
        base("prerouting", "filter", PREROUTING, MANGLE, prerouting()),
        inner("local_service", local_service()),
        inner("egress_checks", egress_checks()),
        inner("guard", guard()),
        base(
            "input",
            "filter",
            LOCAL_IN,
            FILTER - 1,
            vec![rule([destination_in(LOCAL_ADDRESSES), jump("local_service")])],
        ),
        base("forward", "filter", FORWARD, FILTER - 1, forward()),
        base("postrouting_nat", "nat", POSTROUTING, SRCNAT - 5, vec![snat()]),
        base(
            "postrouting_guard",
            "filter",
            POSTROUTING,
            SRCNAT + 10,
            vec![rule([source_in(EGRESS_PODS, false), jump("guard")])],
        ),
    ]
}

fn prerouting() -> Vec<RuleSpec> {
    let is_ours =
        [Expr::SocketTransparent { dreg: R0 }, Expr::Cmp { sreg: R0, op: CmpOp::Eq, value: vec![1] }];
    let mark = [
        Expr::Meta { key: MetaKey::Mark, dreg: R0 },
        Expr::SetBits { reg: R0, bits: TRANSPARENT_MARK.to_ne_bytes().to_vec() },
        Expr::SetMark { sreg: R0 },
    ];
    let from_v4 = source_in(TRANSPARENT_ENDPOINTS, false);
    let from_v6 = [
        family(IPV6),
        vec![Expr::Payload { base: Base::Network, offset: 8, len: 16, dreg: R0 }],
        vec![lookup(TRANSPARENT_ENDPOINTS6, None)],
    ];
    [from_v4, from_v6.concat()].map(|from| rule([from, is_ours.to_vec(), mark.to_vec()])).to_vec()
}

fn local_service() -> Vec<RuleSpec> {
    let no_syn = [
        Expr::Payload { base: Base::Transport, offset: 13, len: 1, dreg: R0 },
        Expr::Mask { reg: R0, mask: vec![0x02] },
        Expr::Cmp { sreg: R0, op: CmpOp::Eq, value: vec![0] },
    ];
    let has_socket =
        [Expr::SocketTransparent { dreg: R0 }, Expr::Cmp { sreg: R0, op: CmpOp::Lte, value: vec![1] }];
    vec![
        rule([protocol(TCP), no_syn.to_vec(), ct_state(CT_NEW | CT_INVALID), drop(STRAY_TCP)]),
        rule([has_socket.to_vec(), vec![Expr::Verdict(Verdict::Return)]]),
        rule([protocol(TCP), drop(NO_SOCKET)]),
        rule([protocol(UDP), drop(NO_SOCKET)]),
    ]
}

fn egress_checks() -> Vec<RuleSpec> {
    vec![
        reply_returns(),
        rule([ct_state(CT_INVALID | CT_UNTRACKED), drop(EGRESS_INVALID)]),
        rule([ipv4(), pod_and_destination(), vec![lookup(EGRESS_DROP, None)], drop(EGRESS_DENIED)]),
    ]
}

fn guard() -> Vec<RuleSpec> {
    vec![
        reply_returns(),
        rule([ipv4(), pod_and_destination(), vec![lookup(EGRESS_TO, None)], drop(UNTRANSLATED)]),
    ]
}

fn forward() -> Vec<RuleSpec> {
    vec![
        rule([destination_in(FORWARDED_ADDRESSES), drop(STRAY_FORWARDED)]),
        rule([source_in(POD_RANGES, false), source_in(PODS, true), drop(UNKNOWN_POD)]),
        rule([source_in(EGRESS_PODS, false), jump("egress_checks")]),
    ]
}

fn snat() -> RuleSpec {
    rule([ipv4(), pod_and_destination(), vec![lookup(EGRESS_TO, Some(R0)), Expr::SourceNat { address: R0 }]])
}

/// A packet without a connection has no direction, breaks here and meets the rules that follow.
fn reply_returns() -> RuleSpec {
    rule([vec![
        Expr::Ct { key: CtKey::Direction, dreg: R0 },
        Expr::Cmp { sreg: R0, op: CmpOp::Eq, value: vec![1] },
        Expr::Verdict(Verdict::Return),
    ]])
}

fn rule<const N: usize>(parts: [Vec<Expr>; N]) -> RuleSpec {
    RuleSpec { exprs: parts.concat() }
}

fn ipv4() -> Vec<Expr> {
    family(IPV4)
}

fn family(number: u8) -> Vec<Expr> {
    vec![
        Expr::Meta { key: MetaKey::NfProto, dreg: R0 },
        Expr::Cmp { sreg: R0, op: CmpOp::Eq, value: vec![number] },
    ]
}

fn protocol(number: u8) -> Vec<Expr> {
    vec![
        Expr::Meta { key: MetaKey::L4Proto, dreg: R0 },
        Expr::Cmp { sreg: R0, op: CmpOp::Eq, value: vec![number] },
    ]
}

fn ct_state(bits: u32) -> Vec<Expr> {
    vec![
        Expr::Ct { key: CtKey::State, dreg: R0 },
        Expr::Mask { reg: R0, mask: bits.to_ne_bytes().to_vec() },
        Expr::Cmp { sreg: R0, op: CmpOp::Neq, value: vec![0; 4] },
    ]
}

fn source(dreg: Reg) -> Expr {
    Expr::Payload { base: Base::Network, offset: 12, len: 4, dreg }
}

fn destination(dreg: Reg) -> Expr {
    Expr::Payload { base: Base::Network, offset: 16, len: 4, dreg }
}

fn lookup(set: &'static str, dreg: Option<Reg>) -> Expr {
    Expr::Lookup { set, sreg: R0, dreg, invert: false }
}

fn source_in(set: &'static str, invert: bool) -> Vec<Expr> {
    [ipv4(), vec![source(R0), Expr::Lookup { set, sreg: R0, dreg: None, invert }]].concat()
}

fn destination_in(set: &'static str) -> Vec<Expr> {
    [ipv4(), vec![destination(R0), lookup(set, None)]].concat()
}

/// The key of `egress_to` and `egress_drop`.
fn pod_and_destination() -> Vec<Expr> {
    vec![source(R0), destination(R1)]
}

fn drop(counter: &'static str) -> Vec<Expr> {
    vec![Expr::Counter(counter), Expr::Verdict(Verdict::Drop)]
}

fn jump(chain: &'static str) -> Vec<Expr> {
    vec![Expr::Verdict(Verdict::Jump(chain))]
}
