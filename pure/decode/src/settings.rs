//! A file of settings: one YAML mapping read as one type, with the same sentences as objects get.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::path::Path;
use crate::{Problem, read, yaml};

/// Reads a text as `T`, and says which of its fields have no effect. An empty text is an empty mapping.
///
/// # Errors
/// The first mistake, with line and field.
pub fn settings<T: DeserializeOwned>(text: &str) -> Result<(T, Vec<Problem>), Problem> {
    let mut documents = yaml::read(text)?;
    if documents.len() > 1 {
        let message = "the file has several documents; settings are one".into();
        return Err(Problem {
            line: documents[1].lines.first(),
            object: String::new(),
            field: String::new(),
            message,
        });
    }
    let (value, lines) = match documents.pop() {
        Some(raw) => (raw.value.map_err(|fault| fault.into_problem("", &raw.lines))?, raw.lines),
        None => (Value::Object(serde_json::Map::new()), crate::Lines::only(1)),
    };
    let mut unknown = Vec::new();
    let settings =
        read::read(&value, &Path::parse(""), &mut unknown).map_err(|fault| fault.into_problem("", &lines))?;
    Ok((settings, unknown.into_iter().map(|fault| fault.into_problem("", &lines)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Example {
        state_dir: String,
        workers: usize,
    }

    /// A mistake and an unknown field are named with line and field; nothing at all is all defaults.
    #[test]
    fn mistakes_have_lines() {
        let (read, unknown) = settings::<Example>("stateDir: /x\nworker: 2\n").unwrap();
        assert_eq!(read, Example { state_dir: "/x".into(), workers: 0 });
        assert_eq!((unknown[0].line, unknown[0].field.as_str()), (2, "worker"));
        assert!(unknown[0].message.contains("did you mean `workers`"), "{}", unknown[0].message);
        let problem = settings::<Example>("stateDir: /x\nworkers: many\n").unwrap_err();
        assert_eq!((problem.line, problem.field.as_str()), (2, "workers"));
        assert_eq!(settings::<Example>("# nothing\n").unwrap().0, Example::default());
        assert_eq!(settings::<Example>("a: 1\n---\nb: 2\n").unwrap_err().line, 3);
    }
}
