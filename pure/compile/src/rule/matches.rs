//! Matches that both kinds of route have: values by name, and regular expressions.

use std::collections::BTreeSet;

use regex::RegexBuilder;
use tidegate_model::traffic::{RequestMatch, ValueMatch};
use tidegate_objects::route::{HttpNameMatch, ValueMatchType};

use crate::report::Report;

/// How large a regular expression may become, in bytes of its compiled form.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A field below a match, and why it cannot be served.
pub(crate) type BadMatch = (String, String);

/// The matches that can be served; none when there were some, but none of these can be.
pub(super) fn sound(
    read: &[Result<RequestMatch, BadMatch>],
    everything: &RequestMatch,
    report: &mut Report<'_>,
) -> Option<Vec<RequestMatch>> {
    if read.is_empty() {
        return Some(vec![everything.clone()]);
    }
    let mut matches = Vec::new();
    for (index, read) in read.iter().enumerate() {
        match read {
            Ok(one) => matches.push(one.clone()),
            Err((field, why)) => {
                let message = format!("{why}; this match is left out");
                report.part("UnsupportedValue", &format!("matches[{index}].{field}"), message);
            }
        }
    }
    if matches.is_empty() {
        let message = "no match of this rule can be served, so the rule is left out".to_owned();
        report.part("PartiallyInvalid", "matches", message);
    }
    (!matches.is_empty()).then_some(matches)
}

/// Matches by name; where a name is given twice the first counts. `read` is how a name is compared.
pub(crate) fn values(
    specs: &[HttpNameMatch],
    field: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, ValueMatch)>, BadMatch> {
    let (mut seen, mut values) = (BTreeSet::new(), Vec::new());
    for (index, spec) in specs.iter().enumerate() {
        let Some(name) = read(&spec.name) else {
            return Err((format!("{field}[{index}].name"), format!("{:?} is no valid name", spec.name)));
        };
        let value = match spec.match_type {
            ValueMatchType::Exact => ValueMatch::Exact(spec.value.clone()),
            ValueMatchType::RegularExpression => {
                regex(&spec.value).map_err(|why| (format!("{field}[{index}].value"), why))?;
                ValueMatch::Regex(spec.value.clone())
            }
        };
        if seen.insert(name.clone()) {
            values.push((name, value));
        }
    }
    Ok(values)
}

/// Whether a regular expression can be used; a sentence if not.
pub(crate) fn regex(pattern: &str) -> Result<(), String> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    // Alone too: `a)|(b` is none, but would be one between the parentheses that it is put in.
    let built = build(pattern).and_then(|_| build(&format!("^(?:{pattern})$")));
    built.map(drop).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("the regular expression {pattern:?} is too large"),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{pattern:?} is no regular expression: {last}")
        }
    })
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}
