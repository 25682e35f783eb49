//! The one way from a Snapshot to a Model: the order in which the parts are asked, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use tidegate_model::{Machine, Model, Speaker, Standing, Traffic, Verdict};
use tidegate_objects::core::Service;
use tidegate_objects::{Key, Kind, ObjectRef, Snapshot};

use crate::attach::Parents;
use crate::backend::Backends;
use crate::entrance::Attached;
use crate::gateway::Classes;
use crate::held::Vips;
use crate::node::Gateways;
use crate::pool::Pools;
use crate::verdicts::Verdicts;
use crate::{
    bgp, certificate, client_policy, egress, entrance, gateway, held, http_route, listener_set, place,
    standing, stream_route, vrrp,
};

/// A `loadBalancerClass` that asks for us.
const LOAD_BALANCER_CLASS: &str = "tidegate.dev/lb";

/// What a Snapshot means.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What is to be done.
    pub model: Model,
    /// One for each object that states an intent.
    pub verdicts: BTreeMap<ObjectRef, Verdict>,
    /// How the objects of Gateway API stand to one another; statuses are made from it.
    pub standing: Standing,
    /// Why this machine serves nothing, whatever the verdicts say; none when all is as it should be.
    pub notice: Option<String>,
}

/// Compiles everything. Total: a mistake costs what it is made in, and is told in that object's verdict.
///
/// Backends that `previous` has too are the same cells, filled anew; so routes of both Models see the same endpoints.
/// Entrances in which nothing changed are the same too.
pub fn compile(snapshot: &Snapshot, machine: &Machine, previous: &Model) -> Compiled {
    let mut verdicts = Verdicts::new(snapshot);
    let gateways = Gateways::new(snapshot, machine, &mut verdicts);
    let pools = Pools::new(snapshot, &mut verdicts);
    let (mut traffic, vips, standing) = traffic(snapshot, &gateways, &pools, previous, &mut verdicts);
    traffic.home = gateways.home();

    let wanted = egress::wanted_addresses(snapshot);
    let in_use: BTreeSet<Ipv4Addr> = vips.v4().chain(wanted.iter().copied()).collect();
    let moved = vrrp::compile(
        &vrrp::Input { snapshot, machine, gateways: &gateways, pools: &pools, in_use: &in_use },
        &mut verdicts,
    );
    let spoken = bgp::compile(
        &bgp::Input { snapshot, machine, gateways: &gateways, pools: &pools, moved: &moved, in_use: &in_use },
        &mut verdicts,
    );
    let input =
        egress::Input { snapshot, machine, gateways: &gateways, moved: &moved, spoken: &spoken, vips: &vips };
    let egress = egress::compile(&input, &mut verdicts);
    let addresses = held::compile(&vips, &moved, &spoken, &egress, machine, &mut verdicts);

    let peers = gateways.peers();
    let notice = gateways.notice;
    let model = match notice {
        Some(_) => Model::default(),
        None => Model {
            traffic: Arc::new(traffic),
            speaker: Arc::new(Speaker { groups: moved.groups, peers: spoken.peers }),
            egress: Arc::new(egress),
            addresses: Arc::new(addresses),
            peers: Arc::new(peers),
        },
    };
    Compiled { model, verdicts: verdicts.finish(), standing, notice }
}

fn traffic(
    snapshot: &Snapshot,
    machines: &Gateways,
    pools: &Pools<'_>,
    previous: &Model,
    verdicts: &mut Verdicts,
) -> (Traffic, Vips, Standing) {
    note_services(snapshot, verdicts);
    let classes = Classes::new(snapshot, verdicts);
    let mut gateways = gateway::ours(snapshot, &classes, verdicts);
    let sets = listener_set::join(snapshot, &mut gateways, verdicts);
    // Several machines must agree on an address, and none knows what another remembers: only one that is alone goes by that.
    let remembered = machines.alone().then_some(&previous.addresses.given);
    place::assign(&mut gateways, pools, &reserved(snapshot), remembered, verdicts);
    certificate::serve(&mut gateways, snapshot, &previous.traffic.entrances, verdicts);
    client_policy::apply(&mut gateways, snapshot, verdicts);
    let doors = entrance::open(&mut gateways, verdicts);
    let mut backends = Backends::new(snapshot, &previous.traffic.endpoints, verdicts);
    let parents = Parents::new(snapshot, &gateways);
    let mut attached = Attached::default();
    http_route::attach(snapshot, &parents, &mut backends, &mut attached, verdicts);
    stream_route::attach(snapshot, &parents, &mut backends, &mut attached, verdicts);
    let entrances =
        entrance::build(&doors, &gateways, &attached, &mut backends, &previous.traffic.entrances, verdicts);
    let vips = Vips::new(&gateways, &doors);
    let standing = standing::of(&gateways, sets, attached.standing, backends.take_led_to());
    (Traffic { entrances, home: None, endpoints: backends.finish(verdicts) }, vips, standing)
}

/// Addresses that objects name for other uses: no pool gives them to a Gateway that did not ask for them.
fn reserved(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    let v4 = |address: &std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => Some(*address),
        std::net::IpAddr::V6(_) => None,
    };
    let moved =
        snapshot.vrrp_advertisements.values().flat_map(|adv| adv.spec.addresses.iter().filter_map(v4));
    let floating =
        snapshot.route_advertisements.values().flat_map(|adv| adv.spec.floating_addresses.iter().copied());
    let machines = snapshot.gateway_nodes.values().flat_map(|node| node.spec.addresses.iter().filter_map(v4));
    moved.chain(floating).chain(machines).chain(egress::wanted_addresses(snapshot)).collect()
}

fn note_services(snapshot: &Snapshot, verdicts: &mut Verdicts) {
    let asks = |service: &Service| service.load_balancer_class.as_deref() == Some(LOAD_BALANCER_CLASS);
    let asking: Vec<&Key> =
        snapshot.services.iter().filter(|(_, service)| asks(&service.spec)).map(|(key, _)| key).collect();
    for key in asking {
        let consequence = "the Service gets no address; put a Gateway and an HTTPRoute before it";
        verdicts.not_served(Kind::Service, key, "spec.loadBalancerClass", consequence);
    }
}
