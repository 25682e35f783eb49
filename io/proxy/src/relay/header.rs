//! The PROXY protocol: read from who came in; what goes out is in [`Approach`](crate::wire::Approach).
//!
//! A header is looked at before it is taken, so that exactly its bytes leave the socket and whoever comes next (TLS,
//! HTTP, a relay) begins with the client's own first byte.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use socket2::SockRef;
use tidegate_model::traffic::{ClientPolicy, ProxyProtocolIn};
use tidegate_traffic::client::may_send_proxy_header;
use tidegate_traffic::proxy_protocol::{Error, Header, Transport, V2_BYTES_MAX, parse};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::timer::Watch;

/// The connection ends before it begins, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwelcome(pub &'static str);

/// Whom a new connection speaks for: client and address asked; nothing: for itself. The watch must run.
pub async fn receive(
    stream: &TcpStream,
    peer: SocketAddr,
    policy: &ClientPolicy,
    watch: &Watch,
) -> Result<Option<(SocketAddr, SocketAddr)>, Unwelcome> {
    let trusted = may_send_proxy_header(&policy.trust, peer.ip());
    let required = policy.proxy_protocol == ProxyProtocolIn::Required;
    if required && !trusted {
        return Err(Unwelcome("NotTrusted"));
    }
    let header = match watch.within(take(stream)).await {
        Ok(Ok(header)) => header,
        Ok(Err(Error::Absent)) if !required => return Ok(None),
        Ok(Err(Error::Absent)) => return Err(Unwelcome("Absent")),
        Ok(Err(_)) => return Err(Unwelcome("Malformed")),
        // Who may speak for itself may wait for the other side to speak first, but not begin a header and stop.
        Err(_) if !required && is_silent(stream) => return Ok(None),
        Err(_) => return Err(Unwelcome("Timeout")),
    };
    match header {
        Some(_) if !trusted => Err(Unwelcome("NotTrusted")),
        Some(Header { addresses: Some(told), local: false, .. }) if told.transport == Transport::Stream => {
            Ok(Some((told.source, told.destination)))
        }
        Some(_) => Ok(None),
        None => Err(Unwelcome("ClientGone")),
    }
}

/// Takes a header off the front; nothing: the connection ended before it was whole.
async fn take(stream: &TcpStream) -> Result<Option<Header>, Error> {
    let mut seen = vec![0; V2_BYTES_MAX];
    let (mut known, mut ended) = (0, false);
    loop {
        let count = match stream.peek(&mut seen).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(count) => count,
        };
        if let Some(header) = parse(&seen[..count])? {
            let taken = stream.try_read(&mut seen[..header.consumed]);
            return Ok(taken.is_ok_and(|taken| taken == header.consumed).then_some(header));
        }
        if ended && count == known {
            return Ok(None);
        }
        known = count;
        // All there is was looked at: only what comes next is news.
        let _ =
            stream.try_io(Interest::READABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
        let Ok(ready) = stream.ready(Interest::READABLE).await else { return Ok(None) };
        ended = ready.is_read_closed();
    }
}

/// Whether nothing has come, asked of the kernel.
fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit(); 1];
    let peeked = SockRef::from(stream).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
