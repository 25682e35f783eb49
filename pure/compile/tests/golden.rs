//! Golden pairs: `testdata/<case>/in.yaml` compiles to `out.yaml`, the Model and every verdict.
//!
//! A first line `# machine NAME [INTERFACE=ADDRESS/LENGTH…] [default=INTERFACE]` says which machine it is; without
//! one, interfaces are not looked at. `UPDATE_GOLDEN=1 cargo test -p tidegate-compile` writes what is found.

mod common;

use std::path::PathBuf;

use common::{machine, snapshot, yaml};
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
#[allow(
    clippy::disallowed_methods,
    reason = "the switch that rewrites the golden files is read from the environment"
)]
fn golden() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).expect("testdata").map(|entry| entry.expect("a folder").path()).collect();
    cases.sort();
    let mut differing = Vec::new();
    for case in &cases {
        let input = std::fs::read_to_string(case.join("in.yaml")).expect("in.yaml");
        let mut found = String::new();
        yaml(&outcome(&input), 0, &mut found);
        let path = case.join("out.yaml");
        if update {
            std::fs::write(&path, &found).expect("out.yaml is written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if expected != found {
            let place = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or_default();
            let line = |text: &str| text.lines().nth(place).unwrap_or("(nothing)").to_owned();
            differing.push(format!(
                "{}:{}\n  was {}\n  is  {}",
                path.display(),
                place + 1,
                line(&expected),
                line(&found)
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(cases.len() >= 20, "cases are missing");
}
