//! A health check by HTTP: a request without body, and the status of its answer; the body is not waited for.

use super::http2;
use super::probe::{Unfit, receive, send};
use crate::framing::Malformed;
use crate::framing::fields::Fields;
use crate::framing::response::ResponseReader;
use crate::wire::Wire;

/// Who asks.
pub const USER_AGENT: &str = "tidegate-health-check";

/// Interim responses before the final one.
const INTERIM_MAX: usize = 16;

/// A request.
pub struct Request<'r> {
    pub method: &'r str,
    pub host: &'r str,
    pub path: &'r str,
    pub scheme: &'r str,
}

/// The status of the answer.
pub async fn ask(wire: &Wire, request: &Request<'_>, by_http2: bool) -> Result<u16, Unfit> {
    if by_http2 {
        return http2::ask(wire, request, &[], &[]).await.map(|answer| answer.status);
    }
    let Request { method, host, path, .. } = request;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\nconnection: close\r\n\r\n"
    );
    send(wire, head.as_bytes()).await?;
    let mut answer = Vec::new();
    for _ in 0..INTERIM_MAX {
        let mut reader = ResponseReader::new(Fields::default());
        let head = loop {
            match reader.advance(&answer)? {
                Some(head) => break head,
                None => receive(wire, &mut answer).await?,
            }
        };
        let length = head.len();
        let status = head.status;
        if status >= 200 {
            return Ok(status);
        }
        answer.drain(..length);
    }
    Err(Unfit::Unexpected)
}

impl From<Malformed> for Unfit {
    fn from(_: Malformed) -> Unfit {
        Unfit::Unexpected
    }
}
