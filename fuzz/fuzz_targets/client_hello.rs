//! The first message of a TLS client says the same wherever it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Source, cut};
use tidegate_tls::{HelloScan, RAW_HELLO_BYTES_MAX};

/// Records with a sound header before each chunk of the input, except where the input says otherwise.
fn records(source: &mut Source<'_>) -> Vec<u8> {
    let mut raw = Vec::new();
    while !source.is_empty() {
        let kind = source.byte();
        let body = source.chunk();
        if kind & 0x80 == 0 {
            raw.extend_from_slice(&[22, 3, 1]);
            raw.extend_from_slice(&(body.len() as u16).to_be_bytes());
        }
        raw.extend_from_slice(body);
    }
    raw
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let seed = source.byte();
    let raw = records(&mut source);
    let whole = HelloScan::default().advance(&raw);
    let (mut scan, mut held) = (HelloScan::default(), 0);
    for piece in cut(&raw, seed) {
        held += piece.len();
        match scan.advance(&raw[..held]) {
            Ok(None) => assert!(held <= RAW_HELLO_BYTES_MAX),
            known => return assert_eq!(known, whole, "cuts change what is read"),
        }
    }
});
