//! How a cluster is reached: a kubeconfig and the files that it names, read again when one of them changes.
//!
//! Bearer tokens in files, and credentials that a command prints, are renewed by the client itself; certificates and keys
//! by a new client, made here.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::trouble::sentence;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Where a pod finds what it is known by.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a client is made of.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    kubeconfig: Option<PathBuf>,
    /// Of the files that the last client was made of.
    read: Option<u64>,
}

/// A client, and what it asks.
#[derive(Clone)]
pub(crate) struct Reached {
    pub client: Client,
    pub place: Arc<Place>,
}

/// Which server a client asks. A version that one server gave means nothing to another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its address.
    pub server: String,
    /// The authorities, one of which its certificate is to come from (DER); none: those of the system.
    authorities: Option<Vec<Vec<u8>>>,
}

impl Access {
    pub fn new(kubeconfig: Option<PathBuf>) -> Self {
        Access { kubeconfig, read: None }
    }

    /// For people, until the server is known.
    pub fn location(&self) -> String {
        self.kubeconfig.as_deref().map_or("the cluster of this pod".into(), |path| path.display().to_string())
    }

    /// A new client where the files have changed since the last, or were never read. Reads small files.
    ///
    /// # Errors
    /// The kubeconfig, or a file that it names, cannot be read or does not make sense; the client before may still work.
    pub async fn look(&mut self) -> Result<Option<Reached>, String> {
        let (config, content) = match &self.kubeconfig {
            Some(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                let (kubeconfig, content) = read.map_err(|error| error.to_string())??;
                if self.read == Some(content) {
                    return Ok(None);
                }
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                (config.map_err(|error| self.told(&sentence(&error)))?, content)
            }
            None => {
                if self.read.is_some() {
                    // Token and authorities of a pod are read again by the client.
                    return Ok(None);
                }
                let config = Config::incluster().map_err(|error| {
                    let remedy = "outside of a pod, name a kubeconfig";
                    format!("this is no pod with a service account ({}); {remedy}", sentence(&error))
                })?;
                (config, 0)
            }
        };
        let server = config.cluster_url.to_string();
        let place = Arc::new(Place { server, authorities: config.root_cert.clone() });
        let client = client(config).map_err(|error| self.told(&error))?;
        self.read = Some(content);
        Ok(Some(Reached { client, place }))
    }

    fn told(&self, why: &str) -> String {
        match &self.kubeconfig {
            Some(path) => format!("kubeconfig {}: {why}", path.display()),
            None => format!("{POD}: {why}"),
        }
    }
}

fn client(mut config: Config) -> Result<Client, String> {
    config.connect_timeout = Some(CONNECT);
    // Lists and watches are given their times where they are asked for, and tries are counted there too.
    config.read_timeout = None;
    config.default_retry = false;
    Client::try_from(config).map_err(|error| sentence(&error))
}

/// A kubeconfig, and a sum over it and the files that it names.
fn read(path: &Path) -> Result<(Kubeconfig, u64), String> {
    let told = |why: &dyn std::fmt::Display| format!("kubeconfig {}: {why}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| told(&sentence(&error)))?;
    let mut sum = DefaultHasher::new();
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let authorities = clusters.filter_map(|cluster| cluster.certificate_authority.as_deref());
    let own = users.flat_map(|user| [user.client_certificate.as_deref(), user.client_key.as_deref()]);
    for file in authorities.chain(own.flatten()).map(Path::new).chain([path]) {
        // A file that is not there is told of when the client is made.
        std::fs::read(file).ok().hash(&mut sum);
    }
    Ok((kubeconfig, sum.finish()))
}
