//! Golden files: what a case's `in.yaml` comes to, compared with the file beside it, or written there.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::yaml;

/// Compares the cases of `testdata` that are `wanted` with their `file`; how many there are. `UPDATE_GOLDEN=1` writes what is
/// found instead.
#[allow(
    clippy::disallowed_methods,
    reason = "the switch that rewrites the golden files is read from the environment"
)]
pub fn compare(file: &str, wanted: impl Fn(&Path) -> bool, outcome: impl Fn(&str) -> Value) -> usize {
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let cases = std::fs::read_dir(folder).expect("testdata").map(|entry| entry.expect("a folder").path());
    let mut cases: Vec<_> = cases.filter(|case| wanted(case)).collect();
    cases.sort();
    let mut differing = Vec::new();
    for case in &cases {
        let input = std::fs::read_to_string(case.join("in.yaml")).expect("in.yaml");
        let mut found = String::new();
        yaml(&outcome(&input), 0, &mut found);
        let path = case.join(file);
        if update {
            std::fs::write(&path, &found).expect("the golden file is written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if expected != found {
            let place = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or_default();
            let line = |text: &str| text.lines().nth(place).unwrap_or("(nothing)").to_owned();
            let (was, is) = (line(&expected), line(&found));
            differing.push(format!("{}:{}\n  was {was}\n  is  {is}", path.display(), place + 1));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    cases.len()
}
