//! `peers`: the one secret that the gateways of a set share.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Fewer bytes could be guessed.
const SECRET_BYTES_MIN: usize = 32;

/// `peers` of the bootstrap file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peers {
    /// The file that holds the secret, the same on every gateway; none: this gateway shares nothing.
    key_file: Option<PathBuf>,
}

/// The secret; empty if nothing is shared. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "set" })
    }
}

impl Peers {
    /// Reads the secret. A file that others can read is refused, for it seals the sessions of all clients.
    pub fn secret(&self) -> Result<Secret> {
        let Some(path) = self.key_file.as_deref().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(Secret::default());
        };
        let shown = path.display();
        let secret = fs::read(path).with_context(|| format!("peers.keyFile: cannot read {shown}"))?;
        let mode = fs::metadata(path).with_context(|| format!("peers.keyFile: cannot read {shown}"))?.mode();
        if mode & 0o077 != 0 {
            bail!("peers.keyFile: others can read {shown} (mode {:03o}); chmod 600 it", mode & 0o777);
        }
        let secret = secret.trim_ascii_end().to_vec();
        if secret.len() < SECRET_BYTES_MIN {
            bail!(
                "peers.keyFile: {shown} holds {} bytes, too few to be a secret; make one of {SECRET_BYTES_MIN} with `openssl rand -hex {SECRET_BYTES_MIN}`",
                secret.len()
            );
        }
        Ok(Secret(secret))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn told(content: &str, mode: u32) -> Result<Secret, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let peers = Peers { key_file: Some(file.path().to_owned()) };
        peers
            .secret()
            .map_err(|error| format!("{error:#}").replace(&file.path().display().to_string(), "FILE"))
    }

    /// A secret is long and its own; what is not says so, and no message shows it.
    #[test]
    fn secrets_are_kept() {
        let long = "0123456789abcdef0123456789abcdef";
        assert_eq!(told(&format!("{long}\n"), 0o600), Ok(Secret(long.into())));
        assert_eq!(
            told(long, 0o640).unwrap_err(),
            "peers.keyFile: others can read FILE (mode 640); chmod 600 it"
        );
        assert!(told("short", 0o600).unwrap_err().starts_with("peers.keyFile: FILE holds 5 bytes, too few"));
        assert_eq!(Peers::default().secret().unwrap(), Secret::default());
        assert_eq!(format!("{:?}", Secret(long.into())), "set");
    }
}
