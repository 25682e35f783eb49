//! Which labs exist on this machine, who owns each, and how one ends. A lab whose owner died without cleaning up is
//! found here and removed by the next `lab` command. It knows namespaces and processes, never what runs in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::{netns, process};

const ROOT: &str = "/run/tidegate-lab";
const RECORD: &str = "lab.json";

/// Held while namespaces or processes are made, and for good once this process is ending: nothing is born meanwhile.
pub static BIRTHS: Mutex<()> = Mutex::new(());
/// Labs that end with this process.
static MINE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What is written down about a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Four hexadecimal digits.
    pub id: String,
    /// Name of its topology.
    pub topology: String,
    /// The process it ends with; none: it stands until `lab down`.
    pub owner: Option<Owner>,
}

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pid: u32,
    /// Field 22 of `/proc/PID/stat`.
    start_ticks: u64,
}

impl Owner {
    fn this_process() -> Result<Owner> {
        let pid = std::process::id();
        Ok(Owner { pid, start_ticks: start_ticks(pid).context("reading our own start time")? })
    }

    /// Whether this is the process of that id.
    pub fn is(&self, pid: u32) -> bool {
        self.pid == pid && self.lives()
    }

    fn lives(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// Takes a new id for a lab of this process and makes its directory.
pub fn claim(topology: &str) -> Result<Record> {
    fs::create_dir_all(ROOT).context("the lab needs root: it makes network namespaces")?;
    for _ in 0..100 {
        let record =
            Record { id: random_id()?, topology: topology.to_owned(), owner: Some(Owner::this_process()?) };
        let (draft, home) =
            (Path::new(ROOT).join(format!(".{}.{}", record.id, std::process::id())), home(&record.id));
        fs::create_dir(&draft)?;
        write(&draft, &record)?;
        // Renamed into place whole, so that no other process sees a lab without an owner; fails where one is.
        if fs::rename(&draft, &home).is_ok() {
            mine().push(record.id.clone());
            return Ok(record);
        }
        fs::remove_dir_all(&draft)?;
    }
    bail!("no free lab id in {ROOT}")
}

/// Lets a lab stand after this process ends.
pub fn release(record: &mut Record) -> Result<()> {
    record.owner = None;
    write(&home(&record.id), record)?;
    mine().retain(|id| *id != record.id);
    Ok(())
}

/// The directory of a lab.
pub fn home(id: &str) -> PathBuf {
    Path::new(ROOT).join(id)
}

/// Every lab written down.
pub fn all() -> Vec<Record> {
    let Ok(entries) = fs::read_dir(ROOT) else { return Vec::new() };
    let read = |entry: fs::DirEntry| serde_json::from_slice(&fs::read(entry.path().join(RECORD)).ok()?).ok();
    let visible = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    entries.flatten().filter(visible).filter_map(read).collect()
}

/// Removes every lab whose owner is dead; their ids.
pub fn sweep() -> Vec<String> {
    let dead = |record: &Record| record.owner.as_ref().is_some_and(|owner| !owner.lives());
    let ids: Vec<_> = all().into_iter().filter(dead).map(|record| record.id).collect();
    ids.into_iter().filter(|id| teardown(id).inspect_err(|e| eprintln!("lab {id}: {e:#}")).is_ok()).collect()
}

/// Ends a lab: kills what runs inside its namespaces, removes them and its directory.
pub fn teardown(id: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let namespaces = netns::of_lab(id);
        let pids = process::inside(&namespaces);
        for pid in &pids {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if pids.is_empty() {
            netns::remove(&namespaces)?;
            break;
        }
        if Instant::now() > deadline {
            bail!("processes {pids:?} of lab {id} do not die");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    mine().retain(|mine| mine != id);
    match fs::remove_dir_all(home(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("removing its directory")
        }
        _ => Ok(()),
    }
}

/// Ends every lab of this process; nothing is born afterwards.
pub fn teardown_mine() {
    std::mem::forget(BIRTHS.lock());
    let ids = mine().clone();
    for id in ids {
        if let Err(error) = teardown(&id) {
            eprintln!("lab {id}: {error:#}");
        }
    }
}

fn mine() -> std::sync::MutexGuard<'static, Vec<String>> {
    MINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write(home: &Path, record: &Record) -> Result<()> {
    let draft = home.join(".draft");
    fs::write(&draft, serde_json::to_vec_pretty(record)?)?;
    Ok(fs::rename(draft, home.join(RECORD))?)
}

fn random_id() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 2];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:04x}", u16::from_ne_bytes(bytes)))
}

fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses; field 3 follows the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let zombie = fields.next()? == "Z";
    if zombie { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that lives is an owner; one with the same id and another start time is not, nor is one that ended.
    #[test]
    fn owners() {
        let me = Owner::this_process().unwrap();
        assert!(me.lives());
        assert!(!Owner { start_ticks: me.start_ticks + 1, ..me }.lives());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = Owner { pid: child.id(), start_ticks: start_ticks(child.id()).unwrap_or(1) };
        child.wait().unwrap();
        assert!(!gone.lives());
    }
}
