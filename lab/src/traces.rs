//! What a network namespace holds that a program could leave behind: links, addresses, routes, rules, the ruleset and
//! the settings. Two pictures are compared line by line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::netns::Netns;

/// Settings that count something and so change by themselves.
const COUNTERS: [&str; 1] = ["net/netfilter/nf_conntrack_count"];
/// What is asked for with `ip`.
const TABLES: [&str; 7] =
    ["link", "addr", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule", "nexthop"];

/// A picture of a namespace: lines, each with where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// The namespace that this process is in.
    pub fn here() -> Result<Traces> {
        take(|program| Ok(Command::new(program)))
    }

    /// A namespace of a lab.
    pub fn of(ns: &Netns) -> Result<Traces> {
        ns.inside(|| take(|program| ns.command(program)))
    }

    /// What is different in a later picture: `- gone` and `+ new`.
    pub fn changes(&self, later: &Traces) -> Vec<String> {
        let gone = self.0.difference(&later.0).map(|line| format!("- {line}"));
        gone.chain(later.0.difference(&self.0).map(|line| format!("+ {line}"))).collect()
    }
}

fn take(command: impl Fn(&str) -> Result<Command>) -> Result<Traces> {
    let mut lines = BTreeSet::new();
    for table in TABLES {
        let text = run(command("ip")?.arg("-j").args(table.split(' ')))?;
        let rows: serde_json::Value =
            serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text })?;
        let rows = rows.as_array().context("ip answered no list")?;
        lines.extend(rows.iter().map(|row| format!("{table}: {}", still(row))));
    }
    let ruleset = run(command("nft")?.args(["-s", "list", "ruleset"]))?;
    // Numbered, because the same line may stand in several chains.
    lines.extend(ruleset.lines().enumerate().map(|(number, line)| format!("nft {number}: {line}")));
    settings(Path::new("/proc/sys/net"), &mut lines)?;
    Ok(Traces(lines))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The row without what runs by itself: lifetimes.
fn still(row: &serde_json::Value) -> serde_json::Value {
    let mut row = row.clone();
    let forget = |object: &mut serde_json::Value| {
        for key in ["valid_life_time", "preferred_life_time", "expires"] {
            object.as_object_mut().map(|map| map.remove(key));
        }
    };
    forget(&mut row);
    if let Some(addresses) = row.get_mut("addr_info").and_then(|info| info.as_array_mut()) {
        addresses.iter_mut().for_each(forget);
    }
    row
}

fn settings(folder: &Path, lines: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            settings(&path, lines)?;
        } else if !COUNTERS.iter().any(|counter| path.ends_with(counter))
            && let Ok(value) = std::fs::read_to_string(&path)
        {
            lines.insert(format!("{}: {}", path.display(), value.trim()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lifetimes run by themselves and make no difference; an address does.
    #[test]
    fn still_rows() {
        let row =
            |ip: &str, life: u32| serde_json::json!({"addr_info": [{"local": ip, "valid_life_time": life}]});
        assert_eq!(still(&row("10.0.0.1", 5)), still(&row("10.0.0.1", 4)));
        assert_ne!(still(&row("10.0.0.1", 5)), still(&row("10.0.0.2", 5)));
    }

    /// A difference names what went and what came.
    #[test]
    fn changes() {
        let picture = |lines: [&str; 2]| Traces(lines.map(String::from).into());
        assert_eq!(picture(["a", "b"]).changes(&picture(["b", "c"])), ["- a", "+ c"]);
    }
}
