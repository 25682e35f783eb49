//! The access log: one line for each request, and for each relayed connection.
//!
//! A worker writes lines to a sheet of its own and hands the sheet over when it is full or a tick has passed. The
//! queue to the writer thread is bounded; when it is full the sheet is dropped and its lines are counted. Written sheets
//! come back, so that a request costs no allocation. Nothing in a request can begin a line of its own, in any format.

mod escape;
mod layout;
mod record;
mod syslog;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;

use layout::{Layout, Stamp};
use writer::Output;

pub use record::{ACCESS_LOG_FIELDS, Record};
pub use syslog::Receiver as SyslogReceiver;

/// Sheets on their way to the writer.
const QUEUE_SHEETS: usize = 128;

/// A sheet is handed over when it has grown to this.
const SHEET_BYTES: usize = 64 * 1024;

/// Written sheets that are kept for further lines.
const SPARES_MAX: usize = 16;

/// How long the end of the process waits for a writer that nobody reads from.
const FAREWELL: Duration = Duration::from_secs(2);

/// The port of syslog over UDP (RFC 5426 section 3.3).
const SYSLOG_PORT: u16 = 514;

/// What is logged, and where.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    /// Where.
    pub output: AccessLogOutput,
    /// `json` (or nothing), `logfmt`, `common`, `combined`, or a text with `%{field}` in it.
    pub format: String,
    /// Which of [`ACCESS_LOG_FIELDS`], in this order, for `json` and `logfmt`; empty: all.
    pub fields: Vec<String>,
}

impl AccessLog {
    /// Whether format and fields can be; the error is a sentence that names what is wrong and what would be right.
    pub fn check(format: &str, fields: &[String]) -> Result<(), String> {
        Layout::of(format, fields).map(|_| ())
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogOutput {
    /// Nowhere.
    Off,
    /// To standard error.
    #[default]
    Stderr,
    /// To a file, appended; opened anew on demand.
    File(PathBuf),
    /// To a syslog daemon.
    Syslog(SyslogReceiver),
}

impl AccessLogOutput {
    /// As the settings write it: `stderr`, `off`, `syslog`, `syslog://ADDRESS[:PORT]`, or a file. The error is a
    /// sentence.
    pub fn parse(text: &str) -> Result<AccessLogOutput, String> {
        Ok(match text {
            "off" => AccessLogOutput::Off,
            "stderr" => AccessLogOutput::Stderr,
            "syslog" => AccessLogOutput::Syslog(SyslogReceiver::Local("/dev/log".into())),
            "" => return Err("it is empty; use stderr, off, syslog, or a file".into()),
            text => match text.strip_prefix("syslog://") {
                None => AccessLogOutput::File(text.into()),
                Some(address) => AccessLogOutput::Syslog(SyslogReceiver::Remote(receiver(address)?)),
            },
        })
    }
}

fn receiver(address: &str) -> Result<SocketAddr, String> {
    let ip = address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let socket = ip.map(|ip| SocketAddr::new(ip, SYSLOG_PORT)).or_else(|_| address.parse());
    socket.map_err(|_| {
        format!("expected an IP address, with a port or without, behind `syslog://`, found `{address}`")
    })
}

/// The lines of one worker that were not handed over yet.
pub struct Sheet {
    bytes: Vec<u8>,
    lines: u64,
    layout: Arc<Layout>,
    stamp: Stamp,
    queue: Option<SyncSender<Message>>,
    common: Arc<Common>,
    drops: Counter,
}

impl Sheet {
    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Adds a line.
    pub fn write(&mut self, record: &Record<'_>) {
        self.write_at(record, SystemTime::now());
    }

    fn write_at(&mut self, record: &Record<'_>, now: SystemTime) {
        if self.bytes.capacity() == 0 {
            self.bytes = self.common.spare();
        }
        self.stamp.set(now);
        self.layout.write(record, &mut self.stamp, &mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= SHEET_BYTES {
            self.hand_over();
        }
    }

    /// Hands over what there is; never waits.
    pub fn hand_over(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let bytes = std::mem::take(&mut self.bytes);
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Message::Lines(bytes)) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.drops.inc_by(lines);
                if let Message::Lines(mut bytes) = message {
                    bytes.clear();
                    self.bytes = bytes;
                }
            }
        }
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        self.hand_over();
    }
}

enum Message {
    /// Whole lines.
    Lines(Vec<u8>),
    /// There may be something else to do.
    Wake,
}

/// What workers and writer share; touched once for a sheet, not for a line.
#[derive(Default)]
struct Common {
    reopen: AtomicBool,
    spares: Mutex<Vec<Vec<u8>>>,
}

impl Common {
    fn spare(&self) -> Vec<u8> {
        let spare = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A sheet is full once it is larger: the last line needs room too.
        spare.unwrap_or_else(|| Vec::with_capacity(SHEET_BYTES + 4096))
    }

    fn give_back(&self, mut sheet: Vec<u8>) {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES_MAX && sheet.capacity() <= 2 * SHEET_BYTES {
            sheet.clear();
            spares.push(sheet);
        }
    }
}

/// The writer thread. It ends, with everything written, once every sheet and the logger are gone.
pub struct Logger {
    queue: Option<SyncSender<Message>>,
    layout: Arc<Layout>,
    common: Arc<Common>,
    drops: Counter,
    /// Hangs up when the writer has ended. The lock only makes it `Sync`.
    ended: Mutex<Receiver<()>>,
}

impl Logger {
    /// Opens the output and starts the writer.
    pub fn start(settings: &AccessLog, drops: Counter) -> io::Result<Logger> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, format!("accessLog: {message}"));
        let layout = Arc::new(Layout::of(&settings.format, &settings.fields).map_err(invalid)?);
        let (alive, ended) = channel();
        let ended = Mutex::new(ended);
        let common = Arc::new(Common::default());
        let Some(output) = Output::open(&settings.output)? else {
            return Ok(Logger { queue: None, layout, common, drops, ended });
        };
        let (queue, messages) = sync_channel(QUEUE_SHEETS);
        let (shared, counter) = (common.clone(), drops.clone());
        Builder::new().name("access-log".into()).spawn(move || {
            writer::run(output, &messages, &shared, &counter);
            drop(alive);
        })?;
        Ok(Logger { queue: Some(queue), layout, common, drops, ended })
    }

    /// A sheet for a worker.
    pub fn sheet(&self) -> Sheet {
        Sheet {
            bytes: Vec::new(),
            lines: 0,
            layout: self.layout.clone(),
            stamp: Stamp::default(),
            queue: self.queue.clone(),
            common: self.common.clone(),
            drops: self.drops.clone(),
        }
    }

    /// Opens the file anew before the next line is written. Never waits.
    pub fn reopen(&self) {
        self.common.reopen.store(true, Ordering::Release);
        if let Some(queue) = &self.queue {
            // A queue that is full has something that wakes the writer.
            let _ = queue.try_send(Message::Wake);
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let was_on = self.queue.take().is_some();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if was_on && ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the access log's reader does not read; its last lines are lost");
        }
    }
}
