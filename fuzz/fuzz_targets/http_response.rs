//! Any response head is read or refused, never a panic; where its body ends is never a matter of opinion.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_proxy::fuzz::{BodyLength, HEADER_LINES_MAX, HeadScan, ResponseHead};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, bytes)) = data.split_first() else { return };
    let to_head = flags & 1 != 0;
    let mut headers = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let _ = ResponseHead::parse(bytes, &mut headers, to_head);
    let Ok(Some(end)) = HeadScan::default().advance(bytes) else { return };
    let mut headers = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let Ok(head) = ResponseHead::parse(&bytes[..end], &mut headers, to_head) else { return };
    let count = |name: &str| head.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(name)).count();
    let clean = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    assert!((100..=999).contains(&head.status) && clean(head.phrase.as_bytes()));
    assert!(head.headers.iter().all(|line| clean(line.value)));
    assert!(count("transfer-encoding") == 0 || count("content-length") == 0);
    let bodiless = to_head || matches!(head.status, 100..=199 | 204 | 304);
    assert!(!bodiless || head.body == BodyLength::None);
    match head.body {
        BodyLength::Chunked => assert_eq!(count("transfer-encoding"), 1),
        BodyLength::Length(_) => assert!(count("content-length") > 0),
        BodyLength::UntilClose => assert!(!head.persistent && count("content-length") == 0),
        BodyLength::None => assert!(bodiless),
    }
});
