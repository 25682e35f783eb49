//! A case: an Ingress with an annotation, and requests that show what it does.

/// An Ingress, and what is asked of it.
pub struct Case {
    /// The annotation that it shows.
    pub row: &'static str,
    /// It, and those beside it.
    pub annotations: &'static [(&'static str, &'static str)],
    /// Those of a canary beside it, which leads to server two; empty: there is none.
    pub canary: &'static [(&'static str, &'static str)],
    pub path: &'static str,
    pub service: &'static str,
    /// Whether the host has a certificate.
    pub tls: bool,
    pub asks: &'static [Ask],
}

/// A request, and what must be true of the answer.
pub struct Ask {
    /// What it shows.
    pub about: &'static str,
    /// What curl is told; `HOST` stands for the host of the Ingress, here and below.
    pub args: &'static [&'static str],
    pub url: &'static str,
    pub status: &'static str,
    /// Texts in the answer, in any case of letters.
    pub says: &'static [&'static str],
    /// Texts that are not.
    pub silent: &'static [&'static str],
    /// How often it is asked.
    pub times: usize,
    /// Who answers.
    pub who: Who,
    /// Whether the client keeps cookies from one to the next.
    pub keeps_cookies: bool,
    /// A field of the access log, and its value, in a line of `logged_host`.
    pub logs: Option<(&'static str, &'static str)>,
    pub logged_host: &'static str,
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Any,
    One,
    Two,
    /// Always the same.
    Same,
    /// Each at some time.
    Both,
    /// Somebody, or nobody, each at some time.
    SomeFail,
}

/// A request that one says only the difference to.
pub const ASK: Ask = Ask {
    about: "",
    args: &[],
    url: "http://HOST/",
    status: "200",
    says: &[],
    silent: &[],
    times: 1,
    who: Who::Any,
    keeps_cookies: false,
    logs: None,
    logged_host: "HOST",
};

/// A case that one says only the difference to.
pub const CASE: Case =
    Case { row: "", annotations: &[], canary: &[], path: "/", service: "one", tls: false, asks: &[] };
