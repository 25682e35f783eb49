//! The hold: folders that are empty all at once, with many objects gone, are believed at a second look only. A disk that is
//! not mounted looks like that, and so does a tool that writes everything anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tidegate_decode::EMPTIED_MIN;
use tidegate_objects::Kind;

use crate::file::FileState;
use crate::walk::Found;

/// What is held back, if anything.
#[derive(Debug)]
pub(crate) struct Hold {
    /// How long until the second look.
    pub wait: Duration,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    confirmed: bool,
    /// Of these nothing goes. Who writes everything anew writes file by file, so it goes on when the first is back.
    folders: BTreeSet<PathBuf>,
    /// For people.
    sentence: String,
}

impl Default for Hold {
    fn default() -> Self {
        Hold { wait: Duration::from_secs(60), held: None }
    }
}

impl Hold {
    /// Takes those files out of `gone` that stay for now; whether what is held is something else than before.
    pub fn keep(
        &mut self,
        files: &BTreeMap<PathBuf, FileState>,
        found: &Found,
        gone: &mut Vec<PathBuf>,
    ) -> bool {
        let was_holding = self.is_holding();
        if self.held.is_none() {
            self.held = emptied(files, found, gone).map(|(folders, what)| Held {
                since: Instant::now(),
                confirmed: false,
                sentence: self.sentence_of(&folders, &what),
                folders,
            });
        }
        if let Some(held) = &self.held {
            let stays = |path: &PathBuf| path.parent().is_some_and(|folder| held.folders.contains(folder));
            let is_over = held.confirmed || held.since.elapsed() >= self.wait || !gone.iter().any(stays);
            if is_over {
                self.held = None;
            } else {
                gone.retain(|path| !stays(path));
            }
        }
        was_holding != self.is_holding()
    }

    fn sentence_of(&self, folders: &BTreeSet<PathBuf>, what: &str) -> String {
        let shown: Vec<String> = folders.iter().take(3).map(|folder| folder.display().to_string()).collect();
        let (shown, secs) = (shown.join(", "), self.wait.as_secs());
        let are = if folders.len() == 1 { "was empty" } else { "and others were empty" };
        format!(
            "{shown} {are} all at once; what is missing there, {what} at first, stays in force for {secs} s"
        )
    }

    /// What is held, for people.
    pub fn sentence(&self) -> Option<&str> {
        self.held.as_ref().map(|held| held.sentence.as_str())
    }

    /// Whether anything is held.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What is held is believed at the next look.
    pub fn confirm(&mut self) {
        if let Some(held) = &mut self.held {
            held.confirmed = true;
        }
    }
}

/// Folders that are still there and have lost their last file, if by that a kind goes from many objects to none; and how
/// many objects of which kinds.
fn emptied(
    files: &BTreeMap<PathBuf, FileState>,
    found: &Found,
    gone: &[PathBuf],
) -> Option<(BTreeSet<PathBuf>, String)> {
    if gone.is_empty() {
        return None;
    }
    let holds_files: BTreeSet<_> = found.files.keys().filter_map(|path| path.parent()).collect();
    let folders = gone.iter().filter_map(|path| path.parent());
    let folders: BTreeSet<PathBuf> = folders
        .filter(|folder| found.directories.contains_key(*folder) && !holds_files.contains(folder))
        .map(PathBuf::from)
        .collect();
    let goes = |path: &PathBuf| path.parent().is_some_and(|folder| folders.contains(folder));
    let mut kinds: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
    for (path, file) in files {
        let goes = goes(path) && !found.files.contains_key(path);
        for held in &file.objects {
            let (going, staying) = kinds.entry(held.reference.kind).or_default();
            *(if goes { going } else { staying }) += 1;
        }
    }
    let many = kinds.iter().filter(|(_, (going, staying))| *going >= EMPTIED_MIN && *staying == 0);
    let many: Vec<String> =
        many.map(|(kind, (going, _))| format!("{going} objects of kind {kind}")).collect();
    (!many.is_empty()).then(|| (folders, many.join(", ")))
}
