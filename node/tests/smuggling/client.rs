//! A raw client: does what a case says, and keeps every byte of what it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::cases::{Outcome, Step};
use crate::strict::{self, Message};

/// How long a client waits for what must come; only a failure waits that long.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a client got.
#[derive(Debug, Default)]
pub struct Got {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// Final responses.
    pub responses: Vec<Message>,
    /// How many interim responses came.
    pub interims: usize,
    /// Bytes that are no whole response.
    pub rest: Vec<u8>,
    /// Why those are no response.
    pub fault: Option<String>,
    /// Whether the gateway closed before the client said that it is done.
    pub closed_by_gateway: bool,
    /// Whether the connection was closed at all.
    pub closed: bool,
}

/// A client of one connection.
pub struct Client {
    stream: TcpStream,
    /// Which of the expected responses are to HEAD.
    heads: Vec<bool>,
    bytes: Vec<u8>,
    ended: bool,
}

impl Client {
    /// Connects to a port on this machine.
    pub fn connect(port: u16, heads: Vec<bool>) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, heads, bytes: Vec::new(), ended: false }
    }

    /// Does the steps; then waits for what `outcome` says, says that it is done, and waits for the end.
    pub fn run(mut self, steps: &[Step], piece: usize, outcome: &Outcome) -> Got {
        let mut awaited = 0;
        for step in steps {
            match step {
                Step::Send(bytes) => self.send(bytes, piece),
                Step::Pause(millis) => std::thread::sleep(Duration::from_millis(*millis)),
                Step::AwaitFinal => {
                    awaited += 1;
                    self.read_until(|got| got.responses.len() >= awaited);
                }
                Step::AwaitInterim => self.read_until(|got| got.interims > 0),
            }
        }
        match outcome {
            // The gateway must close by itself.
            Outcome::Refuse(_) | Outcome::Cut(_) => self.read_until(|_| false),
            Outcome::Pass(_, refusals) if !refusals.is_empty() => self.read_until(|_| false),
            Outcome::Pass(requests, _) => {
                let count = requests.len();
                self.read_until(|got| got.responses.len() >= count);
            }
            // After a 502 the client may go on.
            Outcome::Fine(..) | Outcome::Bad => self.read_until(|got| !got.responses.is_empty()),
            Outcome::Silent => {}
        }
        let closed_by_gateway = self.ended;
        let _ = self.stream.shutdown(Shutdown::Write);
        self.read_until(|_| false);
        Got { closed_by_gateway, ..self.got() }
    }

    fn send(&mut self, bytes: &[u8], piece: usize) {
        for part in bytes.chunks(piece.max(1)) {
            // A gateway that has refused already may have closed.
            if self.stream.write_all(part).is_err() {
                return;
            }
        }
    }

    /// Reads until `enough`, the end, or the end of patience.
    fn read_until(&mut self, enough: impl Fn(&Got) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16384];
        while !self.ended && !enough(&self.got()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
    }

    /// What the bytes so far come to.
    fn got(&self) -> Got {
        let mut got = Got { bytes: self.bytes.clone(), closed: self.ended, ..Got::default() };
        let mut at = 0;
        while at < self.bytes.len() {
            let to_head = self.heads.get(got.responses.len()).copied().unwrap_or(false);
            match strict::response(&self.bytes[at..], to_head, self.ended) {
                Ok(Some(message)) => {
                    at += message.length;
                    match message.status() {
                        100..=199 if message.status() != 101 => got.interims += 1,
                        _ => got.responses.push(message),
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    got.fault = Some(fault);
                    break;
                }
            }
        }
        got.rest = self.bytes[at..].to_vec();
        got
    }
}
