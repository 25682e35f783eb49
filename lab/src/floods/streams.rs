//! Streams for nothing: opened and reset by the client, opened and spoiled so that we reset them, more than allowed, with
//! headers that unpack to very much, or are very many.

use std::time::Duration;

use super::wire::{Wire, frame, get, stream};
use super::{Attack, Flood, HeldBy};

/// Streams in one write.
const BATCH: u32 = 50;

/// All of this family.
pub const ALL: &[Flood] = &[
    Flood {
        name: "rapid-reset",
        counted: "tidegate_http2_floods_total{kind=\"rapid_reset\"}",
        port: |stand| stand.http2,
        attack: |attack| {
            each(attack, |id| [frame(1, 5, id, &get("/")), frame(3, 0, id, &8u32.to_be_bytes())].concat())
        },
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
    Flood {
        // CVE-2025-8671: the request is answered to nobody.
        name: "made-you-reset",
        counted: "tidegate_http2_floods_total{kind=\"provoked_reset\"}",
        port: |stand| stand.http2,
        attack: |attack| {
            each(attack, |id| [frame(1, 4, id, &get("/")), frame(8, 0, id, &0u32.to_be_bytes())].concat())
        },
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
    Flood {
        // Requests without a single field, each on a stream of its own.
        name: "empty-headers",
        counted: "tidegate_http2_floods_total{kind=\"empty_headers\"}",
        port: |stand| stand.http2,
        attack: |attack| each(attack, |id| frame(1, 5, id, b"")),
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
    Flood {
        // Never more on one connection than it may: the address is what is counted.
        name: "reset-and-return",
        counted: "tidegate_http_barred_connections_total",
        port: |stand| stand.http2,
        attack: reset_and_return,
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
    Flood {
        name: "streams",
        counted: "tidegate_http2_refused_streams_total",
        port: |stand| stand.http2,
        attack: |attack| each(attack, |id| frame(1, 5, id, &get("/slow"))),
        patience: Duration::ZERO,
        held_by: HeldBy::Refusing,
    },
    Flood {
        name: "hpack-bomb",
        counted: "tidegate_http2_floods_total{kind=\"header_bytes\"}",
        port: |stand| stand.http2,
        attack: |attack| each(attack, |id| frame(1, 5, id, &bomb())),
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
    Flood {
        name: "header-list",
        counted: "tidegate_http2_floods_total{kind=\"header_lists\"}",
        port: |stand| stand.http2,
        attack: many_lines,
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
];

/// Stream after stream until the connection is cut, and then on another connection.
fn each(attack: &Attack, frames: impl Fn(u32) -> Vec<u8>) -> u64 {
    let mut cut = 0;
    while !attack.is_over() {
        let Some(mut wire) = Wire::http2(attack, &[]) else { continue };
        let (mut open, mut at) = (true, 0);
        while open && !attack.is_over() {
            let batch: Vec<u8> = (at..at + BATCH).flat_map(|at| frames(stream(at))).collect();
            open = wire.send(&batch) && wire.drain();
            attack.tried(BATCH.into());
            at += BATCH;
        }
        cut += u64::from(!open);
    }
    cut
}

/// Resets below the limit of a connection, then another connection; cut is one that is closed before it has spoken.
fn reset_and_return(attack: &Attack) -> u64 {
    let mut cut = 0;
    while !attack.is_over() {
        let Some(mut wire) = Wire::http2(attack, &[]) else {
            cut += 1;
            continue;
        };
        let batch: Vec<u8> = (0..150)
            .flat_map(|at| {
                [frame(1, 5, stream(at), &get("/")), frame(3, 0, stream(at), &8u32.to_be_bytes())].concat()
            })
            .collect();
        if wire.send(&batch) {
            attack.tried(150);
        }
        std::thread::sleep(Duration::from_millis(5));
        cut += u64::from(!wire.drain());
    }
    cut
}

/// One entry of the table, 4,000 bytes, named again and again in a byte each.
fn bomb() -> Vec<u8> {
    let mut block = get("/");
    // A literal with indexing, a name of one byte, a value of 4,000: RFC 7541 sections 6.2.1 and 5.1.
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'v'; 4000]);
    block.extend([0xbe; 10_000]);
    block
}

/// Requests with more lines than anyone needs, each answered with 431, until the connection is cut.
fn many_lines(attack: &Attack) -> u64 {
    let mut block = get("/");
    (0..400).for_each(|_| block.extend([0, 1, b'x', 1, b'y']));
    let mut cut = 0;
    while !attack.is_over() {
        let Some(mut wire) = Wire::http2(attack, &[]) else { continue };
        let (mut open, mut at) = (true, 0);
        while open && !attack.is_over() {
            open = wire.send(&frame(1, 5, stream(at), &block)) && wire.drain();
            attack.tried(1);
            at += 1;
        }
        cut += u64::from(!open);
    }
    cut
}
