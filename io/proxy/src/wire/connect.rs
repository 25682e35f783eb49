//! Connections to endpoints: TCP, what goes before TLS, then TLS as the backend's settings say.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use rustls::RootCertStore;
use tidegate_model::traffic::{Backend, BackendTls, Roots};
use tidegate_tls::{ClientCertificate, UpstreamTls, UpstreamTlsFault, store};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::timer::{Expired, Watch};
use crate::wire::Wire;
use crate::wire::accept::finish;
use crate::wire::approach::Approach;
use crate::wire::handshakes::Handshakes;
use crate::wire::session::{Failure, Session};
use crate::wire::tls::{TlsFacts, TlsWire};

/// Settings looked at before those of backends that are gone are forgotten.
const FORGET_AT: usize = 64;

/// What is offered to a backend by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing.
    Nothing,
    /// `http/1.1`.
    Http1,
    /// `h2`, then `http/1.1`.
    Http,
    /// `h2` only.
    Http2,
}

impl Offer {
    fn names(self) -> Vec<Vec<u8>> {
        let names: &[&str] = match self {
            Offer::Nothing => &[],
            Offer::Http1 => &["http/1.1"],
            Offer::Http => &["h2", "http/1.1"],
            Offer::Http2 => &["h2"],
        };
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }
}

/// Why there is no connection to an endpoint.
#[derive(Debug)]
pub enum ConnectError {
    /// The endpoint cannot be reached, or broke the connection.
    Io(io::Error),
    /// The handshake took too long.
    Timeout,
    /// The backend's settings can never work; the sentence is in the log.
    Settings,
    /// The handshake failed.
    Tls(UpstreamTlsFault),
}

impl ConnectError {
    /// The reason in the access log.
    pub fn reason(&self) -> &'static str {
        match self {
            ConnectError::Io(_) => "UpstreamConnect",
            ConnectError::Timeout => "UpstreamTlsTimeout",
            ConnectError::Settings => "UpstreamTlsSettings",
            ConnectError::Tls(fault) => fault.reason(),
        }
    }
}

/// Opens a connection to an endpoint, with TLS if the backend has it. The watch must run with the limit for TCP; it is set anew for the handshake.
pub async fn connect(
    backend: &Backend,
    endpoint: SocketAddr,
    offer: Offer,
    approach: &Approach,
    handshakes: &Handshakes,
    watch: &Watch,
) -> Result<Wire, ConnectError> {
    let stream = approach.dial(endpoint).await.map_err(ConnectError::Io)?;
    if approach.preface.is_empty() {
        return begin(stream, backend.tls.as_ref(), offer, handshakes, watch).await;
    }
    let wire = Wire::Plain(stream);
    wire.write_all(&approach.preface, watch, handshakes.timeout).await.map_err(ConnectError::Io)?;
    let Wire::Plain(stream) = wire else { return Err(ConnectError::Settings) };
    begin(stream, backend.tls.as_ref(), offer, handshakes, watch).await
}

async fn begin(
    stream: TcpStream,
    tls: Option<&Arc<BackendTls>>,
    offer: Offer,
    handshakes: &Handshakes,
    watch: &Watch,
) -> Result<Wire, ConnectError> {
    match tls {
        None => Ok(Wire::Plain(stream)),
        Some(tls) => secure(stream, tls, offer, handshakes, watch).await,
    }
}

/// Begins TLS on a connection to an endpoint.
pub async fn secure(
    stream: TcpStream,
    tls: &Arc<BackendTls>,
    offer: Offer,
    handshakes: &Handshakes,
    watch: &Watch,
) -> Result<Wire, ConnectError> {
    watch.set(handshakes.timeout);
    let shaken = match watch.within(shake(&stream, tls, offer, handshakes)).await {
        Ok(shaken) => shaken,
        Err(Expired) => Err(ConnectError::Timeout),
    };
    match shaken {
        Ok((session, server_name)) => {
            let facts = TlsFacts::of(&session, server_name, ClientCertificate::None);
            handshakes.metrics.upstream(&facts);
            Ok(Wire::Tls(Box::new(TlsWire::new(stream, session, facts))))
        }
        Err(error) => {
            handshakes.metrics.upstream_failure(error.reason());
            Err(error)
        }
    }
}

async fn shake(
    stream: &TcpStream,
    tls: &Arc<BackendTls>,
    offer: Offer,
    handshakes: &Handshakes,
) -> Result<(Session, String), ConnectError> {
    let upstream = handshakes.clients.get(tls).await.ok_or(ConnectError::Settings)?;
    let name = upstream.server_name();
    let session =
        Session::client(upstream.config().clone(), name.clone(), offer.names(), &handshakes.buffers);
    let mut session = session.map_err(|error| ConnectError::Tls(UpstreamTlsFault::of(&error)))?;
    let finished = finish(stream, &mut session).await;
    // The last message, or the alert that says why not.
    let mut flushed = session.flush(stream);
    while let (Ok(()), Ok(false)) = (&finished, &flushed) {
        stream.writable().await.map_err(ConnectError::Io)?;
        flushed = session.flush(stream);
    }
    match finished {
        Ok(()) => Ok((session, name.to_str().into_owned())),
        Err(Failure::Tls(error)) => Err(ConnectError::Tls(UpstreamTlsFault::of(&error))),
        Err(Failure::Io(kind)) => Err(ConnectError::Io(kind.into())),
    }
}

/// The compiled settings of one worker's backends, with their sessions for resumption.
#[derive(Default)]
pub struct Clients {
    known: RefCell<HashMap<usize, Known>>,
}

struct Known {
    /// As long as this is held, no other settings get its address.
    from: Weak<BackendTls>,
    /// Nothing: they can never work.
    tls: Option<Rc<UpstreamTls>>,
}

impl Clients {
    /// The compiled settings; nothing if they can never work.
    async fn get(&self, tls: &Arc<BackendTls>) -> Option<Rc<UpstreamTls>> {
        let address = Arc::as_ptr(tls).addr();
        let known = self.known.borrow().get(&address).map(|known| known.tls.clone());
        if let Some(known) = known {
            return known;
        }
        let system =
            if tls.roots == Roots::System { system_roots().await } else { Arc::new(RootCertStore::empty()) };
        let compiled = UpstreamTls::new(tls, &system);
        if let Err(error) = &compiled {
            tracing::error!(server_name = tls.server_name, %error, "TLS to the backend cannot begin");
        }
        let mut known = self.known.borrow_mut();
        if known.len() >= FORGET_AT {
            known.retain(|_, known| known.from.strong_count() > 0);
        }
        // A reload makes new settings of the same content: they go on with what was compiled, and its sessions.
        let same = known.values().find(|known| known.from.upgrade().is_some_and(|from| from == *tls));
        let compiled = match same {
            Some(same) => same.tls.clone(),
            None => compiled.ok().map(Rc::new),
        };
        known.insert(address, Known { from: Arc::downgrade(tls), tls: compiled.clone() });
        compiled
    }
}

/// The roots of this machine, read once.
async fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();
    let load = || async {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the machine's CA certificates cannot be read");
            }
            store(found.certs.iter().map(AsRef::as_ref))
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Arc::new(RootCertStore::empty()))
    };
    ROOTS.get_or_init(load).await.clone()
}
