//! What one gateway hears of another is the same however it is cut; what it understands is written as something that is
//! understood the same; and nothing is kept beyond a frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_peering::{FRAME_BYTES_MAX, Fault, Frames, Message};

fn hear(frames: &mut Frames, heard: &mut Vec<Option<Message>>) -> Result<(), Fault> {
    while let Some(frame) = frames.next()? {
        assert!(frame.body.len() <= FRAME_BYTES_MAX);
        heard.push(Message::decode(frame)?);
    }
    Ok(())
}

fn all<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Option<Message>>, Option<Fault>) {
    let (mut frames, mut heard) = (Frames::default(), Vec::new());
    for part in parts {
        frames.push(part);
        if let Err(fault) = hear(&mut frames, &mut heard) {
            return (heard, Some(fault));
        }
    }
    (heard, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, wire)) = data.split_first() else { return };
    let whole = all(std::iter::once(wire));
    assert_eq!(all(wire.chunks(usize::from(*cut).max(1))), whole);
    for message in whole.0.into_iter().flatten() {
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(all(std::iter::once(&again[..])), (vec![Some(message)], None));
    }
});
