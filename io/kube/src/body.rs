//! Answers read with a bound: whole ones, and lines of a watch.

use futures_util::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use http::Request;
use kube::Client;
use serde::de::DeserializeOwned;

use crate::trouble::Trouble;

/// How many bytes an answer may have; a longer list is asked for in smaller pages.
pub(crate) const ANSWER_MAX: usize = 64 << 20;
/// How many bytes a line of a watch may have. An object has 3 MiB at most by what etcd takes.
const LINE_MAX: usize = 16 << 20;

/// Asks for a path; the answer can be read as it comes.
pub(crate) async fn ask(client: &Client, path: &str) -> Result<impl AsyncBufRead + Unpin + use<>, Trouble> {
    let request = Request::get(path)
        .header("accept", "application/json")
        .body(Vec::new())
        .map_err(|error| Trouble::Other(format!("{path} cannot be asked for: {error}")))?;
    Ok(Box::pin(client.request_stream(request).await?))
}

/// Asks for a path, and reads the answer whole.
pub(crate) async fn fetch<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Trouble> {
    parse(&fetch_bytes(client, path).await?)
}

/// Asks for a path; the bytes of the answer.
pub(crate) async fn fetch_bytes(client: &Client, path: &str) -> Result<Vec<u8>, Trouble> {
    let mut answer = ask(client, path).await?.take(ANSWER_MAX as u64 + 1);
    let mut bytes = Vec::new();
    answer.read_to_end(&mut bytes).await?;
    if bytes.len() > ANSWER_MAX {
        return Err(Trouble::TooLarge(format!("the answer has more than {ANSWER_MAX} bytes")));
    }
    Ok(bytes)
}

/// What an answer says.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes)
        .map_err(|error| Trouble::Answered(format!("what answers is no Kubernetes API: {error}")))
}

/// Reads the next line into `line`, without its end; false at the end of the stream, where a piece of a line is dropped.
pub(crate) async fn next_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Result<bool, Trouble> {
    line.clear();
    loop {
        let piece = stream.fill_buf().await?;
        if piece.is_empty() {
            return Ok(false);
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        let taken = end.map_or(piece.len(), |end| end + 1);
        stream.consume_unpin(taken);
        if end.is_some() {
            return Ok(true);
        }
        if line.len() > LINE_MAX {
            return Err(Trouble::Other(format!("an event has more than {LINE_MAX} bytes")));
        }
    }
}
