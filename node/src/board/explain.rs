//! `explain`: the same functions that traffic meets, asked about one request, connection or prefix.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use serde_json::json;
use tidegate_console::{EgressQuery, Explained, HttpQuery};
use tidegate_model::address::Protocol;
use tidegate_model::traffic::{Entrance, Serves, Target};
use tidegate_objects::Key;
use tidegate_proxy::{SocketKey, SocketState};
use tidegate_traffic::{Explanation, Question, Router, explain, explain_tls};

use super::{Board, Decided};

impl Board {
    /// Which listener, route, rule, backend and endpoint serve a request.
    pub(super) fn http(&self, query: &HttpQuery) -> Explained {
        let Some(url) = Url::parse(&query.url) else {
            let message = format!("`{}` is not a URL like http://shop.example/path", query.url);
            return unserved("url", message);
        };
        let decided = self.decided();
        let candidates = candidates(&decided, &url);
        if candidates.is_empty()
            && let Some(explained) = self.passed_on(&decided, &url, query.from)
        {
            return explained;
        }
        if candidates.is_empty() {
            let open = decided.model.traffic.entrances.iter().filter(|entrance| serves(entrance, &url));
            let open = open.map(|entrance| entrance.address.to_string());
            let open = open.collect::<Vec<_>>().join(", ");
            return unserved(
                "listener",
                format!("nothing listens for {} on port {} there; open are: {open}", url.scheme(), url.port),
            );
        }
        let headers = query.headers.lines().filter_map(|line| line.split_once(':'));
        let headers: Vec<(String, String)> =
            headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        let host = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"))
            .map(|(_, value)| value.clone());
        let host = host.unwrap_or_else(|| url.authority.clone());
        let question =
            Question { host: &host, method: &query.method, target: &url.target, headers, client: query.from };
        // A name may stand for any of the addresses: the first that serves it answers, else the first of all.
        let mut answers: Vec<(&Entrance, Explanation)> = candidates
            .iter()
            .map(|&entrance| (entrance, url.explain(&Router::new(entrance), &question)))
            .collect();
        let best = answers.iter().position(|(_, explanation)| explanation.refusal.is_none()).unwrap_or(0);
        let (entrance, explanation) = answers.swap_remove(best);
        self.http_lines(&decided, entrance, &explanation)
    }

    fn http_lines(&self, decided: &Decided, entrance: &Entrance, explanation: &Explanation) -> Explained {
        let mut lines = vec![("address".to_owned(), entrance.address.to_string())];
        if let Some(holder) = self.holder(decided, entrance.address.ip()) {
            lines.push(("held by".into(), holder));
        }
        let mut tell =
            |label: &str, text: Option<String>| lines.extend(text.map(|text| (label.to_owned(), text)));
        tell("listener", explanation.listener.clone());
        tell("route", explanation.route.clone());
        let matched = explanation.matched.clone().unwrap_or_default();
        tell("rule", explanation.rule.map(|rule| format!("{rule}: {matched}")));
        tell("lets in", explanation.clients.clone());
        for share in &explanation.backends {
            let endpoints: Vec<String> =
                share.endpoints.iter().map(|address| decided.shown(*address)).collect();
            let name = share.backend.clone().unwrap_or_else(|| "broken reference".into());
            let answer = share.refusal.map(|refusal| format!("{} {}", refusal.status, refusal.reason));
            let place = answer.unwrap_or_else(|| endpoints.join(" "));
            tell("backend", Some(format!("{name}  weight {}  → {place}", share.weight)));
        }
        if let Some(refusal) = explanation.refusal {
            tell("answer", Some(format!("{} {}", refusal.status, refusal.reason)));
        }
        let closed = match self.0.proxy.borrow().sockets.get(&SocketKey::of(entrance)) {
            Some(SocketState::Failed(reason)) => Some(format!("nobody can connect: {reason}")),
            _ => None,
        };
        let found = explanation.refusal.is_none() && closed.is_none();
        tell("verdict", Some(closed.unwrap_or_else(|| explanation.message.clone())));
        let data = json!({ "node": self.0.node, "address": entrance.address, "explanation": explanation });
        Explained { found, lines, data }
    }

