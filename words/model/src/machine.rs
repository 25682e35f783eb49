//! What a decision needs to know of the machine it is for: its name, its interfaces, where its routes lead.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use tidegate_objects::dns::NamePattern;

/// The machine that a Model is compiled for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Name of the GatewayNode or Node.
    pub node: String,
    /// Interfaces, loopback excluded; none when the machine is not looked at (`tidegate check`).
    pub interfaces: Option<Vec<Interface>>,
    /// Routes that lead out of an interface, ours excluded.
    pub routes: Vec<Route>,
    /// Services of type LoadBalancer without a class are served too (`loadBalancer: {default: true}` of the bootstrap file).
    pub default_load_balancer: bool,
    /// The names of all sources; none where nobody has named any (`tidegate check`): then what is of another source is not
    /// looked for.
    pub sources: BTreeSet<String>,
    /// Sources whose pods are reached by the NodePorts of their Services, where no annotation says otherwise (`endpointMode`
    /// of the bootstrap file).
    pub node_port_sources: BTreeSet<String>,
    /// The class of ingress-nginx that is served too (`ingressNginx.class` of the bootstrap file); empty: none.
    pub ingress_class: String,
    /// What Services of type ExternalName may lead to although it is refused otherwise (`externalNames.allowed` of the
    /// bootstrap file).
    pub allowed_names: Vec<NamePattern>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses with their networks, ours excluded.
    pub addresses: Vec<IpNet>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Out of which interface.
    pub interface: String,
}

impl Machine {
    /// The interface whose network holds `address`; else the one on the route to it.
    pub fn interface_towards(&self, address: IpAddr) -> Option<&Interface> {
        let interfaces = self.interfaces.as_deref()?;
        let connected = interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().map(move |net| (net, interface)))
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len());
        if let Some((_, interface)) = connected {
            return Some(interface);
        }
        let route = self
            .routes
            .iter()
            .filter(|r| r.destination.contains(&address))
            .max_by_key(|r| r.destination.prefix_len())?;
        interfaces.iter().find(|interface| interface.name == route.interface)
    }

    /// Whether `address` is one of the machine's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.interfaces.iter().flatten().any(|i| i.addresses.iter().any(|net| net.addr() == address))
    }
}

impl Interface {
    /// The IPv4 networks it is connected to.
    pub fn networks_v4(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.addresses.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(*net),
            IpNet::V6(_) => None,
        })
    }

    /// Its first IPv4 address.
    pub fn primary_v4(&self) -> Option<Ipv4Addr> {
        self.networks_v4().map(|net| net.addr()).next()
    }
}
