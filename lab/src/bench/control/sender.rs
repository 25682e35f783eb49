//! Requests to the real API server, many at a time (`testplane send`).

use std::io::{BufWriter, Write};
use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cluster::{Cluster, programs};

/// Requests under way at a time.
const PARALLEL: &str = "24";

/// A sender that runs.
pub struct Sender {
    child: Child,
    input: BufWriter<ChildStdin>,
}

/// What became of the requests.
#[derive(Debug, Deserialize)]
pub struct Sent {
    /// How many were sent.
    pub sent: usize,
    failed: usize,
    first: String,
    /// From the start until the last answer.
    pub secs: f64,
}

impl Sender {
    /// Starts one beside the API server, with every right.
    pub fn start(cluster: &Cluster) -> Result<Sender> {
        let program = programs()?.join("testplane").display().to_string();
        let mut command = cluster.ns("control").command(&program)?;
        command
            .args(["send", "--parallel", PARALLEL, "--kubeconfig"])
            .arg(&cluster.about().inside_kubeconfig);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the sender")?;
        let input = BufWriter::new(child.stdin.take().context("a pipe was asked for")?);
        Ok(Sender { child, input })
    }

    /// Sends a request; waits while too many are under way.
    pub fn send(&mut self, request: &str) -> Result<()> {
        Ok(writeln!(self.input, "{request}")?)
    }

    /// Waits for all answers.
    ///
    /// # Errors
    /// A request failed.
    pub fn finish(self) -> Result<Sent> {
        // The end of the input is what it waits for.
        drop(self.input.into_inner().map_err(|error| error.into_error())?);
        let output = self.child.wait_with_output()?;
        let sent: Sent = serde_json::from_slice(&output.stdout).context("the sender said nothing")?;
        ensure!(sent.failed == 0, "{} of {} requests failed: {}", sent.failed, sent.sent, sent.first);
        Ok(sent)
    }
}
