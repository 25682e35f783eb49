//! What happens to a request and its response on the way: filters, time limits, repeats, persistence.
//!
//! Everything here was checked by compile: names are lower case and tokens, values have no control characters, codes
//! are in range.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use regex::Regex;
use serde::Serialize;

use super::Target;
use crate::Usual;

/// The filters of a rule, or of one of its backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Filters {
    /// Changes to the request's headers.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request_headers: HeaderChanges,
    /// Changes to the response's headers.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response_headers: HeaderChanges,
    /// A change of host or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Who gets a copy of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Which other origins may use it from a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Arc<Cors>>,
}

impl Usual for Filters {
    fn usual() -> &'static Filters {
        static NONE: LazyLock<Filters> = LazyLock::new(Filters::default);
        &NONE
    }
}

/// Header changes, applied in the order set, add, remove. Names are lower case and known to be valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderChanges {
    /// Replaced.
    pub set: Vec<(String, String)>,
    /// Added.
    pub add: Vec<(String, String)>,
    /// Taken away.
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A change of host or path on the way to the backend (HTTPURLRewriteFilter).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rewrite {
    /// The new `Host`.
    pub host: Option<String>,
    /// The new path.
    pub path: Option<PathRewrite>,
}

/// How a path changes; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PathRewrite {
    /// The whole path becomes this.
    Full(String),
    /// The prefix that matched becomes this, in whole segments: `/foo` → `/bar` makes `/foo/x` into `/bar/x`. Without a
    /// trailing slash, so `/` is the empty string.
    Prefix(String),
    /// The path becomes what a template makes of it (`rewrite-target` of an Ingress).
    Expand(Arc<Expansion>),
}

/// A template of a path: text, and what groups of an expression have matched.
#[derive(Clone, Debug, Serialize)]
pub struct Expansion {
    /// The expression, over the whole path.
    pub pattern: String,
    /// The same, compiled.
    #[serde(skip)]
    pub regex: Regex,
    /// What the new path is put together from.
    pub pieces: Vec<Piece>,
}

/// A piece of a new path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Piece {
    /// This text.
    Text(String),
    /// What the group of this number has matched; nothing if it took no part.
    Group(usize),
}

/// Expansions are equal when they are written alike.
impl PartialEq for Expansion {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.pieces) == (&other.pattern, &other.pieces)
    }
}

impl Eq for Expansion {}

/// Sends the client elsewhere (HTTPRequestRedirectFilter); what is absent stays as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<&'static str>,
    /// The host.
    pub host: Option<String>,
    /// The port; absent: that of the scheme if one is given, else the listener's.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// An answer that the route gives itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// `Content-Type`; absent: none.
    pub content_type: Option<String>,
    /// The body.
    pub body: Arc<[u8]>,
}

/// A copy of requests for another backend; its answer is thrown away (HTTPRequestMirrorFilter).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mirror {
    /// Of so many requests …
    pub numerator: u32,
    /// … out of so many; never 0.
    pub denominator: u32,
    /// Where the copy goes.
    pub target: Target,
}

/// Cross-origin resource sharing (HTTPCORSFilter, the Fetch standard's CORS protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// Who may.
    pub origins: Vec<OriginPattern>,
    /// Whether with cookies and the like.
    pub credentials: bool,
    /// With which methods; `*` for all.
    pub methods: Vec<String>,
    /// With which request headers; `*` for all.
    pub headers: Vec<String>,
    /// Which response headers a script may read; `*` for all.
    pub expose: Vec<String>,
    /// How long a browser may remember the answer.
    pub max_age_secs: u32,
}

/// An origin, or many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum OriginPattern {
    /// Every origin.
    Any,
    /// `https://www.example.com:8443`; lower case, without the default port.
    Exact(String),
    /// `https://*.example.com`: scheme, the names under this one, and a port (none: the scheme's own).
    Under {
        /// `http` or `https`.
        scheme: String,
        /// The parent name.
        parent: String,
        /// The port.
        port: Option<u16>,
    },
}

/// How long things may take; none: the proxy's own limits hold. Zero means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// From the request's head to the end of the response, all attempts together.
    pub request: Option<Duration>,
    /// One attempt, from the choice of an endpoint to the end of its response.
    pub backend_request: Option<Duration>,
    /// From the end of the request to the end of the response's head; none, and nothing else is said: the proxy's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_head: Option<Duration>,
    /// Without a byte of a body, or of a tunnel, in either direction; none: the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall: Option<Duration>,
}

impl Usual for Timeouts {
    fn usual() -> &'static Timeouts {
        static NONE: LazyLock<Timeouts> = LazyLock::new(Timeouts::default);
        &NONE
    }
}

/// When and how an attempt is repeated (HTTPRouteRetry, and BackendTrafficPolicy's retry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Statuses of a backend that count as failed.
    pub codes: BTreeSet<u16>,
    /// Statuses of gRPC that count as failed, where they are all there is of an answer.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub grpc_codes: BTreeSet<u16>,
    /// Repeats after the first attempt.
    pub attempts: u32,
    /// Whether connections that cannot be opened, or break before a response, count.
    pub connection_errors: bool,
    /// Whether an attempt that exceeds its own time limit counts.
    pub timeouts: bool,
    /// The least pause before a repeat; doubled for each further one, with jitter.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// The time limit of one attempt; none: the rule's.
    pub attempt_timeout: Option<Duration>,
    /// Of how many requests in a hundred a backend may get repeats; none: 20.
    pub budget_percent: Option<u32>,
    /// Repeats a second that are always allowed.
    pub budget_min_per_sec: u32,
}

/// A client stays with its endpoint (SessionPersistence).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionPersistence {
    /// Name of the cookie or header.
    pub name: String,
    /// What carries the session.
    pub carrier: SessionCarrier,
    /// The session ends so long after its start.
    pub absolute_timeout: Option<Duration>,
    /// The session ends after so long without a request.
    pub idle_timeout: Option<Duration>,
}

/// What carries a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SessionCarrier {
    /// A cookie; its path is that of the rule's match.
    Cookie {
        /// `Path`.
        path: String,
        /// Kept by the browser until the absolute timeout; else until it is closed.
        permanent: bool,
        /// Its further attributes.
        #[serde(skip_serializing_if = "CookieAttributes::is_usual")]
        attributes: CookieAttributes,
    },
    /// A header, sent in the first response and repeated by the client.
    Header,
}

/// What else a session's cookie says of itself; it is always `HttpOnly`, and `Secure` for who came by TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CookieAttributes {
    /// `SameSite`: `Strict`, `Lax` or `None`; none: the browser's own default.
    pub same_site: Option<&'static str>,
    /// `Domain`, a host name; none: this host only.
    pub domain: Option<String>,
    /// `Secure` for whoever comes.
    pub secure: bool,
}

/// No other site may cause it to be sent (GEP-1619).
impl Default for CookieAttributes {
    fn default() -> Self {
        CookieAttributes { same_site: Some("Strict"), domain: None, secure: false }
    }
}

impl CookieAttributes {
    fn is_usual(&self) -> bool {
        *self == CookieAttributes::default()
    }
}
