//! `tidegate check`: manifests compiled offline, one line for each object, mistakes by file, line and field.

use anyhow::{Result, bail};
use tidegate_decode::SourceState;
use tidegate_files::FileSource;
use tidegate_model::verdict::{Outcome, Verdict};
use tidegate_model::{Machine, Model};

use crate::args;
use crate::status::source_error;

/// Prints the verdicts; false when an object or a part of one is left out, or could not be read. Warnings are allowed.
pub fn run(arguments: &args::Check) -> Result<bool> {
    for path in &arguments.paths {
        if let Err(error) = std::fs::metadata(path) {
            bail!("cannot read {}: {error}", path.display());
        }
    }
    let source: SourceState = FileSource::open_all("check", arguments.paths.clone()).load_once();
    if source.objects.is_empty() && source.status.errors.is_empty() && source.warnings.is_empty() {
        bail!("there is no object in what was given; manifests are files named *.yaml, *.yml or *.json");
    }
    let machine = Machine {
        node: node(arguments, &source),
        ingress_class: arguments.ingress_class.clone(),
        allowed_names: arguments.allowed_name.clone(),
        ..Machine::default()
    };
    let compiled = tidegate_compile::compile(&source.objects, &machine, &Model::default());
    let mut good = true;
    for verdict in compiled.verdicts.values() {
        print_verdict(&source, verdict);
        good &= verdict.outcome == Outcome::Accepted;
    }
    for error in &source.status.errors {
        println!("{:<9} {}", "Unread", source_error(error));
        good = false;
    }
    for warning in &source.warnings {
        println!("{:<9} {}", "Warning", source_error(warning));
    }
    if let Some(notice) = compiled.notice {
        println!("{:<9} {notice}", "Warning");
    }
    Ok(good)
}

/// The GatewayNode to compile for: the one asked for, or the first, since all are compiled from the same objects.
fn node(arguments: &args::Check, source: &SourceState) -> String {
    let first = || source.objects.gateway_nodes.keys().next().map(|key| key.name.to_string());
    arguments.node.clone().or_else(first).unwrap_or_default()
}

fn print_verdict(source: &SourceState, verdict: &Verdict) {
    let outcome = verdict.outcome.to_string();
    let place = |field: &str| source.place(&verdict.object, field).unwrap_or_default();
    if verdict.problems.is_empty() {
        println!("{outcome:<9} {}  {}", verdict.object, place(""));
    }
    for problem in &verdict.problems {
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
        println!(
            "{outcome:<9} {}  {}  {}: {field}{}",
            verdict.object,
            place(&problem.field),
            problem.reason,
            problem.message
        );
    }
}
