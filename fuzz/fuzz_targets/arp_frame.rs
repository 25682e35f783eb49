//! Any frame is ARP or refused, never a panic; ARP that is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_neighbor::arp::FRAME_BYTES;
use tidegate_neighbor::{Arp, Mac};

fuzz_target!(|data: &[u8]| {
    let Ok(arp) = Arp::decode(data) else { return };
    let bytes = arp.encode();
    assert_eq!(bytes, data[..FRAME_BYTES]);
    assert_eq!(Arp::decode(&bytes), Ok(arp));
    let reply = arp.reply(Mac([2, 0, 0, 0, 0, 1]));
    assert_eq!(Arp::decode(&reply.encode()), Ok(reply));
});
