//! A program that prints what changes in a kernel, such as `ip monitor`, proven to work at both ends: a stranger's
//! change is printed before anything is listened for, and again at the end. What lies between is what happened.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Lab;
use crate::netns::Netns;

/// The time that a change needs to be printed.
const PRINTED: Duration = Duration::from_secs(3);

/// What is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `ip monitor`: links, addresses, routes, rules, next hops.
    Ip,
    /// `nft monitor`: the ruleset.
    Nft,
}

/// A monitor under way.
#[derive(Debug)]
pub struct Monitor {
    source: Source,
    ns: Netns,
    child: Child,
    out: PathBuf,
    err: PathBuf,
    /// Where the proof of the beginning ends.
    from: usize,
}

impl Source {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Source::Ip => "ip monitor",
            Source::Nft => "nft monitor",
        }
    }

    fn argv(self) -> &'static [&'static str] {
        match self {
            Source::Ip => &["ip", "monitor", "link", "address", "route", "rule", "nexthop"],
            Source::Nft => &["nft", "monitor"],
        }
    }

    /// A stranger's change, its undoing, and what of each must be printed.
    fn canary(self) -> [(&'static [&'static str], &'static str); 2] {
        match self {
            Source::Ip => [
                (
                    &["ip", "route", "add", "unreachable", "192.0.2.99", "proto", "77"],
                    "unreachable 192.0.2.99",
                ),
                (
                    &["ip", "route", "del", "unreachable", "192.0.2.99", "proto", "77"],
                    "Deleted unreachable 192.0.2.99",
                ),
            ],
            Source::Nft => [
                (&["nft", "add", "table", "inet", "canary"], "add table inet canary"),
                (&["nft", "delete", "table", "inet", "canary"], "delete table inet canary"),
            ],
        }
    }
}

impl Monitor {
    /// Starts one on a host and waits until it prints a stranger's change. Its output stays among the lab's logs.
    pub fn start(lab: &mut Lab, host: &str, source: Source) -> Result<Monitor> {
        let log = |what: &str| lab.logs().join(format!("{host}-{}.{what}", source.name().replace(' ', "-")));
        let (out, err, ns) = (log("out"), log("err"), lab.ns(host));
        let (program, args) = source.argv().split_first().context("an empty command")?;
        let mut command = ns.command(program)?;
        command.args(args).stdin(Stdio::null()).stdout(File::create(&out)?);
        let child = command.stderr(OpenOptions::new().create(true).append(true).open(&err)?).spawn()?;
        let mut monitor = Monitor { source, ns, child, out, err, from: 0 };
        // It needs a moment to listen: the stranger calls until it is heard.
        lab.wait("first word of a monitor", PRINTED, |lab| {
            monitor.call()?;
            lab.pause(Duration::from_millis(100))?;
            monitor.heard(0).map(Some)
        })?;
        lab.wait("end of a stranger's changes", PRINTED, |lab| {
            monitor.from = monitor.text()?.len();
            lab.pause(Duration::from_millis(200))?;
            Ok((monitor.text()?.len() == monitor.from).then_some(()))
        })?;
        Ok(monitor)
    }

    /// What was printed since the start; an error if the monitor does not print a stranger's change any more, ended, or
    /// complained.
    pub fn stop(mut self, lab: &mut Lab) -> Result<Vec<String>> {
        let to = self.text()?.len();
        self.call()?;
        lab.wait("last word of a monitor", PRINTED, |_| self.heard(to).map(Some))?;
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}", self.source.name());
        }
        let complaint = std::fs::read_to_string(&self.err)?;
        ensure!(complaint.is_empty(), "{} complains: {complaint}", self.source.name());
        let text = self.text()?;
        let between = text.get(self.from..to).context("its output shrank")?;
        Ok(between.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }

    fn call(&self) -> Result<()> {
        for (argv, _) in self.source.canary() {
            self.ns.output(argv[0], &argv[1..])?;
        }
        Ok(())
    }

    /// An error unless the stranger's change and its undoing were printed after `from`.
    fn heard(&self, from: usize) -> Result<()> {
        let text = self.text()?;
        let heard = text.get(from..).unwrap_or_default();
        for (argv, printed) in self.source.canary() {
            let there = heard.lines().any(|line| line.starts_with(printed));
            ensure!(
                there,
                "{} does not print `{}`; standard error: {}",
                self.source.name(),
                argv.join(" "),
                std::fs::read_to_string(&self.err).unwrap_or_default()
            );
        }
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.out)?).into_owned())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
