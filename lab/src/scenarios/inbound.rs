//! Step 1, in: client → ToR → VIP → proxy → pod.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::journey::SHOP;
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;

/// The port of the Gateway's listener.
pub const HTTP: u16 = 80;

/// Requests to the Gateway from the client.
pub fn from_client(lab: &mut Lab, rate: u32) -> Result<Plan> {
    Ok(Plan::new(lab.ns("client"), (lab.vip()?, HTTP), SHOP, rate))
}

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let plan = from_client(lab, 400)?.kept(20);

    let forged = plan.clone().field("X-Forwarded-For: 192.0.2.66").ask()?;
    let seen = forged.json()["headers"]["x-forwarded-for"].clone();
    report.holds("the pod sees the client's address, not a forged one", seen == "198.51.100.10", seen);

    let beta = plan.clone().field("x-version: beta").ask()?.who();
    report.holds("a header chooses the backend", beta.starts_with("web-b"), beta);
    let admin = plan.clone().path("/admin/users").ask()?.who();
    report.holds("a path chooses the backend", admin == "admin-1", admin);
    let stranger = Plan { host: "other.example".into(), ..plan.clone() }.ask()?.head.first_line;
    report.holds("another host is not served", stranger.contains(" 404 "), stranger);

    let load = plan.start();
    lab.pause(Duration::from_secs(2))?;
    let records = load.stop()?;
    report.none_failed("of 400 a second", &records, 700);
    let mut served = BTreeMap::<&str, usize>::new();
    records.iter().filter_map(|record| record.who()).for_each(|who| *served.entry(who).or_default() += 1);
    let share: usize =
        served.iter().filter(|(who, _)| who.starts_with("web-a")).map(|(_, count)| count).sum();
    let percent = share * 100 / records.len().max(1);
    report.holds("three of four go to web-a", (70..=80).contains(&percent), format!("{percent} %"));
    report.exactly("pods that served", served.len(), 4, &format!("{served:?}"));
    Ok(report)
}
