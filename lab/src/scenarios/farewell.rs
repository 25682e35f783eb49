//! A gateway is told to end while clients are served: it tells them to leave, keeps its address until what is in flight is
//! answered, and only then lets somebody else have it.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::crowd::{HOST, serve};
use crate::election::CONTESTED;
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;
use crate::scenarios::inbound::from_client;
use crate::scenarios::keepalived_election::{start_keepalived, who_answers};

/// How long requests in flight take.
const SLOW: Duration = Duration::from_secs(3);
/// How far they have come when the gateway is told to end.
const UNDER_WAY: Duration = Duration::from_millis(700);
/// An address goes soon once nothing is in flight any more.
const THEN: Duration = Duration::from_millis(1500);
/// From the signal to the end of the process: the slow requests, the time for neighbours, the end of the last connections.
const ENDS: Duration = Duration::from_secs(8);

/// Beside keepalived, which serves nothing: whatever it gets is lost.
pub fn beside_a_stranger(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    serve(lab)?;
    lab.start_gateway("gw1")?;
    let client = lab.ns("client");
    let plan = |rate| Plan::new(client.clone(), (CONTESTED, 80), HOST, rate);
    lab.wait("first answer", Duration::from_secs(20), |_| Ok(plan(1).ask().ok()))?;
    start_keepalived(lab)?;
    lab.pause(Duration::from_millis(1500))?;

    let slow = plan(20).path(&format!("/slow?ms={}", SLOW.as_millis())).kept(1).start();
    let (kept, fresh) = (plan(100).kept(8).start(), plan(50).start());
    let mut streams = streams(lab)?;
    lab.pause(Duration::from_millis(300))?;
    // Sent before the signal only.
    let slow = std::thread::spawn(move || slow.stop());
    lab.pause(UNDER_WAY)?;
    let mut gateway = lab.take("gw1")?;
    let told = Instant::now();
    gateway.signal(Signal::SIGTERM)?;
    lab.pause(Duration::from_millis(800))?;
    let status = lab.ready("gw1")?;
    report.holds("it says that it is not ready", status == 503, status);
    report.none_failed("over kept connections, before and after the signal", &kept.stop()?, 100);
    report.none_failed("over new connections, before and after the signal", &fresh.stop()?, 50);
    let went = lab.wait("keepalived with the address", ENDS, |lab| {
        Ok((who_answers(lab)?.as_deref() == Some("other")).then(|| told.elapsed()))
    });
    let slow = slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    report.none_failed("of three seconds, in flight at the signal", &slow, 4);
    let output = streams.stdout.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
    streams.wait()?;
    let whole = output.lines().filter(|line| line.contains(" 200 ") && line.contains("/slow?ms=")).count();
    report.exactly("HTTP/2 streams in flight at the signal that ended whole", whole, 2, output.trim());
    report.at_most_ms("the address goes once they are answered, after", went.ok(), SLOW + THEN);
    let ends = lab.wait("end of the process", ENDS, |_| Ok((!gateway.alive()).then(|| told.elapsed())));
    report.at_most_ms("the process ends after", ends.ok(), ENDS);
    Ok(report)
}

/// Among others that serve too, with BGP towards a router: nobody notices at all.
pub fn among_others(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let load = from_client(lab, 100)?.kept(8).start();
    let fresh = from_client(lab, 30)?.start();
    let slow = from_client(lab, 20)?.path(&format!("/slow?ms={}", SLOW.as_millis())).kept(1).start();
    lab.pause(Duration::from_millis(300))?;
    // Sent before the signal only.
    let slow = std::thread::spawn(move || slow.stop());
    lab.pause(UNDER_WAY)?;
    let holder = lab.holder()?;
    let mut gateway = lab.take(holder)?;
    let told = Instant::now();
    gateway.signal(Signal::SIGTERM)?;
    let heir = lab.survivor_within(holder, SLOW * 2 + THEN)?;
    report.holds("the addresses go to another gateway", heir != holder, format!("{holder} to {heir}"));
    let ends = lab.wait("end of the process", ENDS, |_| Ok((!gateway.alive()).then(|| told.elapsed())));
    report.at_most_ms("the process ends after", ends.ok(), ENDS);
    lab.pause(UNDER_WAY)?;
    report.none_failed("over kept connections", &load.stop()?, 200);
    report.none_failed("over new connections", &fresh.stop()?, 60);
    let slow = slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    report.none_failed("of three seconds, in flight at the signal", &slow, 4);
    Ok(report)
}

/// Two HTTP/2 streams that are in flight at the signal.
fn streams(lab: &Lab) -> Result<Child> {
    let mut command = lab.ns("client").command("nghttp")?;
    command.args(["--null-out", "--stat", "--header", &format!(":authority: {HOST}")]);
    let slow = SLOW.as_millis();
    command.args([slow, slow + 100].map(|ms| format!("http://{CONTESTED}/slow?ms={ms}")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("nghttp cannot be started")
}
