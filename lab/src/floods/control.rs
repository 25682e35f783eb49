//! Frames about the connection and about streams that cost their sender next to nothing: PING, SETTINGS, PRIORITY, updates of
//! windows, empty and tiny ones, unknown ones, header blocks without end.

use std::time::Duration;

use super::wire::{Wire, frame, get};
use super::{Attack, Flood, HeldBy};

/// Frames in one write.
const BATCH: usize = 100;

macro_rules! floods {
    ($($name:literal, $counted:literal, $first:expr, $again:expr;)*) => {
        &[$(Flood {
            name: $name,
            counted: concat!("tidegate_http2_floods_total{kind=\"", $counted, "\"}"),
            port: |stand| stand.http2,
            attack: |attack| repeat(attack, &$first, &$again),
            patience: Duration::ZERO,
            held_by: HeldBy::Cutting,
        },)*]
    };
}

/// All of this family.
pub const ALL: &[Flood] = floods![
    "ping", "ping", [], frame(6, 0, 0, b"12345678");
    "settings", "settings", [], frame(4, 0, 0, b"");
    "priority", "priority", [], frame(2, 0, 3, &[0, 0, 0, 0, 1]);
    "window-update", "window_update", [], frame(8, 0, 0, &1u32.to_be_bytes());
    "unknown-frames", "ignored_frames", [], frame(77, 0, 0, b"");
    "empty-data", "empty_data", frame(1, 4, 1, &get("/")), frame(0, 0, 1, b"");
    "tiny-data", "tiny_data", frame(1, 4, 1, &get("/")), frame(0, 0, 1, b"x");
    "continuation", "continuation", frame(1, 1, 1, &get("/")), frame(9, 0, 1, &[0x40; 1000]);
    "empty-continuation", "continuation", frame(1, 1, 1, &get("/")), frame(9, 0, 1, b"");
];

/// One frame after another until the connection is cut, and then on another connection.
fn repeat(attack: &Attack, first: &[u8], again: &[u8]) -> u64 {
    let batch = again.repeat(BATCH);
    let mut cut = 0;
    while !attack.is_over() {
        let Some(mut wire) = Wire::http2(attack, &[]) else { continue };
        let mut open = wire.send(first);
        while open && !attack.is_over() {
            open = wire.send(&batch) && wire.drain();
            attack.tried(BATCH as u64);
        }
        cut += u64::from(!open);
    }
    cut
}
