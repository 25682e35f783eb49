//! An answer to a gRPC health check is read in one way or refused: in it nothing is believed but its own length, and a field that
//! nobody knows changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_proxy::fuzz::serving_status;

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&(body.len() as u32).to_be_bytes());
    message.extend_from_slice(body);
    message
}

fuzz_target!(|data: &[u8]| {
    let _ = serving_status(data);
    let status = serving_status(&message(data));
    let cut = message(data);
    assert_eq!(serving_status(&cut[..cut.len() - 1]), None, "a message that is cut is none");
    // A field of text that only later versions know, before the others.
    let known = serving_status(&message(&[&[0x12, 3, 8, 2, 8][..], data].concat()));
    assert_eq!(known, status);
    if status.is_some() {
        // The last of several counts.
        assert_eq!(serving_status(&message(&[data, &[8, 1]].concat())), Some(1));
    }
});
