//! The command line, as typed. What it means is settled in `settings`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_model::DrainedEndpoint;
use tidegate_objects::dns::NamePattern;

/// One program that carries, protects and explains everything that enters and leaves Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 110)]
pub struct Arguments {
    /// Where the daemon answers, for `run`; whom to ask, for the others [default: 127.0.0.1:9440].
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGTERM.
    Run(Run),
    /// Compile manifests offline and print every verdict and mistake: outcome, object, place, reason.
    Check(Check),
    /// What this node serves now.
    Status(Status),
    /// Why a packet goes where it goes.
    #[command(subcommand)]
    Explain(Explain),
    /// Believe what a source holds back: a kind that goes from ten objects or more to none.
    Confirm(Confirm),
    /// Leave an endpoint out: it gets nothing new, and what is under way to it ends by itself.
    Drain(Drain),
    /// Remove every kernel trace of Tidegate and nothing else, and restore sysctls.
    Cleanup(Cleanup),
    /// What to apply, here or on the other side.
    #[command(subcommand)]
    Manifest(Manifest),
    /// What this machine lacks: capabilities, kernel features, ports, settings, MTU. Changes nothing.
    Doctor,
    /// Print the version.
    Version,
}

/// `tidegate run`.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// Bootstrap file: what a machine must know before it can read objects.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A directory of Kubernetes YAML or JSON; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub manifests: Vec<PathBuf>,
    /// A kubeconfig: the objects of its cluster; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Vec<PathBuf>,
    /// The GatewayNode or Node that this process is [default: the host name].
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Take over from the one that runs on the same stateDir, without loss; start as usual where none runs.
    #[arg(long)]
    pub takeover: bool,
    /// With --takeover: return once the new process serves, and leave it running; for `systemctl reload`.
    #[arg(long, requires = "takeover")]
    pub background: bool,
}

/// `tidegate manifest`: as YAML for `kubectl apply --server-side -f -`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Manifest {
    /// What a cluster must have for gateways outside: definitions, an account, its rights.
    Gateway,
    /// Gateways on labelled nodes of the cluster: the same, and a DaemonSet.
    Node,
}

/// `tidegate check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Files and directories; together they are one source.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Compile for this GatewayNode [default: the first by name].
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Serve this class of ingress-nginx too, as `ingressNginx.class` of the bootstrap file does.
    #[arg(long, value_name = "CLASS", default_value = "")]
    pub ingress_class: String,
    /// Let Services of type ExternalName lead there, as `externalNames.allowed` of the bootstrap file does; may be given several
    /// times.
    #[arg(long, value_name = "NAME", value_parser = allowed_name)]
    pub allowed_name: Vec<NamePattern>,
}

/// `tidegate status`.
#[derive(Debug, Args)]
pub struct Status {
    /// One part of it, in more detail.
    pub part: Option<StatusPart>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// A part of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusPart {
    /// BGP sessions and learned routes.
    Bgp,
    /// BFD sessions.
    Bfd,
    /// Elections.
    Vrrp,
    /// Egress policies.
    Egress,
    /// Services and their endpoints.
    Services,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `tidegate explain`.
#[derive(Debug, Subcommand)]
pub enum Explain {
    /// Which listener, route, rule, backend and endpoint would serve a request, or the first reason why none does.
    Http(ExplainHttp),
    /// Which policy and source address a connection leaves with, or what drops it.
    Egress(ExplainEgress),
    /// Every path to a prefix, the best, and why each other lost.
    Route {
        /// The prefix.
        prefix: String,
    },
}

/// `tidegate explain http`.
#[derive(Debug, Args)]
pub struct ExplainHttp {
    /// The URL, as a client would ask for it.
    pub url: String,
    /// The method.
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// A header, `Name: value`.
    #[arg(short = 'H', long = "header", value_name = "K:V")]
    pub headers: Vec<String>,
    /// The client's address, for rules and Services that do not let everybody in.
    #[arg(long, value_name = "IP")]
    pub from: Option<IpAddr>,
}

/// `tidegate explain egress`.
#[derive(Debug, Args)]
pub struct ExplainEgress {
    /// `NAMESPACE/POD`, or an address.
    #[arg(long)]
    pub from: String,
    /// An address, with a port or without.
    #[arg(long, value_name = "IP[:PORT]")]
    pub to: String,
}

/// `tidegate drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// The endpoint, as `status services` names it; without a port, all of that address. It stays drained whatever its
    /// Service says, until --undo or until this daemon is restarted; a hand-over keeps it.
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub endpoint: DrainedEndpoint,
    /// Let it take part again.
    #[arg(long)]
    pub undo: bool,
}

/// `tidegate confirm`.
#[derive(Debug, Args)]
pub struct Confirm {
    /// Name of the source, as `status` shows it.
    pub source: String,
}

/// `tidegate cleanup`.
#[derive(Debug, Args)]
pub struct Cleanup {
    /// Print what would be removed, and leave it.
    #[arg(long)]
    pub dry_run: bool,
    /// Bootstrap file, for its `stateDir`, where sysctls were recorded.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn allowed_name(text: &str) -> Result<NamePattern, String> {
    NamePattern::parse(text).map_err(|wrong| format!("it {wrong}"))
}
