//! A head on its way into a header block: lines are compressed where they are written, and leave with the frame that begins
//! the message.

use std::ops::Range;

use tidegate_http2::{FieldWriter, RequestLine};

use super::websocket::Key;
use crate::framing::BodyLength;
use crate::framing::fields::Fields;
use crate::outgoing::{Ending, decimal};

/// What the frame needs to know of a head beside its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of a response.
    pub status: u16,
    /// A request with HEAD.
    pub to_head: bool,
    /// A request for a tunnel: an extended CONNECT (RFC 8441 section 4).
    pub tunnel: bool,
    /// The key with which an HTTP/1 client asked for a WebSocket.
    pub key: Option<Key>,
    /// Nothing follows it.
    pub is_all: bool,
}

/// Writes lines at the end of some bytes, as HPACK has them.
pub struct BlockWriter<'w> {
    out: FieldWriter<'w>,
    facts: Facts,
    /// HTTP/1 says 101: the stream becomes a tunnel (RFC 8441 section 5), and says 200.
    switches: bool,
    is_request: bool,
}

impl<'w> BlockWriter<'w> {
    /// Nothing is written yet.
    pub fn new(out: &'w mut Vec<u8>) -> BlockWriter<'w> {
        BlockWriter {
            out: FieldWriter::new(out),
            facts: Facts::default(),
            switches: false,
            is_request: false,
        }
    }

    /// What the frame needs to know.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// The pseudo-headers of a request; `protocol`: what is to be spoken in a tunnel.
    pub fn request(
        &mut self,
        method: &str,
        scheme: &str,
        authority: &str,
        target: &[u8],
        protocol: Option<&[u8]>,
    ) {
        self.is_request = true;
        self.facts.to_head = method == "HEAD";
        self.facts.tunnel = protocol.is_some();
        self.out.request(&RequestLine {
            method: if protocol.is_some() { b"CONNECT" } else { method.as_bytes() },
            scheme: Some(scheme.as_bytes()),
            authority: Some(authority.as_bytes()),
            path: Some(target),
            protocol,
        });
    }

    /// The status of a response.
    pub fn status(&mut self, status: u16) {
        self.switches = status == 101;
        self.facts.status = if self.switches { 200 } else { status };
    }

    /// One line.
    pub fn line(&mut self, name: &str, value: &[u8]) {
        // HTTP/2 has no handshake of its own for WebSocket (RFC 8441 section 5).
        if self.facts.tunnel && name.eq_ignore_ascii_case("sec-websocket-key") {
            self.facts.key = value.trim_ascii().try_into().ok();
            return;
        }
        let of_handshake = ["sec-websocket-accept", "upgrade"];
        if !(self.switches && of_handshake.iter().any(|left_out| name.eq_ignore_ascii_case(left_out))) {
            self.out.field(name.as_bytes(), value.trim_ascii());
        }
    }

    /// Lines of a list, one after the other.
    pub fn run(&mut self, fields: &Fields, range: Range<usize>) {
        for index in range {
            if let Some((_, name, value)) = fields.entry(index) {
                self.line(name, value);
            }
        }
    }

    /// Lines in HTTP/1's spelling.
    pub fn text(&mut self, lines: &[u8]) {
        for line in lines.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(colon) = line.iter().position(|&byte| byte == b':') {
                self.out.field(&line[..colon], line[colon + 1..].trim_ascii());
            }
        }
    }

    /// The head is over.
    pub fn end(&mut self, ending: &Ending<'_>) {
        if let BodyLength::Length(length) = ending.body {
            self.out.field(b"content-length", decimal(length, &mut [0; 20]));
        }
        if self.is_request {
            // Trailers are passed on, to whoever takes them; gRPC asks for this line.
            if !self.facts.tunnel {
                self.out.field(b"te", b"trailers");
            }
        }
        let stays_open = self.switches || self.facts.tunnel;
        let is_interim = !self.is_request && self.facts.status < 200;
        self.facts.is_all = ending.body == BodyLength::None && !stays_open && !is_interim;
    }
}
