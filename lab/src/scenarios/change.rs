//! Step 6, change: a new route, then a file with a mistake, arrive under load.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::Lab;
use crate::report::Report;
use crate::scenarios::inbound::from_client;

const FILE: &str = "new-route.yaml";
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: new
  namespace: shop
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /new}
    backendRefs:
    - name: admin
      port: 80
";
/// The line of the port in [`ROUTE`], the field's name, what is wrong, and what would be right.
const MISTAKE: (usize, &str, &str, &str) =
    (14, "spec.rules[0].backendRefs[0].port", "eighty", "expected a whole number from 0 to 65535");

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let load = from_client(lab, 200)?.kept(20).start();
    let new = from_client(lab, 1)?.path("/new");
    lab.pause(Duration::from_millis(300))?;
    report.holds("before, the path is another route's", new.ask()?.who().starts_with("web-"), "");

    lab.manifests().put(FILE, ROUTE)?;
    let put = Instant::now();
    let works = lab.wait("answer over the new route", Duration::from_secs(3), |_| {
        Ok((new.ask()?.who() == "admin-1").then(|| put.elapsed()))
    });
    report.at_most_ms("a new route works after", works.ok(), Duration::from_millis(200));

    let (line, field, wrong, right) = MISTAKE;
    lab.manifests().put(FILE, &ROUTE.replace("port: 80", &format!("port: {wrong}")))?;
    let place = format!("{FILE}:{line}");
    let named = lab.wait("name of the mistake in status", Duration::from_secs(3), |lab| {
        let status = lab.status("gw1")?;
        let errors =
            status["sources"].as_array().into_iter().flatten().flat_map(|source| source["errors"].as_array());
        let ours =
            |error: &&serde_json::Value| error["file"].as_str().is_some_and(|file| file.ends_with(FILE));
        let found = errors.flatten().find(ours).cloned();
        let sentence = |error: &serde_json::Value| error["message"].as_str().unwrap_or_default().to_owned();
        Ok(found
            .filter(|error| error["line"] == line && error["field"] == field)
            .map(|error| sentence(&error)))
    });
    report.holds("status names file, line and field", named.is_ok(), &place);
    let sentence = named.unwrap_or_else(|error| format!("{error:#}"));
    let says = |text: &str| text.contains(wrong) && text.contains(right);
    report.holds("and says what it found and what would be right", says(&sentence), &sentence);

    let folder = lab.manifests().path().display().to_string();
    let check = lab.tidegate("gw1", &["check", &folder])?;
    let text = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    let row = text.lines().find(|row| row.contains(&place) && row.contains(field)).unwrap_or("no such line");
    report.holds("check names it too", check.status.code() == Some(1) && says(row), row);

    let who = new.ask()?.who();
    report.holds("the last good route keeps serving", who == "admin-1", who);
    lab.manifests().remove(FILE)?;
    lab.pause(Duration::from_millis(500))?;
    let records = load.stop()?;
    // It lasted 800 ms at least.
    report.none_failed("of 200 a second", &records, 150);
    Ok(report)
}
