//! Which files a source has: a walk over its directories. Looks at names and stamps, never into a file.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How deep sub-folders are followed.
const DEPTH_MAX: usize = 32;
/// How many files a source may have; the rest, by order of path, is left out and named.
const FILES_MAX: usize = 50_000;
/// How many directories a source may have.
const DIRECTORIES_MAX: usize = 5_000;
/// A file changed less than this before it was looked at may change again without a new time: clocks of file systems
/// tick in milliseconds.
const TICK: Duration = Duration::from_millis(50);

/// What tells a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether the stamp is old enough to be trusted.
    settled: bool,
}

impl Stamp {
    fn of(metadata: &Metadata, now: SystemTime) -> Self {
        let settled = metadata.modified().is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > TICK));
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            settled,
        }
    }

    /// Whether a file with this stamp now need not be read again after having been read with `before`.
    pub fn is_same(&self, before: &Stamp) -> bool {
        before.settled && Stamp { settled: true, ..*self } == *before
    }

    /// How many bytes the file has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Device and inode: tells a directory from another one of the same name.
pub(crate) type Identity = (u64, u64);

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Manifests, by path.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// Directories, which are worth watching.
    pub directories: BTreeMap<PathBuf, Identity>,
    /// Roots and directories that could not be read, and why.
    pub errors: Vec<(PathBuf, String)>,
}

impl Found {
    /// Whether something under this path could not be looked at, so that absence means nothing.
    pub fn is_blind_at(&self, path: &Path) -> bool {
        self.errors.iter().any(|(blind, _)| path.starts_with(blind))
    }
}

/// Walks all roots. A root that is a file counts whatever its name is.
pub(crate) fn walk(roots: &[PathBuf], now: SystemTime) -> Found {
    let mut found = Found::default();
    for root in roots {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => directory(root, &metadata, &mut Vec::new(), now, &mut found),
            Ok(metadata) => {
                found.files.insert(root.clone(), Stamp::of(&metadata, now));
                if let Some((parent, metadata)) = parent_of(root) {
                    found.directories.insert(parent, (metadata.dev(), metadata.ino()));
                }
            }
            Err(error) => found.errors.push((root.clone(), format!("cannot be read: {error}"))),
        }
    }
    found
}

fn parent_of(file: &Path) -> Option<(PathBuf, Metadata)> {
    let parent = match file.parent()? {
        empty if empty.as_os_str().is_empty() => PathBuf::from("."),
        parent => parent.to_owned(),
    };
    let metadata = fs::metadata(&parent).ok()?;
    Some((parent, metadata))
}

/// `above` holds the directories that lead here: a link back to one of them is not followed.
fn directory(
    path: &Path,
    metadata: &Metadata,
    above: &mut Vec<Identity>,
    now: SystemTime,
    found: &mut Found,
) {
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) {
        return;
    }
    if above.len() >= DEPTH_MAX || found.directories.len() >= DIRECTORIES_MAX {
        let message = format!("left out: more than {DIRECTORIES_MAX} folders, or deeper than {DEPTH_MAX}");
        found.errors.push((path.to_owned(), message));
        return;
    }
    found.directories.insert(path.to_owned(), identity);
    let entries = match fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return found.errors.push((path.to_owned(), format!("cannot be read: {error}"))),
    };
    above.push(identity);
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    for path in paths.iter().filter(|path| !is_hidden(path)) {
        // Follows links. What vanished since, or a link that leads nowhere, is not there.
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            // What cannot be looked at may still be there: its last good objects stay.
            Err(error) => {
                found.errors.push((path.clone(), format!("cannot be read: {error}")));
                continue;
            }
        };
        if metadata.is_dir() {
            directory(path, &metadata, above, now, found);
        } else if metadata.is_file() && is_manifest(path) {
            if found.files.len() >= FILES_MAX {
                found
                    .errors
                    .push((path.clone(), format!("left out: the source has more than {FILES_MAX} files")));
                break;
            }
            found.files.insert(path.clone(), Stamp::of(&metadata, now));
        }
    }
    above.pop();
}

/// Names that begin with a dot: editors' temporaries, version control, and the `..data` of a mounted ConfigMap, whose
/// files are reached through the links beside it.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
