//! A health check by HTTP: a request without body, and the status of its answer; the body is not waited for.

use std::mem::MaybeUninit;

use super::http2;
use super::probe::{Unfit, receive, send};
use crate::framing::response::ResponseHead;
use crate::framing::scan::HeadScan;
use crate::framing::{HEADER_LINES_MAX, Malformed};
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
        let mut scan = HeadScan::default();
        let length = loop {
            match scan.advance(&answer)? {
                Some(length) => break length,
                None => receive(wire, &mut answer).await?,
            }
        };
        let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
        let status = ResponseHead::parse_uninit(&answer[..length], &mut lines, *method == "HEAD")?.status;
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
