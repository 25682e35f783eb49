//! As much HTTP/1.1 as the lab's own clients and servers need. It is deliberately not the proxy's: what checks the
//! proxy must not share its mistakes.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const HEAD_BYTES_MAX: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;

/// A first line and header fields, names in lower case; fields of one name are joined by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The first line, without its line end.
    pub first_line: String,
    /// Header fields.
    pub fields: BTreeMap<String, String>,
}

impl Head {
    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.first_line.split(' ').nth(1)?.parse().ok()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or("/")
    }

    /// Whether the connection ends after this message.
    pub fn closes(&self) -> bool {
        let asked = self.fields.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        asked || self.first_line.contains("HTTP/1.0")
    }
}

/// Reads messages from a stream; what was read too far stays for the next one.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Begins to read.
    pub fn new(stream: R) -> Self {
        Reader { stream, buffer: Vec::new() }
    }

    /// The next head; none at a clean end of the stream.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = parse_head(&self.buffer[..end])?;
                self.buffer.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(bad("a head without end"));
            }
            match (self.more().await?, self.buffer.is_empty()) {
                (0, true) => return Ok(None),
                (0, false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    /// The body that belongs to a head.
    pub async fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if head.fields.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        let length = head.fields.get("content-length").map_or(Ok(0), |value| value.parse());
        self.exactly(length.map_err(|_| bad("a length that is no number"))?).await
    }

    /// Whatever bytes come next, once no messages do any more; none at the end.
    pub async fn bytes(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.more().await?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| bad("a chunk without a size"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            if body.len() + size > BODY_BYTES_MAX {
                return Err(bad("a body too long"));
            }
            body.extend(self.exactly(size).await?);
            self.line().await?;
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(bad("a line without end"));
            }
            self.some().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_BYTES_MAX {
            return Err(bad("a body too long"));
        }
        while self.buffer.len() < length {
            self.some().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn some(&mut self) -> io::Result<()> {
        match self.more().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 8192];
        let count = self.stream.read(&mut bytes).await?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(bytes).map_err(|_| bad("a head that is no text"))?;
    let mut lines = text.split("\r\n");
    let mut head = Head { first_line: lines.next().unwrap_or_default().to_owned(), ..Head::default() };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header field without a colon"))?;
        let field = head.fields.entry(name.to_ascii_lowercase()).or_default();
        if !field.is_empty() {
            field.push_str(", ");
        }
        field.push_str(value.trim());
    }
    Ok(head)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &str) -> io::Result<Vec<(Head, String)>> {
        let mut reader = Reader::new(bytes.as_bytes());
        let mut messages = Vec::new();
        while let Some(head) = reader.head().await? {
            let body = reader.body(&head).await?;
            messages.push((head, String::from_utf8_lossy(&body).into_owned()));
        }
        Ok(messages)
    }

    /// Two messages on one connection are read apart, one with a length and one in chunks.
    #[tokio::test(flavor = "current_thread")]
    async fn two_messages() {
        let one = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let two = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\nA: 1\r\na: 2\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n";
        let messages = read(&format!("{one}{two}")).await.unwrap();
        assert_eq!(messages[0].0.status(), Some(200));
        assert_eq!((messages[0].1.as_str(), messages[1].1.as_str()), ("abc", "def"));
        assert_eq!((messages[1].0.status(), messages[1].0.fields["a"].as_str()), (Some(503), "1, 2"));
    }

    /// A body that ends early is an error, not a short body.
    #[tokio::test(flavor = "current_thread")]
    async fn cut_short() {
        for message in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200",
            "x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ] {
            assert!(read(message).await.is_err(), "{message}");
        }
    }
}
