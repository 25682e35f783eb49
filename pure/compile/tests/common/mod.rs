//! What the tests share: from text to a Snapshot and a machine.
#![allow(dead_code)]

pub mod golden;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use tidegate_decode::Outcome;
use tidegate_model::Machine;
use tidegate_model::machine::{Interface, Route};
use tidegate_objects::dns::{Answer, DnsName, NamePattern};
use tidegate_objects::{Object, Snapshot};

/// The objects of a text. A line `# source NAME` begins another source; the first is `local`.
pub fn objects(text: &str) -> Vec<Object> {
    let mut sources: Vec<(String, String)> = vec![("local".into(), String::new())];
    for line in text.lines() {
        match line.strip_prefix("# source ") {
            Some(name) => sources.push((name.trim().into(), String::new())),
            None => {
                let (_, text) = sources.last_mut().expect("there is one from the start");
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    let mut objects = Vec::new();
    for (source, text) in sources {
        for document in tidegate_decode::decode(&source, &text).expect("a readable text") {
            match document.outcome {
                Outcome::Object { object, .. } => objects.push(object),
                other => panic!("not an object: {other:?}"),
            }
        }
    }
    objects
}

/// The Snapshot of a text. A line `# answer NAME ADDRESS…` says what DNS says of a name; what is no address there is a name that
/// it stands for.
pub fn snapshot(text: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    objects(text).into_iter().for_each(|object| snapshot.insert(object));
    for line in text.lines().filter_map(|line| line.strip_prefix("# answer ")) {
        let mut words = line.split_whitespace();
        let name = DnsName::parse(words.next().unwrap_or_default()).expect("a name");
        let (addresses, aliases): (Vec<_>, Vec<_>) = words.partition(|word| word.parse::<IpAddr>().is_ok());
        let answer = Answer::new(addresses.iter().map(|word| word.parse().expect("an address")));
        let aliases = aliases.iter().map(|word| DnsName::parse(word).expect("a name"));
        snapshot.answers.insert(name, Arc::new(answer.through(aliases)));
    }
    snapshot
}

/// The machine that the first line names.
pub fn machine(text: &str) -> Machine {
    let Some(words) = text.lines().next().and_then(|line| line.strip_prefix("# machine ")) else {
        return Machine::default();
    };
    let mut words = words.split_whitespace();
    let named = text.lines().filter_map(|line| line.strip_prefix("# source ")).map(|name| name.trim().into());
    let mut machine = Machine {
        node: words.next().unwrap_or_default().into(),
        interfaces: Some(Vec::new()),
        sources: std::iter::once("local".to_owned()).chain(named).collect(),
        ..Machine::default()
    };
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        if (name, value) == ("class", "any") {
            machine.default_load_balancer = true;
            continue;
        }
        if name == "nodeports" {
            machine.node_port_sources.insert(value.into());
            continue;
        }
        if name == "default" {
            let destination = "0.0.0.0/0".parse().expect("a prefix");
            machine.routes.push(Route { destination, interface: value.into() });
            continue;
        }
        if name == "allowed" {
            machine.allowed_names.push(NamePattern::parse(value).expect("a name"));
            continue;
        }
        if name == "ingressClass" {
            machine.ingress_class = value.into();
            continue;
        }
        let address = value.parse().expect("address/length");
        machine
            .interfaces
            .iter_mut()
            .flatten()
            .filter(|i| i.name == name)
            .for_each(|i| i.addresses.push(address));
        if !machine.interfaces.iter().flatten().any(|interface| interface.name == name) {
            machine
                .interfaces
                .get_or_insert_default()
                .push(Interface { name: name.into(), addresses: vec![address] });
        }
    }
    machine
}

/// Block YAML; empty values are left out, so that a case shows what it is about.
pub fn yaml(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !is_empty(value)) {
                let _ = match value {
                    Value::Object(_) | Value::Array(_) => writeln!(out, "{pad}{name}:"),
                    scalar => writeln!(out, "{pad}{name}: {scalar}"),
                };
                if value.is_object() || value.is_array() {
                    yaml(value, depth + 1, out);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if (item.is_object() || item.is_array()) && !is_empty(item) {
                    let mut text = String::new();
                    yaml(item, depth + 1, &mut text);
                    let _ = write!(out, "{pad}- {}", text.trim_start());
                } else {
                    let _ = writeln!(out, "{pad}- {item}");
                }
            }
        }
        scalar => {
            let _ = writeln!(out, "{pad}{scalar}");
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
