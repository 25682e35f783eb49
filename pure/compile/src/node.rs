//! The gateways: every GatewayNode, and which of them this machine is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tidegate_model::traffic::Home;
use tidegate_model::{Machine, Peers};
use tidegate_objects::core::EXCLUDE;
use tidegate_objects::{Key, Kind, LabelSelector, Snapshot};

use crate::verdicts::Verdicts;
use crate::words::list;

/// The label that says in which zone a gateway stands.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A label that every gateway has, written or not.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// All gateways, sorted by name.
pub(crate) struct Gateways {
    all: Vec<Node>,
    here: Option<usize>,
    /// Why this machine serves nothing.
    pub notice: Option<String>,
}

/// A gateway.
pub(crate) struct Node {
    pub name: String,
    labels: BTreeMap<String, String>,
    addresses: Vec<IpAddr>,
    /// Made up because no GatewayNode exists: it matches empty selectors only.
    anonymous: bool,
    /// Its label, or that of the Node of its name, says that it brings no traffic from outside.
    excluded: bool,
}

impl Gateways {
    pub fn new(snapshot: &Snapshot, machine: &Machine, verdicts: &mut Verdicts) -> Self {
        let mut all: BTreeMap<String, Node> = BTreeMap::new();
        let mut first: BTreeMap<String, &Key> = BTreeMap::new();
        for (key, node) in &snapshot.gateway_nodes {
            let name = key.name.to_string();
            if let Some(other) = first.get(&name) {
                let message =
                    format!("a GatewayNode {name} is in source {} already; it counts", other.source);
                verdicts.whole(Kind::GatewayNode, key, "DuplicateName", "metadata.name", message);
                continue;
            }
            if node.spec.drain {
                verdicts.not_served(Kind::GatewayNode, key, "spec.drain", "the gateway goes on serving");
            }
            first.insert(name.clone(), key);
            let excluded = node.metadata.labels.contains_key(EXCLUDE) || is_excluded_node(snapshot, &name);
            let mut labels = node.metadata.labels.clone();
            labels.entry(HOSTNAME.into()).or_insert_with(|| name.clone());
            all.insert(
                name.clone(),
                Node { name, labels, addresses: node.spec.addresses.clone(), anonymous: false, excluded },
            );
        }
        let mut all: Vec<Node> = all.into_values().collect();
        if all.is_empty() {
            let name = if machine.node.is_empty() { "gateway".to_owned() } else { machine.node.clone() };
            let excluded = is_excluded_node(snapshot, &name);
            all.push(Node {
                name,
                labels: BTreeMap::new(),
                addresses: Vec::new(),
                anonymous: true,
                excluded,
            });
            return Gateways { all, here: Some(0), notice: None };
        }
        // Offline, without a name, the objects are read as the first gateway reads them.
        let offline = machine.interfaces.is_none() && machine.node.is_empty();
        let here = if offline { Some(0) } else { all.iter().position(|node| node.name == machine.node) };
        let notice = here.is_none().then(|| {
            format!(
                "no GatewayNode is named {:?}, so this machine serves nothing; there are {}. Start it with --node and one of these names, or add a GatewayNode for it",
                machine.node,
                list(all.iter().map(|node| &node.name))
            )
        });
        Gateways { all, here, notice }
    }

    /// This machine.
    pub fn here(&self) -> Option<&Node> {
        self.all.get(self.here?)
    }

    /// The zone of this machine, and how many gateways stand in each; none if its GatewayNode names no zone.
    pub fn home(&self) -> Option<Home> {
        let zone = |node: &Node| node.labels.get(ZONE).map(|zone| Arc::<str>::from(zone.as_str()));
        let mut gateways = BTreeMap::new();
        for zone in self.all.iter().filter_map(zone) {
            *gateways.entry(zone).or_default() += 1;
        }
        Some(Home { zone: zone(self.here()?)?, gateways })
    }

    /// This gateway and those beside it. One that no GatewayNode made stands alone.
    pub fn peers(&self) -> Peers {
        let mut peers = Peers::default();
        for (at, node) in self.all.iter().enumerate().filter(|(_, node)| !node.anonymous) {
            if Some(at) == self.here {
                peers.here.clone_from(&node.addresses);
            } else {
                peers.others.insert(node.name.clone(), node.addresses.clone());
            }
        }
        peers
    }

    /// Its place among all, sorted by name.
    pub fn here_index(&self) -> Option<usize> {
        self.here
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The gateways that any of these selectors selects; no selector at all selects every one.
    pub fn selected(&self, selectors: &[LabelSelector]) -> Vec<&Node> {
        self.all.iter().filter(|node| node.matches(selectors)).collect()
    }

    /// Of those that are selected, the ones that may bring traffic from outside.
    pub fn announcers(&self, selectors: &[LabelSelector]) -> Vec<&Node> {
        let mut selected = self.selected(selectors);
        selected.retain(|node| !node.excluded);
        selected
    }

    /// Whether this machine is among [`Gateways::announcers`].
    pub fn announces_here(&self, selectors: &[LabelSelector]) -> bool {
        self.selects_here(selectors) && self.here().is_some_and(|node| !node.excluded)
    }

    /// Whether this machine is among [`Gateways::selected`].
    pub fn selects_here(&self, selectors: &[LabelSelector]) -> bool {
        self.here().is_some_and(|node| node.matches(selectors))
    }

    /// The gateway whose own address this is.
    pub fn owner(&self, address: Ipv4Addr) -> Option<&Node> {
        self.all.iter().find(|node| node.owns(address))
    }

    /// Whether no object speaks of gateways, so that this machine is the only one.
    pub fn alone(&self) -> bool {
        self.all.iter().any(|node| node.anonymous)
    }

    pub fn names(&self) -> String {
        list(self.all.iter().map(|node| &node.name))
    }
}

/// Whether a Node of this name, of whichever source, is kept out of load balancing from outside.
fn is_excluded_node(snapshot: &Snapshot, name: &str) -> bool {
    let of_name = snapshot.nodes.values().filter(|node| *node.key().name == *name);
    of_name.into_iter().any(|node| node.metadata.labels.contains_key(EXCLUDE))
}

impl Node {
    pub fn owns(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&IpAddr::V4(address))
    }

    fn matches(&self, selectors: &[LabelSelector]) -> bool {
        selectors.is_empty() || selectors.iter().any(|selector| self.matches_one(selector))
    }

    fn matches_one(&self, selector: &LabelSelector) -> bool {
        if self.anonymous { selector.is_empty() } else { selector.selects_labels(&self.labels) }
    }
}
