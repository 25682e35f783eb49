//! Packets as they arrive at an interface: IPv4 with TCP or UDP ports, in order, bounded, with a count of what was lost.
//! It tells what was on the wire; what that means is the scenario's business.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};

use crate::netns::Netns;

const PACKETS_MAX: usize = 1_000_000;
const ETH_P_IP: u16 = 0x0800;

/// What is kept of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port; 0 if there is none.
    pub source_port: u16,
    /// Destination port; 0 if there is none.
    pub destination_port: u16,
    /// Flags of TCP; 0 otherwise.
    pub tcp_flags: u8,
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Packet>>>,
}

impl Capture {
    /// Begins to note what arrives at an interface; what leaves is not noted.
    pub fn start(ns: &Netns, interface: &str) -> Result<Capture> {
        let socket = ns.inside(|| open(interface))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || read(&socket, &stop)
        });
        Ok(Capture { stop, thread })
    }

    /// Everything that arrived; an error if anything was lost, since then nothing is proven.
    pub fn stop(self) -> Result<Vec<Packet>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the capture's thread panicked"))?
    }
}

fn open(interface: &str) -> Result<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(interface).with_context(|| format!("interface {interface}"))?;
    // SAFETY: plain system calls; the descriptor is owned from the moment it exists, and the structures outlive the calls.
    unsafe {
        let raw = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, ETH_P_IP.to_be().into());
        if raw < 0 {
            return Err(std::io::Error::last_os_error()).context("opening a packet socket");
        }
        let socket = OwnedFd::from_raw_fd(raw);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ETH_P_IP.to_be();
        address.sll_ifindex = index as i32;
        if libc::bind(raw, (&raw const address).cast(), size_of_val(&address) as u32) != 0 {
            return Err(std::io::Error::last_os_error()).context("binding a packet socket");
        }
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 32 << 20)?;
        Ok(socket)
    }
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: libc::c_int) -> Result<()> {
    // SAFETY: the value is an int and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as u32,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("option {name} of a packet socket"));
    }
    Ok(())
}

fn read(socket: &OwnedFd, stop: &AtomicBool) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    let mut frame = [0_u8; 256];
    loop {
        let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, alive through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 50) };
        if ready <= 0 {
            // Stops only once the socket is empty: what arrived before the order to stop is noted.
            if stop.load(Ordering::Relaxed) {
                break;
            }
            continue;
        }
        // SAFETY: the buffer is as long as is said.
        let length = unsafe {
            libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
        };
        if length > 0 {
            packets.extend(parse(&frame[..length as usize]));
        }
        if packets.len() > PACKETS_MAX {
            bail!("more than {PACKETS_MAX} packets");
        }
    }
    match lost(socket)? {
        0 => Ok(packets),
        lost => bail!("{lost} packets were not seen"),
    }
}

fn lost(socket: &OwnedFd) -> Result<u32> {
    // struct tpacket_stats: packets, drops.
    let mut stats = [0_u32; 2];
    let mut length = size_of_val(&stats) as u32;
    // SAFETY: the buffer is as long as is said.
    let result = unsafe {
        let option = libc::PACKET_STATISTICS;
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw mut stats).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("statistics of a packet socket");
    }
    Ok(stats[1])
}

/// Reads an Ethernet frame; none if it is not IPv4 or too short.
fn parse(frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(14..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?]));
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    if word(0)? >> 12 != 4 || frame.get(12..14)? != ETH_P_IP.to_be_bytes() {
        return None;
    }
    let (protocol, header) = (*ip.get(9)?, usize::from(ip[0] & 15) * 4);
    let first_fragment = word(6)? & 0x1fff == 0;
    let has_ports = first_fragment && matches!(protocol, 6 | 17);
    Some(Packet {
        source: address(12)?,
        destination: address(16)?,
        protocol,
        source_port: if has_ports { word(header)? } else { 0 },
        destination_port: if has_ports { word(header + 2)? } else { 0 },
        tcp_flags: if has_ports && protocol == 6 { *ip.get(header + 13)? } else { 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn() -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[23] = 6;
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 172, 16, 0, 10]);
        frame[34..38].copy_from_slice(&[0x9c, 0x40, 0x1f, 0x90]);
        frame[47] = 2;
        frame
    }

    /// Addresses, ports and flags of a SYN are read from their places.
    #[test]
    fn a_syn() {
        let packet = parse(&syn()).unwrap();
        assert_eq!(
            (packet.source, packet.destination),
            (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(172, 16, 0, 10))
        );
        assert_eq!((packet.source_port, packet.destination_port, packet.tcp_flags), (40000, 8080, 2));
    }

    /// No frame, however short or odd, makes the reader panic.
    #[test]
    fn short_frames() {
        let syn = syn();
        for length in 0..syn.len() {
            parse(&syn[..length]);
        }
        for first in 0..=255 {
            let mut odd = syn.clone();
            odd[14] = first;
            parse(&odd);
        }
    }
}
