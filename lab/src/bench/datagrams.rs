//! UDP: datagrams there and back over sessions that last, and over a session for each question.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::cases::Done;
use super::contender::here;
use super::openloop::quantile;
use super::origin;

/// Client sockets, each a session.
const SESSIONS: usize = 16;
/// The largest datagram of any case.
const BYTES_MAX: usize = 1200;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of a datagram; at least 16, at most [`BYTES_MAX`].
    pub bytes: usize,
    /// Datagrams under way in each session. All of them fit a socket's queue of the size that every Linux grants.
    pub window: usize,
    /// Every datagram comes from a socket of its own.
    pub once: bool,
}

/// Plays for a while; every datagram must come back as it went.
pub fn drive(port: u16, plan: &Plan, secs: u32) -> Result<Done> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut players =
        (0..SESSIONS).map(|number| Player::enter(&epoll, port, plan, number)).collect::<Result<Vec<_>>>()?;
    let end = Instant::now() + Duration::from_secs(secs.into());
    let (mut trips_us, mut events) = (Vec::new(), [EpollEvent::empty(); SESSIONS]);
    while Instant::now() < end {
        let count = epoll.wait(&mut events, EpollTimeout::from(1000_u16))?;
        ensure!(count > 0, "no datagram came back for a second");
        for event in &events[..count] {
            let player = &mut players[event.data() as usize];
            while player.hear(plan)? {
                trips_us.push(player.at.elapsed().as_secs_f64() * 1e6);
                if plan.once {
                    *player = Player::enter(&epoll, port, plan, event.data() as usize)?;
                    break;
                }
                player.ask(plan)?;
            }
        }
    }
    let p50 = quantile(&mut trips_us, 0.5);
    let rate = trips_us.len() as f64 / f64::from(secs);
    let notes = vec![("datagrams/s each way", rate), ("p50 us", p50)];
    Ok(Done { operations: trips_us.len() as f64, latency: None, notes })
}

struct Player {
    socket: UdpSocket,
    number: u64,
    /// Datagrams sent and heard. Sessions keep their order on one host.
    sent: u64,
    heard: u64,
    /// When the last was sent.
    at: Instant,
}

impl Player {
    fn enter(epoll: &Epoll, port: u16, plan: &Plan, number: usize) -> Result<Player> {
        let socket = UdpSocket::bind(here(0))?;
        socket.connect(here(port))?;
        socket.set_nonblocking(true)?;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        let mut player = Player { socket, number: number as u64, sent: 0, heard: 0, at: Instant::now() };
        (0..plan.window).try_for_each(|_| player.ask(plan))?;
        Ok(player)
    }

    fn ask(&mut self, plan: &Plan) -> Result<()> {
        let datagram = self.datagram(self.sent);
        (self.sent, self.at) = (self.sent + 1, Instant::now());
        self.socket.send(&datagram[..plan.bytes]).context("sending a datagram").map(|_| ())
    }

    /// Reads one datagram; whether there was one.
    fn hear(&mut self, plan: &Plan) -> Result<bool> {
        let mut room = [0; BYTES_MAX + 1];
        match self.socket.recv(&mut room) {
            Ok(count) => {
                let wanted = self.datagram(self.heard);
                ensure!(room[..count] == wanted[..plan.bytes], "another datagram came back, or one was lost");
                self.heard += 1;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => bail!("hearing a datagram: {error}"),
        }
    }

    /// Unlike every other of this or another session.
    fn datagram(&self, turn: u64) -> [u8; BYTES_MAX] {
        let mut bytes = [turn as u8; BYTES_MAX];
        bytes[..8].copy_from_slice(&turn.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }
}

/// The server behind the proxies: sends each datagram back, in a thread of its own, unless an earlier column left it
/// running.
pub fn serve_echo() -> Result<()> {
    let socket = match UdpSocket::bind(here(origin::ECHO)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(()),
        other => other?,
    };
    std::thread::spawn(move || {
        let mut room = [0; 2048];
        // An error is about a datagram whose receiver is gone.
        loop {
            if let Ok((count, from)) = socket.recv_from(&mut room) {
                let _ = socket.send_to(&room[..count], from);
            }
        }
    });
    Ok(())
}

/// One datagram there and back.
pub fn ask(port: u16) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(here(0))?;
    socket.connect(here(port))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(b"is anybody there")?;
    let mut room = vec![0; 64];
    let count = socket.recv(&mut room)?;
    room.truncate(count);
    Ok(room)
}
