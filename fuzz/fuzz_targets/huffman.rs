//! What the Huffman coder writes it reads again, and no bytes make the reader panic or yield too much.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_http2::hpack::huffman::{decode, encode};

fuzz_target!(|data: &[u8]| {
    let (mut coded, mut again) = (Vec::new(), Vec::new());
    encode(data, &mut coded);
    assert_eq!(decode(&coded, &mut again), Some(()));
    assert_eq!(again, data);
    again.clear();
    let read = decode(data, &mut again);
    // The shortest code has five bits.
    assert!(again.len() <= data.len() * 8 / 5);
    if read.is_some() {
        coded.clear();
        encode(&again, &mut coded);
        assert_eq!(coded, data, "a text has one code");
    }
});
