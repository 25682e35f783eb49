//! Memory: of a proxy that was only started, and of connections that rest after one request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Effort;
use super::cases::{Memory, Sample};
use super::contender::{Contender, Kind, Setting, here};
use super::ground::Ground;
use super::openloop::whole;
use super::origin::Body;
use super::probe::{self, Fault};
use super::report::Cell;
use super::routes::{host, prefix, request};

/// Connections that are opened before anything counts: what the first ones bring about is not theirs alone.
const FIRST: usize = 100;
/// Connections that count.
const COUNTED: usize = 2000;

/// Fresh proxies in every round.
pub fn measure(ground: &Ground, setting: Setting, memory: Memory, effort: Effort) -> Result<Vec<Cell>> {
    let mut cells: Vec<Cell> = Kind::TRIO.iter().map(|_| Cell::default()).collect();
    for _ in 0..effort.rounds.min(3) {
        for (cell, kind) in cells.iter_mut().zip(Kind::TRIO) {
            if cell.open() {
                let contender = Contender::start(ground, kind, setting)?;
                round(ground, &contender, memory, cell);
            }
        }
    }
    Ok(cells)
}

fn round(ground: &Ground, contender: &Contender, memory: Memory, cell: &mut Cell) {
    // Starting is over when the first request is answered; what follows settles in half a second.
    let served = match memory {
        Memory::Idle => Ok(()),
        Memory::Connection => probe::http1(ground, contender, Body::Small),
        Memory::H2Connection => probe::h2c(ground, contender, Body::Small),
    };
    match served {
        Err(Fault::Unserved(why)) if contender.kind.ours() => *cell = Cell::unserved(why),
        Err(fault) => *cell = Cell::failed(fault.into_error()),
        Ok(()) => cell.take(sample(contender, memory)),
    }
}

fn sample(contender: &Contender, memory: Memory) -> Result<Sample> {
    let settled = || {
        std::thread::sleep(Duration::from_millis(500));
        contender.resident_bytes()
    };
    let value = match memory {
        Memory::Idle => settled()? as f64 / f64::from(1 << 20),
        Memory::Connection | Memory::H2Connection => {
            let h2 = memory == Memory::H2Connection;
            let open = |count| -> Result<Vec<TcpStream>> {
                (0..count)
                    .map(|number| if h2 { rest_h2(contender, number) } else { rest(contender, number) })
                    .collect()
            };
            let first = open(FIRST)?;
            let before = settled()?;
            let counted = open(COUNTED)?;
            let after = settled()?;
            drop((first, counted));
            (after as f64 - before as f64) / COUNTED as f64
        }
    };
    Ok(Sample { value, machine: None, notes: Vec::new() })
}

/// An HTTP/1.1 connection after one request.
fn rest(contender: &Contender, number: usize) -> Result<TcpStream> {
    let mut stream = connect(contender.ports.http)?;
    let hosts = contender.kind.routes().hosts;
    stream.write_all(request(number % hosts, number % 10, Body::Small.file(), false).as_bytes())?;
    let (body, mut answer, mut buffer) = (Body::Small.bytes(), Vec::new(), [0; 8192]);
    while !whole(&answer, &body)? {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the connection was closed");
        answer.extend_from_slice(&buffer[..count]);
    }
    Ok(stream)
}

/// An HTTP/2 connection in clear after one request.
fn rest_h2(contender: &Contender, number: usize) -> Result<TcpStream> {
    const SETTINGS: u8 = 4;
    let mut stream = connect(contender.ports.h2c)?;
    let hosts = contender.kind.routes().hosts;
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(SETTINGS, 0, 0, &[]));
    let path = format!("{}{}", prefix(number % 10), Body::Small.file());
    // HEADERS with END_STREAM and END_HEADERS.
    opening.extend(frame(1, 0x5, 1, &block(&host(number % hosts), &path)));
    stream.write_all(&opening)?;
    let mut data = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).context("reading a frame")?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        ensure!(len <= 16_384, "a frame of {len} bytes");
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        match kind {
            0 => data.extend_from_slice(&payload),
            3 | 7 => bail!("the stream was reset or the connection is going away"),
            SETTINGS if flags & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            _ => {}
        }
        if kind <= 1 && flags & 1 == 1 {
            ensure!(data == Body::Small.bytes(), "a wrong body of {} bytes", data.len());
            return Ok(stream);
        }
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(here(port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of a GET (RFC 7541): `:method` and `:scheme` indexed, names from the static table, values literal.
fn block(authority: &str, path: &str) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x86];
    for (name, value) in [(0x01, authority), (0x04, path)] {
        bytes.extend([name, value.len() as u8]);
        bytes.extend(value.as_bytes());
    }
    bytes
}
