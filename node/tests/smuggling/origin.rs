//! The [`Origin`] of one lane: records every byte of every connection, answers what parses, or what a case scripts.
//!
//! One thread for all its connections: whatever was sent before a request has been recorded when that request is
//! answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cases::Act;
use crate::strict::{self, Message};

/// Requests with this target are answered properly, whatever the script says.
pub const CANARY: &str = "/canary-";

/// An origin. Its thread ends with the process.
pub struct Origin {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    script: Vec<Act>,
    early: bool,
    records: Vec<Record>,
}

/// What came in on one connection since the last look.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The number of the connection.
    pub connection: usize,
    /// Whole requests.
    pub requests: Vec<Message>,
    /// Bytes after them.
    pub rest: Vec<u8>,
    /// Why those are no request.
    pub fault: Option<String>,
    /// Whether the gateway closed it, or the script.
    pub closed: bool,
}

impl Origin {
    /// Starts one.
    pub fn start() -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mine = shared.clone();
        std::thread::spawn(move || Server { listener, shared: mine, links: Vec::new(), next: 0 }.run());
        Origin { port, shared }
    }

    /// From now on requests are answered so.
    pub fn script(&self, acts: &[Act], early: bool) {
        let mut shared = self.lock();
        (shared.script, shared.early) = (acts.to_vec(), early);
    }

    /// What came in since the last call; what is not over yet stays too.
    pub fn take(&self) -> Vec<Record> {
        let mut shared = self.lock();
        let taken = shared.records.iter().filter(|record| record.is_news()).cloned().collect();
        shared.records.retain(|record| !record.closed);
        for record in &mut shared.records {
            record.requests.clear();
        }
        taken
    }

    /// Waits until a script that has begun is over.
    pub fn settle(&self) {
        drop(self.lock());
    }

    /// Whether a connection is still open that holds what is no whole request.
    pub fn has_open_rest(&self) -> bool {
        self.lock().records.iter().any(|record| !record.closed && !record.rest.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

impl Record {
    fn is_news(&self) -> bool {
        !self.requests.is_empty() || !self.rest.is_empty() || self.fault.is_some()
    }
}

/// One connection.
struct Link {
    stream: TcpStream,
    number: usize,
    /// Bytes not taken for a request yet.
    bytes: Vec<u8>,
    /// Whether what is in `bytes` was answered early, or its wish to go on.
    answered: bool,
    over: bool,
}

struct Server {
    listener: TcpListener,
    shared: Arc<Mutex<Shared>>,
    links: Vec<Link>,
    next: usize,
}

impl Server {
    fn run(mut self) {
        loop {
            self.wait();
            // Twice: what came before the first bytes that are answered now is here by now.
            self.sweep();
            self.sweep();
            for at in 0..self.links.len() {
                self.serve(at);
            }
            self.links.retain(|link| !link.over);
        }
    }

    fn wait(&self) {
        let mut watched = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.links.iter().map(|link| PollFd::new(link.stream.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut watched, PollTimeout::NONE);
    }

    fn sweep(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            self.next += 1;
            let number = self.next;
            self.links.push(Link { stream, number, bytes: Vec::new(), answered: false, over: false });
        }
        for link in &mut self.links {
            link.fill();
        }
    }

    /// Takes the whole requests off a connection and answers them.
    fn serve(&mut self, at: usize) {
        let link = &mut self.links[at];
        let mut shared = self.shared.lock().unwrap();
        let index = match shared.records.iter().position(|record| record.connection == link.number) {
            Some(index) => index,
            None => {
                shared.records.push(Record { connection: link.number, ..Record::default() });
                shared.records.len() - 1
            }
        };
        loop {
            let parsed = strict::request(&link.bytes);
            let record = &mut shared.records[index];
            record.rest = link.bytes.clone();
            record.closed = link.over;
            match parsed {
                Ok(Some(message)) => {
                    link.bytes.drain(..message.length);
                    record.rest = link.bytes.clone();
                    record.requests.push(message.clone());
                    let answered = std::mem::take(&mut link.answered);
                    let (script, early) = (shared.script.clone(), shared.early);
                    let canary = message.first[1].starts_with(CANARY.as_bytes());
                    if canary || script.is_empty() {
                        link.answer(&message);
                    } else if !(early && answered) {
                        link.perform(&script);
                    }
                    shared.records[index].closed = link.over;
                }
                Ok(None) => {
                    let (script, early) = (shared.script.clone(), shared.early);
                    link.begin(&script, early);
                    return;
                }
                Err(fault) => {
                    record.fault = Some(fault);
                    record.closed = true;
                    link.over = true;
                    return;
                }
            }
            if link.over {
                return;
            }
        }
    }
}

impl Link {
    fn fill(&mut self) {
        let mut buffer = [0; 65536];
        while !self.over {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.over = true,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.over = true,
            }
        }
    }

    /// The usual answer: the target as content.
    fn answer(&mut self, request: &Message) {
        let target = &request.first[1];
        let mut out = format!(
            "HTTP/1.1 200 OK\r\nx-origin: {}\r\ncontent-length: {}\r\n\r\n",
            self.number,
            target.len()
        )
        .into_bytes();
        if request.first[0] != b"HEAD" {
            out.extend_from_slice(target);
        }
        self.write(&out);
    }

    /// What is due when a head is there and its body is not.
    fn begin(&mut self, script: &[Act], early: bool) {
        let has_head = self.bytes.windows(4).any(|part| part == b"\r\n\r\n");
        if !has_head || self.answered {
            return;
        }
        let head = self.bytes.to_ascii_lowercase();
        if early {
            self.answered = true;
            self.perform(script);
        } else if head.windows(20).any(|part| part == b"expect: 100-continue") {
            self.answered = true;
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    fn perform(&mut self, script: &[Act]) {
        for act in script {
            match act {
                Act::Send(bytes) => self.write(bytes),
                Act::Pause(millis) => std::thread::sleep(Duration::from_millis(*millis)),
                Act::Close => {
                    // Lingers for nothing: what the gateway sent has been read.
                    let _ = self.stream.shutdown(std::net::Shutdown::Both);
                    self.over = true;
                }
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        // A gateway that does not want the rest closes; no answer is larger than what the kernel takes.
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err(_) => return,
            }
        }
    }
}
