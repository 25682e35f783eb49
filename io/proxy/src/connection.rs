//! A client's connection: waits for a request, reads its head, serves it, goes on or closes.

use std::net::SocketAddr;
use std::rc::Rc;


use crate::access_log::Record;
use crate::buffer::{Buffer, Size};
use crate::exchange::{self, Story};
use crate::framing::Malformed;
use crate::framing::request::RequestHead;
use crate::framing::scan::HeadScan;
use crate::outgoing::{Persistence, REQUEST_ID};
use crate::reply::Reply;
use crate::wire::{Glance, Wire};
use crate::timer::{Expired, Watch};
use crate::worker::{Door, Worker};

/// Bytes of an unread request that are still taken before a connection is closed, so that the answer is not lost in a reset.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How long that may take.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// The longest request id that is kept from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A client's connection.
pub struct Connection {
    pub worker: Rc<Worker>,
    pub door: Rc<Door>,
    pub stream: Wire,
    pub peer: SocketAddr,
    pub watch: Watch,
    /// Bytes received and not used yet; none while the connection is idle.
    pub inbox: Option<Buffer>,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may follow.
    KeepAlive,
    /// It is closed.
    Close,
    /// It is closed once the rest of the request has been thrown away.
    Linger,
}

/// Why no head arrived.
enum NoHead {
    /// The client closed, or was idle for too long: nothing to say.
    Over,
    /// A part of a head arrived, and then nothing.
    Late,
    Malformed(Malformed),
}

impl Connection {
    /// Serves requests until the connection is over.
    pub async fn run(mut self) {
        // The runtime takes a new stream for readable until told otherwise; a silent one would hold a buffer.
        if self.stream.glance() == Glance::Over {
            return;
        }
        loop {
            let after = match self.next_head().await {
                Ok(head) => exchange::serve(&mut self, &head).await,
                Err(NoHead::Over) => return,
                Err(NoHead::Late) => self.turn_away(&Reply::client_timeout()).await,
                Err(NoHead::Malformed(malformed)) => self.turn_away(&malformed.into()).await,
            };
            match after {
                After::KeepAlive => {}
                After::Close => return,
                After::Linger => return self.linger().await,
            }
        }
    }

    /// Whether the connection is to end with the request at hand.
    pub fn is_closing(&self) -> bool {
        self.door.is_closing()
    }

    /// Waits for a request and reads its head.
    async fn next_head(&mut self) -> Result<RequestHead, NoHead> {
        if self.inbox.as_ref().is_none_or(Buffer::is_empty) {
            self.inbox = None;
            self.wait_idle().await?;
        }
        let limits = &self.worker.limits;
        self.watch.set(limits.request_head);
        let mut scan = HeadScan::default();
        loop {
            let inbox = self.inbox.get_or_insert_with(|| self.worker.buffers.take(Size::Small));
            // An empty line before a request is skipped (RFC 9112 section 2.2).
            while inbox.filled().starts_with(b"\r\n") {
                inbox.consume(2);
                scan = HeadScan::default();
            }
            let lone_return = inbox.filled() == b"\r";
            if !lone_return && let Some(length) = scan.advance(inbox.filled()).map_err(NoHead::Malformed)? {
                let head = RequestHead::parse(&inbox.filled()[..length]).map_err(NoHead::Malformed)?;
                inbox.consume(length);
                return Ok(head);
            }
            match self.watch.within(self.stream.read(inbox)).await {
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Err(NoHead::Over),
                Err(Expired) => return Err(NoHead::Late),
            }
        }
    }

    /// Waits without holding a buffer.
    async fn wait_idle(&self) -> Result<(), NoHead> {
        let limits = &self.worker.limits;
        let wait = if self.is_closing() { limits.close_grace } else { limits.keep_alive };
        self.watch.set_idle(wait, self.door.id);
        match self.watch.within(self.stream.readable()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(NoHead::Over),
        }
    }

    /// Answers what is no request.
    async fn turn_away(&self, reply: &Reply) -> After {
        let table = self.door.table();
        let nobody = table.entry(None);
        let bytes = reply.render(false, Persistence::Close.line());
        let stall = self.worker.limits.body_stall;
        let _ = self.watch.within(self.stream.write_all(&bytes, &self.watch, stall)).await;
        nobody.metrics.record(reply.status, std::time::Duration::ZERO);
        self.worker.metrics.sent.inc_by(bytes.len() as u64);
        let client = self.peer.ip().to_string();
        self.log(&Record {
            client: &client,
            status: reply.status,
            reason: reply.reason,
            bytes_out: bytes.len() as u64,
            ..Record::default()
        });
        After::Linger
    }

    /// Says that no more is coming, and throws away what still arrives, so that the client can read the answer.
    async fn linger(mut self) {
        let shut = self.stream.shutdown_write();
        let mut inbox = self.inbox.take().unwrap_or_else(|| self.worker.buffers.take(Size::Small));
        self.watch.set(LINGER);
        let mut left = if shut.is_ok() { LINGER_BYTES_MAX } else { 0 };
        while left > 0 {
            inbox.clear();
            match self.watch.within(self.stream.read(&mut inbox)).await {
                Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
    }

    /// The client's request id if it is well-formed, else a new one.
    pub fn request_id(&self, head: &RequestHead) -> String {
        let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
        match head.header(REQUEST_ID) {
            Some(id) if (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(fine) => {
                String::from_utf8_lossy(id).into_owned()
            }
            _ => format!("{:016x}{:016x}", self.worker.random(), self.worker.random()),
        }
    }

    /// Counts and logs a request that is over.
    pub fn tell(&self, head: &RequestHead, story: &Story<'_>) {
        let duration = story.started.elapsed();
        let received = head.len() as u64 + story.received;
        story.listener.metrics.record(story.status, duration);
        self.worker.metrics.received.inc_by(received);
        self.worker.metrics.sent.inc_by(story.sent);
        if !self.worker.logs() {
            return;
        }
        let text = |name: &str| String::from_utf8_lossy(head.header(name).unwrap_or_default());
        let name = |value: Option<String>| value.unwrap_or_default();
        self.log(&Record {
            client: &self.peer.ip().to_string(),
            listener: &story.listener.name,
            host: head.authority(),
            method: head.method(),
            path: head.path(),
            protocol: if head.http_1_0 { "HTTP/1.0" } else { "HTTP/1.1" },
            status: story.status,
            reason: story.reason,
            route: &name(story.matched.map(|matched| matched.route.name.to_string())),
            backend: &name(story.backend.map(|backend| backend.id.to_string())),
            endpoint: &name(story.endpoint.map(|endpoint| endpoint.to_string())),
            bytes_in: received,
            bytes_out: story.sent,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            upstream_us: story.upstream_us,
            request_id: &story.request_id,
            trace_id: trace_id(&text("traceparent")),
            user_agent: &text("user-agent"),
            ..Record::default()
        });
    }

    fn log(&self, record: &Record<'_>) {
        if self.worker.logs() {
            self.worker.log(&Record { peer: &self.peer.to_string(), ..*record });
        }
    }
}

/// The trace id of a `traceparent` (W3C Trace Context section 3.2.2); empty if it is not well-formed.
fn trace_id(traceparent: &str) -> &str {
    let mut parts = traceparent.split('-');
    match (parts.next(), parts.next()) {
        (Some(version), Some(id))
            if version.len() == 2 && id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            id
        }
        _ => "",
    }
}
