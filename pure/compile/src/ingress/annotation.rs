//! The annotations of ingress-nginx: which are served, how each is read, and what an Ingress asks for by them.
//!
//! [`ANNOTATIONS`] is the one table of them: reading goes by it, the table in `docs/ingress-nginx.md` is made from it, and the
//! lab makes a request for each row that is served.

mod rows;
mod settings;
mod unserved;
mod value;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(super) use settings::{Cookie, Protocol, Settings};
pub(super) use value::Location;

use crate::report::Report;
use crate::words::meant;

/// What the names of annotations of ingress-nginx begin with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// The most that is said of the annotations of one Ingress.
const TOLD_MAX: usize = 100;

/// Every annotation that is known: first what is served, then what is not.
pub static ANNOTATIONS: LazyLock<Vec<Annotation>> =
    LazyLock::new(|| rows::SERVED.iter().copied().chain(unserved::rows()).collect());

/// An annotation of ingress-nginx.
#[derive(Clone, Copy)]
pub struct Annotation {
    /// Its name, without [`PREFIX`].
    pub name: &'static str,
    /// What may stand in it, for the documentation.
    pub value: &'static str,
    /// What becomes of it, for the documentation.
    pub about: &'static str,
    /// How it is read.
    pub(crate) read: Read,
}

/// How an annotation is read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// It is served.
    Sets(fn(&mut Settings, &str) -> Result<(), String>),
    /// It is served, and holds a regular expression.
    SetsExpression(fn(&mut Settings, &str) -> Result<(), String>),
    /// It is served, and keeps clients out: with a value that cannot be read nobody is served.
    Protects(fn(&mut Settings, &str) -> Result<(), String>),
    /// There is nothing to do for it here.
    NoEffect,
    /// It is not served; the Ingress is, without it.
    Unserved,
    /// It is not served, and what it would keep out must not come in: nobody is served.
    UnservedProtection,
    /// It is a piece of nginx's own configuration.
    Snippet,
}

impl Annotation {
    /// Whether it does something.
    pub fn is_served(&self) -> bool {
        matches!(self.read, Read::Sets(_) | Read::SetsExpression(_) | Read::Protects(_))
    }

    /// `yes`, `no effect` or `no`: how it stands in the documentation.
    pub fn support(&self) -> &'static str {
        match self.read {
            Read::Sets(_) | Read::SetsExpression(_) | Read::Protects(_) => "yes",
            Read::NoEffect => "nothing to do",
            Read::Unserved | Read::UnservedProtection | Read::Snippet => "no",
        }
    }
}

/// The row of an annotation, by its name without [`PREFIX`].
fn row(name: &str) -> Option<&'static Annotation> {
    ANNOTATIONS.iter().find(|row| row.name == name)
}

/// Reads the annotations of an Ingress. What cannot be served is named; the rest holds.
pub(super) fn read(annotations: &BTreeMap<String, String>, report: &mut Report<'_>) -> Settings {
    let mut settings = Settings::default();
    let own = annotations.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value)));
    for (name, value) in own.take(TOLD_MAX) {
        let mut report = report.at(&format!("metadata.annotations[{PREFIX}{name}]"));
        match row(name) {
            Some(row) => one(row, value.trim(), &mut settings, &mut report),
            None => {
                let served = ANNOTATIONS.iter().filter(|row| row.is_served()).map(|row| row.name);
                let message = format!(
                    "this annotation is not served; the Ingress is served without it{}",
                    meant(name, served)
                );
                report.part("UnsupportedValue", "", message);
            }
        }
    }
    settings
}

fn one(row: &Annotation, value: &str, settings: &mut Settings, report: &mut Report<'_>) {
    let (set, is_expression, protects) = match row.read {
        Read::Sets(set) => (set, false, false),
        Read::SetsExpression(set) => (set, true, false),
        Read::Protects(set) => (set, false, true),
        Read::NoEffect => {
            let message = format!("there is nothing to do for it: {}", row.about);
            return report.warn("NoEffect", "", message);
        }
        Read::Unserved => {
            let message = format!("this annotation is not served by this version: {}", row.about);
            return report.part("UnsupportedValue", "", message);
        }
        Read::UnservedProtection => {
            if row.name == "enable-modsecurity" && value == "false" {
                return;
            }
            settings.closed = Some("an annotation that keeps clients out is not served");
            let message = format!(
                "this annotation is not served by this version: {}; requests are answered with 503, as without it anybody would be let in",
                row.about
            );
            return report.part("UnsupportedValue", "", message);
        }
        Read::Snippet => {
            let message = "snippets are refused: who may write an Ingress could run anything in the gateway by them; the Ingress is served without it. What it does may have an annotation, or a field of an HTTPRoute";
            return report.part("SnippetRefused", "", message.to_owned());
        }
    };
    let read = value::clean(value, is_expression).and_then(|()| set(settings, value));
    if let Err(why) = read {
        let consequence = match protects {
            true => {
                settings.closed = Some("an annotation that keeps clients out cannot be read");
                "requests are answered with 503, as without it anybody would be let in"
            }
            false => "it is left out",
        };
        report.part("UnsupportedValue", "", format!("{why}; {consequence}"));
    }
}

/// The table of annotations as the documentation has it.
pub fn documented() -> String {
    let mut text = String::from("| annotation | value | served | what becomes of it |\n|---|---|---|---|\n");
    for row in ANNOTATIONS.iter() {
        let cell = |text: &str| text.replace('|', "\\|");
        text +=
            &format!("| `{}` | {} | {} | {} |\n", row.name, cell(row.value), row.support(), cell(row.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every annotation stands in the table once.
    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ANNOTATIONS.iter().map(|row| row.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// The documentation has the table as it is. `UPDATE_GOLDEN=1` writes it there.
    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "the switch that rewrites the table is read from the environment"
    )]
    fn documentation_is_as_the_table() {
        const MARKS: [&str; 2] = ["<!-- annotations -->\n", "<!-- end of annotations -->\n"];
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ingress-nginx.md");
        let text = std::fs::read_to_string(&path).expect("the page");
        let (before, rest) = text.split_once(MARKS[0]).expect("the mark before the table");
        let (table, after) = rest.split_once(MARKS[1]).expect("the mark behind the table");
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            let text = format!("{before}{}{}{}{after}", MARKS[0], documented(), MARKS[1]);
            return std::fs::write(path, text).expect("the page is written");
        }
        assert_eq!(table, documented());
    }
}
