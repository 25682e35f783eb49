//! A listener's TLS settings, compiled once and shared by all workers.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{Error, ServerConfig};
use thiserror::Error as ThisError;
use tidegate_model::traffic::{ClientValidation, Roots, ServerTls};

use crate::certificate::CertificateError;
use crate::choice::Shown;
use crate::judge::{ClientCertificate, Judge};
use crate::provider::{versions, with_suites};
use crate::ticket::TicketKeys;

/// Why a listener's settings cannot be served.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
pub enum ServerTlsError {
    /// There is nothing to show.
    #[error("the listener has no certificate")]
    NoCertificate,
    /// One cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The range holds none.
    #[error("the lowest version of TLS is above the highest")]
    NoVersion,
    /// No client could be let in.
    #[error("client certificates are asked for, and none of the CA certificates can be used")]
    NoRoots,
}

/// A listener's TLS, ready for handshakes.
#[derive(Debug)]
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    judge: Option<Arc<Judge>>,
}

impl ListenerTls {
    /// Compiles the settings. Of the protocols for ALPN those are offered that `speaks` allows.
    pub fn new(
        tls: &ServerTls,
        tickets: &TicketKeys,
        speaks: impl Fn(&str) -> bool,
    ) -> Result<ListenerTls, ServerTlsError> {
        if tls.certificates.is_empty() {
            return Err(ServerTlsError::NoCertificate);
        }
        let shown = Arc::new(Shown::new(&tls.certificates)?);
        let judge = match &tls.client_validation {
            Some(validation) => Some(Arc::new(Judge::new(validation).ok_or(ServerTlsError::NoRoots)?)),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(with_suites(&tls.ciphers)))
            .with_protocol_versions(&versions(tls.min_version, tls.max_version))
            .map_err(|_| ServerTlsError::NoVersion)?;
        let builder = match &judge {
            Some(judge) => builder.with_client_cert_verifier(judge.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(shown);
        config.ignore_client_order = true;
        config.alpn_protocols =
            tls.alpn.iter().filter(|name| speaks(name)).map(|name| name.clone().into_bytes()).collect();
        // Sessions live in tickets only: a cache would be of one gateway, and a lock of all workers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if tls.resumption {
            config.ticketer = Arc::new(tickets.ticketer(&context(tls.client_validation.as_deref())));
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(ListenerTls { config: Arc::new(config), judge })
    }

    /// What the library takes.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// What the certificates of a finished handshake are worth now; an error if the client must not be served. Ask after
    /// every handshake: a resumed session was not looked at.
    pub fn judge(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        now: UnixTime,
    ) -> Result<ClientCertificate, Error> {
        self.judge.as_ref().map_or(Ok(ClientCertificate::None), |judge| judge.verdict(certificates, now))
    }

    /// Whether clients are asked for a certificate.
    pub fn asks_for_certificate(&self) -> bool {
        self.judge.is_some()
    }
}

/// What a ticket is bound to: how clients are checked.
fn context(validation: Option<&ClientValidation>) -> Vec<u8> {
    let Some(validation) = validation else { return b"anyone".to_vec() };
    let mut digest = Context::new(&SHA256);
    digest.update(&[u8::from(validation.optional)]);
    if let Roots::These(roots) = &validation.roots {
        for root in roots.iter() {
            digest.update(&(root.len() as u64).to_be_bytes());
            digest.update(root);
        }
    }
    digest.finish().as_ref().to_vec()
}

#[cfg(test)]
pub(crate) mod tests;
