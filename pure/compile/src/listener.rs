//! The listeners of a Gateway or ListenerSet, each alone. How they get on with one another is in
//! [`conflict`](crate::conflict).

use std::sync::Arc;

use tidegate_model::traffic::{ClientPolicy, HostPattern, ServerTls, Transport};
use tidegate_objects::gateway::{FromNamespaces, Listener as Spec, RouteGroupKind, TlsMode};
use tidegate_objects::{Key, Kind, LabelSelector, Snapshot};

use crate::grants::GATEWAY_GROUP;
use crate::verdicts::Verdicts;
use crate::words::list;

/// A label that every namespace has, written or not.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http,
    Https,
    Tls,
    Tcp,
    Udp,
}

/// Protocols that may share a port, by host name; TCP and UDP share with nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Http,
    Encrypted,
    Tcp,
    Udp,
}

impl Protocol {
    const ALL: [Protocol; 5] = [Protocol::Http, Protocol::Https, Protocol::Tls, Protocol::Tcp, Protocol::Udp];

    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "HTTP",
            Protocol::Https => "HTTPS",
            Protocol::Tls => "TLS",
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }

    pub fn family(self) -> Family {
        match self {
            Protocol::Http => Family::Http,
            Protocol::Https | Protocol::Tls => Family::Encrypted,
            Protocol::Tcp => Family::Tcp,
            Protocol::Udp => Family::Udp,
        }
    }

    pub fn transport(self) -> Transport {
        if self == Protocol::Udp { Transport::Udp } else { Transport::Tcp }
    }

    /// Whether listeners share a port by host name.
    pub fn goes_by_host(self) -> bool {
        !matches!(self, Protocol::Tcp | Protocol::Udp)
    }

    fn has_tls(self) -> bool {
        self.family() == Family::Encrypted
    }

    /// The kinds of routes that fit.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Protocol::Http | Protocol::Https => &[Kind::HTTPRoute, Kind::GRPCRoute],
            Protocol::Tls => &[Kind::TLSRoute],
            Protocol::Tcp => &[Kind::TCPRoute],
            Protocol::Udp => &[Kind::UDPRoute],
        }
    }
}

/// A listener as written.
pub(crate) struct Listener<'a> {
    /// The Gateway or ListenerSet; or the Ingress that came first with its host.
    pub owner: (Kind, &'a Key),
    /// Its place there; of an Ingress, that of the rule, or of the `tls` entry.
    pub index: usize,
    pub spec: &'a Spec,
    /// When its Ingress was made, where it stands for one; else it is as old as its Gateway.
    pub created_secs: i64,
    /// None: one that is not served.
    pub protocol: Option<Protocol>,
    /// The hosts it serves; none: all.
    pub hostname: Option<HostPattern>,
    /// The kinds of routes that may attach.
    pub kinds: Vec<Kind>,
    /// TLS that ends here.
    pub tls: Option<Arc<ServerTls>>,
    /// The ClientTrafficPolicy that holds, and what it says.
    pub client: Option<(Key, Arc<ClientPolicy>)>,
    /// Whether it can be served: sound, and without a conflict.
    pub sound: bool,
}

