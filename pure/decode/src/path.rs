//! The path of a field in an object, and how it is written: `spec.rules[0].backendRefs[0].port`.
//!
//! A key that holds a dot or a bracket is written in brackets: `metadata.labels[kubernetes.io/service-name]`.

use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// A path from the object's root; empty for the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(pub Vec<Step>);

impl Path {
    /// Reads what [`fmt::Display`] writes. Total: what is no path reads as keys that no object has.
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (step, after) = inner.split_once(']').unwrap_or((inner, ""));
                steps.push(match step.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => Step::Key(step.to_owned()),
                });
                rest = after;
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end > 0 {
                    steps.push(Step::Key(rest[..end].to_owned()));
                }
                rest = &rest[end..];
            }
        }
        Path(steps)
    }

    /// This path and one key more.
    pub fn key(&self, key: &str) -> Self {
        self.and(Step::Key(key.to_owned()))
    }

    /// This path and one index more.
    pub fn index(&self, index: usize) -> Self {
        self.and(Step::Index(index))
    }

    fn and(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Path(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '[', ']']) || key.is_empty() => write!(f, "[{key}]")?,
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written reads back as the same path.
    #[test]
    fn round_trip() {
        for text in [
            "",
            "spec",
            "spec.rules[0].matches[12].path.value",
            "metadata.labels[kubernetes.io/service-name]",
            "items[3]",
        ] {
            assert_eq!(Path::parse(text).to_string(), text);
        }
    }

    /// Text that is no path is read without panic.
    #[test]
    fn nonsense() {
        for text in ["[", "]", "..", "a[", "a[]b", "[[1]]", "é[ü"] {
            let _ = Path::parse(text).to_string();
        }
    }
}
