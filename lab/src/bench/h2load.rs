//! HTTP/2 by h2load, one thread, 16 connections of 10 streams.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cases::Done;
use super::ground::{Ground, run};
use super::origin::{Body, GRPC_MESSAGE};
use super::routes::{BROWSER, GRPC_HOST, GRPC_PATH, PREFIXES, host, prefix};

/// Small files, every prefix of one host in turn.
pub fn drive(ground: &Ground, port: u16, tls: bool, secs: u32) -> Result<Done> {
    let scheme = if tls { "https" } else { "http" };
    let urls = (0..PREFIXES).map(|at| format!("{scheme}://{}{}{}", host(0), prefix(at), Body::Small.file()));
    let mut command = command(port, secs);
    for (name, value) in BROWSER {
        command.args(["-H", &format!("{}: {value}", name.to_lowercase())]);
    }
    // What is asked for is in a file: h2load takes many URIs only so.
    let list = ground.put("h2load.uris", urls.collect::<Vec<_>>().join("\n") + "\n")?;
    account(&run(command.arg("-i").arg(list))?, Body::Small.bytes().len() as u64)
}

/// A gRPC method.
pub fn grpc(ground: &Ground, port: u16, secs: u32) -> Result<Done> {
    let message = ground.put("grpc.message", GRPC_MESSAGE)?;
    let mut command = command(port, secs);
    command.arg("-d").arg(message).args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    let output = run(command.arg(format!("http://{GRPC_HOST}{GRPC_PATH}")))?;
    account(&output, GRPC_MESSAGE.len() as u64)
}

fn command(port: u16, secs: u32) -> Command {
    let mut command = Command::new("h2load");
    command.args(["-t1", "-c16", "-m10", "-D", &secs.to_string(), &format!("--connect-to=127.0.0.1:{port}")]);
    command
}

/// Reads the three lines that count. A round in which anything failed has no figure.
fn account(output: &str, body_bytes: u64) -> Result<Done> {
    let figure = |line: &str, after: &str| -> Option<u64> {
        let line = output.lines().find_map(|text| text.strip_prefix(line))?;
        let before = line.split(',').find_map(|part| part.trim().strip_suffix(after))?;
        before.trim().parse().ok()
    };
    let read = || {
        Some((
            figure("requests:", " succeeded")?,
            figure("requests:", " failed")?,
            figure("requests:", " errored")?,
            figure("requests:", " timeout")?,
            figure("status codes:", " 2xx")?,
        ))
    };
    let (succeeded, failed, errored, timeout, ok) =
        read().with_context(|| format!("h2load printed no account: {output}"))?;
    ensure!(
        failed + errored + timeout == 0,
        "{failed} requests failed, {errored} broke, {timeout} timed out"
    );
    // Requests under way when time is up are not counted as succeeded, but their status may have come.
    ensure!(ok >= succeeded, "{} answers were not 2xx", succeeded - ok);
    let data = data_bytes(output).with_context(|| format!("h2load printed no traffic: {output}"))?;
    ensure!(
        data >= succeeded * body_bytes,
        "{data} bytes are too few for {succeeded} bodies of {body_bytes}"
    );
    Ok(Done { operations: succeeded as f64, latency: None, notes: Vec::new() })
}

/// `traffic: 7.75MB (8127612) total, … 7.45MB (7812000) data`
fn data_bytes(output: &str) -> Option<u64> {
    let line = output.lines().find_map(|line| line.strip_prefix("traffic:"))?;
    let part = line.split(", ").find(|part| part.ends_with(" data"))?;
    part.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "finished in 1.00s, 6 req/s\n\
        requests: 6 total, 8 started, 6 done, 6 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 7 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 6.1KB (6251) total, 107B (107) headers (space savings 80.00%), 6.0KB (6144) data\n";

    /// The account of h2load is read, and a single failure or a missing byte has no figure.
    #[test]
    fn accounts() {
        assert_eq!(account(GOOD, 1024).unwrap().operations, 6.0);
        assert!(account(&GOOD.replace("0 errored", "1 errored"), 1024).is_err());
        assert!(account(&GOOD.replace("7 2xx, 0 3xx", "5 2xx, 2 3xx"), 1024).is_err());
        assert!(account(GOOD, 1025).is_err());
    }
}