impl Listener<'_> {
    /// The place of a field in its object; with an empty one, its own.
    pub fn field(&self, below: &str) -> String {
        if self.owner.0 == Kind::Ingress {
            return match self.protocol {
                Some(Protocol::Https) => format!("spec.tls[{}].secretName", self.index),
                _ => format!("spec.rules[{}].host", self.index),
            };
        }
        let dot = if below.is_empty() { "" } else { "." };
        format!("spec.listeners[{}]{dot}{below}", self.index)
    }

    /// Something is wrong with it that it can live with.
    pub fn part(&self, reason: &'static str, below: &str, message: String, verdicts: &mut Verdicts) {
        verdicts.part(self.owner.0, self.owner.1, reason, self.field(below), message);
    }

    /// A user should know.
    pub fn warn(&self, reason: &'static str, below: &str, message: String, verdicts: &mut Verdicts) {
        verdicts.warn(self.owner.0, self.owner.1, reason, self.field(below), message);
    }

    /// It cannot be served.
    pub fn refuse(&mut self, reason: &'static str, below: &str, message: String, verdicts: &mut Verdicts) {
        self.part(reason, below, message, verdicts);
        self.sound = false;
    }

    /// Whether a route of this namespace may attach; both are of one source.
    pub fn admits(&self, route: &Key, snapshot: &Snapshot) -> bool {
        let namespaces = &self.spec.allowed_routes.namespaces;
        admits((namespaces.from, namespaces.selector.as_ref()), self.owner.1, route, snapshot)
    }

    /// What it is called in its Gateway: `http`, or `namespace/set/http` in a ListenerSet.
    pub fn section(&self) -> String {
        match self.owner {
            (Kind::ListenerSet, set) => format!("{set}/{}", self.spec.name),
            _ => self.spec.name.clone(),
        }
    }
}

/// Whether namespaces so chosen, as seen from an object, include another's.
pub(crate) fn admits(
    (from, selector): (FromNamespaces, Option<&LabelSelector>),
    owner: &Key,
    other: &Key,
    snapshot: &Snapshot,
) -> bool {
    match from {
        FromNamespaces::All => true,
        FromNamespaces::Same => owner.namespace == other.namespace,
        FromNamespaces::None => false,
        FromNamespaces::Selector => {
            selector.is_some_and(|selector| selects_namespace(selector, other, snapshot))
        }
    }
}

fn selects_namespace(selector: &LabelSelector, object: &Key, snapshot: &Snapshot) -> bool {
    let namespace = snapshot.namespaces.get(&object.sibling("", &object.namespace));
    let labels = namespace.map(|namespace| &namespace.metadata.labels);
    selector.selects(|key| {
        let written = labels.and_then(|labels| labels.get(key)).map(String::as_str);
        written.or((key == NAMESPACE_NAME).then_some(&*object.namespace))
    })
}

/// Reads the listeners of a Gateway or ListenerSet, each alone.
pub(crate) fn read<'a>(
    owner: (Kind, &'a Key),
    specs: &'a [Spec],
    verdicts: &mut Verdicts,
) -> Vec<Listener<'a>> {
    specs.iter().enumerate().map(|(index, spec)| read_one(owner, index, spec, verdicts)).collect()
}

fn read_one<'a>(
    owner: (Kind, &'a Key),
    index: usize,
    spec: &'a Spec,
    verdicts: &mut Verdicts,
) -> Listener<'a> {
    let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == spec.protocol);
    let mut listener = Listener {
        owner,
        index,
        spec,
        created_secs: 0,
        protocol,
        hostname: None,
        kinds: Vec::new(),
        tls: None,
        client: None,
        sound: true,
    };
    match protocol {
        Some(protocol) => check_tls(&mut listener, protocol, verdicts),
        None => {
            let served = list(Protocol::ALL.map(Protocol::name));
            let message = format!("protocol {:?} is not served; served are {served}", spec.protocol);
            listener.refuse("UnsupportedProtocol", "protocol", message, verdicts);
        }
    }
    if spec.port == 0 {
        let message = "port 0 is none; a port is 1 to 65535".to_owned();
        listener.refuse("PortUnavailable", "port", message, verdicts);
    }
    read_hostname(&mut listener, verdicts);
    read_allowed_routes(&mut listener, verdicts);
    listener
}

