//! Requests that write, and the reads before them; answers are bounded and come in time, or count as none.

use std::time::Duration;

use futures_util::io::AsyncReadExt;
use http::{Method, Request};
use kube::Client;
use serde_json::Value;
use tidegate_compile::writeback::MANAGER;
use tokio::time::{Instant, timeout_at};

use crate::trouble::Trouble;

/// The longest answer that is taken.
const ANSWER_MAX: u64 = 4 << 20;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What is asked.
pub(crate) enum Ask<'v> {
    Get,
    /// Server-side apply by our field manager, by force.
    Apply(&'v Value),
    /// Put in its place.
    Replace(&'v Value),
    Create(&'v Value),
    /// JSON merge patch.
    Merge(&'v Value),
    Delete(&'v Value),
}

/// Asks, and reads the answer whole; never later than `until`, and no longer than an answer may take.
///
/// # Errors
/// As told by the server, or that it did not answer in time.
pub(crate) async fn send(
    client: &Client,
    path: &str,
    ask: Ask<'_>,
    until: Instant,
) -> Result<Value, Trouble> {
    let until = until.min(Instant::now() + ANSWER_WITHIN);
    match timeout_at(until, exchange(client, path, ask)).await {
        Ok(answer) => answer,
        Err(_) => Err(Trouble::Other("no answer in time".into())),
    }
}

async fn exchange(client: &Client, path: &str, ask: Ask<'_>) -> Result<Value, Trouble> {
    let (method, content, body) = match ask {
        Ask::Get => (Method::GET, "", None),
        // JSON is YAML.
        Ask::Apply(body) => (Method::PATCH, "application/apply-patch+yaml", Some(body)),
        Ask::Replace(body) => (Method::PUT, "application/json", Some(body)),
        Ask::Create(body) => (Method::POST, "application/json", Some(body)),
        Ask::Merge(body) => (Method::PATCH, "application/merge-patch+json", Some(body)),
        Ask::Delete(body) => (Method::DELETE, "application/json", Some(body)),
    };
    let force = if content == "application/apply-patch+yaml" { "&force=true" } else { "" };
    let uri = match method {
        Method::GET | Method::DELETE => path.to_owned(),
        _ => format!("{path}?fieldManager={MANAGER}{force}"),
    };
    let mut request = Request::builder().method(method).uri(uri).header("accept", "application/json");
    if body.is_some() {
        request = request.header("content-type", content);
    }
    let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
    let request = request
        .body(bytes)
        .map_err(|error| Trouble::Other(format!("{path} cannot be asked for: {error}")))?;
    let mut answer = Box::pin(client.request_stream(request).await?).take(ANSWER_MAX + 1);
    let mut bytes = Vec::new();
    answer.read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > ANSWER_MAX {
        return Err(Trouble::TooLarge(format!("the answer has more than {ANSWER_MAX} bytes")));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::Answered(format!("what answers is no Kubernetes API: {error}")))
}
