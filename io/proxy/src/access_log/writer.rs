//! The thread that writes. It may be slow or fail; what it cannot write is dropped and counted, and nobody waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use memchr::memchr_iter;
use prometheus_client::metrics::counter::Counter;

use super::syslog::Syslog;
use super::{AccessLogOutput, Common, Message};

/// Where lines go.
pub enum Output {
    Stderr,
    File(PathBuf, File),
    Syslog(Syslog),
}

impl Output {
    /// Opens it; nothing: lines are not wanted.
    pub fn open(settings: &AccessLogOutput) -> io::Result<Option<Output>> {
        Ok(match settings {
            AccessLogOutput::Off => None,
            AccessLogOutput::Stderr => Some(Output::Stderr),
            AccessLogOutput::File(path) => Some(Output::File(path.clone(), open(path)?)),
            AccessLogOutput::Syslog(receiver) => Some(Output::Syslog(Syslog::new(receiver.clone()))),
        })
    }

    /// Writes whole lines; how many were lost, and why.
    fn write(&mut self, lines: &[u8]) -> (u64, Option<io::Error>) {
        match self {
            Output::Stderr => stream(&mut io::stderr(), lines),
            Output::File(_, file) => stream(file, lines),
            Output::Syslog(syslog) => {
                let (mut lost, mut why) = (0, None);
                for line in lines.split_inclusive(|&byte| byte == b'\n') {
                    if let Err(error) = syslog.send(line.trim_ascii_end()) {
                        lost += 1;
                        why = Some(error);
                    }
                }
                (lost, why)
            }
        }
    }
}

/// Writes as much as goes. A line that was begun is ended, so that the next is a line of its own.
fn stream(out: &mut impl Write, lines: &[u8]) -> (u64, Option<io::Error>) {
    let mut written = 0;
    while written < lines.len() {
        match out.write(&lines[written..]) {
            Ok(0) => return (lost(&lines[written..]), Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                if written > 0 && lines[written - 1] != b'\n' {
                    let _ = out.write(b"\n");
                }
                return (lost(&lines[written..]), Some(error));
            }
        }
    }
    (0, None)
}

fn lost(rest: &[u8]) -> u64 {
    memchr_iter(b'\n', rest).count() as u64
}

fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| {
        io::Error::new(error.kind(), format!("accessLog.output {}: {error}", path.display()))
    })
}

/// Writes until every sheet and the logger are gone.
pub fn run(mut output: Output, messages: &Receiver<Message>, common: &Arc<Common>, drops: &Counter) {
    let mut failing = false;
    for message in messages {
        if common.reopen.swap(false, Ordering::AcqRel)
            && let Output::File(path, file) = &mut output
        {
            match open(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::warn!(%error, "the access log goes on in the file that was open"),
            }
        }
        let Message::Lines(lines) = message else { continue };
        let (lost, why) = output.write(&lines);
        drops.inc_by(lost);
        match why {
            Some(error) if !failing => tracing::warn!(%error, "lines of the access log are lost"),
            None if failing => tracing::info!("the access log is written again"),
            _ => {}
        }
        failing = lost > 0;
        common.give_back(lines);
    }
}
