//! `lab floods`: every known way to make a gateway work for nothing, against the daemon, while an honest client at another
//! address asks on. Each must be cut and counted, the honest client must not feel it, and memory must stay where it was.
//! It owns the order and the verdict; each family of floods is a file of its own.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::stand::Stand;
use crate::bench::ground::Ground;

mod control;
mod handshakes;
mod honest;
mod slow;
mod stand;
mod streams;
mod wire;

/// The honest client's 99th percentile may be so long.
const P99_MAX: Duration = Duration::from_millis(25);

/// Resident memory may grow by so much while a flood lasts: the buffers and free lists that any load fills once.
const GROWTH_MAX_BYTES: u64 = 64 << 20;

/// How `lab floods` attacks.
#[derive(Args)]
pub struct Order {
    /// Seconds of each flood; those that wait for a timeout take as long as that
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    secs: u64,
    /// Connections that attack at once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Only these floods; `--list` names them
    #[arg(long)]
    flood: Vec<String>,
    /// The program; else $TIDEGATE_BIN, else the one beside this one
    #[arg(long)]
    tidegate: Option<PathBuf>,
    /// Name the floods and end
    #[arg(long)]
    list: bool,
}

/// One way to attack.
pub struct Flood {
    /// A word for the table and for `--flood`.
    pub name: &'static str,
    /// The metric line that must grow, by its beginning.
    pub counted: &'static str,
    /// Which listener is attacked.
    pub port: fn(&Stand) -> u16,
    /// One connection's attack, again and again until the time is up; how often it was cut.
    pub attack: fn(&Attack) -> u64,
    /// What holds it.
    pub held_by: HeldBy,
    /// How long it takes at least to be cut.
    pub patience: Duration,
}

/// How a gateway holds a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// It cuts connections.
    Cutting,
    /// It refuses each piece, or ends each stream, and may keep the connection: what it counts tells.
    Refusing,
}

