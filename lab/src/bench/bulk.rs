//! A gibibyte over one connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::cases::Done;
use super::contender::here;

/// What one connection carries.
pub const BYTES: u64 = 1 << 30;
const BLOCK: usize = 1 << 18;

/// The block that is sent again and again.
pub fn block() -> Vec<u8> {
    (0..BLOCK).map(|at| (at * 31 + (at >> 8)) as u8).collect()
}

/// The origin's side.
pub fn send(mut stream: TcpStream) -> std::io::Result<()> {
    let block = block();
    for _ in 0..BYTES / BLOCK as u64 {
        stream.write_all(&block)?;
    }
    Ok(())
}

/// The client's side: reads to the end; the end of every block is compared.
pub fn drive(port: u16) -> Result<Done> {
    let mut stream = TcpStream::connect(here(port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (block, mut buffer, mut bytes) = (block(), vec![0; BLOCK], 0_u64);
    let began = Instant::now();
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        let last = (bytes - 1) % BLOCK as u64;
        ensure!(buffer[count - 1] == block[last as usize], "other bytes than the origin sent, at {bytes}");
    }
    ensure!(bytes == BYTES, "{bytes} bytes arrived of {BYTES}");
    let gigabits = bytes as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e9;
    Ok(Done {
        operations: bytes as f64 / (1_u64 << 30) as f64,
        latency: None,
        notes: vec![("Gbit/s", gigabits)],
    })
}
