//! The one way from a Snapshot to a Model: the order in which the parts are asked, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tidegate_model::{Machine, Model, Speaker, Standing, Traffic, Verdict, address};
use tidegate_objects::{ObjectRef, Snapshot};

use crate::assign::Ground;
use crate::attach::Parents;
use crate::backend::Backends;
use crate::endpoint_mode::Modes;
use crate::entrance::Attached;
use crate::gateway::Classes;
use crate::held::Vips;
use crate::ingress::Ingresses;
use crate::node::Gateways;
use crate::outside::Outsiders;
use crate::pool::Pools;
use crate::verdicts::Verdicts;
use crate::{
    assign, bgp, certificate, client_policy, egress, entrance, gateway, held, http_route, listener_set,
    service, service_door, standing, stream_route, vrrp,
};

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
    let mut pools = Pools::new(snapshot, &mut verdicts);
    let place = Place { snapshot, machine, machines: &gateways, previous };
    let (mut traffic, vips, mut standing) = traffic(&place, &mut pools, &mut verdicts);
    traffic.home = gateways.home();

    let wanted = egress::wanted_addresses(snapshot);
    let in_use: BTreeSet<Ipv4Addr> = vips.v4().chain(wanted.iter().copied()).collect();
    let moved = vrrp::compile(
        &vrrp::Input { snapshot, machine, gateways: &gateways, pools: &pools, in_use: &in_use },
        &mut verdicts,
    );
    let input = bgp::Input {
        snapshot,
        machine,
        gateways: &gateways,
        pools: &pools,
        moved: &moved,
        vips: &vips,
        in_use: &in_use,
    };
    let spoken = bgp::compile(&input, &mut verdicts);
    let input =
        egress::Input { snapshot, machine, gateways: &gateways, moved: &moved, spoken: &spoken, vips: &vips };
    let egress = egress::compile(&input, &mut verdicts);
    let addresses = held::compile(&vips, &moved, &spoken, &egress, machine, &mut verdicts);
    for service in standing.balanced.values_mut() {
        let is_announced = |address: &IpAddr| match address {
            IpAddr::V4(v4) => moved.by_address.contains_key(v4) || spoken.covered.contains_key(v4),
            IpAddr::V6(_) => false,
        };
        service.announced = service.addresses.iter().all(|(address, _)| is_announced(address));
    }

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

/// What sockets and routes are compiled from.
struct Place<'a> {
    snapshot: &'a Snapshot,
    machine: &'a Machine,
    machines: &'a Gateways,
    previous: &'a Model,
}

fn traffic<'a>(
    place: &Place<'a>,
    pools: &mut Pools<'a>,
    verdicts: &mut Verdicts,
) -> (Traffic, Vips, Standing) {
    let &Place { snapshot, machine, machines, previous } = place;
    let classes = Classes::new(snapshot, verdicts);
    let mut gateways = gateway::ours(snapshot, &classes, verdicts);
    let sets = listener_set::join(snapshot, &mut gateways, verdicts);
    let modes = Modes::new(snapshot, machine, verdicts);
    let mut services = service::ours(snapshot, machine, &modes, verdicts);
    let ingresses = Ingresses::new(snapshot, machine, verdicts);
    ingresses.join(&mut gateways);
    // Several machines must agree on an address, and none knows what another remembers: only one that is alone goes by that.
    let remembered = machines.alone().then_some(&previous.addresses.given);
    let mut ground = ground(place, remembered);
    assign::assign(&mut ground, &mut gateways, &mut services, pools, verdicts);
    certificate::serve(&mut gateways, snapshot, &previous.traffic.entrances, verdicts);
    client_policy::apply(&mut gateways, snapshot, verdicts);
    let doors = entrance::open(&mut gateways, &service_door::claims(&services), verdicts);
    service_door::open(&mut services, &gateways, &doors, pools, verdicts);
    let sockets = services.iter().flat_map(|service| service.sockets.keys());
    let served = doors.keys().chain(sockets).map(|(socket, _)| socket.ip());
    let outsiders = Outsiders::new(snapshot, machine, served);
    let mut backends = Backends::new(snapshot, &modes, outsiders, &previous.traffic.endpoints, verdicts);
    let parents = Parents::new(snapshot, &gateways);
    let mut attached = Attached::default();
    http_route::attach(snapshot, &parents, &mut backends, &mut attached, verdicts);
    stream_route::attach(snapshot, &parents, &mut backends, &mut attached, verdicts);
    let ingresses = ingresses.attach(&gateways, &mut backends, &mut attached, verdicts);
    let known = &previous.traffic.entrances;
    let mut entrances = entrance::build(&doors, &gateways, &attached, &mut backends, known, verdicts);
    entrances.extend(service_door::build(&mut services, &mut backends, known, verdicts));
    entrances.sort_by_key(|entrance| (entrance.address, entrance.transport));
    let vips = Vips::new(&gateways, &doors, &services, pools);
    let mut standing = standing::of(&gateways, sets, attached.standing, backends.take_led_to(), ingresses);
    standing.balanced = standing::balanced(&services);
    standing.pools = assign::fullness(&gateways, &services, pools);
    let with_sockets = services.iter().filter(|service| !service.sockets.is_empty());
    let carried = with_sockets.map(|service| (service.resource.key().clone(), service.audible)).collect();
    let unions = backends.take_unions();
    let (endpoints, outside) = backends.finish(verdicts);
    (Traffic { entrances, home: None, endpoints, unions, carried, outside }, vips, standing)
}

/// What is named for other uses than to be given out.
fn ground<'a>(
    place: &Place<'a>,
    remembered: Option<&'a BTreeMap<ObjectRef, Vec<address::Given>>>,
) -> Ground<'a> {
    let snapshot = place.snapshot;
    let adverts = snapshot.vrrp_advertisements.values();
    let moved: BTreeSet<IpAddr> = adverts.flat_map(|adv| adv.spec.addresses.iter().copied()).collect();
    let floating =
        snapshot.route_advertisements.values().flat_map(|adv| adv.spec.floating_addresses.iter().copied());
    let nodes = snapshot.gateway_nodes.values().flat_map(|node| node.spec.addresses.iter().copied());
    // Other machines do not know this one's interfaces, and must come to the same.
    let own = place.machine.interfaces.iter().flatten().filter(|_| place.machines.alone());
    let own = own.flat_map(|interface| &interface.addresses);
    let gateways: BTreeSet<IpAddr> = nodes.collect();
    let leaving = egress::wanted_addresses(snapshot);
    let named = floating.chain(leaving).map(IpAddr::V4).chain(moved.iter().copied());
    Ground {
        snapshot,
        reserved: named.chain(gateways.iter().copied()).collect(),
        moved,
        machines: gateways.into_iter().chain(own.map(|net| net.addr())).collect(),
        remembered,
    }
}
