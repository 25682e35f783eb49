//! gRPC-Web (grpc/grpc, doc/PROTOCOL-WEB.md): gRPC for clients that see no trailers, as scripts in browsers.
//!
//! Messages are framed as in gRPC. Trailers become one more frame, at the end of the body. In text mode the body is base64
//! (RFC 4648 section 4) in both directions, padded wherever its sender likes.

mod answer;
mod text;

pub use answer::Answer;
pub use text::{BadText, TextDecoder, TextEncoder};

/// Of the content type, before the mode and the format of messages.
const NAME: &[u8] = b"application/grpc-web";

/// The longest format of messages, `+proto` for one.
const FORMAT_BYTES_MAX: usize = 32;

/// The flag of a frame of trailers.
const TRAILERS: u8 = 0x80;

/// What a content type of gRPC-Web says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken<'h> {
    /// The body is base64.
    pub text: bool,
    /// The format of messages with its plus sign, as `+proto`; often empty.
    pub format: &'h str,
}

impl<'h> Spoken<'h> {
    /// Reads a content type; none if it is another.
    pub fn of(content_type: &'h [u8]) -> Option<Spoken<'h>> {
        let end = content_type.iter().position(|&byte| byte == b';').unwrap_or(content_type.len());
        let (name, rest) = content_type[..end].trim_ascii().split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let (text, format) = match rest.split_at_checked(5) {
            Some((mode, format)) if mode.eq_ignore_ascii_case(b"-text") => (true, format),
            _ => (false, rest),
        };
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let sound = match format {
            [] => true,
            [b'+', name @ ..] => {
                !name.is_empty() && format.len() <= FORMAT_BYTES_MAX && name.iter().all(part)
            }
            _ => false,
        };
        let format = std::str::from_utf8(format).ok().filter(|_| sound)?;
        Some(Spoken { text, format })
    }

    /// How the answer is to be spoken: as `Accept` asks first of what is gRPC-Web, else as the request.
    pub fn answer<'a>(self, accept: impl Iterator<Item = &'a [u8]>) -> Spoken<'a>
    where
        'h: 'a,
    {
        let mut ranges = accept.flat_map(|line| line.split(|&byte| byte == b','));
        ranges.find_map(Spoken::of).unwrap_or(self)
    }

    /// The content type in gRPC itself.
    pub fn write_grpc(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"application/grpc");
        out.extend_from_slice(self.format.as_bytes());
    }

    /// The content type.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME);
        out.extend_from_slice(if self.text { b"-text" } else { b"" });
        out.extend_from_slice(self.format.as_bytes());
    }
}

/// Whether a content type is gRPC's own, whatever the format of messages.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.split_at_checked(GRPC.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content types are read with mode and format, and those of gRPC and of others are not.
    #[test]
    fn content_types() {
        for (text, expected) in [
            ("application/grpc-web", Some((false, ""))),
            ("application/grpc-web+proto", Some((false, "+proto"))),
            ("Application/gRPC-Web-Text+json; charset=x", Some((true, "+json"))),
            ("application/grpc-web-text", Some((true, ""))),
            ("application/grpc-web ;a=b", Some((false, ""))),
            ("application/grpc", None),
            ("application/grpc+proto", None),
            ("application/grpc-webs", None),
            ("application/grpc-web+", None),
            ("application/grpc-web+a b", None),
            ("application/grpc-web-text-text", None),
            ("text/plain", None),
            ("", None),
        ] {
            let spoken = Spoken::of(text.as_bytes());
            assert_eq!(spoken.map(|spoken| (spoken.text, spoken.format)), expected, "{text}");
        }
        for (text, expected) in
            [("application/grpc", true), ("application/grpc+x", true), ("application/grpc-web", false)]
        {
            assert_eq!(is_grpc(text.as_bytes()), expected, "{text}");
        }
    }

    /// The answer is spoken as `Accept` wants it, else as the request is; and what is written is read again.
    #[test]
    fn answers() {
        let asked = Spoken::of(b"application/grpc-web-text").unwrap();
        for (accept, expected) in [
            (&["*/*"][..], "application/grpc-web-text"),
            (&[], "application/grpc-web-text"),
            (
                &["text/html, application/grpc-web+proto", "application/grpc-web"],
                "application/grpc-web+proto",
            ),
        ] {
            let mut out = Vec::new();
            asked.answer(accept.iter().map(|line| line.as_bytes())).write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        Spoken::of(b"application/grpc-web-text+proto").unwrap().write_grpc(&mut out);
        assert_eq!(out, b"application/grpc+proto");
    }
}
