//! The access log: one JSON line for each request.
//!
//! A worker writes lines to a sheet of its own and hands the sheet over when it is full or a tick has passed. The
//! queue to the writer thread is bounded; when it is full the sheet is dropped and its lines are counted. Values are
//! JSON strings, so nothing in a request can begin a line of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use prometheus_client::metrics::counter::Counter;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Sheets on their way to the writer.
const QUEUE_SHEETS: usize = 256;

/// A sheet is handed over when it has grown to this.
const SHEET_BYTES: usize = 32 * 1024;

/// The fields of a line, in their order.
pub const ACCESS_LOG_FIELDS: [&str; 21] = [
    "time",
    "client",
    "peer",
    "listener",
    "host",
    "method",
    "path",
    "protocol",
    "status",
    "reason",
    "route",
    "backend",
    "endpoint",
    "bytes_in",
    "bytes_out",
    "duration_us",
    "upstream_us",
    "request_id",
    "trace_id",
    "tls",
    "user_agent",
];

/// What is logged, and where.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    /// Where.
    pub output: AccessLogOutput,
    /// Which of [`ACCESS_LOG_FIELDS`]; empty: all.
    pub fields: Vec<String>,
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
}

/// One request, over.
#[derive(Debug, Default)]
pub struct Record<'a> {
    pub client: &'a str,
    pub peer: &'a str,
    pub listener: &'a str,
    pub host: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub protocol: &'a str,
    pub status: u16,
    pub reason: &'a str,
    pub route: &'a str,
    pub backend: &'a str,
    pub endpoint: &'a str,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_us: u64,
    pub upstream_us: u64,
    pub request_id: &'a str,
    pub trace_id: &'a str,
    pub tls: &'a str,
    pub user_agent: &'a str,
}

/// Which fields are written: bit i for field i.
#[derive(Clone, Copy, Debug)]
struct Selection(u32);

impl Selection {
    fn new(fields: &[String]) -> Result<Selection, String> {
        let bit = |field: &String| {
            let known = ACCESS_LOG_FIELDS.iter().position(|known| known == field);
            known.map(|index| 1 << index).ok_or_else(|| {
                format!(
                    "accessLog.fields: there is no field '{field}'; known are {}",
                    ACCESS_LOG_FIELDS.join(", ")
                )
            })
        };
        if fields.is_empty() {
            return Ok(Selection(u32::MAX));
        }
        fields.iter().try_fold(0, |bits, field| Ok(bits | bit(field)?)).map(Selection)
    }
}

struct Line<'a>(&'a Record<'a>, Selection);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Line(record, Selection(selected)) = self;
        let mut map = serializer.serialize_map(None)?;
        let mut fields = ACCESS_LOG_FIELDS.iter().enumerate();
        macro_rules! fields {
            ($($value:expr),+ $(,)?) => {$(
                if let Some((index, name)) = fields.next() && selected & (1 << index) != 0 {
                    map.serialize_entry(name, &$value)?;
                }
            )+};
        }
        fields!(
            format_args!("{:.6}", jiff::Timestamp::now()),
            record.client,
            record.peer,
            record.listener,
            record.host,
            record.method,
            record.path,
            record.protocol,
            record.status,
            record.reason,
            record.route,
            record.backend,
            record.endpoint,
            record.bytes_in,
            record.bytes_out,
            record.duration_us,
            record.upstream_us,
            record.request_id,
            record.trace_id,
            record.tls,
            record.user_agent,
        );
        map.end()
    }
}

/// The lines of one worker that were not handed over yet.
pub struct Sheet {
    bytes: Vec<u8>,
    lines: u64,
    selection: Selection,
    queue: Option<SyncSender<Message>>,
    drops: Counter,
}

