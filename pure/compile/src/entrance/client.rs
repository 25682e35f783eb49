//! What holds on a socket before a listener is known, where the listeners behind it differ.

use std::sync::Arc;

use tidegate_model::traffic::{ClientPolicy, ProxyProtocolIn};
use tidegate_objects::{Key, Kind};

use super::ListenerId;
use crate::gateway::OurGateway;
use crate::listener::{Listener, Protocol};
use crate::verdicts::Verdicts;

/// The policy of the first listener that has one, of those in the namespace of the first listener: who opens a port says
/// what holds on it, and whoever shares it later gives nobody else's clients another address, or none at all. What a
/// policy asks for and does not get is told to it; of what a listener without a policy gets, the policy that holds is
/// told, and the listener if that policy is a stranger's.
pub(super) fn policy(
    ids: &[ListenerId],
    gateways: &[OurGateway<'_>],
    verdicts: &mut Verdicts,
) -> Arc<ClientPolicy> {
    let listeners: Vec<&Listener<'_>> =
        ids.iter().filter_map(|id| gateways.get(id.0)?.listeners.get(id.1)).collect();
    let Some(first) = listeners.first() else { return Arc::default() };
    let is_owners = |key: &Key| key.namespace == first.owner.1.namespace;
    let with_policy =
        |listener: &&Listener<'_>| listener.client.as_ref().is_some_and(|(key, _)| is_owners(key));
    let source = listeners.iter().copied().find(with_policy).unwrap_or(first);
    let (holder, holds) = source.client.clone().filter(|(key, _)| is_owners(key)).unzip();
    let holds: Arc<ClientPolicy> = holds.unwrap_or_default();
    let held = Held { source, holder: holder.as_ref() };
    for listener in &listeners {
        let asked = match &listener.client {
            Some((key, _)) if Some(key) == holder.as_ref() => continue,
            Some((_, asked)) => Arc::clone(asked),
            None => Arc::default(),
        };
        for field in differences(&holds, &asked, listener.protocol) {
            held.tell(listener, is_owners(listener.owner.1), field, verdicts);
        }
    }
    holds
}

/// What holds on a socket: the listener it comes from, and its policy; without one, it is what holds without a policy.
struct Held<'a> {
    source: &'a Listener<'a>,
    holder: Option<&'a Key>,
}

impl Held<'_> {
    /// Tells those concerned that a field holds for a listener otherwise than it asks.
    fn tell(&self, listener: &Listener<'_>, is_owners: bool, field: &str, verdicts: &mut Verdicts) {
        const WHY: &str = "this holds on a connection before its listener is known";
        let remedy = match is_owners {
            true => "say the same in both policies, or change the port",
            false => "agree with its owner, or change the port",
        };
        let section = listener.section();
        let mut shared =
            format!("shares port {} with listener {}", listener.spec.port, self.source.section());
        if !is_owners {
            let (kind, owner) = self.source.owner;
            shared.push_str(&format!(" of {kind} {owner}"));
        }
        let field = format!("spec.{field}");
        let mut part = |policy, counts: &str| {
            let message = format!("listener {section} {shared}, {counts}: {WHY}; {remedy}");
            verdicts.part(Kind::ClientTrafficPolicy, policy, "Conflicted", field.clone(), message);
        };
        match (&listener.client, self.holder) {
            (Some((policy, _)), Some(holder)) => part(policy, &format!("whose policy {holder} counts")),
            (Some((policy, _)), None) => part(policy, "which came first and has no policy"),
            (None, Some(holder)) => {
                if !is_owners {
                    let message =
                        format!("it {shared}, whose policy {holder} counts for {field}: {WHY}; {remedy}");
                    listener.warn("Conflicted", "port", message, verdicts);
                }
                let message =
                    format!("it holds for listener {section} too, which {shared} and has no policy: {WHY}");
                verdicts.warn(Kind::ClientTrafficPolicy, holder, "Conflicted", field, message);
            }
            (None, None) => {}
        }
    }
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
        (
            "connection.connectionLimit.maxConnectionDuration",
            times.connection_max != other_times.connection_max,
        ),
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
