//! The snapshot file: the last good snapshot of a source on disk, for a start while its API server is away.
//!
//! ```text
//!  {"format":1,"source":"blue","written":"2026-01-02T03:04:05Z"}
//!  an object a line, as pure/decode keeps it
//!  {"objects":2,"sha256":"…"}                                       over all bytes before this line
//! ```
//! It holds keys, so it is readable by its owner alone. It is written beside and renamed: what is there is whole, or its sum
//! tells. Never judges what it holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_decode::{kept_line, of_kept_line};
use tidegate_objects::{Object, Snapshot};

/// The version of the form; one that this program does not know is not read.
const FORMAT: u32 = 1;
/// How many bytes are read: more than any cluster that can be served.
const BYTES_MAX: u64 = 2 << 30;

/// How many threads read objects.
const THREADS_MAX: usize = 4;

/// Where the snapshot of a source lies.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    source: Arc<str>,
    path: PathBuf,
}

/// What was on disk.
#[derive(Debug)]
pub(crate) struct Kept {
    pub objects: Snapshot,
    /// When it was written (RFC 3339).
    pub written: String,
    /// What of it this version cannot read, for people.
    pub left_out: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    source: String,
    written: String,
}

#[derive(Serialize, Deserialize)]
struct Foot {
    objects: usize,
    sha256: String,
}

impl SnapshotFile {
    /// Below this directory, which need not be there.
    pub fn new(source: &Arc<str>, directory: &Path) -> Self {
        SnapshotFile {
            source: source.clone(),
            path: directory.join(format!("{}.snapshot", file_name(source))),
        }
    }

    /// Reads it; none where there is none. May block on the disk.
    ///
    /// # Errors
    /// It cannot be read, is not whole, or in a form of another version; for people.
    pub fn read(&self) -> Result<Option<Kept>, String> {
        let mut text = String::new();
        match File::open(&self.path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => self.parse(&text).map(Some).map_err(|why| self.told(&why)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.told(&error)),
        }
    }

    fn parse(&self, text: &str) -> Result<Kept, String> {
        let damaged = || "it is damaged, or not whole".to_owned();
        let body = text.trim_end_matches('\n').rfind('\n').ok_or_else(damaged)? + 1;
        let (body, foot) = text.split_at(body);
        let foot: Foot = serde_json::from_str(foot).map_err(|_| damaged())?;
        let mut sum = Context::new(&SHA256);
        sum.update(body.as_bytes());
        if hex(sum) != foot.sha256 {
            return Err(damaged());
        }
        let mut lines = body.lines();
        let head: Head = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|_| damaged())?;
        if head.format != FORMAT {
            return Err(format!("its format is {}; this version reads {FORMAT}", head.format));
        }
        let mut kept = Kept { objects: Snapshot::default(), written: head.written, left_out: Vec::new() };
        for read in self.objects(&lines.collect::<Vec<_>>()) {
            match read {
                Ok(object) => kept.objects.insert(object),
                Err(why) => kept.left_out.push(why),
            }
        }
        Ok(kept)
    }

    /// The objects of these lines, in their order; read on a few cores at once, as a start may wait for it.
    fn objects(&self, lines: &[&str]) -> Vec<Result<Object, String>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let read = |lines: &[&str]| -> Vec<_> {
            lines.iter().map(|line| of_kept_line(&self.source, line)).collect()
        };
        std::thread::scope(|scope| {
            let parts: Vec<_> = lines.chunks(lines.len().div_ceil(threads).max(1)).collect();
            let others: Vec<_> = parts.iter().skip(1).map(|part| scope.spawn(|| read(part))).collect();
            let mut objects = parts.first().map_or_else(Vec::new, |part| read(part));
            for other in others {
                objects.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            objects
        })
    }

    /// Puts a snapshot in the place of the one before. Blocks on the disk; costs what all objects cost.
    ///
    /// # Errors
    /// It cannot be written; the one before stays. For people.
    pub fn write(&self, objects: &Snapshot) -> Result<(), String> {
        let draft = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = self.draft(&draft, objects).and_then(|()| fs::rename(&draft, &self.path));
        written.map_err(|error| {
            // What is left of it would only take room; if it cannot be removed there is none to take.
            let _ = fs::remove_file(&draft);
            self.told(&error)
        })
    }

    fn draft(&self, draft: &Path, objects: &Snapshot) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
        // A draft that a process with the same id left behind keeps the mode it had.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        let mut out = Summed { out: BufWriter::new(file), sum: Context::new(&SHA256) };
        let head = Head {
            format: FORMAT,
            source: self.source.to_string(),
            written: format!("{:.0}", Timestamp::now()),
        };
        writeln!(out, "{}", serde_json::to_string(&head)?)?;
        let mut count = 0;
        for object in objects.objects() {
            writeln!(out, "{}", kept_line(&object)?)?;
            count += 1;
        }
        let Summed { mut out, sum } = out;
        let foot = Foot { objects: count, sha256: hex(sum) };
        writeln!(out, "{}", serde_json::to_string(&foot)?)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn told(&self, why: &dyn std::fmt::Display) -> String {
        format!("the snapshot {}: {why}", self.path.display())
    }
}

