//! HTTP/1.1 by wrk, one thread: every route in turn, and an account of every error.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cases::Done;
use super::ground::{Ground, run};
use super::origin::Body;
use super::routes::{PREFIXES, Routes, request};

/// What wrk is to do.
pub struct Plan {
    /// The file asked for.
    pub body: Body,
    /// Connections open at once.
    pub connections: u32,
    /// Whether each request ends its connection.
    pub close: bool,
    /// Whether over TLS.
    pub tls: bool,
    /// The routes asked for, each as often as any other.
    pub routes: Routes,
}

/// Runs it.
pub fn drive(ground: &Ground, port: u16, plan: &Plan, secs: u32) -> Result<Done> {
    let script = ground.put("wrk.lua", script(plan))?;
    let scheme = if plan.tls { "https" } else { "http" };
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{}", plan.connections), &format!("-d{secs}s"), "-s"]).arg(script);
    let output = run(command.arg(format!("{scheme}://127.0.0.1:{port}/")))?;
    let account = Account::read(&output).with_context(|| format!("wrk printed no account: {output}"))?;
    account.check(plan.body.bytes().len() as u64)?;
    let per_second = account.requests as f64 / account.duration_us as f64 * 1e6;
    Ok(Done { operations: account.requests as f64, latency: None, notes: vec![("req/s", per_second)] })
}

/// The last line that the script prints.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    requests: u64,
    duration_us: u64,
    bytes: u64,
    /// connect, read, write, status, timeout
    errors: [u64; 5],
}

impl Account {
    fn read(output: &str) -> Option<Account> {
        let line = output.lines().find_map(|line| line.strip_prefix("ACCOUNT "))?;
        let fields = line.split_whitespace().map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let [requests, duration_us, bytes, errors @ ..] = fields.as_slice() else { return None };
        Some(Account {
            requests: *requests,
            duration_us: *duration_us,
            bytes: *bytes,
            errors: errors.try_into().ok()?,
        })
    }

    fn check(&self, body_bytes: u64) -> Result<()> {
        let [connect, read, write, status, timeout] = self.errors;
        ensure!(
            self.errors == [0; 5],
            "socket errors: connect {connect}, read {read}, write {write}, timeout {timeout}; {status} answers were not 2xx"
        );
        ensure!(
            self.bytes >= self.requests * body_bytes,
            "{} bytes are too few for {} bodies of {body_bytes}",
            self.bytes,
            self.requests
        );
        Ok(())
    }
}

fn script(plan: &Plan) -> String {
    let mut text = String::from("local all = {}\n");
    for host in plan.routes.hosts() {
        for prefix in 0..PREFIXES {
            let request = request(host, prefix, plan.body.file(), plan.close);
            text += &format!("all[#all + 1] = {request:?}\n");
        }
    }
    // Steps of a prime: neighbours in time are not neighbours in the table.
    text + "local at, count = 0, #all\n\
            function request() at = (at + 7919) % count return all[at + 1] end\n\
            function done(s, l, r)\n  local e = s.errors\n  io.write(string.format(\"ACCOUNT %d %d %d %d %d %d %d %d\\n\", \
            s.requests, s.duration, s.bytes, e.connect, e.read, e.write, e.status, e.timeout))\nend\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One error of any kind fails a round, and so do bodies that are too short.
    #[test]
    fn errors_fail() {
        let account = |line: &str| Account::read(line).unwrap();
        assert!(account("ACCOUNT 10 1000 20480 0 0 0 0 0").check(1024).is_ok());
        for line in [
            "ACCOUNT 10 1000 20480 0 1 0 0 0",
            "ACCOUNT 10 1000 20480 0 0 0 1 0",
            "ACCOUNT 10 1000 9 0 0 0 0 0",
        ] {
            assert!(account(line).check(1024).is_err(), "{line}");
        }
        assert_eq!(Account::read("ACCOUNT 10 1000"), None);
    }
}
