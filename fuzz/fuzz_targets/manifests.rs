//! Any text is objects or a problem with its line, never a panic; reading twice gives the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_decode::{DOCUMENTS_MAX, Outcome, decode, settings};

fuzz_target!(|text: &str| {
    // YAML ends a line with a carriage return alone, too.
    let lines = text.split(['\n', '\r']).count() + 1;
    let _ = settings::<serde_json::Value>(text);
    let documents = match decode("dir", text) {
        Ok(documents) => documents,
        Err(problem) => {
            assert!(problem.line <= lines && !problem.message.is_empty(), "{problem:?}");
            return;
        }
    };
    assert!(documents.len() <= DOCUMENTS_MAX);
    for document in &documents {
        assert!((1..=lines).contains(&document.line), "{document:?}");
        let problem = match &document.outcome {
            Outcome::Object { object, lines: fields } => {
                assert_eq!(&*object.metadata().key.source, "dir");
                assert!(fields.first() >= 1);
                None
            }
            Outcome::Refused { problem, .. } | Outcome::Ignored { problem, .. } => Some(problem),
        };
        for problem in problem.into_iter().chain(&document.warnings) {
            assert!(problem.line <= lines && !problem.message.is_empty(), "{problem:?}");
        }
    }
    assert_eq!(decode("dir", text).as_ref(), Ok(&documents));
});
