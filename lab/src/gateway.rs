//! Tidegate on a gateway: how it is started, ended, and asked what it does. It knows the command line, the admin
//! address and `status`, as a user does, and nothing of the inside.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::load::Plan;
use crate::netns::Netns;
use crate::process::{self, Process};

/// Where each gateway's admin address is, inside its own namespace.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9440);

/// The program: `$TIDEGATE_BIN`, or the one that was built beside this one.
pub fn program() -> Result<PathBuf> {
    let beside = || Ok(std::env::current_exe()?.with_file_name("tidegate"));
    let path =
        std::env::var_os("TIDEGATE_BIN").map_or_else(beside, |path| anyhow::Ok(PathBuf::from(path)))?;
    let path = path
        .canonicalize()
        .with_context(|| format!("{} is not there: build it, or set TIDEGATE_BIN", path.display()))?;
    Ok(path)
}

impl Lab {
    /// Names of the gateways.
    pub fn gateways(&self) -> Vec<&'static str> {
        self.topology.gateways().map(|host| host.name).collect()
    }

    /// Starts Tidegate on every gateway.
    pub fn start_gateways(&mut self) -> Result<()> {
        self.gateways().into_iter().try_for_each(|name| self.start_gateway(name))
    }

    /// Starts Tidegate on a gateway.
    pub fn start_gateway(&mut self, name: &str) -> Result<()> {
        self.start_gateway_with(name, &[])
    }

    /// Has another process take over on a gateway, and waits until it says so; the one before, which may still drain.
    pub fn hand_over(&mut self, name: &str) -> Result<Process> {
        let before = self.take(name)?;
        self.start_gateway_with(name, &["--takeover"])?;
        let log = self.logs().join(format!("{name}.log"));
        let pid = before.pid();
        let took = |line: &str| {
            // The access log is there too, and much longer.
            line.contains("took over")
                && serde_json::from_str(line).is_ok_and(|line: Value| line["pid"] == pid)
        };
        self.wait("end of the hand-over", Duration::from_secs(20), |lab| {
            lab.check()?;
            Ok(process::tail(&log, 1 << 20).lines().any(took).then_some(()))
        })?;
        Ok(before)
    }

    fn start_gateway_with(&mut self, name: &str, more: &[&str]) -> Result<()> {
        let manifests = self.manifests().path().display().to_string();
        self.start_gateway_reading(name, &[&["--manifests", &manifests], more].concat())
    }

    /// Starts Tidegate on a gateway with these words of its command line, which say what it reads.
    pub fn start_gateway_reading(&mut self, name: &str, more: &[&str]) -> Result<()> {
        let state = self.dir(name)?.join("state");
        let config = self.config(name)?;
        std::fs::write(
            &config,
            format!(
                "node: {name}\nstateDir: {}\naccessLog: {{output: stderr, format: json}}\n{}",
                state.display(),
                self.bootstrap_lines()
            ),
        )?;
        let (program, admin) = (program()?, ADMIN.to_string());
        let mut argv = vec![
            program.as_os_str(),
            "run".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
            "--node".as_ref(),
            name.as_ref(),
            "--admin".as_ref(),
            admin.as_ref(),
        ];
        argv.extend(more.iter().map(OsStr::new));
        let argv: Vec<_> = argv.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        self.start(name, name, &argv)
    }

    /// Ends Tidegate on a gateway in good order; whether it went within five seconds.
    pub fn stop_gateway(&mut self, name: &str) -> Result<bool> {
        Ok(self.take(name)?.stop(Duration::from_secs(5)))
    }

    /// Kills Tidegate on a gateway (SIGKILL).
    pub fn kill_gateway(&mut self, name: &str) -> Result<()> {
        self.take(name)?.kill();
        Ok(())
    }

    /// The bootstrap file of a gateway.
    pub fn config(&self, name: &str) -> Result<PathBuf> {
        Ok(self.dir(name)?.join("tidegate.yaml"))
    }

    /// Runs `tidegate …` on a gateway to its end, whatever that end is.
    pub fn tidegate(&self, gateway: &str, args: &[&str]) -> Result<Output> {
        let program = program()?.to_string_lossy().into_owned();
        let mut command = self.ns(gateway).command(&program)?;
        command
            .args(args)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("tidegate {}", args.join(" ")))
    }

    /// The status of a gateway: what `tidegate status -o json` prints, asked for without a process of its own, since
    /// stories ask often and under load.
    pub fn status(&self, gateway: &str) -> Result<Value> {
        status(&self.ns(gateway)).with_context(|| format!("status of {gateway}"))
    }

    /// The HTTP status with which a gateway answers whether it is ready.
    pub fn ready(&self, gateway: &str) -> Result<u16> {
        let answer = Plan::new(self.ns(gateway), ADMIN, "localhost", 1).path("/readyz").ask()?;
        answer.head.status().context("an answer without a status")
    }

    /// Statuses of the gateways that run.
    pub fn statuses(&mut self) -> Result<Vec<(&'static str, Value)>> {
        let running: Vec<_> = self.gateways().into_iter().filter(|name| self.running(name)).collect();
        running.into_iter().map(|name| Ok((name, self.status(name)?))).collect()
    }
}

/// The status of the gateway in that namespace.
pub fn status(gateway: &Netns) -> Result<Value> {
    let answer = Plan::new(gateway.clone(), ADMIN, "localhost", 1).path("/api/v1/status").ask()?;
    ensure!(answer.head.status() == Some(200), "{}", answer.head.first_line);
    Ok(serde_json::from_slice(&answer.body)?)
}

/// The metrics of the gateway in that namespace, as text.
pub fn metrics(gateway: &Netns) -> Result<String> {
    let answer = Plan::new(gateway.clone(), ADMIN, "localhost", 1).path("/metrics").ask()?;
    ensure!(answer.head.status() == Some(200), "{}", answer.head.first_line);
    Ok(String::from_utf8(answer.body)?)
}

/// The address of the first listener that is not a wildcard: the Gateway's VIP.
pub fn vip(status: &Value) -> Option<Ipv4Addr> {
    let addresses =
        status["listeners"].as_array()?.iter().filter_map(|listener| listener["address"].as_str());
    let parsed = addresses.filter_map(|address| address.parse::<std::net::SocketAddrV4>().ok());
    parsed.map(|address| *address.ip()).find(|address| !address.is_unspecified())
}

/// Whether this gateway holds an address.
pub fn holds(status: &Value, address: Ipv4Addr) -> bool {
    let text = address.to_string();
    let here = |row: &Value| row["address"] == text && row["here"] == true;
    status["addresses"].as_array().is_some_and(|rows| rows.iter().any(here))
}

/// How many of its BGP sessions are established, and how many it has.
pub fn sessions(status: &Value) -> (usize, usize) {
    let rows = status["bgp"].as_array().map(Vec::as_slice).unwrap_or_default();
    (rows.iter().filter(|row| row["state"] == "Established").count(), rows.len())
}

/// An error that says why, if an output is not a success.
pub fn succeed(output: &Output) -> Result<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{}: {out}{err}", output.status);
    }
    Ok(out.into_owned())
}
