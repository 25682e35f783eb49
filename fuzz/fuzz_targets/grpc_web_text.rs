//! Base64 of gRPC-Web is read alike in one piece and in many, never grows, and what it means is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_coding::grpc_web::{BadText, Spoken, TextDecoder, TextEncoder};

fn read(text: &[u8], size: usize) -> Result<(Vec<u8>, bool), BadText> {
    let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
    for piece in text.chunks(size) {
        let mut piece = piece.to_vec();
        let kept = decoder.decode(&mut piece)?;
        out.extend_from_slice(&piece[..kept]);
    }
    Ok((out, decoder.is_complete()))
}

fuzz_target!(|text: &[u8]| {
    if let Some(spoken) = Spoken::of(text) {
        let mut written = Vec::new();
        spoken.write(&mut written);
        assert_eq!(Spoken::of(&written), Some(spoken));
    }
    let whole = read(text, text.len().max(1));
    for size in [1, 2, 3, 5] {
        assert_eq!(read(text, size), whole);
    }
    let Ok((bytes, true)) = whole else { return };
    let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());
    encoder.push(&bytes, &mut out);
    encoder.pause(&mut out);
    assert_eq!(read(&out, 7), Ok((bytes, true)));
});
