//! `peers`: the one secret that the gateways of a set share, and how they meet.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use tidegate_compile::duration;
use tidegate_tls::{ROTATION_MAX, ROTATION_MIN};

/// Fewer bytes could be guessed.
const SECRET_BYTES_MIN: usize = 32;

/// Where gateways listen for one another, next to the admin address.
const PORT: u16 = 9441;

/// How long one key seals session tickets.
const TICKET_ROTATION: Duration = Duration::from_secs(6 * 3600);

/// `peers` of the bootstrap file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peers {
    /// The file that holds the secret, the same on every gateway; none: this gateway shares nothing.
    key_file: Option<PathBuf>,
    /// The TCP port on which gateways listen for one another, the same on every gateway.
    port: Port,
    /// How long one key seals session tickets; what it seals is accepted for as long again.
    ticket_rotation: TicketRotation,
}

impl Default for Peers {
    fn default() -> Self {
        Peers { key_file: None, port: Port(PORT), ticket_rotation: TicketRotation(TICKET_ROTATION) }
    }
}

/// A port that can be listened at.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Port(u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let found = i64::deserialize(from)?;
        let port = u16::try_from(found).ok().filter(|port| *port > 0);
        port.map(Port)
            .ok_or_else(|| D::Error::custom(format!("expected a port from 1 to 65535, found {found}")))
    }
}

/// A duration within the bounds of a rotation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct TicketRotation(Duration);

impl<'de> Deserialize<'de> for TicketRotation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::parsed(from, |text| {
            let rotation = duration::gep2257(text)?;
            match (ROTATION_MIN..=ROTATION_MAX).contains(&rotation) {
                true => Ok(TicketRotation(rotation)),
                false => Err(format!("expected a duration from 1s to 24h, found `{text}`")),
            }
        })
    }
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
    /// The port.
    pub fn port(&self) -> u16 {
        self.port.0
    }

    /// How long one key seals session tickets.
    pub fn ticket_rotation(&self) -> Duration {
        self.ticket_rotation.0
    }

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
        let peers = Peers { key_file: Some(file.path().to_owned()), ..Peers::default() };
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
