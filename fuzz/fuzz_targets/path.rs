//! Any path is written in one way or refused: what is normal stays, and holds nothing a second parser reads differently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_traffic::path::{normalise, split_query};

fuzz_target!(|target: &str| {
    let (raw, query) = split_query(target);
    assert_eq!(raw.len() + query.map_or(0, |query| query.len() + 1), target.len());
    let Ok(path) = normalise(raw) else { return };
    assert_eq!(normalise(&path).as_deref(), Ok(&*path), "normalising twice is normalising once");
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    assert!(!path.contains("//") && !path.contains(['\\', '#']), "{path:?}");
    assert!(
        path.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | ".."))),
        "{path:?}"
    );
    let upper = path.to_ascii_uppercase();
    for escape in ["%2F", "%5C", "%00", "%2E"] {
        assert!(!upper.contains(escape), "{path:?}");
    }
});
