//! A definition as YAML for people: blocks, two spaces, text quoted where it must be. Only what JSON holds is written.

use std::fmt::Write;

use serde_json::Value;

/// A value as a YAML document.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Writes lines that begin at this depth; where the first is already begun, as after `- `, its indentation stands.
fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (name, below)) in fields.iter().enumerate() {
                if index > 0 || text.is_empty() || text.ends_with('\n') {
                    indent(depth, text);
                }
                scalar(name, text);
                text.push(':');
                under(below, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, text);
                text.push_str("- ");
                match item {
                    Value::Object(fields) if !fields.is_empty() => block(item, depth + 1, text),
                    _ => line(item, text),
                }
            }
        }
        _ => line(value, text),
    }
}

/// What stands behind `name:`.
fn under(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, depth + 1, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, depth, text);
        }
        _ => {
            text.push(' ');
            line(value, text);
        }
    }
}

fn line(value: &Value, text: &mut String) {
    match value {
        Value::String(word) => scalar(word, text),
        // Empty lists and maps, numbers and truths are spelt alike in JSON and YAML.
        other => _ = write!(text, "{other}"),
    }
    text.push('\n');
}

fn scalar(word: &str, text: &mut String) {
    match is_plain(word) {
        true => text.push_str(word),
        // A JSON string is a YAML one in double quotes.
        false => _ = write!(text, "{}", Value::from(word)),
    }
}

/// Whether a text needs no quotes: it begins with a letter, and nothing in it means anything to YAML; and it is none of the
/// words that stand for truths and nothing, nor a number.
fn is_plain(word: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || " .,/_-()=;$*+<>@".contains(c);
    let word_of_yaml = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(sound)
        && !word.ends_with(' ')
        && !word_of_yaml.contains(&word.to_ascii_lowercase().as_str())
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Blocks nest by two spaces, lists stand under their names, and what YAML could take for something else is quoted.
    #[test]
    fn blocks() {
        let value =
            json!({"a": {"b": [1, {"c": "x: y", "d": [], "e": {}}, "plain text"], "no": "on"}, "f": "1"});
        let expected = "a:\n  b:\n  - 1\n  - c: \"x: y\"\n    d: []\n    e: {}\n  - plain text\n  \"no\": \"on\"\nf: \"1\"\n";
        assert_eq!(yaml(&value), expected);
    }
}
