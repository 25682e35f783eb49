//! Any text is a range or refused, never a panic; a range that is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_ipam::parse_range;

fuzz_target!(|text: &str| {
    let Ok(range) = parse_range(text) else { return };
    assert_eq!(parse_range(&format!("{}-{}", range.first, range.last)), Ok(range));
    assert!(range.first <= range.last && range.size() >= 1);
    assert!(range.contains(range.first) && range.contains(range.last));
    assert_eq!(range.intersect(&range), Some(range));
});
