//! Messages of 64 bytes there and back on 16 connections, each with one message under way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::cases::Done;
use super::contender::here;
use super::openloop::quantile;

const CONNECTIONS: usize = 16;
const MESSAGE: usize = 64;

struct Player {
    stream: TcpStream,
    sent: [u8; MESSAGE],
    heard: usize,
    at: Instant,
}

/// Plays for a while; every message must come back as it went.
pub fn drive(port: u16, secs: u32) -> Result<Done> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut players = Vec::new();
    for number in 0..CONNECTIONS {
        let stream = TcpStream::connect(here(port))?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        players.push(Player { stream, sent: [number as u8; MESSAGE], heard: 0, at: Instant::now() });
    }
    players.iter_mut().try_for_each(Player::serve)?;
    let end = Instant::now() + Duration::from_secs(secs.into());
    let (mut trips_us, mut events) = (Vec::new(), [EpollEvent::empty(); CONNECTIONS]);
    while Instant::now() < end {
        let count = epoll.wait(&mut events, EpollTimeout::from(1000_u16))?;
        ensure!(count > 0, "no message came back for a second");
        for event in &events[..count] {
            let player = &mut players[event.data() as usize];
            if player.hear()? {
                trips_us.push(player.at.elapsed().as_secs_f64() * 1e6);
                player.serve()?;
            }
        }
    }
    let p50 = quantile(&mut trips_us, 0.5);
    Ok(Done { operations: trips_us.len() as f64, latency: None, notes: vec![("p50 us", p50)] })
}

impl Player {
    /// Sends a message unlike the last.
    fn serve(&mut self) -> Result<()> {
        self.sent.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        (self.heard, self.at) = (0, Instant::now());
        self.stream.write_all(&self.sent).context("sending a message")
    }

    /// Reads what there is; whether the message is whole.
    fn hear(&mut self) -> Result<bool> {
        let mut buffer = [0; MESSAGE];
        let room = &mut buffer[..MESSAGE - self.heard];
        let count = self.stream.read(room)?;
        ensure!(count > 0, "the connection was closed");
        ensure!(room[..count] == self.sent[self.heard..self.heard + count], "another message came back");
        self.heard += count;
        Ok(self.heard == MESSAGE)
    }
}
