//! `lab floods`: every known way to make a gateway work for nothing, against the daemon, while an honest client at another
//! address asks on. Each must be cut and counted, the honest client must not feel it, and memory must stay where it was.
//! It owns the order and the verdict; each family of floods is a file of its own.
//!
//! The proxy has a core to itself. The other has the load: the honest client and its origin go first there, so that their
//! figures are the gateway's; attackers send as much as is left of it, at the rate that the table tells. The first row is
//! the same client without any flood, and `--beside` shows what the same floods do to it behind another proxy.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::rank::Rank;
use self::rival::Rival;
use self::stand::Stand;
use crate::bench::ground::Ground;

mod control;
mod handshakes;
mod honest;
mod origin;
mod rank;
mod rival;
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
    /// Each connection of a flood has an address of its own, as a botnet's do: keeping addresses out helps nothing then
    #[arg(long)]
    scattered: bool,
    /// Attack this proxy instead, and judge nothing
    #[arg(long)]
    beside: Option<Rival>,
    /// Be the origin of large bodies
    #[arg(long, hide = true)]
    origin: bool,
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
    /// Where from: each flood has addresses of its own, because the gateway remembers those that misbehave.
    from: Ipv4Addr,
    /// Connections so far, if each has another address.
    scattered: Option<Arc<AtomicU32>>,
    /// Where to.
    pub port: u16,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Attack {
    /// The address of the next connection.
    pub fn from(&self) -> Ipv4Addr {
        match &self.scattered {
            None => self.from,
            // The network of 16 bits 127.16 and on: each flood has one.
            Some(count) => {
                let [_, _, _, flood] = self.from.octets();
                let [.., high, low] = (count.fetch_add(1, Ordering::Relaxed) % 65_000 + 1).to_be_bytes();
                Ipv4Addr::new(127, 16 + flood, high, low)
            }
        }
    }

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
    /// What was tried in a second.
    rate: f64,
    cut: u64,
    counted: u64,
    p50: Duration,
    p99: Duration,
    longest: Duration,
    /// The same percentile as `p99` for a client that asks the origin itself: what is the machine's, not the proxy's.
    straight: Duration,
    asked: usize,
    /// Of the time, how much the proxy computed.
    busy: f64,
    growth_bytes: u64,
    faults: Vec<String>,
}

/// No flood: what the honest client has to expect.
const NONE: Flood = Flood {
    name: "none",
    counted: "tidegate_http_requests_total",
    port: |stand| stand.http,
    attack: |_| 0,
    patience: Duration::ZERO,
    held_by: HeldBy::Refusing,
};

/// Runs them; whether all held.
pub fn run(order: Order) -> Result<bool> {
    let all: Vec<&Flood> =
        [control::ALL, streams::ALL, slow::ALL, handshakes::ALL].into_iter().flatten().collect();
    if order.origin {
        origin::be_large()?;
    }
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
    let program = match (&order.tidegate, order.beside) {
        (Some(path), _) => path.canonicalize()?,
        (None, Some(_)) => PathBuf::new(),
        (None, None) => crate::gateway::program()?,
    };
    let mut programs = vec!["openssl", "ip"];
    programs.extend(order.beside.map(Rival::name));
    let ground = Ground::with(program, &programs)?;
    let stand = Stand::start(&ground, order.beside)?;
    println!(
        "{:18} {:>9} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>5} {:>10}",
        "flood",
        "sent/s",
        "cut",
        "counted",
        "p50 ms",
        "p99 ms",
        "max ms",
        "straight",
        "asked",
        "busy",
        "memory"
    );
    let mut sound = true;
    for (at, flood) in (1..).zip([&NONE].into_iter().chain(all)) {
        if at > 1 && !(order.flood.is_empty() || order.flood.iter().any(|name| name == flood.name)) {
            continue;
        }
        let row = one(&stand, flood, &order, Ipv4Addr::new(127, 0, 1, at))?;
        println!("{row}");
        sound &= row.faults.is_empty();
    }
    Ok(sound)
}

impl std::fmt::Display for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, longest, straight] =
            [self.p50, self.p99, self.longest, self.straight].map(|time| time.as_secs_f64() * 1000.0);
        write!(
            out,
            "{:18} {:>9.0} {:>7} {:>8} {p50:>8.1} {p99:>8.1} {longest:>8.1} {straight:>8.1} {:>6} {:>4.0}% {:>+6.1} MiB",
            self.name,
            self.rate,
            self.cut,
            self.counted,
            self.asked,
            self.busy * 100.0,
            self.growth_bytes as f64 / f64::from(1 << 20)
        )?;
        self.faults.iter().try_for_each(|fault| write!(out, "  {fault}"))
    }
}

fn one(stand: &Stand, flood: &Flood, order: &Order, from: Ipv4Addr) -> Result<Row> {
    let (before, counted, cpu) = (stand.resident_bytes()?, stand.metric(flood.counted)?, stand.cpu_ns()?);
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let scattered = order.scattered.then(|| Arc::new(AtomicU32::new(0)));
    let began = Instant::now();
    let time = Duration::from_secs(order.secs).max(flood.patience);
    let honest = honest::Client::start(stand.http, over.clone());
    let straight = honest::Client::start(origin::HONEST, over.clone());
    let attackers: Vec<_> = (0..order.connections)
        .map(|_| {
            let (port, scattered) = ((flood.port)(stand), scattered.clone());
            let attack = Attack { from, scattered, port, over: over.clone(), sent: sent.clone() };
            let act = flood.attack;
            std::thread::spawn(move || {
                Rank::Last.take();
                act(&attack)
            })
        })
        .collect();
    let mut most = before;
    while began.elapsed() < time {
        std::thread::sleep(Duration::from_millis(50));
        most = most.max(stand.resident_bytes()?);
    }
    let took = began.elapsed().as_secs_f64();
    let cpu = stand.cpu_ns()?.saturating_sub(cpu);
    let tried = sent.load(Ordering::Relaxed);
    over.store(true, Ordering::Relaxed);
    let mut cut = 0;
    for attacker in attackers {
        match attacker.join() {
            Ok(count) => cut += count,
            Err(_) => bail!("an attacker of {} failed", flood.name),
        }
    }
    let (asked, straight) = (honest.end(), straight.end());
    let counted = stand.metric(flood.counted)? - counted;
    let mut row = Row {
        name: flood.name,
        held_by: flood.held_by,
        rate: tried as f64 / took,
        cut,
        counted,
        p50: asked.percentile(50),
        p99: asked.percentile(99),
        longest: asked.percentile(100),
        straight: straight.percentile(99),
        asked: asked.count(),
        busy: cpu as f64 / 1e9 / took,
        growth_bytes: most.saturating_sub(before),
        faults: Vec::new(),
    };
    if !stand.is_rival() {
        judge(&mut row, asked.failed());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A flood that is not cut, not counted, felt or paid for in memory is a fault; one that is none of these is not.
    #[test]
    fn verdicts() {
        let good = || Row {
            name: "x",
            held_by: HeldBy::Cutting,
            rate: 1.0,
            cut: 1,
            counted: 1,
            p50: P99_MAX,
            p99: P99_MAX,
            longest: P99_MAX * 2,
            straight: P99_MAX * 2,
            asked: 100,
            busy: 1.0,
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
