//! A client as small as can be: one request over a raw connection, and the whole answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, as it came.
    pub body: String,
}

/// `GET path` of `host` at `address`, on a connection of its own.
pub fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<Answer> {
    read(send(address, host, path, "")?)
}

/// Sends a request and leaves the answer to be read. `headers` end with CRLF each.
pub fn send(address: SocketAddr, host: &str, path: &str, headers: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// Reads an answer until its sender closes; one that is shorter than it says is an error.
pub fn read(mut stream: TcpStream) -> io::Result<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, text.clone());
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    if length.is_some_and(|length| length.trim().parse() != Ok(body.len())) {
        return Err(wrong());
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
