//! An attacker's connection: raw frames of HTTP/2, or raw text, written as fast as they are taken. What comes back is read
//! and thrown away unless the attack is not to read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::Attack;

/// One connection.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects; nothing if it is refused or closed at once.
    pub fn connect(attack: &Attack) -> Option<Wire> {
        let stream = dial(attack.from(), attack.port).ok()?;
        stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
        Some(Wire(stream))
    }

    /// Connects and begins HTTP/2 in the clear, with these settings.
    pub fn http2(attack: &Attack, settings: &[(u16, u32)]) -> Option<Wire> {
        let mut wire = Wire::connect(attack)?;
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        hello.extend(frame(4, 0, 0, &payload));
        hello.extend(frame(4, 1, 0, b""));
        wire.send(&hello).then_some(wire)
    }

    /// Sends; false if the other side has closed or takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Sends, and takes what comes meanwhile, so that neither side ever waits for the other to read; false once the other side
    /// has closed.
    pub fn send_and_take(&mut self, mut bytes: &[u8]) -> bool {
        let _ = self.0.set_nonblocking(true);
        while !bytes.is_empty() {
            match self.0.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.drain() {
                        return false;
                    }
                    std::thread::yield_now();
                    let _ = self.0.set_nonblocking(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        let _ = self.0.set_nonblocking(false);
        self.drain()
    }

    /// Takes what has come; false once the other side has closed.
    pub fn drain(&mut self) -> bool {
        let mut room = [0; 16384];
        let _ = self.0.set_nonblocking(true);
        let open = loop {
            match self.0.read(&mut room) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        let _ = self.0.set_nonblocking(false);
        open
    }

    /// Looks whether the other side has closed, without taking what came.
    pub fn is_open(&self) -> bool {
        let _ = self.0.set_nonblocking(true);
        let peeked = self.0.peek(&mut [0]);
        let _ = self.0.set_nonblocking(false);
        match peeked {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Connects from an address of loopback to a port of it.
pub fn dial(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// A frame (RFC 9113 section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of `GET path` for the host of the stand: `:method` and `:scheme` by the static table.
pub fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(0x01, super::stand::HOST), (0x04, path)] {
        block.extend([name, value.len() as u8]);
        block.extend(value.bytes());
    }
    block
}

/// The `at`-th stream of a client.
pub fn stream(at: u32) -> u32 {
    at * 2 + 1
}
