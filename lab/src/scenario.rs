//! A scenario: a topology, a story, a report. This file runs them and says what came of them; the stories are in
//! `scenarios/`, a page each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::gateway;
use crate::lab::Lab;
use crate::process::Lifetime;
use crate::report::Report;
use crate::scenarios;
use crate::topology::Topology;

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, as `lab run NAME` takes it.
    pub name: &'static str,
    /// What must be true, in one sentence.
    pub about: &'static str,
    /// Where it plays.
    pub topology: &'static Topology,
    /// Who starts the gateways.
    pub gateways: Gateways,
    /// The story.
    pub run: fn(&mut Lab) -> Result<Report>,
}

/// Who starts the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateways {
    /// The runner, and the story begins when all of them are settled.
    Settled,
    /// The story itself.
    ByStory,
    /// Nobody: the story needs no Tidegate.
    None,
}

/// The scenario of that name.
pub fn named(name: &str) -> Result<&'static Scenario> {
    match scenarios::ALL.iter().chain(scenarios::LONG).find(|scenario| scenario.name == name) {
        Some(scenario) => Ok(scenario),
        None => bail!("no scenario {name}; `lab list` names them"),
    }
}

/// Runs scenarios one after another, each in a lab of its own; whether all went as they should.
pub fn run_all(scenarios: &[&'static Scenario], keep: bool) -> bool {
    let mut failed = 0;
    for scenario in scenarios {
        println!("{}: {}", scenario.name, scenario.about);
        let began = Instant::now();
        let passed = run(scenario, keep);
        failed += usize::from(!passed);
        let word = if passed { "passed" } else { "FAILED" };
        println!("  {word} {} in {:.1} s\n", scenario.name, began.elapsed().as_secs_f64());
    }
    println!("lab: {} passed, {failed} failed", scenarios.len() - failed);
    failed == 0
}

fn run(scenario: &Scenario, keep: bool) -> bool {
    let lifetime = if keep { Lifetime::Standing } else { Lifetime::Foreground };
    let program = if scenario.gateways == Gateways::None { Ok(()) } else { gateway::program().map(drop) };
    let mut lab = match program.and_then(|()| Lab::stand(scenario.topology, lifetime)) {
        Ok(lab) => lab,
        Err(error) => {
            println!("    FAIL {error:#}");
            return false;
        }
    };
    // A panic in a story is a failure like any other: its logs are kept and its lab is removed.
    let told = catch_unwind(AssertUnwindSafe(|| tell(scenario, &mut lab)));
    let passed = match told {
        Ok(Ok(report)) => {
            print!("{report}");
            report.met()
        }
        Ok(Err(error)) => {
            println!("    FAIL {error:#}");
            false
        }
        Err(_) => false,
    };
    if !passed {
        match lab.save_logs(scenario.name) {
            Ok(folder) => println!("    every log: {}", folder.display()),
            Err(error) => println!("    the logs could not be saved: {error:#}"),
        }
    }
    if keep {
        println!("    lab {} stands; `lab down {}` removes it", lab.id(), lab.id());
        if let Err(error) = lab.leave() {
            println!("    {error:#}");
        }
    }
    passed
}

fn tell(scenario: &Scenario, lab: &mut Lab) -> Result<Report> {
    if scenario.gateways == Gateways::Settled {
        lab.start_gateways()?;
        lab.settled()?;
    }
    let report = (scenario.run)(lab)?;
    lab.check()?;
    Ok(report)
}
