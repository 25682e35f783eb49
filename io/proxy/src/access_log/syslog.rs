//! Lines as syslog messages, one datagram each. Facility and severity are local0.info.
//!
//! What is sent to another machine is RFC 5424, over UDP (RFC 5426). The socket of this machine gets what the C library
//! writes there, `<PRI>tag[pid]: text`, because journald reads no RFC 5424. The receiver knows the time and the host.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// local0 (16), informational (6): RFC 5424 section 6.2.1.
const PRIORITY: u32 = 16 * 8 + 6;

/// A longer message is cut: a line without its end is better than none, and a client may choose the length.
const MESSAGE_BYTES_MAX: usize = 60_000;

/// Between two attempts to reach a receiver that is not there.
const RETRY: Duration = Duration::from_secs(1);

/// Who receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A datagram socket of this machine: `/dev/log`.
    Local(PathBuf),
    /// Another machine.
    Remote(SocketAddr),
}

/// The way to a receiver.
pub struct Syslog {
    receiver: Receiver,
    host: String,
    socket: Option<Socket>,
    /// When it may be tried again.
    next: Option<Instant>,
    message: Vec<u8>,
}

enum Socket {
    Local(UnixDatagram),
    Remote(UdpSocket),
}

impl Syslog {
    /// Nothing is opened yet: the receiver may start later than we do.
    pub fn new(receiver: Receiver) -> Syslog {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let fine = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
        let host = if fine { host } else { "-" }.to_owned();
        Syslog { receiver, host, socket: None, next: None, message: Vec::new() }
    }

    /// Sends a line, without its end.
    pub fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.compose(line);
        let is_new = self.socket.is_none();
        match self.try_send() {
            // A receiver that was started anew has a new socket.
            Err(_) if !is_new => self.try_send(),
            result => result,
        }
    }

    fn try_send(&mut self) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open()?,
        };
        match &socket {
            Socket::Local(socket) => socket.send(&self.message),
            Socket::Remote(socket) => socket.send(&self.message),
        }?;
        self.socket = Some(socket);
        Ok(())
    }

    fn open(&mut self) -> io::Result<Socket> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let opened = match &self.receiver {
            Receiver::Local(path) => local(path),
            Receiver::Remote(address) => remote(*address),
        };
        self.next = opened.is_err().then_some(now + RETRY);
        opened
    }

    fn compose(&mut self, line: &[u8]) {
        self.message.clear();
        let pid = std::process::id();
        let head = match self.receiver {
            Receiver::Local(_) => format!("<{PRIORITY}>tidegate[{pid}]: "),
            Receiver::Remote(_) => {
                let time = jiff::Timestamp::now();
                format!("<{PRIORITY}>1 {time:.6} {} tidegate {pid} access - ", self.host)
            }
        };
        self.message.extend_from_slice(head.as_bytes());
        self.message.extend_from_slice(&line[..line.len().min(MESSAGE_BYTES_MAX - head.len())]);
    }
}

fn local(path: &Path) -> io::Result<Socket> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(Socket::Local(socket))
}

fn remote(address: SocketAddr) -> io::Result<Socket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(Socket::Remote(socket))
}
