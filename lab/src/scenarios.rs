//! Every scenario, in the order in which `lab run --all` tells them.

use crate::cluster::CLUSTER;
use crate::election::{ELECTION, HANDOVER, PAIR};
use crate::journey::JOURNEY;
use crate::scenario::{Gateways, Scenario};

pub mod adoption;
pub mod browser;
pub mod change;
pub mod changes;
pub mod cleanup;
pub mod explain;
pub mod fail_static;
pub mod failure;
pub mod farewell;
pub mod frozen;
pub mod frr_bird;
pub mod handover;
pub mod inbound;
pub mod ingress;
pub mod install;
pub mod keepalived_election;
pub mod kube_source;
pub mod lab_self;
pub mod node_ports;
pub mod one_link;
pub mod out;
pub mod ownership;
pub mod plane;
pub mod pod_scaling;
pub mod recovery;
pub mod resumption;
pub mod scaling;
pub mod services;
pub mod status_writer;
pub mod transparent;
pub mod two_clusters;

macro_rules! scenario {
    ($name:literal, $topology:expr, $gateways:ident, $run:path, $about:literal) => {
        Scenario {
            name: $name,
            about: $about,
            topology: &$topology,
            gateways: Gateways::$gateways,
            run: $run,
        }
    };
}

/// Every scenario.
pub const ALL: &[Scenario] = &[
    scenario!(
        "lab_self",
        JOURNEY,
        None,
        lab_self::run,
        "the topology stands, FRR and BIRD speak, pods reach pods, a cut link cuts, and nothing is left behind"
    ),
    scenario!(
        "ownership",
        ELECTION,
        None,
        ownership::run,
        "a lab ends with whoever stood it up, however that one ends"
    ),
    scenario!(
        "in",
        JOURNEY,
        Settled,
        inbound::run,
        "a client reaches pods by host, path, header and weight, and the pod sees the client's address"
    ),
    scenario!(
        "transparent",
        JOURNEY,
        Settled,
        transparent::run,
        "a pod sees the client's own address in its packets, over HTTP and over TCP, where a policy asks for it"
    ),
    scenario!(
        "ingress",
        ingress::INGRESS,
        ByStory,
        ingress::run,
        "each annotation of ingress-nginx that is served does what the table says, in a request that shows it"
    ),
    scenario!(
        "scaling",
        JOURNEY,
        Settled,
        scaling::run,
        "a pod comes and another goes under load, and not one request fails"
    ),
    scenario!(
        "services",
        JOURNEY,
        Settled,
        services::run,
        "a Service of type LoadBalancer keeps its address while pods scale and its pool changes, and is withdrawn when nothing could answer"
    ),
    scenario!(
        "out",
        JOURNEY,
        Settled,
        out::run,
        "a selected pod leaves with its policy's address, another with its own, packet by packet"
    ),
    scenario!(
        "failure_cut",
        JOURNEY,
        Settled,
        failure::cut,
        "the gateway that holds everything is cut off, and traffic both ways pauses for half a second at most"
    ),
    scenario!(
        "failure_kill",
        JOURNEY,
        Settled,
        failure::kill,
        "the gateway that holds everything is killed, and traffic both ways pauses for half a second at most"
    ),
    scenario!(
        "one_link",
        JOURNEY,
        Settled,
        one_link::run,
        "the gateway that holds everything loses one of its two links, and another takes over on both LANs"
    ),
    scenario!(
        "frozen",
        JOURNEY,
        Settled,
        frozen::run,
        "the gateway that holds everything stands still for 3 s and wakes, and each time traffic pauses for half a second at most"
    ),
    scenario!(
        "recovery",
        JOURNEY,
        Settled,
        recovery::run,
        "a gateway comes back, takes nothing over by force, and nothing is lost"
    ),
    scenario!(
        "change",
        JOURNEY,
        Settled,
        change::run,
        "a new route works in 200 ms, and a file with a mistake is named while the last good objects serve"
    ),
    scenario!(
        "explain",
        JOURNEY,
        Settled,
        explain::run,
        "`explain http` says of random requests what the access log says of them"
    ),
    scenario!(
        "adoption",
        JOURNEY,
        Settled,
        adoption::run,
        "a gateway that restarts, or is killed and restarted, changes nothing in its kernel"
    ),
    scenario!(
        "cleanup",
        JOURNEY,
        ByStory,
        cleanup::run,
        "cleanup removes every trace of ours and nothing else"
    ),
    scenario!(
        "frr_bird",
        JOURNEY,
        Settled,
        frr_bird::run,
        "FRR and BIRD hold their sessions with every gateway and have the routes they should"
    ),
    scenario!(
        "keepalived_election",
        ELECTION,
        ByStory,
        keepalived_election::run,
        "one address moves between Tidegate and keepalived as VRRP says"
    ),
    scenario!(
        "handover",
        HANDOVER,
        ByStory,
        handover::some,
        "three processes take over one after the other under load of every kind, and nobody notices"
    ),
    scenario!(
        "changes",
        HANDOVER,
        ByStory,
        changes::some,
        "78 changes of every kind in five seconds under load of every kind, and nobody notices"
    ),
    scenario!(
        "resumption",
        PAIR,
        ByStory,
        resumption::run,
        "a TLS session that one gateway gave goes on at the other after the first was killed, also once keys have turned"
    ),
    scenario!(
        "farewell",
        HANDOVER,
        ByStory,
        farewell::beside_a_stranger,
        "a gateway told to end gives its address to keepalived once what was in flight is answered, and not before"
    ),
    scenario!(
        "farewell_journey",
        JOURNEY,
        Settled,
        farewell::among_others,
        "the gateway that holds everything is told to end among others, and no request fails"
    ),
];

