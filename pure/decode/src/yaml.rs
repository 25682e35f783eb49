//! YAML and JSON text to JSON values, each with the lines of its fields. Knows nothing of Kubernetes but its lists.
//!
//! Everything has a bound: bytes, documents, nesting, aliases. Where YAML 1.2 and `kubectl` differ, `kubectl` is
//! followed: merge keys (`<<`) are written out, keys that are numbers become text, a field that is null is absent.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, ScanError, YamlData};
use serde_json::{Map, Number, Value};

use crate::lines::{Builder, Lines};
use crate::path::Path;
use crate::problem::{Fault, Problem};
use crate::weight;

/// How many bytes a text may have.
pub const BYTES_MAX: usize = 16 << 20;
/// How many objects a text may have.
pub const DOCUMENTS_MAX: usize = 50_000;
/// How deep fields may be nested in an object.
pub(crate) const DEPTH_MAX: usize = 100;
/// How much a line may be indented, `- ` included. Each column can open a level of nesting, and the loader takes stack
/// for each; lists in brackets it bounds itself.
const INDENT_MAX: usize = 256;

/// One object of a text, not yet looked into.
pub(crate) struct Raw {
    pub lines: Lines,
    /// The value, or why there is none.
    pub value: Result<Value, Fault>,
    /// `apiVersion` and `kind` that the list around it gives to items without.
    pub list: Option<(String, String)>,
}

/// All objects of a text: documents that are not empty, and the items of lists.
pub(crate) fn read(text: &str) -> Result<Vec<Raw>, Problem> {
    if text.len() > BYTES_MAX {
        return Err(whole(format!("the file has {} bytes; at most {BYTES_MAX} are read", text.len())));
    }
    if let Some(line) = lines(text).position(|line| indent(line) > INDENT_MAX) {
        return Err(Problem {
            line: line + 1,
            ..whole(format!("the line is indented by more than {INDENT_MAX} columns"))
        });
    }
    let documents = match load(text) {
        Ok(documents) => documents,
        Err(problem) => return read_json(text).ok_or(problem),
    };
    let mut raws = Vec::new();
    for document in documents.iter().filter(|document| !is_empty(document)) {
        match items(document) {
            Some((items, list)) => raws.extend(items.iter().map(|item| raw(item, Some(list.clone())))),
            None => raws.push(raw(document, None)),
        }
        if raws.len() > DOCUMENTS_MAX {
            return Err(whole(format!(
                "the file has more than {DOCUMENTS_MAX} objects; put them into several files"
            )));
        }
    }
    Ok(raws)
}

fn load(text: &str) -> Result<Vec<MarkedYaml<'_>>, Problem> {
    match weight::bearable(text) {
        Ok(true) => MarkedYaml::load_from_str(text).map_err(|error| syntax(text, &error)),
        Ok(false) => {
            Err(whole("its aliases (`*name`) multiply into more than can be read; write them out".into()))
        }
        Err(error) => Err(syntax(text, &error)),
    }
}

/// JSON that is not YAML: tabs between tokens, surrogate pairs. Lines are kept where only the tabs were in the way.
fn read_json(text: &str) -> Option<Vec<Raw>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let values: Vec<Value> =
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()?;
    if let ([_], true) = (values.as_slice(), text.contains('\t')) {
        // No JSON text holds a bare tab, so every tab stands between tokens.
        let spaced = text.replace('\t', " ");
        if MarkedYaml::load_from_str(&spaced).is_ok() {
            return read(&spaced).ok();
        }
    }
    Some(values.into_iter().flat_map(json_items).take(DOCUMENTS_MAX).collect())
}

fn json_items(mut value: Value) -> Vec<Raw> {
    let list =
        list_of(value.get("apiVersion").and_then(Value::as_str), value.get("kind").and_then(Value::as_str));
    let raw = |value, list| Raw { lines: Lines::only(1), value: Ok(without_nulls(value)), list };
    match (list, value.get_mut("items").map(Value::take)) {
        (Some(list), Some(Value::Array(items))) => {
            items.into_iter().map(|item| raw(item, Some(list.clone()))).collect()
        }
        (_, Some(items)) => {
            value["items"] = items;
            vec![raw(value, None)]
        }
        (_, None) => vec![raw(value, None)],
    }
}

pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn raw(node: &MarkedYaml<'_>, list: Option<(String, String)>) -> Raw {
    let first = node.span.start.line();
    let mut builder = Builder::new(first);
    let value = convert(node, 0, &mut builder);
    Raw { lines: builder.finish(), value: value.map_err(|(path, message)| Fault::new(path, message)), list }
}

fn is_empty(document: &MarkedYaml<'_>) -> bool {
    matches!(document.data, YamlData::BadValue | YamlData::Value(Scalar::Null))
}

/// The items of a list (`kind: List`, `kind: HTTPRouteList`), with what they inherit.
fn items<'a, 'i>(document: &'a MarkedYaml<'i>) -> Option<(&'a Vec<MarkedYaml<'i>>, (String, String))> {
    let text = |name| document.data.as_mapping_get(name).and_then(|value| value.data.as_str());
    let items = document.data.as_mapping_get("items")?.data.as_vec()?;
    Some((items, list_of(text("apiVersion"), text("kind"))?))
}

/// What a list of this version and kind gives to its items; a plain `List` gives nothing.
fn list_of(version: Option<&str>, kind: Option<&str>) -> Option<(String, String)> {
    let item = kind?.strip_suffix("List")?;
    Some(if item.is_empty() { Default::default() } else { (version.unwrap_or("").into(), item.into()) })
}

