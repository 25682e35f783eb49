//! A lab ends with whoever stood it up: by a signal, by a panic, and, at the next start, even by SIGKILL.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::journey::JOURNEY;
use crate::lab::Lab;
use crate::process::{self, Lifetime};
use crate::report::Report;
use crate::{netns, registry};

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (mut other, id) = stand(lab)?;
        end(&mut other, signal)?;
        gone(&id, &format!("after {signal}"), &mut report);
    }
    killed(lab, &mut report)?;

    let mut id = String::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        if let Ok(other) = Lab::stand(&JOURNEY, Lifetime::Foreground) {
            id = other.id().to_owned();
            resume_unwind(Box::new("on purpose"));
        }
    }));
    report.holds("a lab stood when its owner panicked", panicked.is_err(), &id);
    gone(&id, "after a panic", &mut report);

    let namespaces = netns::of_lab(lab.id()).len();
    report.exactly("namespaces of this lab, all the while", namespaces, 1 + lab.topology.hosts.len(), "");
    Ok(report)
}

fn killed(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let (mut other, id) = stand(lab)?;
    let namespaces = netns::of_lab(&id);
    report.at_least("processes of the lab that is killed", process::inside(&namespaces).len(), 10);
    end(&mut other, Signal::SIGKILL)?;
    let dead = lab.wait("end of its processes", Duration::from_secs(2), |_| {
        Ok(process::inside(&namespaces).is_empty().then_some(()))
    });
    report.holds("its processes die with it", dead.is_ok(), "");
    registry::sweep();
    gone(&id, "after SIGKILL and the next start", report);
    Ok(())
}

/// Another `lab`, which stands a lab of its own up; that lab's id.
fn stand(lab: &mut Lab) -> Result<(Child, String)> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["up", JOURNEY.name, "--no-gateways", "--foreground"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let other = command.spawn()?;
    let id = lab.wait("second lab", Duration::from_secs(10), |_| {
        let mut labs = registry::all().into_iter();
        let its = labs.find(|record| record.owner.as_ref().is_some_and(|owner| owner.is(other.id())));
        // Complete once its last host runs.
        let complete = |id: &String| registry::home(id).join("logs/node3-bird.log").exists();
        Ok(its.map(|record| record.id).filter(complete))
    })?;
    Ok((other, id))
}

fn end(other: &mut Child, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(other.id() as i32), signal)?;
    other.wait()?;
    Ok(())
}

fn gone(id: &str, when: &str, report: &mut Report) {
    let left = netns::of_lab(id).len() + usize::from(registry::home(id).exists());
    report.exactly(&format!("namespaces and directories left {when}"), left, 0, "");
}