/// Writes, and sums up what was written.
struct Summed {
    out: BufWriter<File>,
    sum: Context,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn hex(sum: Context) -> String {
    sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name that is one part of a path, whatever the source's name is; different for different names.
fn file_name(source: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    source.bytes().fold(String::new(), |name, byte| match plain(byte) {
        true => name + char::from(byte).encode_utf8(&mut [0; 4]),
        false => format!("{name}%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use tidegate_objects::core::Namespace;
    use tidegate_objects::{Key, Metadata, Resource};

    use super::*;

    fn file(folder: &Path) -> SnapshotFile {
        SnapshotFile::new(&"../blue 1".into(), &folder.join("snapshots"))
    }

    fn snapshot(count: usize) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for n in 0..count {
            let key = Key::new("../blue 1", "", &format!("n{n}"));
            let (labels, annotations) = Default::default();
            let metadata = Metadata { key, labels, annotations, created_secs: n as i64, generation: 1 };
            snapshot.insert(Resource { metadata, spec: Namespace {} }.into());
        }
        snapshot
    }

    /// What was written is read again, in a file that only its owner reads, and nothing else is left in the folder.
    #[test]
    fn comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file(folder.path());
        assert!(file.read().expect("nothing there is no error").is_none());
        for count in [3, 0, 700] {
            file.write(&snapshot(count)).expect("written");
            let kept = file.read().expect("read").expect("there");
            assert_eq!(kept.objects, snapshot(count));
            assert_eq!(kept.left_out, Vec::<String>::new());
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&file.path), mode(&folder.path().join("snapshots"))), (0o600, 0o700));
        let files: Vec<_> = fs::read_dir(folder.path().join("snapshots")).expect("a folder").collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    /// Whatever is cut off or changed, it is refused and named; no part of it counts.
    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file(folder.path());
        file.write(&snapshot(5)).expect("written");
        let whole = fs::read(&file.path).expect("bytes");
        for at in 0..whole.len() - 1 {
            fs::write(&file.path, &whole[..at]).expect("written");
            let why = file.read().map(|kept| kept.is_some()).expect_err("refused");
            assert!(why.contains("damaged"), "{at}: {why}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&file.path, &changed).expect("written");
            let read = file.read();
            // Bits of `objects` in the last line are not under the sum, and nothing goes by them.
            assert!(
                read.as_ref()
                    .map_or(true, |kept| kept.as_ref().is_some_and(|kept| kept.objects == snapshot(5)))
            );
        }
        let text = String::from_utf8(whole).expect("text").replacen("\"format\":1", "\"format\":2", 1);
        let body = &text[..text.trim_end().rfind('\n').expect("lines") + 1];
        let mut sum = Context::new(&SHA256);
        sum.update(body.as_bytes());
        let foot = Foot { objects: 5, sha256: hex(sum) };
        fs::write(&file.path, format!("{body}{}\n", serde_json::to_string(&foot).expect("JSON")))
            .expect("written");
        assert!(file.read().expect_err("refused").contains("format is 2"));
    }
}
