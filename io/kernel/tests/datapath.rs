//! Packets through the table: pods, gateway and server are three kinds of namespace joined by veth pairs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use common::{Namespace, address, converge, in_namespace, open, sh};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use tidegate_kernel::Kernel;
use tidegate_plan::{Desired, Egress, Filter};

const WAIT: Duration = Duration::from_millis(400);
const SERVER: &str = "10.8.0.1:80";

/// ```text
/// pod 10.60.0.N ── podN [gateway] out0 10.8.0.254 ── 10.8.0.1 server
/// ```
struct Topology {
    selected: Namespace,
    unselected: Namespace,
    unknown: Namespace,
    server: Namespace,
}

impl Topology {
    fn build() -> Self {
        let server = Namespace::new();
        sh(&format!(
            "ip link add out0 type veth peer name eth0 netns {}; ip link set out0 up; ip address add 10.8.0.254/24 dev out0",
            server.pid()
        ));
        server.sh(
            "ip link set eth0 up; ip address add 10.8.0.1/24 dev eth0; ip route add default via 10.8.0.254
             nft add table ip seen; nft add chain ip seen in '{ type filter hook prerouting priority -300; }'
             nft add rule ip seen in ip saddr 10.60.0.1 counter comment seen_pod
             nft add rule ip seen in tcp flags rst counter comment seen_rst
             nft add rule ip seen in meta l4proto icmp counter comment seen_icmp",
        );
        let pod = |number: u8| {
            let pod = Namespace::new();
            sh(&format!(
                "ip link add pod{number} type veth peer name eth0 netns {}; ip link set pod{number} up
                 ip address add 169.254.1.1/32 dev pod{number}; ip route add 10.60.0.{number} dev pod{number}",
                pod.pid()
            ));
            pod.sh(&format!(
                "ip link set eth0 up; ip address add 10.60.0.{number}/32 dev eth0
                 ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1"
            ));
            pod
        };
        Self { selected: pod(1), unselected: pod(2), unknown: pod(3), server }
    }

    /// Packets the server has seen from the selected pod's own address.
    fn untranslated(&self) -> u64 {
        self.seen("seen_pod")
    }

