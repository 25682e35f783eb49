//! Bodies that become something else on their way: compressed, or gRPC-Web. Other bodies never come here.

use std::time::Duration;

use tidegate_coding::{Change, Failed};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{Account, Flow, RelayError, Sink, Source, Trail};
use crate::buffer::Text;
use crate::framing::fields::Fields;

/// Content that is changed in one go; then other connections of the worker have their turn. Less than a millisecond.
const SLICE_BYTES: usize = 16 * 1024;

/// What came out leaves when there is so much of it, or when nothing more comes in.
const GATHERED_BYTES: usize = 8 * 1024;

/// A sender who is silent for so long has paused: what he has sent so far leaves, at the price of some compression.
const PAUSE: Duration = Duration::from_millis(5);

/// Trailers that are about the bytes as they were (RFC 9530).
const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

/// A body's change, and what is counted of it.
pub struct Changing {
    change: Change,
    account: Option<Account>,
}

impl From<Failed> for RelayError {
    fn from(_: Failed) -> RelayError {
        RelayError::Unchanged
    }
}

impl Changing {
    /// A change; `account` if it is to be counted.
    pub fn new(change: Change, account: Option<Account>) -> Changing {
        Changing { change, account }
    }

    fn push(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        let before = out.len();
        self.change.push(content, out)?;
        self.count(content.len(), out.len() - before);
        Ok(())
    }

    fn pause(&mut self, out: &mut Vec<u8>) -> Result<(), Failed> {
        let before = out.len();
        self.change.pause(out)?;
        self.count(0, out.len() - before);
        Ok(())
    }

    /// The end; true if the trailers have become a part of it.
    fn finish(&mut self, trail: &Trail<'_>, out: &mut Vec<u8>) -> Result<bool, Failed> {
        let before = out.len();
        let merged = match trail {
            Trail::Fields(fields) => self.change.finish(fields.lines(), out)?,
            Trail::Raw(_) => self.change.finish(std::iter::empty(), out)?,
        };
        self.count(0, out.len() - before);
        Ok(merged)
    }

    fn count(&mut self, taken: usize, made: usize) {
        if let Some(account) = &mut self.account {
            account.count(taken, made);
        }
    }

    /// How long a silence is waited out. Messages of gRPC leave at once.
    fn patience(&self) -> Duration {
        if matches!(self.change, Change::Compress(_)) { PAUSE } else { Duration::ZERO }
    }
}

/// Passes on all of a body, changed, after what waits in the sink. The source gives content.
pub async fn relay_changed(
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    changing: &mut Changing,
    flow: &Flow<'_>,
) -> Result<(), RelayError> {
    let mut out = flow.buffers.text();
    loop {
        match source.step(flow)? {
            Some(step) => {
                let Some(buffer) = source.buffer() else { continue };
                for slice in buffer.filled()[..step.kept].chunks(SLICE_BYTES) {
                    changing.push(slice, &mut out)?;
                    if out.len() >= GATHERED_BYTES {
                        give(sink, &mut out, flow).await?;
                    }
                    if slice.len() == SLICE_BYTES {
                        yield_now().await;
                    }
                }
                buffer.consume(step.consumed);
            }
            None if out.is_empty() => sink.flush(flow).await?,
            None => {}
        }
        if source.is_done() {
            return end(source.trail(), sink, changing, &mut out, flow).await;
        }
        let waits = changing.change.holds_back() || !out.is_empty();
        let soon = match waits {
            // Given up before it has come to anything, it has taken nothing.
            true => timeout(changing.patience(), source.fill(None, flow)).await.ok(),
            false => None,
        };
        let came = match soon {
            Some(came) => came?,
            None => {
                changing.pause(&mut out)?;
                give(sink, &mut out, flow).await?;
                source.fill(Some(sink), flow).await?
            }
        };
        if !came {
            return match source.ends_with_connection() {
                true => end(Trail::Raw(b""), sink, changing, &mut out, flow).await,
                false => Err(RelayError::From),
            };
        }
    }
}

/// Sends what came out so far.
async fn give(sink: &mut Sink<'_>, out: &mut Text, flow: &Flow<'_>) -> Result<(), RelayError> {
    if !out.is_empty() {
        sink.hold(out);
        out.clear();
        sink.flush(flow).await?;
    }
    Ok(())
}

async fn end(
    trail: Trail<'_>,
    sink: &mut Sink<'_>,
    changing: &mut Changing,
    out: &mut Text,
    flow: &Flow<'_>,
) -> Result<(), RelayError> {
    let merged = changing.finish(&trail, out)?;
    sink.hold(out);
    let mut kept = Fields::default();
    match &trail {
        Trail::Fields(fields) if !merged => {
            let is_digest = |name: &str| DIGESTS.iter().any(|digest| name.eq_ignore_ascii_case(digest));
            for (name, value) in fields.lines().filter(|(name, _)| !is_digest(name)) {
                kept.push(name.as_bytes(), value);
            }
            sink.end(Trail::Fields(&kept), flow).await
        }
        _ => sink.end(Trail::Raw(b""), flow).await,
    }
}
