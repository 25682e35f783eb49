//! `lab`: stands topologies up, runs scenarios in them, shows the demo. Never shipped.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::lab::Lab;
use crate::process::Lifetime;
use crate::server::Personality;

mod bench;
mod bird;
mod board;
mod capture;
mod certificates;
mod churn;
mod cluster;
mod crowd;
mod demo;
mod election;
mod floods;
mod frr;
mod gap;
mod gateway;
mod http;
mod journey;
mod lab;
mod load;
mod manifests;
mod monitor;
mod netns;
mod process;
mod registry;
mod report;
mod scenario;
mod scenarios;
mod server;
mod settle;
mod site;
mod talk;
mod topology;
mod traces;
mod verdict;
mod wire;

#[derive(Parser)]
#[command(name = "lab", about = "Topologies in network namespaces, real peers, scenarios. Needs root.")]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Stand a topology up and leave it standing
    Up {
        /// Its name; `lab list` names them
        topology: String,
        /// Do not start Tidegate on the gateways
        #[arg(long)]
        no_gateways: bool,
        /// Stay, and remove it on Ctrl-C
        #[arg(long)]
        foreground: bool,
    },
    /// Remove a standing lab; without an id, the only one there is
    Down {
        /// Its id
        id: Option<String>,
        /// Remove every lab
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Name scenarios, topologies and labs
    List,
    /// Run scenarios, each in a lab of its own
    Run {
        /// Their names
        #[arg(required_unless_present = "all")]
        scenarios: Vec<String>,
        /// Every scenario
        #[arg(long, conflicts_with = "scenarios")]
        all: bool,
        /// Leave the labs standing afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Show the journey
    Demo {
        /// How often; more than once ends with minimum, median and maximum
        #[arg(long, default_value_t = 1)]
        times: u32,
    },
    /// Measure what a request costs
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Attack the daemon in every known way, while an honest client measures
    Floods(floods::Order),
    /// Internal: the server inside a pod
    #[command(hide = true)]
    Pod {
        #[arg(long)]
        name: String,
        #[arg(long)]
        port: Vec<u16>,
    },
    /// Internal: the server of every endpoint of a large cluster
    #[command(hide = true)]
    Endpoints {
        #[arg(long)]
        port: u16,
    },
    /// Internal: the origin of a page
    #[command(hide = true)]
    Site {
        #[arg(long)]
        port: u16,
    },
    /// Internal: the servers of the legacy network
    #[command(hide = true)]
    Legacy {
        #[arg(long)]
        port: Vec<u16>,
    },
}

fn main() -> ExitCode {
    match obey(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn obey(order: Order) -> Result<bool> {
    match order {
        Order::Pod { name, port } => return server::serve(Personality::Pod(name), &port).map(|()| true),
        Order::Legacy { port } => return server::serve(Personality::Legacy, &port).map(|()| true),
        Order::Endpoints { port } => return server::serve(Personality::Endpoints, &[port]).map(|()| true),
        Order::Site { port } => return site::serve(port).map(|()| true),
        _ => {}
    }
    for id in registry::sweep() {
        println!("removed lab {id}: its owner was gone");
    }
    clean_up_on_signals()?;
    match order {
        Order::Up { topology, no_gateways, foreground } => {
            let lifetime = if foreground { Lifetime::Foreground } else { Lifetime::Standing };
            up(&topology, !no_gateways, lifetime).map(|()| true)
        }
        Order::Down { id, all } => down(id, all).map(|()| true),
        Order::List => {
            list();
            Ok(true)
        }
        Order::Run { scenarios, all, keep } => {
            let named = scenarios.iter().map(|name| scenario::named(name)).collect::<Result<Vec<_>>>()?;
            let chosen = if all { scenarios::ALL.iter().collect() } else { named };
            Ok(scenario::run_all(&chosen, keep))
        }
        Order::Demo { times } => demo::run(times),
        Order::Bench { what } => bench::run(what),
        Order::Floods(order) => floods::run(order),
        Order::Pod { .. } | Order::Legacy { .. } | Order::Endpoints { .. } | Order::Site { .. } => Ok(true),
    }
}

fn up(name: &str, gateways: bool, lifetime: Lifetime) -> Result<()> {
    let Some(topology) = topology::all().iter().find(|topology| topology.name == name) else {
        bail!("no topology {name}; `lab list` names them");
    };
    if gateways {
        gateway::program()?;
    }
    let mut lab = Lab::stand(topology, lifetime)?;
    if gateways {
        lab.start_gateways()?;
    }
    let text = describe(&lab)?;
    if lifetime == Lifetime::Standing {
        // Before anything is printed: a reader that goes away must not take the lab with it.
        lab.leave()?;
        print!("{text}");
        return Ok(());
    }
    println!("{text}Ctrl-C removes it");
    loop {
        lab.pause(std::time::Duration::from_secs(3600))?;
    }
}

/// How to walk around in a lab.
fn describe(lab: &Lab) -> Result<String> {
    use std::fmt::Write as _;
    let (id, topology, mut text) = (lab.id(), lab.topology, String::new());
    writeln!(text, "lab {id} stands: {}", topology.about)?;
    for host in topology.hosts.iter().map(|host| host.name).chain(topology.pods.iter().map(|pod| pod.name)) {
        writeln!(text, "  ip netns exec {} bash", lab.ns(host).name())?;
    }
    writeln!(text, "manifests: {}\nlogs: {}", lab.manifests().path().display(), lab.logs().display())?;
    for router in topology.routers() {
        let (ns, sockets) = (lab.ns(router.name), lab.dir(router.name)?.join("vty"));
        writeln!(
            text,
            "{}: ip netns exec {} vtysh --vty_socket {}",
            router.name,
            ns.name(),
            sockets.display()
        )?;
    }
    for node in topology.nodes() {
        writeln!(text, "{}: birdc -s {}", node.name, lab.dir(node.name)?.join("bird.ctl").display())?;
    }
    writeln!(text, "`lab down {id}` removes it")?;
    Ok(text)
}

fn down(id: Option<String>, all: bool) -> Result<()> {
    let labs = registry::all();
    let chosen: Vec<_> = match (&id, all, labs.len()) {
        (_, true, _) => labs,
        (Some(id), _, _) => labs.into_iter().filter(|lab| lab.id == *id).collect(),
        (None, _, 0) => Vec::new(),
        (None, _, 1) => labs,
        (None, _, _) => bail!("several labs stand; name one, or --all"),
    };
    if let (Some(id), true) = (id, chosen.is_empty()) {
        bail!("no lab {id}");
    }
    if chosen.is_empty() {
        println!("no lab stands");
    }
    chosen.iter().try_for_each(|lab| registry::teardown(&lab.id).map(|()| println!("removed lab {}", lab.id)))
}

fn list() {
    println!("scenarios (lab run NAME)");
    scenarios::ALL.iter().for_each(|scenario| println!("  {:20} {}", scenario.name, scenario.about));
    println!("long scenarios (lab run NAME; not part of --all)");
    scenarios::LONG.iter().for_each(|scenario| println!("  {:20} {}", scenario.name, scenario.about));
    println!("topologies (lab up NAME)");
    topology::all().iter().for_each(|topology| println!("  {:20} {}", topology.name, topology.about));
    println!("labs");
    for lab in registry::all() {
        let whose = if lab.owner.is_some() { "runs a scenario" } else { "stands until `lab down`" };
        println!("  {:20} {}, {whose}", lab.id, lab.topology);
    }
}

/// Ctrl-C, SIGTERM and a closed terminal end this process's labs, then this process.
fn clean_up_on_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>()
    });
    let mut signals = signals.context("watching for signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            first(waits.collect()).await;
        });
        registry::teardown_mine();
        bench::remove_mine();
        std::process::exit(130);
    });
    Ok(())
}

/// Ends when the first of these does.
async fn first<T>(mut waits: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) {
    std::future::poll_fn(|context| {
        let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