    /// Where a connection goes that nobody here reads a request of: to an address of a Service, or by a TCPRoute.
    fn passed_on(&self, decided: &Decided, url: &Url, from: Option<IpAddr>) -> Option<Explained> {
        let address: IpAddr = url.host.parse().ok()?;
        let entrance = tidegate_traffic::entrance_for(&decided.model.traffic, address, url.port)?;
        let listener = entrance.listeners.first()?;
        let Serves::Tcp(route) = &listener.serves else { return None };
        let mut lines = vec![("address".to_owned(), entrance.address.to_string())];
        lines.extend(self.holder(decided, entrance.address.ip()).map(|holder| ("held by".into(), holder)));
        lines.push(("listener".into(), listener.name.to_string()));
        let ranges = &entrance.client.sources;
        if !ranges.is_empty() {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            lines.push(("lets in".into(), format!("only {}", ranges.join(" "))));
        }
        let mut found = false;
        for share in route.iter().flat_map(|route| &route.backends) {
            let place = match &share.target {
                Target::Backend(backend) => {
                    let endpoints = backend.endpoints.load();
                    found |= share.weight > 0 && !endpoints.usable.is_empty();
                    let each: Vec<String> = endpoints.addresses().map(|at| at.to_string()).collect();
                    format!("{}  weight {}  → {}", backend.id, share.weight, each.join(" "))
                }
                Target::Broken(reason) => format!("broken reference: {reason}"),
            };
            lines.push(("backend".into(), place));
        }
        let closed = match self.0.proxy.borrow().sockets.get(&SocketKey::of(entrance)) {
            Some(SocketState::Failed(reason)) => Some(format!("nobody can connect: {reason}")),
            _ => None,
        };
        let excluded = from.is_some_and(|from| !entrance.client.admits(from));
        let verdict = match (excluded, found) {
            (true, _) => "the connection is closed: the Service does not let this client in",
            (false, true) => {
                "the connection is passed on byte by byte to one of the endpoints; what it asks for is not looked at"
            }
            (false, false) => "the connection is closed: no endpoint could answer",
        };
        found &= closed.is_none() && !excluded;
        lines.push(("verdict".into(), closed.unwrap_or_else(|| verdict.to_owned())));
        let data = json!({ "node": self.0.node, "address": entrance.address, "listener": listener.name.to_string() });
        Some(Explained { found, lines, data })
    }

    fn holder(&self, decided: &Decided, address: IpAddr) -> Option<String> {
        let Protocol::Vrrp(group) = &decided.model.addresses.held.get(&address)?.protocol else {
            return None;
        };
        let elections = self.0.speaker.elections().borrow().clone();
        let election = elections.iter().find(|election| election.group == *group)?;
        if election.master_here {
            return Some(format!("{} (this gateway)", self.0.node));
        }
        let names = decided.gateway_names();
        let name = |master| names.get(&master).cloned().unwrap_or_else(|| format!("the gateway at {master}"));
        Some(election.master.map_or_else(|| "nobody that this gateway hears".into(), name))
    }

    /// With which address a connection leaves, or what drops it.
    pub(super) fn egress(&self, query: &EgressQuery) -> Explained {
        let decided = self.decided();
        let to = query.to.parse::<SocketAddr>().map(|to| to.ip()).or_else(|_| query.to.parse());
        let Ok(IpAddr::V4(to)) = to else {
            return unserved(
                "to",
                format!("`{}` is not an IPv4 address; this version resolves no names", query.to),
            );
        };
        let from = match query.from.parse::<Ipv4Addr>() {
            Ok(from) => from,
            Err(_) => match self.pod_address(&decided, &query.from) {
                Some(from) => from,
                None => {
                    return unserved(
                        "from",
                        format!("`{}` is neither an IPv4 address nor a known NAMESPACE/POD", query.from),
                    );
                }
            },
        };
        let decision = self.pods().decide(from, to);
        let mut lines = vec![(
            "from".to_owned(),
            decision.pod.as_ref().map_or(from.to_string(), |pod| format!("{from} ({pod})")),
        )];
        lines.push(("to".into(), to.to_string()));
        lines.push((
            "policy".into(),
            decision.policy.as_ref().map_or("none selects it".into(), ToString::to_string),
        ));
        match (&decision.dropped, decision.source) {
            (Some(reason), _) => lines.push(("dropped".into(), reason.clone())),
            (None, Some(source)) => {
                lines.push(("leaves as".into(), source.to_string()));
                lines.extend(self.holder(&decided, source).map(|holder| ("through".to_owned(), holder)));
            }
            (None, None) => lines.push(("leaves as".into(), format!("{from}, unchanged"))),
        }
        let data = serde_json::to_value(&decision).unwrap_or_default();
        Explained { found: decision.dropped.is_none(), lines, data }
    }