/// What one attacker knows.
pub struct Attack {
    /// Where from: each flood has an address of its own, because the gateway remembers those that misbehave.
    pub from: Ipv4Addr,
    /// Where to.
    pub port: u16,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Attack {
    /// Whether time is up.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes what was tried.
    pub fn tried(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }
}

/// What came of one flood.
struct Row {
    name: &'static str,
    held_by: HeldBy,
    sent: u64,
    cut: u64,
    counted: u64,
    p99: Duration,
    asked: usize,
    growth_bytes: u64,
    faults: Vec<String>,
}

/// Runs them; whether all held.
pub fn run(order: Order) -> Result<bool> {
    let all: Vec<&Flood> =
        [control::ALL, streams::ALL, slow::ALL, handshakes::ALL].into_iter().flatten().collect();
    if order.list {
        all.iter().for_each(|flood| println!("{:18} {}", flood.name, flood.counted));
        return Ok(true);
    }
    for name in &order.flood {
        ensure!(
            all.iter().any(|flood| flood.name == name),
            "no flood {name}; `lab floods --list` names them"
        );
    }
    let program = match &order.tidegate {
        Some(path) => path.canonicalize()?,
        None => crate::gateway::program()?,
    };
    let ground = Ground::with(program, &["openssl", "ip"])?;
    let stand = Stand::start(&ground)?;
    println!(
        "{:18} {:>10} {:>7} {:>8} {:>9} {:>7} {:>9}",
        "flood", "sent", "cut", "counted", "p99", "asked", "memory"
    );
    let mut sound = true;
    for (at, flood) in (1..).zip(&all) {
        if !(order.flood.is_empty() || order.flood.iter().any(|name| name == flood.name)) {
            continue;
        }
        let row = one(&stand, flood, &order, Ipv4Addr::new(127, 0, 1, at))?;
        println!(
            "{:18} {:>10} {:>7} {:>8} {:>6.1} ms {:>7} {:>+5.1} MiB{}",
            row.name,
            row.sent,
            row.cut,
            row.counted,
            row.p99.as_secs_f64() * 1000.0,
            row.asked,
            row.growth_bytes as f64 / f64::from(1 << 20),
            row.faults.iter().map(|fault| format!("  {fault}")).collect::<String>()
        );
        sound &= row.faults.is_empty();
    }
    Ok(sound)
}

fn one(stand: &Stand, flood: &Flood, order: &Order, from: Ipv4Addr) -> Result<Row> {
    let (before, counted) = (stand.resident_bytes()?, stand.metric(flood.counted)?);
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let time = Duration::from_secs(order.secs).max(flood.patience);
    let honest = honest::Client::start(stand.http, over.clone());
    let attackers: Vec<_> = (0..order.connections)
        .map(|_| {
            let attack = Attack { from, port: (flood.port)(stand), over: over.clone(), sent: sent.clone() };
            let act = flood.attack;
            std::thread::spawn(move || {
                stand_back();
                act(&attack)
            })
        })
        .collect();
    let mut most = before;
    while began.elapsed() < time {
        std::thread::sleep(Duration::from_millis(50));
        most = most.max(stand.resident_bytes()?);
    }
    over.store(true, Ordering::Relaxed);
    let mut cut = 0;
    for attacker in attackers {
        match attacker.join() {
            Ok(count) => cut += count,
            Err(_) => bail!("an attacker of {} failed", flood.name),
        }
    }
    let asked = honest.end();
    let counted = stand.metric(flood.counted)? - counted;
    let mut row = Row {
        name: flood.name,
        held_by: flood.held_by,
        sent: sent.load(Ordering::Relaxed),
        cut,
        counted,
        p99: asked.p99(),
        asked: asked.count(),
        growth_bytes: most.saturating_sub(before),
        faults: Vec::new(),
    };
    judge(&mut row, asked.failed());
    stand.check()?;
    Ok(row)
}

fn judge(row: &mut Row, failed: usize) {
    let faults = [
        (row.cut == 0 && row.held_by == HeldBy::Cutting, "NOT CUT".to_owned()),
        (row.counted == 0, "NOT COUNTED".to_owned()),
        (row.p99 > P99_MAX, "HONEST CLIENT WAITS".to_owned()),
        (failed > 0 || row.asked == 0, format!("HONEST CLIENT FAILED {failed} TIMES")),
        (row.growth_bytes > GROWTH_MAX_BYTES, "MEMORY GROWS".to_owned()),
    ];
    row.faults = faults.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
}

/// Attackers share a core with the honest client and the origin, and are not to slow these down themselves.
fn stand_back() {
    // SAFETY: gettid(2) and setpriority(2) take integers and touch no memory of ours.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, 15) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flood that is not cut, not counted, felt or paid for in memory is a fault; one that is none of these is not.
    #[test]
    fn verdicts() {
        let good = || Row {
            name: "x",
            held_by: HeldBy::Cutting,
            sent: 1,
            cut: 1,
            counted: 1,
            p99: P99_MAX,
            asked: 100,
            growth_bytes: GROWTH_MAX_BYTES,
            faults: Vec::new(),
        };
        let faults = |mut row: Row, failed: usize| {
            judge(&mut row, failed);
            row.faults.len()
        };
        assert_eq!(faults(good(), 0), 0);
        assert_eq!(faults(good(), 1), 1);
        assert_eq!(faults(Row { cut: 0, counted: 0, ..good() }, 0), 2);
        assert_eq!(faults(Row { cut: 0, held_by: HeldBy::Refusing, ..good() }, 0), 0);
        assert_eq!(faults(Row { counted: 0, held_by: HeldBy::Refusing, ..good() }, 0), 1);
        assert_eq!(faults(Row { p99: P99_MAX * 2, growth_bytes: GROWTH_MAX_BYTES + 1, ..good() }, 0), 2);
    }

    /// No two floods share a name.
    #[test]
    fn names() {
        let mut names: Vec<_> = [control::ALL, streams::ALL, slow::ALL, handshakes::ALL]
            .into_iter()
            .flatten()
            .map(|flood| flood.name)
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