impl Sheet {
    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Adds a line.
    pub fn write(&mut self, record: &Record<'_>) {
        if serde_json::to_writer(&mut self.bytes, &Line(record, self.selection)).is_ok() {
            self.bytes.push(b'\n');
            self.lines += 1;
        }
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
        let sent = self.queue.as_ref().map(|queue| queue.try_send(Message::Lines(bytes)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) = sent {
            self.drops.inc_by(lines);
        }
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        self.hand_over();
    }
}

enum Message {
    Lines(Vec<u8>),
    Reopen,
}

/// The writer thread. It ends, with everything written, once every sheet and the logger are gone.
pub struct Logger {
    queue: Option<SyncSender<Message>>,
    selection: Selection,
    drops: Counter,
    writer: Option<JoinHandle<()>>,
}

impl Logger {
    /// Opens the output and starts the writer.
    pub fn start(settings: &AccessLog, drops: Counter) -> io::Result<Logger> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        let selection = Selection::new(&settings.fields).map_err(invalid)?;
        let output = match &settings.output {
            AccessLogOutput::Off => return Ok(Logger { queue: None, selection, drops, writer: None }),
            AccessLogOutput::Stderr => Output::Stderr,
            AccessLogOutput::File(path) => Output::File(path.clone(), open(path)?),
        };
        let (queue, messages) = sync_channel(QUEUE_SHEETS);
        let writer =
            std::thread::Builder::new().name("access-log".into()).spawn(move || write(output, &messages))?;
        Ok(Logger { queue: Some(queue), selection, drops, writer: Some(writer) })
    }

    /// A sheet for a worker.
    pub fn sheet(&self) -> Sheet {
        Sheet {
            bytes: Vec::new(),
            lines: 0,
            selection: self.selection,
            queue: self.queue.clone(),
            drops: self.drops.clone(),
        }
    }

    /// Opens the file anew, after the lines handed over so far.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            // Waiting is right here: this is no worker, and the order must not be lost.
            let _ = queue.send(Message::Reopen);
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

enum Output {
    Stderr,
    File(PathBuf, File),
}

fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| {
        io::Error::new(error.kind(), format!("accessLog.output {}: {error}", path.display()))
    })
}

fn write(mut output: Output, messages: &Receiver<Message>) {
    for message in messages {
        match (&mut output, message) {
            (Output::Stderr, Message::Lines(bytes)) => _ = io::stderr().write_all(&bytes),
            (Output::Stderr, Message::Reopen) => {}
            (Output::File(path, file), Message::Lines(bytes)) => {
                if let Err(error) = file.write_all(&bytes) {
                    tracing::warn!(path = %path.display(), %error, "access log lines are lost");
                }
            }
            (Output::File(path, file), Message::Reopen) => match open(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::warn!(%error, "the access log goes on in the file that was open"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logger(fields: &[&str], path: &Path) -> io::Result<Logger> {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        Logger::start(&AccessLog { output: AccessLogOutput::File(path.into()), fields }, Counter::default())
    }

    /// A line has every field in order, and nothing in a request breaks out of its string.
    #[test]
    fn a_line_holds_whatever_a_client_sends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = logger(&[], &path).unwrap();
        let nasty = "a\"b\\c\r\n\u{1b}[31m{\"status\":200}\u{2028}";
        log.sheet().write(&Record { user_agent: nasty, path: nasty, status: 404, ..Record::default() });
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.trim_end().contains(|c: char| c.is_control()));
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(line["user_agent"], nasty);
        assert_eq!(line["status"], 404);
        let mut names: Vec<_> = line.keys().map(String::as_str).collect();
        let mut known = ACCESS_LOG_FIELDS.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
        assert!(line["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    /// Only the fields asked for are written, and one that does not exist is refused by name.
    #[test]
    fn fields_are_selected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = logger(&["status", "host"], &path).unwrap();
        log.sheet().write(&Record { host: "a", status: 200, ..Record::default() });
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"host\":\"a\",\"status\":200}\n");
        let error = logger(&["stats"], &path).err().unwrap().to_string();
        assert!(error.contains("'stats'") && error.contains("status"), "{error}");
    }

    /// A file moved away gets the lines before the reopening, a new one those after it.
    #[test]
    fn the_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = logger(&["status"], &path).unwrap();
        log.sheet().write(&Record { status: 201, ..Record::default() });
        // Only once the first line is there is the move a rotation.
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.sheet().write(&Record { status: 202, ..Record::default() });
        drop(log);
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "{\"status\":201}\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"status\":202}\n");
    }

    /// A queue that is full loses lines, counts them, and never waits.
    #[test]
    fn a_full_queue_drops_and_counts() {
        let drops = Counter::default();
        let (queue, _messages) = sync_channel(1);
        let mut sheet = Sheet {
            bytes: vec![],
            lines: 0,
            selection: Selection(1),
            queue: Some(queue),
            drops: drops.clone(),
        };
        for _ in 0..3 {
            sheet.write(&Record::default());
            sheet.hand_over();
        }
        assert_eq!(drops.get(), 2);
    }
}
