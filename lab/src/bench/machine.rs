//! What the machine says of itself: busy time, load, kernel.

use std::fs;

use anyhow::{Context, Result};

/// Time that all cores together were not idle, nanoseconds, as far as clock ticks tell.
pub fn busy_ns() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).map(|field| field.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal; idle, iowait and steal are not ours.
    let busy: u64 =
        ticks.iter().enumerate().filter(|(at, _)| ![3, 4, 7].contains(at)).map(|(_, ticks)| ticks).sum();
    // USER_HZ is 100 on every Linux that we serve.
    Ok(busy * 10_000_000)
}

/// Load average over one minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// Kernel, processor, load: what a figure is worth without.
pub fn describe() -> Vec<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, name)| name);
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    vec![format!("Linux {}, {cores} cores,{model}, load {:.2}", release.trim(), load())]
}
