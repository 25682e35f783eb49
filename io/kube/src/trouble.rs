//! What goes wrong between us and an API server, told apart by what is to be done.

use std::time::Duration;

/// Why a list or a watch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// 410 Gone: the version is too old, and everything is listed anew.
    Gone,
    /// 403: asking again changes nothing until somebody gives the right; the kind counts as empty after a while if it was
    /// never read. (401 is no word about a right: whoever asks is not known.)
    Forbidden(String),
    /// 404: the kind is not served (any more), which the scout will find too.
    Missing(String),
    /// 409: it has changed since it was read, or is there already.
    Conflict(String),
    /// 429 or 503 with a time: not before that.
    Later(String, Duration),
    /// The answer is larger than is taken at once.
    TooLarge(String),
    /// The server answered with another error, or with what cannot be read.
    Answered(String),
    /// No answer, or one that says nothing about what was asked for: who asks is not known (401), or the server is
    /// overloaded or away behind something else (429, 502, 503).
    Other(String),
}

/// The longest time that a server may tell us to stay away.
const LATER_MAX: Duration = Duration::from_secs(60);

impl Trouble {
    /// From a status that the server gave.
    pub fn of_status(code: u16, message: &str, retry_after_secs: Option<u64>) -> Self {
        let text = if message.is_empty() { format!("HTTP {code}") } else { shortened(message) };
        match (code, retry_after_secs) {
            (410, _) => Trouble::Gone,
            (403, _) => Trouble::Forbidden(text),
            (404, _) => Trouble::Missing(text),
            (409, _) => Trouble::Conflict(text),
            (429 | 503, Some(secs)) if secs > 0 => {
                Trouble::Later(text, Duration::from_secs(secs).min(LATER_MAX))
            }
            (401 | 429 | 502 | 503, _) => Trouble::Other(text),
            _ => Trouble::Answered(text),
        }
    }

    /// Whether the server was there and answered for this kind, if with an error.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Trouble::Later(..) | Trouble::Other(_))
    }

    /// As a sentence.
    pub fn text(&self) -> &str {
        match self {
            Trouble::Gone => "what it was to go on from is gone, as it took too long (410)",
            Trouble::Forbidden(text)
            | Trouble::Missing(text)
            | Trouble::Conflict(text)
            | Trouble::Later(text, _)
            | Trouble::TooLarge(text)
            | Trouble::Answered(text)
            | Trouble::Other(text) => text,
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => {
                let after = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
                Trouble::of_status(status.code, &status.message, after)
            }
            _ => Trouble::Other(sentence(&error)),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Other(sentence(&error))
    }
}

/// An error and what caused it, on one line; a cause that the error already tells is left out.
pub(crate) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    shortened(&text)
}

/// The beginning of a text of others, on one line.
fn shortened(text: &str) -> String {
    const MOST: usize = 400;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}
