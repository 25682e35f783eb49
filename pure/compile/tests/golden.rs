//! Golden pairs: `testdata/<case>/in.yaml` compiles to `out.yaml`, the Model and every verdict.
//!
//! A first line `# machine NAME [INTERFACE=ADDRESS/LENGTH…] [default=INTERFACE] [class=any] [nodeports=SOURCE]
//! [ingressClass=CLASS] [allowed=NAME…]` says which machine it is, whether it serves Services without a class, which source's pods it reaches by
//! NodePorts, which class of ingress-nginx is served, and where Services of type ExternalName may lead; without one, interfaces are not looked at. `UPDATE_GOLDEN=1 cargo test
//! -p tidegate-compile` writes what is found.

mod common;

use common::{machine, snapshot};
use serde_json::{Value, json};
use tidegate_compile::compile;
use tidegate_model::Model;

/// What a case compiles to, as one value.
fn outcome(text: &str) -> Value {
    let compiled = compile(&snapshot(text), &machine(text), &Model::default());
    let verdicts: serde_json::Map<String, Value> = compiled
        .verdicts
        .values()
        .map(|verdict| {
            let problems = verdict.problems.iter().map(|problem| {
                json!(format!(
                    "{:?} {} {}: {}",
                    problem.severity, problem.reason, problem.field, problem.message
                ))
            });
            let name = match verdict.object.key.source.as_ref() {
                "local" => verdict.object.to_string(),
                source => format!("{source}: {}", verdict.object),
            };
            (
                name,
                json!({ "outcome": verdict.outcome.to_string(), "problems": problems.collect::<Vec<_>>() }),
            )
        })
        .collect();
    let model = serde_json::to_value(&compiled.model).expect("a Model is plain data");
    json!({ "notice": compiled.notice, "verdicts": verdicts, "model": model })
}

/// Every case compiles to what is written beside it.
#[test]
fn golden() {
    let cases = common::golden::compare("out.yaml", |_| true, outcome);
    assert!(cases >= 20, "cases are missing");
}