/// A field of a mapping: its name, the line of the name, its value.
type Field<'a, 'i> = (String, usize, &'a MarkedYaml<'i>);
/// Where a value cannot be read, and why. The path is relative to the value, innermost first step first.
type Unreadable = (Path, String);

fn convert(node: &MarkedYaml<'_>, depth: usize, lines: &mut Builder) -> Result<Value, Unreadable> {
    if depth > DEPTH_MAX {
        return Err((Path::default(), format!("nested deeper than {DEPTH_MAX} levels")));
    }
    match &node.data {
        YamlData::Value(scalar) => scalar_value(scalar),
        YamlData::Sequence(items) => {
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let opened = lines.open("", item.span.start.line());
                let value = convert(item, depth + 1, lines);
                lines.close(opened);
                values.push(
                    value.map_err(|(path, message)| (inside(Path::default().index(index), path), message))?,
                );
            }
            Ok(Value::Array(values))
        }
        YamlData::Mapping(_) => {
            let mut values = Map::new();
            for (name, line, value) in fields(node, depth)? {
                let opened = lines.open(&name, line);
                let converted = convert(value, depth + 1, lines);
                lines.close(opened);
                let converted = converted
                    .map_err(|(path, message)| (inside(Path::default().key(&name), path), message))?;
                if !converted.is_null() {
                    values.insert(name, converted);
                }
            }
            Ok(Value::Object(values))
        }
        YamlData::Tagged(tag, _) => Err((Path::default(), format!("the tag `{tag}` has no meaning here"))),
        YamlData::Alias(_) | YamlData::BadValue | YamlData::Representation(..) => Err((
            Path::default(),
            "the value does not fit its tag, or names an anchor that is not there".into(),
        )),
    }
}

fn inside(mut outer: Path, inner: Path) -> Path {
    outer.0.extend(inner.0);
    outer
}

fn scalar_value(scalar: &Scalar<'_>) -> Result<Value, Unreadable> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Bool(*value),
        Scalar::Integer(value) => Value::Number((*value).into()),
        Scalar::FloatingPoint(value) => match Number::from_f64(value.into_inner()) {
            Some(number) => Value::Number(number),
            None => return Err((Path::default(), format!("`{value}` is no number that a field can hold"))),
        },
        Scalar::String(value) => Value::String(value.clone().into_owned()),
    })
}

/// The fields of a mapping; those that a merge key (`<<`) brings come last and give way to those written out.
fn fields<'a, 'i>(node: &'a MarkedYaml<'i>, depth: usize) -> Result<Vec<Field<'a, 'i>>, Unreadable> {
    let YamlData::Mapping(mapping) = &node.data else {
        return Err((Path::default(), "the merge key `<<` takes a mapping".into()));
    };
    if depth > DEPTH_MAX {
        return Err((Path::default(), format!("nested deeper than {DEPTH_MAX} levels")));
    }
    let mut own: Vec<Field<'a, 'i>> = Vec::with_capacity(mapping.len());
    let mut merged: Vec<&'a MarkedYaml<'i>> = Vec::new();
    for (key, value) in mapping {
        match (key_text(key)?, &value.data) {
            (name, YamlData::Sequence(list)) if name == "<<" => merged.extend(list),
            (name, _) if name == "<<" => merged.push(value),
            (name, _) => own.push((name, key.span.start.line(), value)),
        }
    }
    if !merged.is_empty() {
        let mut known: std::collections::HashSet<String> =
            own.iter().map(|(name, ..)| name.clone()).collect();
        for source in merged {
            own.extend(
                fields(source, depth + 1)?.into_iter().filter(|(name, ..)| known.insert(name.clone())),
            );
        }
    }
    Ok(own)
}

fn key_text(key: &MarkedYaml<'_>) -> Result<String, Unreadable> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Ok(text.clone().into_owned()),
        YamlData::Value(Scalar::Integer(number)) => Ok(number.to_string()),
        YamlData::Value(Scalar::Boolean(value)) => Ok(value.to_string()),
        _ => Err((
            Path::default(),
            format!("line {}: the name of a field must be text", key.span.start.line()),
        )),
    }
}

/// The lines as YAML counts them: a carriage return alone ends one too (YAML 1.2 section 5.4).
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Columns of spaces and of the signs that open a block inside a line (`- `, `? `, `: `). The loader passes over byte
/// order marks before them; a line may hold nothing but signs.
fn indent(line: &str) -> usize {
    let line = line.trim_start_matches('\u{feff}');
    let bytes = line.as_bytes();
    let blank = |at: usize| bytes.get(at).is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    (0..bytes.len())
        .find(|&at| !(blank(at) || matches!(bytes[at], b'-' | b'?' | b':') && blank(at + 1)))
        .unwrap_or(line.trim_ascii_end().len())
}

fn whole(message: String) -> Problem {
    Problem { line: 0, object: String::new(), field: String::new(), message }
}

/// A sentence for a text that is not YAML.
fn syntax(text: &str, error: &ScanError) -> Problem {
    let line = error.marker().line().max(1);
    let content = lines(text).nth(line - 1).unwrap_or("");
    let indented_by_tab = content.trim_start_matches(' ').starts_with('\t');
    let message = if error.info() == "duplicated key in mapping" {
        let key = content.trim_start_matches([' ', '-']).split(':').next().unwrap_or("").trim();
        format!("not valid YAML: `{key}` is given twice in the same mapping; keep one")
    } else if indented_by_tab {
        "not valid YAML: the line is indented by a tab; use spaces".to_owned()
    } else {
        format!("not valid YAML: {}", error.info())
    };
    Problem { line, object: String::new(), field: String::new(), message }
}
