//! The listeners of one Gateway: each alone, then against one another.

use std::collections::BTreeMap;

use tidegate_model::traffic::HostPattern;
use tidegate_objects::gateway::{FromNamespaces, Gateway, Listener as Spec};
use tidegate_objects::{Key, Kind, LabelSelector, Resource, Snapshot};

use crate::grants::GATEWAY_GROUP;
use crate::verdicts::Verdicts;
use crate::words::{asks, list};

/// What is served in this version.
const SERVED: &str = "HTTP";

/// A label that every namespace has, written or not.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A listener as written.
pub(crate) struct Listener<'a> {
    pub index: usize,
    pub spec: &'a Spec,
    /// The hosts it serves; none: all.
    pub hostname: Option<HostPattern>,
    /// Whether HTTPRoutes may attach by kind.
    pub takes_http_routes: bool,
    /// Whether it can be served: sound, and without a conflict.
    pub sound: bool,
}

impl Listener<'_> {
    /// Whether a route of this namespace may attach; both are of one source.
    pub fn admits(&self, gateway: &Key, route: &Key, snapshot: &Snapshot) -> bool {
        let namespaces = &self.spec.allowed_routes.namespaces;
        match namespaces.from {
            FromNamespaces::All => true,
            FromNamespaces::Same => gateway.namespace == route.namespace,
            FromNamespaces::None => false,
            FromNamespaces::Selector => namespaces
                .selector
                .as_ref()
                .is_some_and(|selector| selects_namespace(selector, route, snapshot)),
        }
    }
}

fn selects_namespace(selector: &LabelSelector, route: &Key, snapshot: &Snapshot) -> bool {
    let namespace = snapshot.namespaces.get(&route.sibling("", &route.namespace));
    let labels = namespace.map(|namespace| &namespace.metadata.labels);
    selector.selects(|key| {
        let written = labels.and_then(|labels| labels.get(key)).map(String::as_str);
        written.or((key == NAMESPACE_NAME).then_some(&*route.namespace))
    })
}

/// Reads the listeners of a Gateway and settles their conflicts with one another.
pub(crate) fn read<'a>(gateway: &'a Resource<Gateway>, verdicts: &mut Verdicts) -> Vec<Listener<'a>> {
    let specs = gateway.spec.listeners.iter().enumerate();
    let mut listeners: Vec<_> =
        specs.map(|(index, spec)| read_one(gateway.key(), index, spec, verdicts)).collect();
    refuse_same_names(gateway.key(), &mut listeners, verdicts);
    refuse_protocol_conflicts(gateway.key(), &mut listeners, verdicts);
    refuse_host_conflicts(gateway.key(), &mut listeners, verdicts);
    listeners
}

fn read_one<'a>(gateway: &Key, index: usize, spec: &'a Spec, verdicts: &mut Verdicts) -> Listener<'a> {
    let at = |field: &str| format!("spec.listeners[{index}].{field}");
    let mut listener = Listener { index, spec, hostname: None, takes_http_routes: true, sound: true };
    let mut refuse = |reason, field: &str, message| {
        verdicts.part(Kind::Gateway, gateway, reason, at(field), message);
        listener.sound = false;
    };
    if spec.protocol != SERVED {
        let message =
            format!("protocol {:?} is not served by this version; it serves {SERVED}", spec.protocol);
        refuse("UnsupportedProtocol", "protocol", message);
    } else if asks(&spec.tls) {
        refuse("Invalid", "tls", "a listener of protocol HTTP has no tls; remove it".to_owned());
    }
    if spec.port == 0 {
        refuse("PortUnavailable", "port", "port 0 is none; a port is 1 to 65535".to_owned());
    }
    let mut hostname = None;
    match spec.hostname.as_deref().filter(|text| !text.is_empty()).map(parse_hostname) {
        Some(Ok(pattern)) => hostname = Some(pattern),
        Some(Err(message)) => refuse("Invalid", "hostname", message),
        None => {}
    }
    listener.hostname = hostname;
    read_allowed_routes(gateway, &mut listener, verdicts);
    listener
}

