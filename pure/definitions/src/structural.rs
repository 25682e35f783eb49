//! From the JSON Schema of a type to what an API server calls structural: everything in place, one type for each field, no
//! alternatives, no nulls; a bound on every list, without which the cost of rules inside of it has none.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// How many items a list has at most where its type says nothing: more than anyone writes by hand.
const ITEMS_MAX: u64 = 256;
/// How many entries a map has at most.
const ENTRIES_MAX: u64 = 256;

/// The structural schema of a type.
pub(crate) fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    rewrite(&mut schema);
    Schema::try_from(schema).unwrap_or_default()
}

fn rewrite(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("title");
    flatten_option(fields);
    flatten_choice(fields);
    single_type(fields);
    plain_number(fields);
    plain_text(fields);
    for (word, bound) in [("array", ("maxItems", ITEMS_MAX)), ("object", ("maxProperties", ENTRIES_MAX))] {
        let is_list = fields.get("type") == Some(&json!(word));
        let is_struct = word == "object" && !fields.contains_key("additionalProperties");
        if is_list && !is_struct && !fields.contains_key(bound.0) {
            fields.insert(bound.0.to_owned(), bound.1.into());
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(name) {
            rewrite(below);
        }
    }
    let mut has_defaults = false;
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(rewrite);
        properties.sort_keys();
        has_defaults = properties.values().any(|below| below.get("default").is_some());
    }
    plain_default(fields, has_defaults);
    fields.sort_keys();
}

/// `Option<T>`: `T` or null. An API server drops nulls where they are not allowed, as decode does.
fn flatten_option(fields: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = fields.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type") != Some(&json!("null")));
    let Some(Value::Object(only)) = choices.pop().filter(|_| choices.is_empty()) else { return };
    fields.remove("anyOf");
    for (name, value) in only {
        // The field's own words come before those of its type.
        fields.entry(name).or_insert(value);
    }
}

/// An enum whose words are explained one by one: a list of words, and the explanations in the description.
fn flatten_choice(fields: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = fields.remove("oneOf") else { return };
    let mut words = Vec::new();
    let mut told = Vec::new();
    for choice in &choices {
        let about = choice.get("description").and_then(Value::as_str).unwrap_or_default();
        let several = choice.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        for word in choice.get("const").cloned().into_iter().chain(several) {
            let name = word.as_str().unwrap_or_default();
            told.push(if about.is_empty() { format!("`{name}`") } else { format!("`{name}`: {about}") });
            words.push(word);
        }
    }
    let own = fields.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{own} {}", told.join(" "));
    fields.insert("description".into(), description.trim().into());
    fields.insert("type".into(), "string".into());
    fields.insert("enum".into(), words.into());
}

fn single_type(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|word| word != "null");
        if let Some(only) = types.pop() {
            fields.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = fields.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// An API server knows whole numbers of 32 and 64 bits with a sign; the bounds say the rest.
fn plain_number(fields: &mut Map<String, Value>) {
    let Some(format) = fields.get("format").and_then(Value::as_str).map(str::to_owned) else { return };
    fields.remove("format");
    let max: u64 = match format.as_str() {
        "uint8" => u8::MAX.into(),
        "uint16" => u16::MAX.into(),
        "uint32" => u32::MAX.into(),
        // An API server holds bounds as floating-point numbers: the last that they count exactly.
        "uint64" => (1 << 53) - 1,
        _ => return,
    };
    fields.entry("minimum").or_insert(0.into());
    let known = fields.get("maximum").and_then(Value::as_u64).unwrap_or(max);
    fields.insert("maximum".into(), known.min(max).into());
    let wide = known.min(max) > i32::MAX as u64;
    fields.insert("format".into(), if wide { "int64" } else { "int32" }.into());
}

/// Comments are broken into lines for who reads the source.
fn plain_text(fields: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = fields.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
}

/// A default is written where it says something: an absent list is an empty one anyway. Of a part that is absent, the defaults of
/// its own fields are filled in.
fn plain_default(fields: &mut Map<String, Value>, has_defaults: bool) {
    let Some(default) = fields.get("default") else { return };
    let says = match default {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => has_defaults,
        Value::Bool(_) | Value::Number(_) => true,
    };
    if !says {
        fields.remove("default");
    } else if default.is_object() {
        fields.insert("default".into(), json!({}));
    }
}
