//! Asking the daemon, over its admin address.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The daemon behind an admin address.
pub struct Client {
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the daemon at `address`; nothing is asked yet.
    pub fn new(address: SocketAddr) -> Self {
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().new_agent();
        Client { address, agent }
    }

    /// Asks for `path` with these parameters.
    pub fn get<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        for (name, value) in parameters {
            request = request.query(*name, *value);
        }
        let mut response = request.call().map_err(|error| self.unreachable(error))?;
        response
            .body_mut()
            .read_json()
            .with_context(|| format!("the answer of {}{path} is not what this version expects", self.address))
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// Nobody answers, or the daemon says why it is not done.
    pub fn post<T: DeserializeOwned>(&self, path: &str, wish: &impl Serialize) -> Result<T> {
        let request = self.agent.post(format!("http://{}{path}", self.address));
        let request = request.config().http_status_as_error(false).build();
        let mut response = request.send_json(wish).map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            let reason = response.body_mut().read_to_string().unwrap_or_default();
            bail!(if reason.is_empty() { response.status().to_string() } else { reason });
        }
        response
            .body_mut()
            .read_json()
            .with_context(|| format!("the answer of {}{path} is not what this version expects", self.address))
    }

    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        anyhow!(
            "no answer from tidegate at {}: {error}; is it running? its address is set by --admin",
            self.address
        )
    }
}