fn read_allowed_routes(gateway: &Key, listener: &mut Listener<'_>, verdicts: &mut Verdicts) {
    let allowed = &listener.spec.allowed_routes;
    let at = |field: &str| format!("spec.listeners[{}].allowedRoutes.{field}", listener.index);
    if allowed.namespaces.from == FromNamespaces::Selector && allowed.namespaces.selector.is_none() {
        let message =
            "from is Selector, but there is no selector, so no route may attach; add one".to_owned();
        verdicts.part(Kind::Gateway, gateway, "Invalid", at("namespaces.selector"), message);
    }
    for (index, kind) in allowed.kinds.iter().enumerate() {
        let fits =
            kind.kind == Kind::HTTPRoute.name() && kind.group.as_deref().is_none_or(|g| g == GATEWAY_GROUP);
        if !fits {
            let message = format!(
                "{} cannot attach to a listener of protocol {}; this version knows HTTPRoute",
                kind.kind, listener.spec.protocol
            );
            verdicts.part(
                Kind::Gateway,
                gateway,
                "InvalidRouteKinds",
                at(&format!("kinds[{index}]")),
                message,
            );
        }
    }
    listener.takes_http_routes = allowed.kinds.is_empty()
        || allowed.kinds.iter().any(|kind| {
            kind.kind == Kind::HTTPRoute.name()
                && kind.group.as_deref().is_none_or(|group| group == GATEWAY_GROUP)
        });
}

fn refuse_same_names(gateway: &Key, listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    refuse_groups(
        listeners,
        |listener| Some(listener.spec.name.clone()),
        |name, listener, _| {
            let message = format!("several listeners are named {name:?}; names are unique in a Gateway");
            verdicts.part(
                Kind::Gateway,
                gateway,
                "DuplicateName",
                format!("spec.listeners[{}].name", listener.index),
                message,
            );
        },
    );
}

/// On one port there is one protocol; HTTPS and TLS share one, and UDP has ports of its own.
fn refuse_protocol_conflicts(gateway: &Key, listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    let family = |listener: &Listener<'_>| match listener.spec.protocol.as_str() {
        "HTTP" => Some("HTTP"),
        "HTTPS" | "TLS" => Some("TLS"),
        "TCP" => Some("TCP"),
        _ => None,
    };
    let mut families: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for listener in listeners.iter() {
        families.entry(listener.spec.port).or_default().extend(family(listener));
    }
    for listener in listeners.iter_mut() {
        let on_port = families.get(&listener.spec.port);
        let mixed = on_port.is_some_and(|all| all.iter().any(|other| Some(*other) != family(listener)));
        if family(listener).is_some() && mixed {
            let message = format!(
                "port {} is asked for with different protocols; use one protocol for each port",
                listener.spec.port
            );
            verdicts.part(
                Kind::Gateway,
                gateway,
                "ProtocolConflict",
                format!("spec.listeners[{}].protocol", listener.index),
                message,
            );
            listener.sound = false;
        }
    }
}

fn refuse_host_conflicts(gateway: &Key, listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    let place =
        |listener: &Listener<'_>| listener.sound.then(|| (listener.spec.port, listener.hostname.clone()));
    refuse_groups(listeners, place, |(port, host), listener, names| {
        let host = host.as_ref().map_or("every host".to_owned(), |host| format!("host {host}"));
        let message = format!(
            "listeners {} all ask for port {port} and {host}, so none of them is served; change the port or the hostname of all but one",
            list(names)
        );
        verdicts.part(
            Kind::Gateway,
            gateway,
            "HostnameConflict",
            format!("spec.listeners[{}]", listener.index),
            message,
        );
    });
}

/// Refuses every listener that shares its value with another.
fn refuse_groups<V: Ord>(
    listeners: &mut [Listener<'_>],
    value: impl Fn(&Listener<'_>) -> Option<V>,
    mut refused: impl FnMut(&V, &Listener<'_>, &[String]),
) {
    let mut groups: BTreeMap<V, Vec<usize>> = BTreeMap::new();
    for (place, listener) in listeners.iter().enumerate() {
        if let Some(value) = value(listener) {
            groups.entry(value).or_default().push(place);
        }
    }
    for (value, places) in groups.into_iter().filter(|(_, places)| places.len() > 1) {
        let names: Vec<String> = places.iter().map(|place| listeners[*place].spec.name.clone()).collect();
        for place in places {
            listeners[place].sound = false;
            refused(&value, &listeners[place], &names);
        }
    }
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