/// Scenarios that take a minute or more, each with a short one in [`ALL`], or that need what few have installed.
pub const LONG: &[Scenario] = &[
    scenario!(
        "plane",
        CLUSTER,
        None,
        plane::run,
        "a Kubernetes cluster of three nodes stands, runs pods, serves Services, loses its API server, and leaves nothing behind"
    ),
    scenario!(
        "kube_source",
        kube_source::OUTSIDE,
        ByStory,
        kube_source::run,
        "what a real API server holds is served and followed, and goes on while it is away; only what is named is asked for"
    ),
    scenario!(
        "node_ports",
        kube_source::OUTSIDE,
        ByStory,
        node_ports::run,
        "pods of a real cluster are reached by the NodePorts of the nodes that have some, 1, 20 and 3 of them under load, and none else"
    ),
    scenario!(
        "two_clusters",
        kube_source::OUTSIDE,
        ByStory,
        two_clusters::run,
        "two real clusters have one Service: one lies empty, both answer, one is lost with its API server, and no request fails"
    ),
    scenario!(
        "pod_scaling",
        kube_source::OUTSIDE,
        ByStory,
        pod_scaling::run,
        "pods of a real cluster are reached by routes that its nodes tell over BGP, 1, 20 and 3 of them under load, and no request fails"
    ),
    scenario!(
        "fail_static",
        kube_source::OUTSIDE,
        ByStory,
        fail_static::minute,
        "a real API server is away for a minute, then every pod is another, and no request fails"
    ),
    scenario!(
        "fail_static_long",
        kube_source::OUTSIDE,
        ByStory,
        fail_static::ten_minutes,
        "the same, away for ten minutes"
    ),
    scenario!(
        "status_writer",
        status_writer::THREE,
        ByStory,
        status_writer::run,
        "of three gateways one writes statuses into a real API server, another after its death, and none where nothing changes"
    ),
    scenario!(
        "install",
        kube_source::OUTSIDE,
        ByStory,
        install::run,
        "definitions and chart on a real API server: good objects in, bad ones out, a DaemonSet that serves, no right too many or too few"
    ),
    scenario!(
        "handover_full",
        HANDOVER,
        ByStory,
        handover::many,
        "twenty processes take over one after the other under load of every kind, and nobody notices"
    ),
    scenario!(
        "changes_full",
        HANDOVER,
        ByStory,
        changes::many,
        "a thousand changes of every kind in a minute under load of every kind, and nobody notices"
    ),
    scenario!(
        "browser",
        HANDOVER,
        ByStory,
        browser::run,
        "Chromium loads a page over HTTP/2 and TLS: image, POST, redirect, gzip, a hundred requests at once, a WebSocket"
    ),
];
