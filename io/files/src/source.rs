//! [`FileSource`]: directories and files, read on demand. Reads again only what changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use tidegate_decode::SourceState;
use tidegate_model::observed::SourceStatus;
use tidegate_objects::{Object, ObjectRef, Snapshot};

use crate::file::{self, FileState};
use crate::hold::Hold;
use crate::state::merge;
use crate::walk::{self, Found};

/// A source of manifests: directories (with their sub-folders) and single files.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, FileState>,
    /// What could not be looked at last time.
    unreadable: Vec<(PathBuf, String)>,
    synced: bool,
    /// States of the files that the last look replaced, in case the new ones turn out half written.
    replaced: BTreeMap<PathBuf, Option<FileState>>,
    /// What was in force when a state was last made: the next one shares with it.
    given: Snapshot,
    /// Files that are gone, and whose objects stay for a while.
    pub(crate) hold: Hold,
}

/// What a look at the files found.
pub(crate) struct Look {
    pub found: Found,
    pub changed: bool,
}

impl FileSource {
    /// A source with this name over a directory or a file. Nothing is read yet.
    pub fn open(name: &str, path: PathBuf) -> Self {
        Self::open_all(name, vec![path])
    }

    /// A source over several directories and files; the first of two equal objects counts, in the order of paths.
    pub fn open_all(name: &str, roots: Vec<PathBuf>) -> Self {
        FileSource {
            name: name.to_owned(),
            roots,
            files: BTreeMap::new(),
            unreadable: Vec::new(),
            synced: false,
            replaced: BTreeMap::new(),
            given: Snapshot::default(),
            hold: Hold::default(),
        }
    }

    /// Reads everything, as `tidegate check` does. May block on the disk.
    pub fn load_once(&mut self) -> SourceState {
        self.look(&BTreeSet::new());
        self.state()
    }

    /// Looks at all files and reads those that changed, but not those in `being_written`.
    pub(crate) fn look(&mut self, being_written: &BTreeSet<PathBuf>) -> Look {
        let found = walk::walk(&self.roots, SystemTime::now());
        let changed: Vec<PathBuf> = found
            .files
            .iter()
            .filter(|(path, stamp)| !self.files.get(*path).is_some_and(|file| stamp.is_same(&file.stamp)))
            .filter(|(path, _)| !being_written.contains(*path))
            .map(|(path, _)| path.clone())
            .collect();
        let mut gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !found.files.contains_key(*path) && !found.is_blind_at(path))
            .cloned()
            .collect();
        let held_changed = self.hold.keep(&self.files, &found, &mut gone);
        self.replaced.clear();
        self.read_changed(&changed, &found);
        for path in &gone {
            self.files.remove(path);
        }
        let unreadable_changed = self.unreadable != found.errors;
        self.unreadable.clone_from(&found.errors);
        // What lies in a sub-folder that cannot be read is named, and the rest counts; a missing root says nothing at all.
        let roots_read = !found.errors.iter().any(|(path, _)| self.roots.contains(path));
        let synced_changed = !self.synced && roots_read;
        self.synced |= roots_read;
        let changed = !(self.replaced.is_empty() && gone.is_empty())
            || unreadable_changed
            || synced_changed
            || held_changed;
        Look { found, changed }
    }

    fn read_changed(&mut self, changed: &[PathBuf], found: &Found) {
        let mut read: Vec<(PathBuf, FileState)> = Vec::new();
        {
            let known = if changed.is_empty() { BTreeMap::new() } else { self.known() };
            let known = |reference: &ObjectRef| known.get(reference).map(|object| (*object).clone());
            for path in changed {
                let state = file::read(&self.name, path, found.files[path], self.files.get(path), &known);
                read.push((path.clone(), state));
            }
        }
        for (path, state) in read {
            if let Some(before) = self.files.get_mut(&path).filter(|before| same(before, &state)) {
                before.stamp = state.stamp;
                continue;
            }
            let before = self.files.insert(path.clone(), state);
            self.replaced.insert(path, before);
        }
    }

    /// Takes back what the last look read from files that turn out to be half written. They are looked at again.
    pub(crate) fn take_back(&mut self, being_written: &BTreeSet<PathBuf>) {
        for path in being_written {
            match self.replaced.remove(path) {
                Some(Some(before)) => {
                    self.files.insert(path.clone(), before);
                }
                Some(None) => {
                    self.files.remove(path);
                }
                None => {}
            }
        }
    }

    /// Every object in force, by identity.
    fn known(&self) -> BTreeMap<&ObjectRef, &Object> {
        let held = self.files.values().rev().flat_map(|file| &file.objects);
        held.map(|held| (&held.reference, &held.object)).collect()
    }

    /// What the source gives now.
    pub(crate) fn state(&mut self) -> SourceState {
        let location: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        let status = SourceStatus {
            name: self.name.clone(),
            source_type: "manifests".into(),
            location: location.join(", "),
            synced: self.synced,
            held: self.hold.sentence().map(str::to_owned).into_iter().collect(),
            ..SourceStatus::default()
        };
        let state = merge(&self.files, &self.unreadable, &self.given, status);
        self.given = state.objects.clone();
        state
    }

    /// Name of the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether one of the roots is missing, or a part of them cannot be read.
    pub(crate) fn is_blind(&self) -> bool {
        !self.unreadable.is_empty()
    }
}

/// Whether reading a file again gave what it gave before.
fn same(before: &FileState, now: &FileState) -> bool {
    before.errors == now.errors
        && before.warnings == now.warnings
        && before.objects.len() == now.objects.len()
        && before.objects.iter().zip(&now.objects).all(|(before, now)| {
            before.reference == now.reference && before.lines == now.lines && before.object == now.object
        })
}
