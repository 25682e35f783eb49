//! `sources` of the bootstrap file, and the flags that name more: where objects are read from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};
use tidegate_model::traffic::EndpointMode;

use super::parsed;
use crate::args;

/// Where objects are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, which no other has.
    pub name: String,
    /// What it is.
    pub origin: Origin,
    /// How the pods of its Services are reached where no annotation says otherwise.
    pub endpoint_mode: EndpointMode,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// A Kubernetes API server.
    Kubernetes(Cluster),
}

/// A Kubernetes API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// How it is reached; without one, it is the cluster that this process is a pod of.
    pub kubeconfig: Option<PathBuf>,
    /// The Lease whose holder writes statuses there.
    pub lease: Lease,
}

/// Where a Lease is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Its namespace, which must be there.
    pub namespace: ObjectName,
    /// Its name.
    pub name: ObjectName,
}

impl Default for Lease {
    fn default() -> Self {
        let name = |text: &str| ObjectName(text.to_owned());
        Lease { namespace: name("tidegate-system"), name: name("tidegate-status") }
    }
}

/// The name of an object: it becomes part of a path (RFC 1123, subdomain).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName(pub String);

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let label = |label: &str| {
                !label.is_empty()
                    && label.bytes().all(plain)
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            match text.len() <= 253 && text.split('.').all(label) {
                true => Ok(ObjectName(text.to_owned())),
                false => Err(format!(
                    "`{text}` is no name of an object: lower-case letters, digits, `-` and `.`, 253 at most"
                )),
            }
        })
    }
}

/// A source as written.
#[derive(Debug, Deserialize)]
pub(super) struct Written {
    name: String,
    #[serde(default)]
    manifests: Option<PathBuf>,
    #[serde(default)]
    kubernetes: Option<Kubernetes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kubernetes {
    kubeconfig: Option<PathBuf>,
    endpoint_mode: EndpointMode,
    lease: Lease,
}

/// The sources of the file, in its order, then those of the flags.
pub(super) fn settle(written: &[Written], run: &args::Run) -> Result<Vec<Source>> {
    let mut sources = written.iter().map(Written::settled).collect::<Result<Vec<_>>>()?;
    let named = |kind: &str, at: usize| if at == 0 { kind.to_owned() } else { format!("{kind}-{}", at + 1) };
    sources.extend(run.manifests.iter().enumerate().map(|(at, directory)| Source {
        name: named("manifests", at),
        origin: Origin::Manifests(directory.clone()),
        endpoint_mode: EndpointMode::Pod,
    }));
    sources.extend(run.kubeconfig.iter().enumerate().map(|(at, file)| Source {
        name: named("kubernetes", at),
        origin: Origin::Kubernetes(Cluster { kubeconfig: Some(file.clone()), ..Cluster::default() }),
        endpoint_mode: EndpointMode::Pod,
    }));
    Ok(sources)
}

impl Written {
    fn settled(&self) -> Result<Source> {
        let name = self.name.clone();
        let origin = match (&self.manifests, &self.kubernetes) {
            (Some(directory), None) => Origin::Manifests(directory.clone()),
            (None, Some(cluster)) => {
                let kubeconfig = cluster.kubeconfig.clone().filter(|file| !file.as_os_str().is_empty());
                Origin::Kubernetes(Cluster { kubeconfig, lease: cluster.lease.clone() })
            }
            _ => bail!("source {name}: give either manifests or kubernetes"),
        };
        let endpoint_mode =
            self.kubernetes.as_ref().map_or_else(EndpointMode::default, |it| it.endpoint_mode);
        Ok(Source { name, origin, endpoint_mode })
    }
}

/// What can be said before anything is read. A kubeconfig may be mended while we run, so that a bad one only stops its own
/// source; a directory is looked at, because a slip there would look like an empty one.
pub(super) fn check(sources: &[Source]) -> Result<()> {
    if sources.is_empty() {
        bail!(
            "there is nothing to read: give --manifests DIR, --kubeconfig FILE, or sources in the file of --config"
        );
    }
    let mut names = BTreeSet::new();
    for Source { name, origin, .. } in sources {
        if !names.insert(name) {
            bail!("two sources are named {name}; names must be unique");
        }
        if let Origin::Manifests(directory) = origin {
            check_directory(name, directory)?;
        }
    }
    Ok(())
}

fn check_directory(name: &str, directory: &Path) -> Result<()> {
    let shown = directory.display();
    let metadata = std::fs::metadata(directory);
    if !metadata.with_context(|| format!("source {name}: cannot read {shown}"))?.is_dir() {
        bail!("source {name}: {shown} is not a directory");
    }
    Ok(())
}
