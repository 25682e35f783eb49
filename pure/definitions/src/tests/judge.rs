//! A judge for tests: what of an object breaks a structural schema, and what an API server would fill in. It knows no rules of
//! the Common Expression Language.

use regex::Regex;
use serde_json::{Map, Value, json};

/// Everything wrong with an object, each as `field: what`.
pub(super) fn object(schema: &Value, object: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let known = ["apiVersion", "kind", "metadata"];
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| !known.contains(&name.as_str()));
    }
    value(schema, &object, "", &mut complaints);
    complaints
}

fn value(schema: &Value, found: &Value, at: &str, complaints: &mut Vec<String>) {
    let mut complain = |what: String| complaints.push(format!("{}: {what}", at.trim_start_matches('.')));
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    let is = |word: &str| schema["type"] == word;
    let fits = match found {
        Value::Object(_) => is("object"),
        Value::Array(_) => is("array"),
        Value::String(_) => is("string") || schema["x-kubernetes-int-or-string"] == true,
        Value::Bool(_) => is("boolean"),
        Value::Number(number) => {
            (is("integer") || schema["x-kubernetes-int-or-string"] == true)
                && (number.is_i64() || number.is_u64())
        }
        Value::Null => false,
    };
    if !fits {
        return complain(format!("{found} is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(found)) {
        complain(format!("{found} is none of {}", schema["enum"]));
    }
    for (bound, wrong) in [("minimum", -1), ("maximum", 1)] {
        if let (Some(bound), Some(number)) = (schema[bound].as_i64(), found.as_i64())
            && (number - bound).signum() == wrong
        {
            complain(format!("{number} is beyond {bound}"));
        }
    }
    if let Some(text) = found.as_str() {
        if schema["maxLength"].as_u64().is_some_and(|max| text.chars().count() as u64 > max) {
            complain("too long".into());
        }
        if schema["minLength"].as_u64().is_some_and(|min| (text.chars().count() as u64) < min) {
            complain("too short".into());
        }
        let pattern = schema["pattern"].as_str().map(|pattern| Regex::new(pattern).expect("a pattern"));
        if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
            complain(format!("{text:?} does not match"));
        }
    }
    if let Some(items) = found.as_array() {
        let count = items.len() as u64;
        if schema["minItems"].as_u64().is_some_and(|min| count < min)
            || schema["maxItems"].as_u64().is_some_and(|max| count > max)
        {
            complain(format!("{count} are too few or too many"));
        }
        for (index, item) in items.iter().enumerate() {
            value(&schema["items"], item, &format!("{at}[{index}]"), complaints);
        }
    }
    if let Some(fields) = found.as_object() {
        parts(schema, fields, at, complaints);
    }
}

fn parts(schema: &Value, fields: &Map<String, Value>, at: &str, complaints: &mut Vec<String>) {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !fields.contains_key(*name)) {
        complaints.push(format!("{}: missing", format!("{at}.{name}").trim_start_matches('.')));
    }
    for (name, below) in fields {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => value(schema, below, &at, complaints),
            (None, None) => complaints.push(format!("{}: unknown", at.trim_start_matches('.'))),
        }
    }
}

/// Fills in defaults, outer ones first, as an API server does.
pub(super) fn fill(schema: &Value, found: &mut Value) {
    match found {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            for (name, schema) in &properties {
                if let (None, Some(default)) = (fields.get(name), schema.get("default")) {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(below) = fields.get_mut(name) {
                    fill(schema, below);
                }
            }
            if let Some(schema) = schema.get("additionalProperties") {
                fields.values_mut().for_each(|below| fill(schema, below));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// Panics where a schema is not structural, or says nothing for people.
pub(super) fn structure(schema: &Value, at: &str) {
    for word in ["anyOf", "oneOf", "allOf", "$ref", "not", "const", "title", "nullable"] {
        assert!(schema.get(word).is_none(), "{at}: {word}");
    }
    let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
    assert!(typed, "{at} has no type: {schema}");
    assert!(schema["type"] != json!("array") || schema["maxItems"].is_u64(), "{at} has no bound");
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        assert!(below["description"].is_string(), "{at}.{name} is not explained");
        structure(below, &format!("{at}.{name}"));
    }
    for part in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(part) {
            structure(below, &format!("{at}.{part}"));
        }
    }
}
