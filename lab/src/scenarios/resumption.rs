//! TLS sessions and the death of a gateway: a client comes back with its ticket, and whoever has the address by then goes on
//! with the session. The client is OpenSSL's.

use std::fs::{OpenOptions, read_to_string};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::certificates::Certificates;
use crate::crowd::HOST;
use crate::election::CONTESTED;
use crate::gateway::{holds, metrics};
use crate::lab::Lab;
use crate::report::Report;

/// How long a key seals tickets here: two turns are soon over, and a ticket outlives the failure of a gateway by far.
const ROTATION_SECS: u64 = 10;
const VERSIONS: [&str; 2] = ["-tls1_3", "-tls1_2"];
const SOON: Duration = Duration::from_secs(20);

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let certificates = Certificates::make(&lab.dir("client")?, HOST, &["only"])?;
    lab.manifests().put("certificate.yaml", &certificates.secret(0))?;
    share_a_secret(lab)?;
    lab.start_gateways()?;
    linked(lab)?;
    let held = holder(lab, "gw1");
    report.holds("the gateway of higher priority holds the address", held.is_ok(), format!("{held:?}"));
    exchange(lab, &mut report, "gw1", "gw2")?;

    let turned = |lab: &Lab| Ok((turns(lab, "gw2")? >= 2).then_some(()));
    lab.start_gateway("gw1")?;
    linked(lab)?;
    lab.wait("second turn of the keys", 4 * Duration::from_secs(ROTATION_SECS), |lab| turned(lab))?;
    // The one that came back knows nothing but what it was told.
    exchange(lab, &mut report, "gw2", "gw1")?;
    Ok(report)
}

/// A client gets sessions from one gateway, and brings them back when the other has the address because that one was killed.
fn exchange(lab: &mut Lab, report: &mut Report, first: &str, second: &str) -> Result<()> {
    for version in VERSIONS {
        let given = ask(lab, version, Given::New)?;
        report.holds(&format!("{first} begins a session ({version})"), given == "New", given);
        let again = ask(lab, version, Given::Kept)?;
        report.holds(&format!("{first} goes on with it"), again == "Reused", again);
    }
    lab.kill_gateway(first)?;
    holder(lab, second)?;
    for version in VERSIONS {
        let elsewhere = ask(lab, version, Given::Kept)?;
        report.holds(
            &format!("{second} goes on with a session of {first}, which is dead ({version})"),
            elsewhere == "Reused",
            elsewhere,
        );
    }
    Ok(())
}

/// Every gateway gets the same secret, and turns its keys often.
fn share_a_secret(lab: &mut Lab) -> Result<()> {
    let path = lab.home().join("peers.key");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    writeln!(file, "a secret of the lab, which is no secret at all")?;
    lab.bootstrap(&format!("peers: {{keyFile: {}, ticketRotation: {ROTATION_SECS}s}}\n", path.display()));
    Ok(())
}

/// Waits until each gateway says that it is linked to the other.
fn linked(lab: &mut Lab) -> Result<()> {
    for gateway in lab.gateways() {
        lab.wait("link between the gateways", SOON, |lab| {
            lab.check()?;
            let peers = lab.status(gateway)?["peers"].clone();
            match peers["gateways"][0]["connected"] == true {
                true => Ok(Some(())),
                false => bail!("{gateway}: {peers}"),
            }
        })?;
    }
    Ok(())
}

/// Waits until this gateway has the address.
fn holder(lab: &mut Lab, gateway: &str) -> Result<()> {
    lab.wait("holder of the address", SOON, |lab| Ok(holds(&lab.status(gateway)?, CONTESTED).then_some(())))
}

/// How often the keys of a gateway have turned.
fn turns(lab: &Lab, gateway: &str) -> Result<u64> {
    let text = metrics(&lab.ns(gateway))?;
    let value = text.lines().find_map(|line| line.strip_prefix("tidegate_tls_ticket_key_turns_total "));
    Ok(value.context("no such metric")?.trim().parse()?)
}

/// What the client comes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// Nothing; it keeps the session that it gets.
    New,
    /// The session that it kept.
    Kept,
}

/// One request over TLS, and whether OpenSSL calls the session `New` or `Reused`.
fn ask(lab: &Lab, version: &str, given: Given) -> Result<String> {
    let dir = lab.dir("client")?;
    let session = dir.join(format!("session{version}"));
    let mut openssl = lab.ns("client").command("openssl")?;
    openssl.args(["s_client", "-connect", &format!("{CONTESTED}:443"), "-servername", HOST, version]);
    openssl.args(["-ign_eof", "-verify_return_error", "-CAfile"]).arg(dir.join("trusted.pem"));
    openssl.arg(if given == Given::Kept { "-sess_in" } else { "-sess_out" }).arg(&session);
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = openssl.spawn().context("openssl cannot be started")?;
    let mut asks = child.stdin.take().context("a pipe")?;
    // The answer to it comes after the tickets.
    write!(asks, "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let output = child.wait_with_output()?;
    drop(asks);
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains("HTTP/1.1 404") {
        bail!("no answer: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    if given == Given::New && read_to_string(&session)?.is_empty() {
        bail!("no session was given");
    }
    let word = text.lines().find_map(|line| line.split_once(", TLSv1").map(|(word, _)| word));
    Ok(word.context("openssl says nothing of the session")?.to_owned())
}
