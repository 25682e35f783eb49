//! Any response head is read or refused, never a panic, and however it is cut; where its body ends is never a matter of
//! opinion.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::cut;
use tidegate_proxy::fuzz::{BodyLength, Fields, HEADER_LINES_MAX, Malformed, ResponseHead, ResponseReader};

/// A head as bytes come in.
fn in_pieces(bytes: &[u8], seed: u8) -> Result<Option<ResponseHead>, Malformed> {
    let mut reader = ResponseReader::new(Fields::default());
    let mut held = 0;
    for piece in cut(bytes, seed) {
        held += piece.len();
        if let Some(head) = reader.advance(&bytes[..held])? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&flags, bytes)) = data.split_first() else { return };
    let to_head = flags & 1 != 0;
    let _ = ResponseHead::parse(bytes, to_head);
    let whole = ResponseReader::new(Fields::default()).advance(bytes);
    assert_eq!(format!("{:?}", in_pieces(bytes, flags)), format!("{whole:?}"), "cuts change the head");
    let Ok(Some(head)) = whole else { return };
    let head = if to_head { head.into_answer_to_head() } else { head };
    let count = |name: &str| head.lines().filter(|(line, _)| line.eq_ignore_ascii_case(name)).count();
    let clean = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    assert!((100..=999).contains(&head.status) && clean(head.phrase().as_bytes()));
    assert!(head.fields().len() <= HEADER_LINES_MAX);
    assert!(head.lines().all(|(_, value)| clean(value) && value == value.trim_ascii()));
    assert!(count("transfer-encoding") == 0 || count("content-length") == 0);
    let bodiless = to_head || matches!(head.status, 100..=199 | 204 | 304);
    assert!(!bodiless || head.body == BodyLength::None);
    match head.body {
        BodyLength::Chunked => assert_eq!(count("transfer-encoding"), 1),
        BodyLength::Length(_) => assert!(count("content-length") > 0),
        BodyLength::UntilClose => assert!(!head.is_persistent() && count("content-length") == 0),
        BodyLength::None => assert!(bodiless),
    }
});
