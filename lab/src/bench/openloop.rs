//! 5,000 requests a second over 64 connections, arrivals by chance (Poisson) but the same for every proxy. A request
//! counts from the moment it was due, not from when a connection was free: a proxy that stalls cannot hide it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::cases::Done;
use super::contender::here;
use super::origin::Body;
use super::routes::{PREFIXES, Routes, request};

const CONNECTIONS: usize = 64;
const RATE: f64 = 5000.0;
/// Key of the timer among the connections.
const TIMER: u64 = u64::MAX;

/// Offers the load for a while.
pub fn drive(port: u16, routes: Routes, secs: u32) -> Result<Done> {
    let mut load = OpenLoop::open(port, routes)?;
    let began = Instant::now();
    let arrivals = Arrivals { state: 0x9e37_79b9_7f4a_7c15, at_secs: 0.0 };
    for due in arrivals.take_while(|due| *due < f64::from(secs)) {
        let due = began + Duration::from_secs_f64(due);
        load.until(due)?;
        load.offer(due)?;
    }
    let end = Instant::now() + Duration::from_secs(5);
    while load.busy() {
        ensure!(Instant::now() < end, "answers were still missing 5 s after the last request");
        load.until(Instant::now() + Duration::from_millis(10))?;
    }
    let count = load.latencies_us.len() as f64;
    let latency = (quantile(&mut load.latencies_us, 0.5), quantile(&mut load.latencies_us, 0.99));
    Ok(Done { operations: count, latency: Some(latency), notes: Vec::new() })
}

/// The value below which this share of them lies; sorts them.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

struct OpenLoop {
    epoll: Epoll,
    timer: TimerFd,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    waiting: VecDeque<Instant>,
    requests: Vec<String>,
    next: usize,
    body: Vec<u8>,
    latencies_us: Vec<f64>,
}

struct Connection {
    stream: TcpStream,
    due: Instant,
    answer: Vec<u8>,
}

impl OpenLoop {
    fn open(port: u16, routes: Routes) -> Result<OpenLoop> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let mut connections = Vec::new();
        for number in 0..CONNECTIONS {
            let stream = TcpStream::connect(here(port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            connections.push(Connection { stream, due: Instant::now(), answer: Vec::with_capacity(4096) });
        }
        let all = routes.hosts().flat_map(|host| (0..PREFIXES).map(move |prefix| (host, prefix)));
        Ok(OpenLoop {
            epoll,
            timer,
            connections,
            idle: (0..CONNECTIONS).collect(),
            waiting: VecDeque::new(),
            requests: all.map(|(host, prefix)| request(host, prefix, Body::Small.file(), false)).collect(),
            next: 0,
            body: Body::Small.bytes(),
            latencies_us: Vec::new(),
        })
    }

    fn busy(&self) -> bool {
        self.idle.len() < CONNECTIONS
    }

    /// A request is due: on the connection that rested longest, or in the queue, whose length the load itself bounds.
    fn offer(&mut self, due: Instant) -> Result<()> {
        match self.idle.pop_front() {
            Some(number) => self.send(number, due),
            None => {
                self.waiting.push_back(due);
                Ok(())
            }
        }
    }

    fn send(&mut self, number: usize, due: Instant) -> Result<()> {
        self.next = (self.next + 7919) % self.requests.len();
        let connection = &mut self.connections[number];
        connection.due = due;
        connection.answer.clear();
        connection.stream.write_all(self.requests[self.next].as_bytes()).context("sending a request")
    }

    /// Takes answers until a moment comes.
    fn until(&mut self, moment: Instant) -> Result<()> {
        let mut events = [EpollEvent::empty(); CONNECTIONS];
        loop {
            let now = Instant::now();
            if now >= moment {
                return Ok(());
            }
            let left = TimeSpec::from_duration(moment - now);
            self.timer.set(Expiration::OneShot(left), TimerSetTimeFlags::empty())?;
            let count = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in events[..count].iter().filter(|event| event.data() != TIMER) {
                self.hear(event.data() as usize)?;
            }
        }
    }

    fn hear(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        let mut buffer = [0; 8192];
        let count = connection.stream.read(&mut buffer).context("reading an answer")?;
        ensure!(count > 0, "a kept-alive connection was closed");
        connection.answer.extend_from_slice(&buffer[..count]);
        if !whole(&connection.answer, &self.body)? {
            return Ok(());
        }
        self.latencies_us.push(connection.due.elapsed().as_secs_f64() * 1e6);
        match self.waiting.pop_front() {
            Some(due) => self.send(number, due),
            None => {
                self.idle.push_back(number);
                Ok(())
            }
        }
    }
}

/// Whether an answer is complete; an error where it is not what it must be.
pub fn whole(answer: &[u8], body: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(answer.len() < 8192, "a head without an end");
        return Ok(false);
    };
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..end]));
    match &answer[end + 4..] {
        got if got == body => Ok(true),
        got if got.len() < body.len() => Ok(false),
        got => bail!("a wrong body of {} bytes, not {}", got.len(), body.len()),
    }
}

/// Moments of arrival in seconds, exponentially apart.
struct Arrivals {
    state: u64,
    at_secs: f64,
}

impl Iterator for Arrivals {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        // xorshift64: the same arrivals in every run, for every proxy.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let chance = ((self.state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        self.at_secs -= chance.ln() / RATE;
        Some(self.at_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals come at the rate asked for, never backwards.
    #[test]
    fn rate() {
        let arrivals = Arrivals { state: 0x9e37_79b9_7f4a_7c15, at_secs: 0.0 };
        let times: Vec<_> = arrivals.take_while(|at| *at < 10.0).collect();
        assert!((49_000..51_000).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted());
    }

    /// Only a whole answer with the right status and body counts.
    #[test]
    fn answers() {
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\nbody", b"body").unwrap());
        assert!(!whole(b"HTTP/1.1 200 OK\r\n\r\nbo", b"body").unwrap());
        assert!(!whole(b"HTTP/1.1 200 OK\r\n", b"body").unwrap());
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\nbodi", b"body").is_err());
        assert!(whole(b"HTTP/1.1 502 Bad Gateway\r\n\r\nbody", b"body").is_err());
    }
}