    fn pod_address(&self, decided: &Decided, name: &str) -> Option<Ipv4Addr> {
        let (namespace, name) = name.split_once('/')?;
        let pods = self.pods();
        decided
            .sources
            .iter()
            .find_map(|source| pods.address_of(&Key::new(&source.status.name, namespace, name)))
    }

    /// Every path to a prefix.
    pub(super) async fn route(&self, prefix: &str) -> Explained {
        let Ok(prefix) = prefix.parse::<Ipv4Net>() else {
            return unserved("prefix", format!("`{prefix}` is not an IPv4 prefix like 10.244.1.0/26"));
        };
        let (found, lines) = self.0.speaker.explain_route(prefix.trunc()).await;
        let data = json!({ "prefix": prefix, "lines": lines });
        Explained { found, lines, data }
    }
}

fn unserved(label: &str, message: String) -> Explained {
    Explained { found: false, data: json!({ "message": message }), lines: vec![(label.to_owned(), message)] }
}

/// Whether what comes in there is spoken as the URL says: HTTP in the clear, or TLS.
fn serves(entrance: &Entrance, url: &Url) -> bool {
    entrance.listeners.iter().any(|listener| match &listener.serves {
        Serves::Http(_) => listener.tls.is_some() == url.tls,
        Serves::Tls(_) => url.tls,
        Serves::Tcp(_) | Serves::Udp(_) => false,
    })
}

/// The sockets that a client who asks for this URL may reach: exact addresses before every local one.
fn candidates<'a>(decided: &'a Decided, url: &Url) -> Vec<&'a Entrance> {
    let traffic = &decided.model.traffic;
    if let Ok(address) = url.host.parse::<IpAddr>() {
        let entrance = tidegate_traffic::entrance_for(traffic, address, url.port).map(AsRef::as_ref);
        return entrance.filter(|entrance| serves(entrance, url)).into_iter().collect();
    }
    let mut same_port: Vec<&Entrance> = traffic
        .entrances
        .iter()
        .map(AsRef::as_ref)
        .filter(|entrance| entrance.address.port() == url.port && serves(entrance, url))
        .collect();
    same_port.sort_by_key(|entrance| entrance.address.ip().is_unspecified());
    same_port
}

/// The parts of a URL that choose a listener and a route.
struct Url {
    authority: String,
    host: String,
    port: u16,
    target: String,
    /// `https`.
    tls: bool,
}

impl Url {
    fn parse(text: &str) -> Option<Url> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return None,
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, if tls { 443 } else { 80 }),
        };
        if host.is_empty() || authority.starts_with(':') {
            return None;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Some(Url { authority: authority.to_owned(), host, port, target, tls })
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// A client sends the host as server name, unless it is an address (RFC 6066 section 3).
    fn explain(&self, router: &Router, question: &Question<'_>) -> Explanation {
        let name = if self.host.parse::<IpAddr>().is_ok() { "" } else { self.host.as_str() };
        if self.tls { explain_tls(router, question, name) } else { explain(router, question) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, port and target are what a client would connect to and send.
    #[test]
    fn urls() {
        for (text, expected) in [
            ("http://shop.example/", Some(("shop.example", 80, "/"))),
            ("http://shop.example:8080/a?b=c#d", Some(("shop.example", 8080, "/a?b=c"))),
            ("shop.example", Some(("shop.example", 80, "/"))),
            ("http://Shop.Example?x=1", Some(("shop.example", 80, "/?x=1"))),
            ("http://[::1]:81/x", Some(("::1", 81, "/x"))),
            ("http://10.0.0.1/", Some(("10.0.0.1", 80, "/"))),
            ("https://shop.example/", Some(("shop.example", 443, "/"))),
            ("https://shop.example:8443", Some(("shop.example", 8443, "/"))),
            ("ftp://shop.example/", None),
            ("http://:80/", None),
            ("http://shop.example:port/", None),
        ] {
            let url = Url::parse(text);
            let found = url.as_ref().map(|url| (url.host.as_str(), url.port, url.target.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
