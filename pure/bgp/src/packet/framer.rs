//! Cuts a byte stream into messages. Holds at most one unfinished message (4096 bytes) and checks
//! headers only; bodies are for others.

use super::{Frame, HEADER_BYTES, MESSAGE_BYTES_MAX, MessageKind};
use crate::error::MessageError;

/// The reading side of one connection.
#[derive(Debug, Clone, Default)]
pub struct Framer {
    partial: Vec<u8>,
    /// `partial` was handed out whole and is to be forgotten at the next call.
    yielded: bool,
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes the next message out of what is held and `input`, which is advanced. None: all input
    /// is consumed and more is needed. A message that lies whole in `input` is not copied.
    ///
    /// # Errors
    /// A header that is not BGP (RFC 4271, section 6.1). The stream is lost then.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'s>>, MessageError> {
        if self.yielded {
            self.partial.clear();
            self.yielded = false;
        }
        if self.partial.is_empty() && input.len() >= HEADER_BYTES {
            let (kind, length) = header(input)?;
            if let Some((whole, rest)) = input.split_at_checked(length) {
                *input = rest;
                return Ok(Some(Frame { kind, body: &whole[HEADER_BYTES..] }));
            }
        }
        self.fill(HEADER_BYTES, input);
        if self.partial.len() < HEADER_BYTES {
            return Ok(None);
        }
        let (kind, length) = header(&self.partial)?;
        self.fill(length, input);
        if self.partial.len() < length {
            return Ok(None);
        }
        self.yielded = true;
        Ok(Some(Frame { kind, body: &self.partial[HEADER_BYTES..] }))
    }

    /// Bytes held of an unfinished message.
    pub fn held_bytes(&self) -> usize {
        if self.yielded { 0 } else { self.partial.len() }
    }

    fn fill(&mut self, target: usize, input: &mut &[u8]) {
        let wanted = target.saturating_sub(self.partial.len()).min(input.len());
        let (head, rest) = input.split_at(wanted);
        self.partial.extend_from_slice(head);
        *input = rest;
    }
}

/// Kind and whole length behind a header; `bytes` holds at least one.
fn header(bytes: &[u8]) -> Result<(MessageKind, usize), MessageError> {
    let (marker, rest) = bytes.split_at(16);
    if marker != [0xff; 16] {
        return Err(MessageError::new(1, 1, &[], "the marker is not all ones: this is not a BGP stream"));
    }
    let field = [rest[0], rest[1]];
    let length = usize::from(u16::from_be_bytes(field));
    let bad_length =
        || MessageError::new(1, 2, &field, format!("a message claims to be {length} bytes long"));
    if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(bad_length());
    }
    let Some(kind) = MessageKind::from_code(rest[2]) else {
        return Err(MessageError::new(1, 3, &rest[2..3], format!("message type {} is unknown", rest[2])));
    };
    let (min, max) = kind.bytes_min_max();
    if length < min || length > max { Err(bad_length()) } else { Ok((kind, length)) }
}
