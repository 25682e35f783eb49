//! Settings under `/proc/sys/net`, and the record on disk of what they were before us.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tidegate_plan::{IP_FORWARD, Recorded, SysctlKey};

const RECORD: &str = "sysctls.json";
const IPV4_CONF: &str = "net/ipv4/conf";

/// The settings' values and their record.
pub(crate) struct Sysctls {
    path: PathBuf,
    recorded: BTreeMap<SysctlKey, Recorded>,
}

impl Sysctls {
    /// Reads the record in `state_dir`, if there is one.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(RECORD);
        let recorded = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, recorded })
    }

    /// Reads the record anew: another process may have written it since.
    pub(crate) fn reread(&mut self) -> io::Result<()> {
        let state_dir = self.path.parent().map(Path::to_path_buf).unwrap_or_default();
        *self = Sysctls::open(&state_dir)?;
        Ok(())
    }

    /// What is recorded.
    pub(crate) fn recorded(&self) -> &BTreeMap<SysctlKey, Recorded> {
        &self.recorded
    }

    /// Writes a setting; the value found goes to disk first, unless an older one is there.
    pub(crate) fn set(&mut self, key: &SysctlKey, value: &str) -> io::Result<()> {
        let original = read(key)?;
        let before = self.recorded.clone();
        let record = self.recorded.entry(key.clone()).or_insert_with(|| Recorded {
            original,
            ours: String::new(),
            beside: if key.path() == IP_FORWARD { changed_by_forwarding() } else { BTreeMap::new() },
        });
        value.clone_into(&mut record.ours);
        if let Err(error) = self.save() {
            self.recorded = before;
            return Err(error);
        }
        write(key, value)
    }

    /// Writes the recorded value back, then those of the settings the kernel changed along with it.
    pub(crate) fn restore(&mut self, key: &SysctlKey) -> io::Result<()> {
        let Some(record) = self.recorded.get(key) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "nothing is recorded"));
        };
        write(key, &record.original)?;
        for (beside, value) in &record.beside {
            // One whose interface is gone needs nothing.
            if read(beside).is_ok_and(|now| now != *value) {
                write(beside, value)?;
            }
        }
        self.forget(key)
    }

    /// Drops a record.
    pub(crate) fn forget(&mut self, key: &SysctlKey) -> io::Result<()> {
        self.recorded.remove(key);
        self.save()
    }

    /// Written beside and renamed, so that a crash leaves the old record or the new one. No record, no file.
    fn save(&self) -> io::Result<()> {
        if self.recorded.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(state_dir) = self.path.parent() {
            fs::create_dir_all(state_dir)?;
        }
        let beside = self.path.with_extension("json.new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&self.recorded)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }
}

/// The value of a setting.
pub(crate) fn read(key: &SysctlKey) -> io::Result<String> {
    Ok(fs::read_to_string(file(key))?.trim().to_owned())
}

fn write(key: &SysctlKey, value: &str) -> io::Result<()> {
    // Not `fs::write`: it would ask the kernel to truncate and create.
    fs::OpenOptions::new().write(true).open(file(key))?.write_all(value.as_bytes())
}

fn file(key: &SysctlKey) -> PathBuf {
    Path::new("/proc/sys").join(key.path())
}

/// `ip_forward` rewrites `forwarding` of every interface and `accept_redirects` of `all`.
fn changed_by_forwarding() -> BTreeMap<SysctlKey, String> {
    let interfaces = fs::read_dir(Path::new("/proc/sys").join(IPV4_CONF)).into_iter().flatten().flatten();
    interfaces
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| format!("{IPV4_CONF}/{name}/forwarding"))
        .chain([format!("{IPV4_CONF}/all/accept_redirects")])
        .filter_map(|name| {
            let key = SysctlKey::try_from(name).ok()?;
            let value = read(&key).ok()?;
            Some((key, value))
        })
        .collect()
}
