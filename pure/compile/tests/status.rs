//! Golden statuses: where a case has a `status.yaml`, its objects are told exactly that, all sockets being open.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tidegate-compile` writes what is found. A case gets one by an empty file.

mod common;

use common::{machine, snapshot};
use serde_json::{Map, Value, json};
use tidegate_compile::status::{Facts, Opened, SUPPORTED_FEATURES, infrastructure, statuses};
use tidegate_compile::{Compiled, compile};
use tidegate_model::{Machine, Model, StatusOf};
use tidegate_objects::Snapshot;

struct Case {
    snapshot: Snapshot,
    machine: Machine,
    compiled: Compiled,
}

impl Case {
    fn new(text: &str) -> Case {
        let (snapshot, machine) = (snapshot(text), machine(text));
        let compiled = compile(&snapshot, &machine, &Model::default());
        Case { snapshot, machine, compiled }
    }

    fn ask<T>(&self, opened: &Opened, question: impl Fn(&Facts<'_>) -> T) -> T {
        let sockets = |_, _| opened.clone();
        question(&Facts {
            snapshot: &self.snapshot,
            verdicts: &self.compiled.verdicts,
            standing: &self.compiled.standing,
            notice: self.compiled.notice.as_deref(),
            machine: &self.machine,
            sockets: &sockets,
        })
    }

    fn statuses(&self, opened: &Opened) -> Vec<StatusOf> {
        self.ask(opened, statuses)
    }
}

/// A condition on one line: `True Accepted: message`, so that a status is easily read.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(conditions)) = fields.get("conditions") {
                let short = conditions.iter().map(|condition| {
                    let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
                    let line = format!("{} {}: {}", text("status"), text("reason"), text("message"));
                    (text("type"), json!(line.trim_end_matches(": ")))
                });
                let short: Map<String, Value> = short.collect();
                fields.insert("conditions".into(), short.into());
            }
            fields.remove("controllerName");
            if let Some(Value::Array(features)) = fields.get("supportedFeatures") {
                let count = json!(features.len());
                fields.insert("supportedFeatures".into(), count);
            }
            fields.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn outcome(text: &str) -> Value {
    let case = Case::new(text);
    let each = case.statuses(&Opened::Yes).into_iter().map(|status| {
        let name = format!("{} {}/{}", status.kind, status.namespace, status.name);
        let mut body = serde_json::to_value(&status.status).expect("a status is plain data");
        shorten(&mut body);
        (name, body)
    });
    let made = case.ask(&Opened::Yes, infrastructure);
    let made =
        made.iter().map(|made| json!({ "metadata": made.object["metadata"], "spec": made.object["spec"] }));
    json!({ "statuses": each.collect::<Map<_, _>>(), "made": made.collect::<Vec<_>>() })
}

/// Every case tells its objects what is written beside it.
#[test]
fn golden() {
    let cases = common::golden::compare("status.yaml", |case| case.join("status.yaml").exists(), outcome);
    assert!(cases >= 10, "cases are missing");
}

const EDGE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop, generation: 7}
spec: {gatewayClassName: tidegate, addresses: [{value: 10.0.0.1}], listeners: [{name: http, port: 80, protocol: HTTP}]}
";

/// The conditions of the Gateway, as `type status reason`.
fn conditions(status: &StatusOf) -> Vec<String> {
    let value = serde_json::to_value(&status.status).expect("a status is plain data");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = value["conditions"].as_array().expect("conditions").clone();
    let each = conditions.iter().map(|condition| {
        assert_eq!(condition["observedGeneration"], 7);
        format!("{} {} {}", text(&condition["type"]), text(&condition["status"]), text(&condition["reason"]))
    });
    each.collect()
}

/// A Gateway is programmed only when its sockets are open; one that cannot be opened makes its address unusable.
#[test]
fn programmed_follows_the_sockets() {
    let case = Case::new(EDGE);
    for (opened, expected) in [
        (Opened::Yes, "Programmed True Programmed"),
        (Opened::NotYet, "Programmed False Pending"),
        (Opened::Failed("in use".into()), "Programmed False AddressNotUsable"),
    ] {
        let statuses = case.statuses(&opened);
        let found = statuses.iter().map(conditions).next().expect("the Gateway's status");
        assert_eq!(
            found,
            ["Accepted True Accepted", expected, "ResolvedRefs True ResolvedRefs"],
            "{opened:?}"
        );
    }
}

/// Features stand in order and once each, as the list in a GatewayClass's status must.
#[test]
fn features_are_sorted() {
    assert!(SUPPORTED_FEATURES.is_sorted_by(|a, b| a < b));
    assert!(SUPPORTED_FEATURES.len() <= 64, "Gateway API takes 64");
}
