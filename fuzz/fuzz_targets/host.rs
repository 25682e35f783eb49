//! Any `host[:port]` is taken apart without a loss or refused; one spelling of a host is its own spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_traffic::host::{Authority, HOST_BYTES_MAX, canonical};

fuzz_target!(|text: &str| {
    let Some(Authority { host, port }) = Authority::parse(text) else { return };
    let rest = text.strip_prefix(host).expect("the host comes first");
    assert_eq!(rest.trim_start_matches(':').parse().ok(), port);
    assert!(
        !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(|byte| byte.is_ascii_graphic())
    );
    assert!(!host.contains(['/', '@', ',', '?', '#', '\\', '%', '*']), "{host:?}");
    let (mut buffer, mut other) = ([0; HOST_BYTES_MAX], [0; HOST_BYTES_MAX]);
    let one = canonical(host, &mut buffer);
    assert!(one.eq_ignore_ascii_case(host.strip_suffix('.').unwrap_or(host)));
    assert!(!one.is_empty() && !one.bytes().any(|byte| byte.is_ascii_uppercase()));
    assert_eq!(canonical(one, &mut other), one);
    assert_eq!(Authority::parse(one).map(|authority| authority.host), Some(one));
});
