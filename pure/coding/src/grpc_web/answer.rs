//! An answer in gRPC-Web: messages as they are, then a frame of trailers; in text mode all of it in base64.

use super::{TRAILERS, TextEncoder};

/// One answer on its way.
pub struct Answer {
    text: Option<TextEncoder>,
}

impl Answer {
    /// Nothing has passed yet; `text`: in base64.
    pub fn new(text: bool) -> Answer {
        Answer { text: text.then(TextEncoder::default) }
    }

    /// Takes frames of gRPC, or parts of them.
    pub fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        match &mut self.text {
            Some(text) => text.push(content, out),
            None => out.extend_from_slice(content),
        }
    }

    /// Whether bytes wait for others to make up a group.
    pub fn holds_back(&self) -> bool {
        self.text.as_ref().is_some_and(TextEncoder::holds_back)
    }

    /// Lets everything come out.
    pub fn pause(&mut self, out: &mut Vec<u8>) {
        if let Some(text) = &mut self.text {
            text.pause(out);
        }
    }

    /// The end, with trailers in lower case. Without any there is no frame: a client then knows that the call broke off.
    pub fn finish<'t>(&mut self, trailers: impl Iterator<Item = (&'t str, &'t [u8])>, out: &mut Vec<u8>) {
        let mut block = vec![TRAILERS, 0, 0, 0, 0];
        for (name, value) in trailers {
            block.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
            block.extend_from_slice(b": ");
            block.extend_from_slice(value);
            block.extend_from_slice(b"\r\n");
        }
        let length = block.len() - 5;
        if length > 0 {
            // Trailers are far smaller than 4 GiB.
            block[1..5].copy_from_slice(&(length as u32).to_be_bytes());
            self.push(&block, out);
        }
        self.pause(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: bool, content: &[&[u8]], trailers: &[(&str, &str)]) -> Vec<u8> {
        let (mut answer, mut out) = (Answer::new(text), Vec::new());
        for piece in content {
            answer.push(piece, &mut out);
        }
        answer.finish(trailers.iter().map(|(name, value)| (*name, value.as_bytes())), &mut out);
        assert!(!answer.holds_back());
        out
    }

    /// Messages pass, and trailers follow as a frame of their own, names in lower case.
    #[test]
    fn trailers_are_a_frame() {
        let out = answered(false, &[b"\0\0\0\0\x02h", b"i"], &[("Grpc-Status", "0"), ("x-a", "b")]);
        assert_eq!(out, b"\0\0\0\0\x02hi\x80\0\0\0\x18grpc-status: 0\r\nx-a: b\r\n");
        assert_eq!(answered(false, &[b"\0\0\0\0\0"], &[]), b"\0\0\0\0\0");
    }

    /// In text mode all of it is base64.
    #[test]
    fn text_mode() {
        assert_eq!(answered(true, &[b"\0\0\0\0\0"], &[("a", "b")]), b"AAAAAACAAAAABmE6IGINCg==");
        assert_eq!(answered(true, &[], &[]), b"");
    }
}
