//! How a BGP stream is cut on its way changes nothing: the same messages, the same first fault, a bounded remainder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_bgp::MessageError;
use tidegate_bgp::packet::{Framer, MESSAGE_BYTES_MAX, MessageKind};
use tidegate_fuzz::{Source, bgp_stream, cut};

type Messages = (Vec<(MessageKind, Vec<u8>)>, Option<MessageError>);

fn frames(pieces: &[&[u8]]) -> Messages {
    let mut framer = Framer::new();
    let mut frames = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match framer.next(&mut input) {
                Ok(Some(frame)) => frames.push((frame.kind, frame.body.to_vec())),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.is_empty() && framer.held_bytes() < MESSAGE_BYTES_MAX);
    }
    (frames, None)
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let seed = source.byte();
    let stream = if seed & 1 == 0 { bgp_stream(&mut source) } else { source.0.to_vec() };
    assert_eq!(frames(&[&stream]), frames(&cut(&stream, seed)));
});
