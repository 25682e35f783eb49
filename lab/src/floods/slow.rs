//! Clients that let the gateway wait: for a head, for a body, for the next request, for somebody to read. One connection each;
//! what counts is that it ends, and that it cost next to nothing until then. And the opposite: requests sent without waiting
//! for any answer.

use std::collections::VecDeque;
use std::time::Duration;

use super::stand::{HOST, TIMEOUT};
use super::wire::{Wire, frame, get, stream};
use super::{Attack, Flood, HeldBy};

/// Twice as long as the stand's timeouts, and some.
const PATIENCE: Duration = Duration::from_secs(TIMEOUT.as_secs() * 2 + 3);

/// Connections of each attacker.
const CONNECTIONS: usize = 50;

/// Connections that each attacker of a crowd holds: ten of them hold more than the gateway may have for 20,000 descriptors.
const CROWD: usize = 800;

/// All of this family.
pub const ALL: &[Flood] = &[
    Flood {
        name: "slow-head",
        counted: "tidegate_http_slow_ends_total{kind=\"head\"}",
        port: |stand| stand.http,
        attack: |attack| drip(attack, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n"), b"x: y\r\n"),
        patience: PATIENCE,
        held_by: HeldBy::Cutting,
    },
    Flood {
        name: "slow-body",
        counted: "tidegate_http_slow_ends_total{kind=\"request_body\"}",
        port: |stand| stand.http,
        attack: |attack| {
            drip(attack, &format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n"), b"x")
        },
        patience: PATIENCE,
        held_by: HeldBy::Cutting,
    },
    Flood {
        name: "idle",
        counted: "tidegate_http_slow_ends_total{kind=\"idle\"}",
        port: |stand| stand.http,
        attack: |attack| drip(attack, "", b""),
        patience: PATIENCE,
        held_by: HeldBy::Cutting,
    },
    Flood {
        // More connections than the gateway may have, of which none ever asks anything.
        name: "crowd",
        counted: "tidegate_http_evicted_connections_total",
        port: |stand| stand.http,
        attack: crowd,
        patience: Duration::from_secs(5),
        held_by: HeldBy::Cutting,
    },
    Flood {
        name: "slow-read",
        counted: "tidegate_http_slow_ends_total{kind=\"response_body\"}",
        port: |stand| stand.http,
        attack: |attack| {
            deaf(attack, |attack| {
                let mut wire = Wire::connect(attack)?;
                wire.send(format!("GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).then_some(wire)
            })
        },
        patience: PATIENCE,
        held_by: HeldBy::Cutting,
    },
    Flood {
        // The window of a stream stays shut: a hundred answers on each connection that nobody takes.
        name: "zero-window",
        counted: "tidegate_http_slow_ends_total{kind=\"response_body\"}",
        port: |stand| stand.http2,
        attack: zero_window,
        patience: PATIENCE,
        held_by: HeldBy::Refusing,
    },
    Flood {
        // Windows are wide, but nobody reads.
        name: "deaf",
        counted: "tidegate_http2_floods_total{kind=\"slow_read\"}",
        port: |stand| stand.http2,
        attack: |attack| {
            deaf(attack, |attack| {
                let mut wire = Wire::http2(attack, &[(4, 0x7fff_ffff)])?;
                wire.send(&frame(8, 0, 0, &0x7000_0000u32.to_be_bytes()));
                let asks: Vec<u8> = (0..50).flat_map(|at| frame(1, 5, stream(at), &get("/big"))).collect();
                wire.send(&asks).then_some(wire)
            })
        },
        patience: PATIENCE,
        held_by: HeldBy::Cutting,
    },
    Flood {
        name: "pipelining",
        counted: "tidegate_http_requests_total{listener=\"floods/edge/http\",code=\"3xx\"}",
        port: |stand| stand.http,
        attack: pipeline,
        patience: Duration::ZERO,
        held_by: HeldBy::Refusing,
    },
];

/// Requests in a row that the gateway answers itself, and whose answers are taken: nothing ever makes it wait, so nothing but
/// itself makes it look at others. They are good requests; what counts is that others are answered.
fn pipeline(attack: &Attack) -> u64 {
    let batch = format!("GET /moved HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(100);
    let mut cut = 0;
    while !attack.is_over() {
        let Some(mut wire) = Wire::connect(attack) else { continue };
        let mut open = true;
        while open && !attack.is_over() {
            open = wire.send_and_take(batch.as_bytes());
            attack.tried(100);
        }
        cut += u64::from(!open);
    }
    cut
}

/// Connections without a word, some hundred a second, each held for as long as it stands; how many did not.
fn crowd(attack: &Attack) -> u64 {
    let (mut wires, mut cut) = (VecDeque::new(), 0);
    while !attack.is_over() {
        if let Some(wire) = Wire::connect(attack) {
            attack.tried(1);
            wires.push_back(wire);
        }
        if wires.len() > CROWD {
            cut += wires.pop_front().map_or(0, |wire: Wire| u64::from(!wire.is_open()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    cut + wires.into_iter().map(|wire| u64::from(!wire.is_open())).sum::<u64>()
}

/// A beginning, then a little every half second.
fn drip(attack: &Attack, first: &str, more: &[u8]) -> u64 {
    let mut wires: Vec<Wire> = (0..CONNECTIONS).filter_map(|_| Wire::connect(attack)).collect();
    attack.tried(wires.len() as u64);
    let mut cut = 0;
    wires.retain_mut(|wire| wire.send(first.as_bytes()));
    while !attack.is_over() && !wires.is_empty() {
        std::thread::sleep(Duration::from_millis(500));
        let before = wires.len();
        wires.retain_mut(|wire| wire.send(more) && wire.drain());
        cut += (before - wires.len()) as u64;
    }
    cut
}

/// Connections that ask and never read.
fn deaf(attack: &Attack, open: impl Fn(&Attack) -> Option<Wire>) -> u64 {
    let wires: Vec<Wire> = (0..5).filter_map(|_| open(attack)).collect();
    attack.tried(wires.len() as u64);
    while !attack.is_over() {
        std::thread::sleep(Duration::from_millis(100));
    }
    // What stands in the socket's queue hides the end; a write finds it.
    wires.into_iter().map(|mut wire| u64::from((0..3).any(|_| !wire.send(b"\r\n") || !wire.is_open()))).sum()
}

/// A hundred requests whose answers may not be sent: the streams are reset one by one, and the connection may stay.
fn zero_window(attack: &Attack) -> u64 {
    let Some(mut wire) = Wire::http2(attack, &[(4, 0)]) else { return 0 };
    let asks: Vec<u8> = (0..100).flat_map(|at| frame(1, 5, stream(at), &get("/big"))).collect();
    if !wire.send(&asks) {
        return 1;
    }
    attack.tried(100);
    while !attack.is_over() {
        if !wire.drain() {
            return 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    0
}
