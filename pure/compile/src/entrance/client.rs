//! What holds on a socket before a listener is known, where the listeners behind it differ.

use std::sync::Arc;

use tidegate_model::traffic::{ClientPolicy, ProxyProtocolIn};
use tidegate_objects::Kind;

use super::ListenerId;
use crate::gateway::OurGateway;
use crate::listener::{Listener, Protocol};
use crate::verdicts::Verdicts;

/// The policy of the first listener that has one. What another asks for in its stead is told to its policy; of what a
/// listener without a policy gets that way, the policy that holds is told.
pub(super) fn policy(
    ids: &[ListenerId],
    gateways: &[OurGateway<'_>],
    verdicts: &mut Verdicts,
) -> Arc<ClientPolicy> {
    let listeners = || ids.iter().filter_map(|id| gateways.get(id.0)?.listeners.get(id.1));
    let with_policy = |listener| -> Option<_> {
        let listener: &Listener<'_> = listener;
        Some((listener, listener.client.as_ref()?))
    };
    let Some((first, (winner, client))) = listeners().find_map(with_policy) else { return Arc::default() };
    for listener in listeners().filter(|listener| !std::ptr::eq(*listener, first)) {
        let (section, port) = (listener.section(), listener.spec.port);
        match &listener.client {
            Some((key, _)) if key == winner => {}
            Some((key, other)) => {
                for field in differences(client, other, listener.protocol) {
                    let message = format!(
                        "listener {section} shares port {port} with listener {}, whose policy {winner} counts: this holds on a connection before its listener is known; say the same in both policies, or change the port",
                        first.section()
                    );
                    verdicts.part(
                        Kind::ClientTrafficPolicy,
                        key,
                        "Conflicted",
                        format!("spec.{field}"),
                        message,
                    );
                }
            }
            None => {
                for field in differences(client, &ClientPolicy::default(), listener.protocol) {
                    let message = format!(
                        "it holds for listener {section} too, which shares port {port} with listener {} and has no policy: this holds on a connection before its listener is known",
                        first.section()
                    );
                    verdicts.warn(
                        Kind::ClientTrafficPolicy,
                        winner,
                        "Conflicted",
                        format!("spec.{field}"),
                        message,
                    );
                }
            }
        }
    }
    Arc::clone(client)
}

/// The fields that the whole socket has one value of, and a listener of that protocol would have another.
fn differences(holds: &ClientPolicy, asked: &ClientPolicy, protocol: Option<Protocol>) -> Vec<&'static str> {
    // Who may send a PROXY protocol header is asked only where one is read.
    let reads_header = holds.proxy_protocol != ProxyProtocolIn::Off;
    let (limits, others) = (&holds.limits, &asked.limits);
    let of_all = [
        ("proxyProtocol", holds.proxy_protocol != asked.proxy_protocol),
        (
            "clientIPDetection.xForwardedFor.trustedCIDRs",
            reads_header && holds.trust.cidrs != asked.trust.cidrs,
        ),
        ("connection.connectionLimit.value", limits.connections != others.connections),
        (
            "connection.maxConnectionsPerClient",
            limits.connections_per_client != others.connections_per_client,
        ),
    ];
    let (times, other_times) = (&holds.timeouts, &asked.timeouts);
    let (http2, other_http2) = (&holds.http2, &asked.http2);
    let of_http = [
        ("timeout.http.requestReceivedTimeout", times.request_received != other_times.request_received),
        ("timeout.http.requestHeadersReceivedTimeout", times.head != other_times.head),
        ("timeout.http.idleTimeout", times.idle != other_times.idle),
        ("limits.maxRequestHeaderBytes", limits.header_bytes != others.header_bytes),
        ("limits.maxRequestHeaderCount", limits.header_lines != others.header_lines),
        ("http2.maxConcurrentStreams", http2.streams != other_http2.streams),
        ("http2.initialStreamWindowSize", http2.stream_window_bytes != other_http2.stream_window_bytes),
        (
            "http2.initialConnectionWindowSize",
            http2.connection_window_bytes != other_http2.connection_window_bytes,
        ),
    ];
    let of_tls = [("timeout.tcp.tlsHandshakeTimeout", times.handshake != other_times.handshake)];
    let of_tls = of_tls.into_iter().filter(|_| matches!(protocol, Some(Protocol::Https | Protocol::Tls)));
    let is_http = matches!(protocol, Some(Protocol::Http | Protocol::Https));
    let of_http = of_http.into_iter().filter(|_| is_http);
    of_all
        .into_iter()
        .chain(of_tls)
        .chain(of_http)
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
}
