//! Header modifiers: names and values checked, so that no message can be broken by one.

use tidegate_model::traffic::HeaderChanges;
use tidegate_objects::route::{HeaderModifier, HeaderValue};

use crate::rule::is_token;

/// Headers that belong to one connection or frame the message: changing them would let requests be smuggled.
const FRAMING_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Reads a modifier; a sentence if it cannot be followed.
pub(super) fn changes(modifier: &HeaderModifier) -> Result<HeaderChanges, String> {
    let remove = modifier.remove.iter().map(|text| changeable(text)).collect::<Result<_, _>>()?;
    Ok(HeaderChanges { set: pairs(&modifier.set)?, add: pairs(&modifier.add)?, remove })
}

/// Adds changes to others that are made too.
pub(super) fn append(into: &mut HeaderChanges, more: HeaderChanges) {
    into.set.extend(more.set);
    into.add.extend(more.add);
    into.remove.extend(more.remove);
}

/// A header's name in lower case, if it may be changed.
pub(crate) fn changeable(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    match () {
        () if !is_token(name) => Err(format!("{name:?} is no header name")),
        () if FRAMING_HEADERS.contains(&lower.as_str()) => Err(format!("header {name} cannot be changed")),
        () => Ok(lower),
    }
}

fn pairs(pairs: &[HeaderValue]) -> Result<Vec<(String, String)>, String> {
    let mut result: Vec<(String, String)> = Vec::new();
    for HeaderValue { name, value } in pairs {
        if !is_value(value) {
            return Err(format!("the value of header {name} has a control character"));
        }
        let name = changeable(name)?;
        if !result.iter().any(|(other, _)| *other == name) {
            result.push((name, value.clone()));
        }
    }
    Ok(result)
}

/// Whether a text can be the value of a header (RFC 9110 section 5.5).
pub(super) fn is_value(value: &str) -> bool {
    !value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
}
