//! `tidegate doctor`: what this machine lacks.

use anyhow::Result;
use tidegate_kernel::fitness::{Standing, findings};
use tidegate_kernel::survey;

use crate::lock::KernelLock;

/// Prints a line for each thing looked at; false if a gateway cannot do its work here.
pub fn run() -> Result<bool> {
    let ours_runs = KernelLock::take().is_err();
    let found = findings(&survey(ours_runs));
    for finding in &found {
        let line = format!("{:<8} {:<40} {}", finding.standing, finding.about, finding.says);
        println!("{}", line.trim_end());
    }
    let count = |standing| found.iter().filter(|finding| finding.standing == standing).count();
    let (missing, lacks) = (count(Standing::Missing), count(Standing::Lacks));
    println!(
        "\n{}",
        match (missing, lacks) {
            (0, 0) => "this machine has all that a gateway uses".to_owned(),
            (0, lacks) => format!("a gateway works here; {lacks} things could be better"),
            (missing, _) => format!("a gateway cannot do its work here: {missing} things are missing"),
        }
    );
    Ok(missing == 0)
}
