//! A [`Problem`]: what is wrong in a text, where, and what would be right. Owns no judgement of its own.

use std::fmt;

/// What is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the text, from 1; 0 when it is the text as a whole.
    pub line: usize,
    /// The object as far as it can be told, as `HTTPRoute shop/web`; may be empty.
    pub object: String,
    /// The field, as `spec.rules[0].backendRefs[0].port`; may be empty.
    pub field: String,
    /// What was found and what would be right.
    pub message: String,
}

/// `line 12: HTTPRoute shop/web: spec.rules[0].name: …`, leaving out what is not known.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// A problem whose line and object are found later, from the object's [`Lines`](crate::Lines).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub path: crate::path::Path,
    pub message: String,
}

impl Fault {
    pub fn new(path: crate::path::Path, message: impl Into<String>) -> Self {
        Fault { path, message: message.into() }
    }

    pub fn at(field: &str, message: impl Into<String>) -> Self {
        Fault::new(crate::path::Path::parse(field), message)
    }

    pub fn into_problem(self, object: &str, lines: &crate::Lines) -> Problem {
        let field = self.path.to_string();
        Problem { line: lines.of(&field), object: object.to_owned(), field, message: self.message }
    }
}
