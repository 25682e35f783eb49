//! The origin of a page that a browser loads: HTML, a script, an image, a long text, an echo of what is posted, and a
//! WebSocket that echoes messages. The page reports what it saw; the report is printed as one line.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http::{Head, Reader};

/// What stands before a report on standard output.
pub const REPORT: &str = "the page saw ";

const PAGE: &str = include_str!("site/page.html");
const SCRIPT: &str = include_str!("site/page.js");
const IMAGE: &str =
    "<svg xmlns='http://www.w3.org/2000/svg' width='37' height='11'><rect width='37' height='11'/></svg>";
/// Lines of the long text.
const TEXT_LINES: usize = 4000;
/// RFC 6455 section 1.3.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A message of a WebSocket here is shorter.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Serves until it is killed.
pub fn serve(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A connection that breaks off concerns nobody else.
                let _ = converse(stream).await;
            });
        }
    })
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    while let Some(head) = reader.head().await? {
        let body = reader.body(&head).await?;
        if head.fields.contains_key("upgrade") {
            write.write_all(switching(&head)?.as_bytes()).await?;
            return echo_messages(&mut reader, &mut write).await;
        }
        let (status, kind, content) = answer(&head, body);
        let length = content.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        write.write_all(&[head.as_bytes(), &content].concat()).await?;
    }
    Ok(())
}

fn answer(head: &Head, body: Vec<u8>) -> (&'static str, &'static str, Vec<u8>) {
    const OK: &str = "200 OK";
    match head.target() {
        "/" => (OK, "text/html; charset=utf-8", PAGE.into()),
        "/page.js" => (OK, "text/javascript", SCRIPT.into()),
        "/image.svg" => (OK, "image/svg+xml", IMAGE.into()),
        "/text" => (OK, "text/plain", text()),
        "/new" => (OK, "text/plain", b"moved here".to_vec()),
        "/report" => {
            println!("{REPORT}{}", String::from_utf8_lossy(&body));
            (OK, "text/plain", Vec::new())
        }
        target if target.starts_with("/echo") => (OK, "application/octet-stream", body),
        _ => ("404 Not Found", "text/plain", b"nothing is here".to_vec()),
    }
}

fn text() -> Vec<u8> {
    (0..TEXT_LINES)
        .flat_map(|line| format!("line {line} of a text that compresses well\n").into_bytes())
        .collect()
}

/// The answer to a WebSocket's handshake (RFC 6455 section 4.2.2). SHA-1 and base64 by openssl; everybody else waits, but it
/// is asked once.
fn switching(head: &Head) -> io::Result<String> {
    let key = head.fields.get("sec-websocket-key").map(String::as_str).unwrap_or_default();
    let mut openssl = Command::new("sh");
    openssl.args([
        "-c",
        "printf %s \"$0\" | openssl dgst -sha1 -binary | openssl base64",
        &format!("{key}{SALT}"),
    ]);
    let accept = openssl.stdin(Stdio::null()).output()?.stdout;
    let accept = String::from_utf8_lossy(&accept).trim().to_owned();
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    ))
}

/// Sends every message back without its mask, whatever its frames; a close frame is answered and ends it.
async fn echo_messages(
    reader: &mut Reader<impl AsyncRead + Unpin>,
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    const CLOSE: u8 = 8;
    let mut bytes = Vec::new();
    loop {
        while let Some((frame, used)) = unmasked(&bytes)? {
            bytes.drain(..used);
            write.write_all(&frame).await?;
            if frame[0] & 0xf == CLOSE {
                return Ok(());
            }
        }
        let more = reader.bytes().await?;
        if more.is_empty() {
            return Ok(());
        }
        bytes.extend(more);
    }
}

/// The first frame as a server sends it, and how many bytes it had; none: it is not complete (RFC 6455 section 5.2).
fn unmasked(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let wide = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let head = 2 + wide;
    if bytes.len() < head + 4 {
        return Ok(None);
    }
    let length = match wide {
        0 => usize::from(second & 0x7f),
        _ => bytes[2..head]
            .iter()
            .fold(0_usize, |length, byte| length.saturating_mul(256) | usize::from(*byte)),
    };
    if length > MESSAGE_BYTES_MAX || second & 0x80 == 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if bytes.len() < head + 4 + length {
        return Ok(None);
    }
    let (mask, content) = (&bytes[head..head + 4], &bytes[head + 4..head + 4 + length]);
    let mut frame = vec![first, second & 0x7f];
    frame.extend_from_slice(&bytes[2..head]);
    frame.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(Some((frame, head + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame of RFC 6455 section 5.7 loses its mask, and half of it is no frame yet.
    #[test]
    fn masks() {
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let (frame, used) = unmasked(&masked).unwrap().unwrap();
        assert_eq!((&frame[..], used), (&b"\x81\x05Hello"[..], 11));
        assert!(unmasked(&masked[..10]).unwrap().is_none());
        assert!(unmasked(&[0x81, 5]).unwrap().is_none());
        assert!(unmasked(b"\x81\x05Hello").is_err(), "a client masks");
    }

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn accepts() {
        let mut head = Head::default();
        head.fields.insert("sec-websocket-key".into(), "dGhlIHNhbXBsZSBub25jZQ==".into());
        assert!(switching(&head).unwrap().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
}
