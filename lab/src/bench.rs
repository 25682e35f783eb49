//! `lab bench`: what a request costs, in Tidegate and in the proxies of Debian, measured in one run. It owns the order
//! of measurements; how a load is made, and how a figure is judged, is each a file of its own. See docs/bench.md.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};

use self::cases::{Case, Measure};
use self::contender::{Contender, Kind, Setting};
use self::ground::Ground;
use self::report::{Cell, Row};

mod bulk;
mod cases;
mod contender;
pub mod control;
pub mod daemon;
mod datagrams;
mod echo;
pub mod ground;
mod h2load;
mod haproxy;
mod idle;
mod machine;
pub mod nginx;
mod openloop;
mod origin;
mod pingpong;
mod probe;
mod report;
mod routes;
mod tidegate;
mod wrk;

pub use self::ground::remove_mine;

/// What can be measured.
#[derive(Subcommand)]
pub enum What {
    /// CPU per request beside nginx and HAProxy; memory; latency at a fixed rate
    L7(L7),
    /// Start, memory and changes at 10,000 Services of a real API server
    Control(control::Control),
}

/// How `lab bench l7` measures.
#[derive(Args)]
pub struct L7 {
    /// Rounds of each case, interleaved over the proxies; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Seconds of load in a round
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    secs: u32,
    /// Only these cases; `--list` names them
    #[arg(long)]
    case: Vec<String>,
    /// Which of the two columns
    #[arg(long, value_enum, default_value_t = Column::Both)]
    column: Column,
    /// The program; else $TIDEGATE_BIN, else the one beside this one
    #[arg(long)]
    tidegate: Option<PathBuf>,
    /// Name the cases and end
    #[arg(long)]
    list: bool,
    /// Start the proxies, print their process ids, load ours with one case until Ctrl-C: for a profiler
    #[arg(long, conflicts_with = "list")]
    hold: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Column {
    /// Access log off, no limits
    Off,
    /// Access log, metrics, limits, timeouts and header filters on
    On,
    /// First off, then on
    Both,
}

/// Length and number of rounds.
#[derive(Clone, Copy)]
pub struct Effort {
    /// At least one.
    pub rounds: u32,
    /// Seconds of load in each.
    pub secs: u32,
}

/// Runs a bench; whether every cell holds a figure or says that a case is not served.
pub fn run(what: What) -> Result<bool> {
    let order = match what {
        What::L7(order) => order,
        What::Control(order) => return control::run(order),
    };
    if order.list {
        cases::ALL.iter().for_each(|case| println!("{:16} {}", case.name, case.about));
        return Ok(true);
    }
    let chosen = chosen(&order.case)?;
    let program = match order.tidegate {
        Some(path) => path.canonicalize()?,
        None => crate::gateway::program()?,
    };
    let effort = Effort { rounds: order.rounds, secs: order.secs };
    let ground = Ground::prepare(program)?;
    if order.hold {
        return hold(&ground, &chosen, order.column).map(|()| true);
    }
    machine::describe().iter().for_each(|line| println!("{line}"));
    let mut sound = true;
    for setting in settings(order.column) {
        println!("\n{}", setting.title());
        println!("{}", report::HEADER);
        for row in column(&ground, setting, &chosen, effort)? {
            sound &= row.sound();
        }
    }
    Ok(sound)
}

fn settings(column: Column) -> Vec<Setting> {
    match column {
        Column::Off => vec![Setting::Off],
        Column::On => vec![Setting::On],
        Column::Both => vec![Setting::Off, Setting::On],
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(cases::ALL.iter().collect());
    }
    let named = |name: &String| match cases::ALL.iter().find(|case| case.name == name) {
        Some(case) => Ok(case),
        None => bail!("no case {name}; `lab bench l7 --list` names them"),
    };
    names.iter().map(named).collect()
}

/// One column: the three proxies stay from case to case, but for those that need fresh ones.
fn column(ground: &Ground, setting: Setting, chosen: &[&'static Case], effort: Effort) -> Result<Vec<Row>> {
    let _origin = origin::Origin::start(ground)?;
    let mut shared = Vec::new();
    let mut rows = Vec::new();
    for case in chosen {
        let before = machine::load();
        match case.measure {
            Measure::Load(_) if shared.is_empty() => shared = start(ground, &Kind::TRIO, setting)?,
            Measure::Load(_) => {}
            // Fresh ones come, on the same ports.
            Measure::Memory(_) | Measure::Routes => shared.clear(),
        }
        let cells = match &case.measure {
            Measure::Memory(memory) => idle::measure(ground, setting, *memory, effort)?,
            Measure::Routes => {
                let mut pair = start(ground, &[Kind::ManyRoutes, Kind::FewRoutes], setting)?;
                rounds(ground, case, &mut pair, effort)?
            }
            Measure::Load(_) => rounds(ground, case, &mut shared, effort)?,
        };
        let row = Row { case, setting, cells, load: (before, machine::load()) };
        println!("{row}");
        rows.push(row);
    }
    Ok(rows)
}

fn start(ground: &Ground, kinds: &[Kind], setting: Setting) -> Result<Vec<Contender>> {
    kinds.iter().map(|kind| Contender::start(ground, *kind, setting)).collect()
}

/// A case over several proxies, one round of each in turn.
fn rounds(ground: &Ground, case: &Case, contenders: &mut [Contender], effort: Effort) -> Result<Vec<Cell>> {
    let mut cells: Vec<Cell> = contenders.iter().map(|contender| opening(ground, case, contender)).collect();
    for cell in 0..cells.len() {
        if cells[cell].open() {
            // Pools fill and caches warm before anything counts.
            let warm = case.sample(ground, &contenders[cell], 1);
            cells[cell].settle(warm.map(|_| ()));
        }
    }
    for _ in 0..effort.rounds {
        for (cell, contender) in cells.iter_mut().zip(contenders.iter_mut()) {
            if cell.open() {
                let sample = case.sample(ground, contender, effort.secs);
                cell.take(sample.and_then(|sample| contender.check().map(|()| sample)));
            }
        }
    }
    for (cell, contender) in cells.iter_mut().zip(contenders.iter()) {
        if cell.open() {
            // What was right before the load must be right after it.
            cell.settle(case.probe(ground, contender).map_err(|why| why.into_error()));
        }
    }
    Ok(cells)
}

/// Asks once whether the case is served at all.
fn opening(ground: &Ground, case: &Case, contender: &Contender) -> Cell {
    if !case.concerns(contender.kind) {
        return Cell::unserved("it has no UDP proxy".into());
    }
    match case.probe(ground, contender) {
        Ok(()) => Cell::default(),
        // A peer is configured by us: one that does not serve is a broken bench, not a missing feature.
        Err(probe::Fault::Unserved(why)) if contender.kind.ours() => Cell::unserved(why),
        Err(fault) => Cell::failed(fault.into_error()),
    }
}

/// Keeps ours under the load of one case, for a profiler.
fn hold(ground: &Ground, chosen: &[&'static Case], column: Column) -> Result<()> {
    ensure!(chosen.len() == 1, "--hold takes exactly one --case");
    let setting = settings(column)[0];
    let _origin = origin::Origin::start(ground)?;
    let ours = Contender::start(ground, Kind::Tidegate, setting)?;
    if let Err(fault) = chosen[0].probe(ground, &ours) {
        return Err(fault.into_error());
    }
    println!("tidegate is process {}; Ctrl-C ends it", ours.pid());
    loop {
        let sample = chosen[0].sample(ground, &ours, 2)?;
        println!("{:.2} {}", sample.value, chosen[0].unit);
    }
}
