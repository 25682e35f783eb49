//! The honest client: some connections from an address of its own that ask in turn at a fixed rate, and note how long each
//! answer takes from the moment at which it was due to be asked. With one connection, an answer that takes longer than the
//! pace would make all that follow late, and the figure would tell how many there were.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::rank::Rank;
use super::stand::HOST;
use super::wire::dial;

/// Connections.
const CONNECTIONS: u32 = 8;

/// Between two requests of all.
const PACE: Duration = Duration::from_millis(4);

/// Not the attackers' address.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A client under way.
pub struct Client(Vec<JoinHandle<Asked>>);

/// What it found.
#[derive(Default)]
pub struct Asked {
    times: Vec<Duration>,
    failed: usize,
}

impl Client {
    /// Begins, until `over`.
    pub fn start(port: u16, over: Arc<AtomicBool>) -> Client {
        let begin = Instant::now();
        let ask = |at: u32| {
            let over = over.clone();
            std::thread::spawn(move || {
                Rank::First.take();
                keep_asking(port, begin + PACE * at, &over)
            })
        };
        Client((0..CONNECTIONS).map(ask).collect())
    }

    /// Waits for its end.
    pub fn end(self) -> Asked {
        let mut all = Asked::default();
        for thread in self.0 {
            let asked = thread.join().unwrap_or(Asked { times: Vec::new(), failed: 1 });
            all.times.extend(asked.times);
            all.failed += asked.failed;
        }
        all.times.sort_unstable();
        all
    }
}

/// One connection; another when it fails.
fn keep_asking(port: u16, mut due: Instant, over: &AtomicBool) -> Asked {
    let (mut asked, mut stream) = (Asked::default(), None);
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match stream.take().map_or_else(|| dial(HOME, port), Ok).and_then(ask) {
            Ok(kept) => {
                asked.times.push(due.elapsed());
                stream = Some(kept);
            }
            Err(_) => asked.failed += 1,
        }
        due += PACE * CONNECTIONS;
    }
    asked
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

    /// So many of a hundred answers came within; 100: all.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (self.times.len() * percent / 100).min(last);
        self.times.get(at).copied().unwrap_or(Duration::MAX)
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
        let asked = Asked { times: (1..=100).map(Duration::from_millis).collect(), failed: 0 };
        let found = [50, 99, 100].map(|percent| asked.percentile(percent).as_millis());
        assert_eq!(found, [51, 100, 100]);
        assert_eq!(Asked::default().percentile(99), Duration::MAX);
    }
}
