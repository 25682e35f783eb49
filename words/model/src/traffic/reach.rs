//! Which backends a Traffic leads to.

use std::sync::Arc;

use super::{Action, Backend, Filters, HttpRoute, Serves, StreamRoute, Target, Traffic, WeightedBackend};

impl Traffic {
    /// Shows every backend of every route, mirrors too; one that several rules use comes several times.
    pub fn each_backend<'t>(&'t self, mut show: impl FnMut(&'t Arc<Backend>)) {
        let mut show = |target: &'t Target| {
            if let Target::Backend(backend) = target {
                show(backend);
            }
        };
        for listener in self.entrances.iter().flat_map(|entrance| &entrance.listeners) {
            match &listener.serves {
                Serves::Http(routes) => routes.iter().for_each(|route| http(route, &mut show)),
                Serves::Tls(routes) => routes.iter().for_each(|route| stream(&route.route, &mut show)),
                Serves::Tcp(route) | Serves::Udp(route) => {
                    route.iter().for_each(|route| stream(route, &mut show));
                }
            }
        }
    }
}

fn http<'t>(route: &'t HttpRoute, show: &mut impl FnMut(&'t Target)) {
    for rule in &route.rules {
        mirrors(&rule.filters, show);
        if let Action::Forward(backends) = &rule.action {
            shares(backends, show);
        }
    }
}

fn stream<'t>(route: &'t StreamRoute, show: &mut impl FnMut(&'t Target)) {
    shares(&route.backends, show);
}

fn shares<'t>(backends: &'t [WeightedBackend], show: &mut impl FnMut(&'t Target)) {
    for share in backends {
        mirrors(&share.filters, show);
        show(&share.target);
    }
}

fn mirrors<'t>(filters: &'t Filters, show: &mut impl FnMut(&'t Target)) {
    for mirror in &filters.mirrors {
        show(&mirror.target);
    }
}
