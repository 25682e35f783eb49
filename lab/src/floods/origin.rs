//! The origins: one for the honest client, ahead of whatever else runs on its core, and one at the attackers' own priority
//! for what only they ask for. So a flood costs the honest client what it costs the gateway, and not what it costs this bench.
//! The second is a process of its own: thousands of threads come and go in it, and who shares its memory would wait for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};

use super::rank::Rank;
use crate::bench::daemon::Daemon;
use crate::bench::ground::Ground;

/// Where the honest client's requests end.
pub const HONEST: u16 = 9000;

/// Where `/big` and `/slow` end.
pub const LARGE: u16 = 9001;

/// A body that fills every buffer on its way.
const BIG_BYTES: usize = 4 << 20;

/// So much of it in one system call: the kernel of a server lets nobody else run within one.
const PIECE_BYTES: usize = 64 << 10;

/// How long `/slow` takes.
const SLOW: Duration = Duration::from_millis(500);

/// The answer with that body, made once: a thousand may be under way.
static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| answer(&vec![b'x'; BIG_BYTES]));

/// Starts the second on a core; it ends with what is returned.
pub fn start_large(ground: &Ground) -> Result<Daemon> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floods", "--origin"]);
    Daemon::start("origin", command, ground.load_core, ground.path("large-origin.log"))
}

/// Is the second, until the process is ended.
pub fn be_large() -> Result<()> {
    start(LARGE, Rank::Last)?;
    loop {
        std::thread::park();
    }
}

/// Serves at a port, until the process ends.
pub fn start(port: u16, rank: Rank) -> Result<()> {
    LazyLock::force(&BIG);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("the origin's port")?;
    std::thread::spawn(move || {
        rank.take();
        for stream in listener.incoming().flatten() {
            // A thread each; what the gateway breaks off concerns nobody else.
            let small = std::thread::Builder::new().stack_size(64 << 10);
            drop(small.spawn(move || {
                rank.take();
                serve(stream)
            }));
        }
    });
    Ok(())
}

/// A word for most paths, a large body for `/big`, and a while for `/slow`.
fn serve(stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let fine = answer(b"fine");
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
        loop {
            line.clear();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let path = first.split(' ').nth(1)?;
        if path == "/slow" {
            std::thread::sleep(SLOW);
        }
        let answer = if path == "/big" { &*BIG } else { &fine };
        answer.chunks(PIECE_BYTES).try_for_each(|piece| reader.get_mut().write_all(piece)).ok()?;
    }
}

/// In one piece: two would wait for each other, by Nagle's algorithm and the other side's late acknowledgement.
fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}