/// Whether `tls` is there where it must be, and only there.
fn check_tls(listener: &mut Listener<'_>, protocol: Protocol, verdicts: &mut Verdicts) {
    let name = protocol.name();
    let wrong = match (&listener.spec.tls, protocol.has_tls()) {
        (Some(_), false) => Some(("tls", format!("a listener of protocol {name} has no tls; remove it"))),
        (None, true) => {
            let how = if protocol == Protocol::Tls { " or mode Passthrough" } else { "" };
            Some((
                "tls",
                format!("a listener of protocol {name} needs tls with certificateRefs{how}; add it"),
            ))
        }
        (Some(tls), true) if protocol == Protocol::Https && tls.mode == TlsMode::Passthrough => {
            let message = "TLS of an HTTPS listener ends here; use protocol TLS and a TLSRoute to pass it on";
            Some(("tls.mode", message.to_owned()))
        }
        _ => None,
    };
    if let Some((below, message)) = wrong {
        listener.refuse("Invalid", below, message, verdicts);
    }
}

fn read_hostname(listener: &mut Listener<'_>, verdicts: &mut Verdicts) {
    let Some(text) = listener.spec.hostname.as_deref().filter(|text| !text.is_empty()) else { return };
    if listener.protocol.is_some_and(|protocol| !protocol.goes_by_host()) {
        let message =
            format!("a listener of protocol {} knows no host names; remove it", listener.spec.protocol);
        return listener.warn("NoEffect", "hostname", message, verdicts);
    }
    match parse_hostname(text) {
        Ok(pattern) => listener.hostname = Some(pattern),
        Err(message) => listener.refuse("Invalid", "hostname", message, verdicts),
    }
}

fn read_allowed_routes(listener: &mut Listener<'_>, verdicts: &mut Verdicts) {
    let allowed = &listener.spec.allowed_routes;
    if allowed.namespaces.from == FromNamespaces::Selector && allowed.namespaces.selector.is_none() {
        let message =
            "from is Selector, but there is no selector, so no route may attach; add one".to_owned();
        listener.part("Invalid", "allowedRoutes.namespaces.selector", message, verdicts);
    }
    let Some(protocol) = listener.protocol else { return };
    let fits = |asked: &RouteGroupKind| {
        let kind = Kind::find(asked.group.as_deref().unwrap_or(GATEWAY_GROUP), &asked.kind);
        kind.filter(|kind| protocol.kinds().contains(kind))
    };
    for (index, asked) in allowed.kinds.iter().enumerate().filter(|(_, asked)| fits(asked).is_none()) {
        let message = format!(
            "{} cannot attach to a listener of protocol {}; {} can",
            asked.kind,
            protocol.name(),
            list(protocol.kinds())
        );
        listener.part("InvalidRouteKinds", &format!("allowedRoutes.kinds[{index}]"), message, verdicts);
    }
    listener.kinds = match allowed.kinds.is_empty() {
        true => protocol.kinds().to_vec(),
        false => allowed.kinds.iter().filter_map(fits).collect(),
    };
}

/// Reads a host name, or `*.` and one; lower case, a trailing dot is dropped (RFC 1123 section 2.1).
pub(crate) fn parse_hostname(text: &str) -> Result<HostPattern, String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    let (wildcard, rest) = match name.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    let bad = |why: &str| Err(format!("{text:?} is no host name: {why}"));
    if rest.parse::<std::net::IpAddr>().is_ok() {
        return bad("it is an address; Gateway API allows names only");
    }
    if rest.contains('*') {
        return bad("a * may only stand as the whole first label, as in *.example.com");
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !rest.split('.').all(label) {
        return bad("it consists of labels of 1 to 63 letters, digits and inner hyphens, joined by dots");
    }
    Ok(if wildcard { HostPattern::Under(rest.into()) } else { HostPattern::Exact(rest.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and wildcards are read in one spelling; addresses, stray stars and bad labels are refused.
    #[test]
    fn hostnames() {
        for (text, expected) in [
            ("shop.example", Some("shop.example")),
            ("Shop.Example.", Some("shop.example")),
            ("*.example", Some("*.example")),
            ("localhost", Some("localhost")),
            ("10.0.0.1", None),
            ("*", None),
            ("a.*.example", None),
            ("*.*.example", None),
            ("shop..example", None),
            ("-shop.example", None),
            ("shop_1.example", None),
            ("", None),
        ] {
            assert_eq!(
                parse_hostname(text).ok().map(|pattern| pattern.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
