//! Listeners that ask for the same: on one port there is one protocol, and each host once.
//!
//! HTTPS and TLS share a port by server name; TCP and UDP have a port for themselves, UDP beside all others. Within one
//! object nobody wins; of several objects the earlier one does.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_model::traffic::{HostPattern, Transport};

use crate::listener::{Family, Listener};
use crate::verdicts::Verdicts;
use crate::words::list;

/// Settles the listeners of one Gateway or ListenerSet with one another: all that conflict are refused.
pub(crate) fn among(listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    refuse_same_names(listeners, verdicts);
    refuse_mixed_ports(listeners, verdicts);
    refuse_same_hosts(listeners, verdicts);
}

/// What one listener has of a port for itself: nobody else may have the same.
pub(crate) type Claim = (u16, Transport, Option<HostPattern>);

/// What a listener claims; none, if it cannot be served.
pub(crate) fn claim(listener: &Listener<'_>) -> Option<Claim> {
    let protocol = listener.protocol.filter(|_| listener.sound)?;
    Some((listener.spec.port, protocol.transport(), listener.hostname.clone()))
}

/// Refuses those of `later` that ask for what a listener of `earlier` has; their places in their object come back.
pub(crate) fn behind(
    earlier: &[Listener<'_>],
    later: &mut [Listener<'_>],
    verdicts: &mut Verdicts,
) -> BTreeSet<usize> {
    let mut lost = BTreeSet::new();
    let mut ports: BTreeMap<(u16, Transport), Family> = BTreeMap::new();
    let mut claims: BTreeMap<Claim, String> = BTreeMap::new();
    for listener in earlier {
        if let (Some(claim), Some(protocol)) = (claim(listener), listener.protocol) {
            ports.insert((claim.0, claim.1), protocol.family());
            claims.insert(claim, format!("{} {}", listener.owner.0, listener.owner.1));
        }
    }
    for listener in later {
        let (Some(claim), Some(protocol)) = (claim(listener), listener.protocol) else { continue };
        let family = protocol.family();
        if ports.get(&(claim.0, claim.1)).is_some_and(|known| *known != family) {
            let message = format!(
                "port {} serves another protocol already, in the Gateway or an older ListenerSet; choose another port",
                claim.0
            );
            listener.refuse("ProtocolConflict", "protocol", message, verdicts);
            lost.insert(listener.index);
        } else if let Some(owner) = claims.get(&claim) {
            let message = format!("{} is taken by {owner}, which comes first", in_words(&claim));
            listener.refuse(reason(family), "", message, verdicts);
            lost.insert(listener.index);
        }
    }
    lost
}

/// Gateway API's reason where two of one family ask for the same.
pub(crate) fn reason(family: Family) -> &'static str {
    match family {
        Family::Http | Family::Encrypted => "HostnameConflict",
        Family::Tcp | Family::Udp => "ProtocolConflict",
    }
}

fn in_words((port, _, host): &Claim) -> String {
    let host = host.as_ref().map_or("every host".to_owned(), |host| format!("host {host}"));
    format!("port {port} for {host}")
}

fn refuse_same_names(listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    refuse_groups(
        listeners,
        |listener| Some(listener.spec.name.clone()),
        |name, listener, _| {
            let message =
                format!("several listeners are named {name:?}; names are unique in a {}", listener.owner.0);
            listener.part("DuplicateName", "name", message, verdicts);
        },
    );
}

fn refuse_mixed_ports(listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    let place = |listener: &Listener<'_>| {
        let protocol = listener.protocol?;
        Some(((listener.spec.port, protocol.transport()), protocol.family()))
    };
    let mut families: BTreeMap<(u16, Transport), Vec<Family>> = BTreeMap::new();
    for (port, family) in listeners.iter().filter_map(place) {
        families.entry(port).or_default().push(family);
    }
    for listener in listeners.iter_mut() {
        let Some((port, family)) = place(listener) else { continue };
        let mixed = families.get(&port).is_some_and(|all| all.iter().any(|other| *other != family));
        if mixed {
            let message = format!(
                "port {} is asked for with different protocols; use one protocol for each port",
                listener.spec.port
            );
            listener.refuse("ProtocolConflict", "protocol", message, verdicts);
        }
    }
}

fn refuse_same_hosts(listeners: &mut [Listener<'_>], verdicts: &mut Verdicts) {
    refuse_groups(listeners, claim, |(port, _, host), listener, names| {
        let Some(protocol) = listener.protocol else { return };
        let message = if protocol.goes_by_host() {
            let host = host.as_ref().map_or("every host".to_owned(), |host| format!("host {host}"));
            format!(
                "listeners {} all ask for port {port} and {host}, so none of them is served; change the port or the hostname of all but one",
                list(names)
            )
        } else {
            format!(
                "listeners {} all ask for {} port {port}, so none of them is served; change the port of all but one",
                list(names),
                protocol.name()
            )
        };
        listener.part(reason(protocol.family()), "", message, verdicts);
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