    fn seen(&self, comment: &str) -> u64 {
        let rules = self.server.sh("nft list chain ip seen in");
        let line = rules.lines().find(|line| line.contains(comment)).unwrap();
        line.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    /// A UDP server that answers with the address it sees, for as long as the test lives.
    fn answer_udp(&self) {
        let path = format!("/proc/{}/ns/net", self.server.pid());
        std::thread::spawn(move || {
            nix::sched::setns(std::fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET)
                .unwrap();
            let socket = UdpSocket::bind(SERVER).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut buffer = [0; 100];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(from.ip().to_string().as_bytes(), from).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks the UDP server which address it sees; none if no answer comes.
fn ask(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 100];
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket.send(b"who").unwrap();
    let len = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(SERVER).unwrap();
    socket
}

fn pods() -> Filter {
    Filter {
        pod_ranges: ["10.60.0.0/16".parse().unwrap()].into(),
        pods: [Ipv4Addr::new(10, 60, 0, 1), Ipv4Addr::new(10, 60, 0, 2)].into(),
        forwarded_addresses: [Ipv4Addr::new(10, 9, 1, 1)].into(),
        ..Filter::default()
    }
}

fn with_policy(egress: Egress) -> Filter {
    Filter {
        pod_class: [(Ipv4Addr::new(10, 60, 0, 1), 1)].into(),
        egress: [((1, "10.8.0.0/16".parse().unwrap()), egress)].into(),
        ..pods()
    }
}

fn gateway(filter: Filter) -> Desired {
    let sysctls = tidegate_plan::sysctl::for_gateway(["out0", "pod1", "pod2", "pod3"]);
    Desired { filter: Some(filter), sysctls, ..Desired::default() }
}

fn egress_to() -> Egress {
    Egress::To(Ipv4Addr::new(10, 9, 1, 1))
}

fn count(kernel: &mut Kernel, counter: &str) -> u64 {
    kernel.counters().unwrap()[counter]
}

/// Sends a TCP header with these flags and no connection behind it.
fn stray_tcp(from: Ipv4Addr, to: Ipv4Addr, flags: u8) {
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let mut tcp = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    let mut sum = 6 + 20;
    for pair in packet[12..20].chunks(2).chain(tcp.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    let folded = (sum & 0xffff) + (sum >> 16);
    tcp[16..18].copy_from_slice(&(!(folded + (folded >> 16)) as u16).to_be_bytes());
    packet.extend(tcp);
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
    let [a, b, c, d] = to.octets();
    sendto(raw.as_raw_fd(), &packet, &SockaddrIn::new(a, b, c, d, 0), MsgFlags::empty()).unwrap();
}

#[test]
fn a_selected_pod_leaves_with_its_egress_address_and_others_as_they_are() {
    in_namespace(async || {
        let net = Topology::build();
        net.answer_udp();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &gateway(with_policy(egress_to()))).await;
        assert_eq!(net.selected.run(|| ask(&udp())), Some("10.9.1.1".to_owned()));
        assert_eq!(net.unselected.run(|| ask(&udp())), Some("10.60.0.2".to_owned()));
        assert_eq!(net.unknown.run(|| ask(&udp())), None);
        assert_eq!(count(&mut kernel, "unknown_pod"), 1);
        assert_eq!(net.untranslated(), 0);
    });
}

#[test]
fn tcp_of_a_selected_pod_works_whole_and_replies_to_outside_connections_keep_the_pods_address() {
    in_namespace(async || {
        let net = Topology::build();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &gateway(with_policy(egress_to()))).await;
        let (server, pod) = (format!("/proc/{}/ns/net", net.server.pid()), &net.selected);
        let serve = std::thread::spawn(move || {
            nix::sched::setns(std::fs::File::open(server).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET)
                .unwrap();
            let (mut stream, from) = TcpListener::bind(SERVER).unwrap().accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            (from.ip().to_string(), text.len())
        });
        std::thread::sleep(Duration::from_millis(100));
        pod.run(|| TcpStream::connect(SERVER).unwrap().write_all(&[b'x'; 300_000]).unwrap());
        assert_eq!(serve.join().unwrap(), ("10.9.1.1".to_owned(), 300_000));

        let path = format!("/proc/{}/ns/net", pod.pid());
        let inside = std::thread::spawn(move || {
            nix::sched::setns(std::fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET)
                .unwrap();
            let (mut stream, _) = TcpListener::bind("10.60.0.1:8080").unwrap().accept().unwrap();
            stream.write_all(b"from the pod").unwrap();
        });
        std::thread::sleep(Duration::from_millis(100));
        let heard = net.server.run(|| {
            let mut text = String::new();
            TcpStream::connect("10.60.0.1:8080").unwrap().read_to_string(&mut text).unwrap();
            text
        });
        inside.join().unwrap();
        assert_eq!(heard, "from the pod");
        assert_eq!(count(&mut kernel, "untranslated") + count(&mut kernel, "egress_invalid"), 0);
    });
}

#[test]
fn a_connection_older_than_its_policy_is_dropped_and_never_leaks() {
    in_namespace(async || {
        let net = Topology::build();
        net.answer_udp();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &gateway(pods())).await;
        let (old, seen) = net.selected.run(|| {
            let old = udp();
            let seen = ask(&old);
            (old, seen)
        });
        assert_eq!(seen, Some("10.60.0.1".to_owned()), "no policy yet");
        let before = net.untranslated();
        converge(&mut kernel, &gateway(with_policy(egress_to()))).await;
        assert_eq!(ask(&old), None);
        assert_eq!(net.untranslated(), before);
        assert!(count(&mut kernel, "untranslated") >= 1);
        assert_eq!(net.selected.run(|| ask(&udp())), Some("10.9.1.1".to_owned()));
    });
}

#[test]
fn a_policy_without_an_address_drops_and_an_excluded_destination_passes() {
    in_namespace(async || {
        let net = Topology::build();
        net.answer_udp();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &gateway(with_policy(Egress::Drop))).await;
        assert_eq!(net.selected.run(|| ask(&udp())), None);
        assert_eq!((count(&mut kernel, "egress_denied"), net.untranslated()), (1, 0));
        let mut excluded = with_policy(Egress::Drop);
        excluded.egress.insert((1, "10.8.0.1/32".parse().unwrap()), Egress::Untouched);
        converge(&mut kernel, &gateway(excluded)).await;
        assert_eq!(net.selected.run(|| ask(&udp())), Some("10.60.0.1".to_owned()));
    });
}

#[test]
fn a_packet_that_conntrack_cannot_place_does_not_leave() {
    in_namespace(async || {
        let net = Topology::build();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &gateway(with_policy(egress_to()))).await;
        net.selected.run(|| stray_tcp(Ipv4Addr::new(10, 60, 0, 1), Ipv4Addr::new(10, 8, 0, 1), 0));
        sh("nft add table ip no; nft add chain ip no c '{ type filter hook prerouting priority -300; }'
            nft add rule ip no c ip saddr 10.60.0.1 notrack");
        assert_eq!(net.selected.run(|| ask(&udp())), None);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!((count(&mut kernel, "egress_invalid"), net.untranslated()), (2, 0));
    });
}

#[test]
fn a_served_address_answers_through_its_sockets_and_is_silent_otherwise() {
    in_namespace(async || {
        let net = Topology::build();
        let (mut kernel, _state) = open();
        let mut desired = gateway(Filter { local_addresses: [Ipv4Addr::new(10, 9, 0, 1)].into(), ..pods() });
        desired.addresses.insert(address("10.9.0.1/32", "lo"));
        converge(&mut kernel, &desired).await;
        let listener = TcpListener::bind("10.9.0.1:80").unwrap();
        let connect = |to: &str| {
            let to: SocketAddr = to.parse().unwrap();
            net.server
                .run(move || TcpStream::connect_timeout(&to, WAIT).map(drop).map_err(|error| error.kind()))
        };
        assert_eq!(connect("10.9.0.1:80"), Ok(()));
        drop(listener.accept().unwrap());
        assert_eq!(connect("10.9.0.1:81"), Err(std::io::ErrorKind::TimedOut));
        assert!(count(&mut kernel, "no_socket") >= 1);
        let (rst, icmp) = (net.seen("seen_rst"), net.seen("seen_icmp"));
        net.server.run(|| {
            let ack = 0x10;
            stray_tcp(Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 9, 0, 1), ack);
            UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "10.9.0.1:9").unwrap();
        });
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!((net.seen("seen_rst"), net.seen("seen_icmp")), (rst, icmp));
        assert_eq!(count(&mut kernel, "stray_tcp"), 1);
    });
}

#[test]
fn a_stray_packet_to_an_address_on_no_interface_is_not_passed_on() {
    in_namespace(async || {
        let net = Topology::build();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &gateway(pods())).await;
        sh("ip route add 10.9.1.1 via 10.8.0.1");
        net.server.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "10.9.1.1:9").unwrap());
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(count(&mut kernel, "stray_forwarded"), 1);
        assert_eq!(net.seen("seen_icmp"), 0, "no redirect either");
    });
}
