//! The honest client: a connection from an address of its own that asks at a fixed rate, and notes how long each answer takes
//! from the moment at which it was due to be asked.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::stand::HOST;
use super::wire::dial;

/// Between two requests.
const PACE: Duration = Duration::from_millis(4);

/// Not the attackers' address.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A client under way.
pub struct Client(JoinHandle<Asked>);

/// What it found.
#[derive(Default)]
pub struct Asked {
    times: Vec<Duration>,
    failed: usize,
}

impl Client {
    /// Begins, until `over`.
    pub fn start(port: u16, over: Arc<AtomicBool>) -> Client {
        Client(std::thread::spawn(move || {
            let mut asked = Asked::default();
            let mut stream = None;
            let mut due = Instant::now();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                match stream.take().map_or_else(|| dial(HOME, port), Ok).and_then(ask) {
                    Ok(kept) => {
                        asked.times.push(due.elapsed());
                        stream = Some(kept);
                    }
                    Err(_) => asked.failed += 1,
                }
                due += PACE;
            }
            asked
        }))
    }

    /// Waits for its end.
    pub fn end(self) -> Asked {
        self.0.join().unwrap_or(Asked { times: Vec::new(), failed: 1 })
    }
}

impl Asked {
    /// Answers that came.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Requests that came to nothing.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// 99 of a hundred answers came within.
    pub fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or(Duration::MAX)
    }
}

fn ask(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut room = [0; 2048];
    while !answer.ends_with(b"\r\n\r\nfine") {
        let count = stream.read(&mut room)?;
        if count == 0 || !b"HTTP/1.1 200 OK".starts_with(&room[..count.min(15)]) && answer.is_empty() {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        answer.extend_from_slice(&room[..count]);
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The percentile is that of the times noted, and no answer at all is the worst.
    #[test]
    fn percentiles() {
        let times = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(Asked { times, failed: 0 }.p99(), Duration::from_millis(100));
        assert_eq!(Asked::default().p99(), Duration::MAX);
    }
}
