//! What an Ingress asks for by its annotations, each value read.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_model::traffic::filter::Piece;
use tidegate_model::traffic::{Balancing, HostPattern};
use tidegate_objects::route::Cors;

use super::Location;

/// What is asked for; by default nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Nobody is served, for this reason.
    pub closed: Option<&'static str>,
    /// Paths are expressions.
    pub use_regex: bool,
    /// The path that backends see.
    pub rewrite: Option<Vec<Piece>>,
    /// Whether who comes in the clear to a host that has a certificate is sent to TLS; none: yes.
    pub ssl_redirect: Option<bool>,
    /// The same for every host.
    pub force_ssl_redirect: bool,
    /// Where `/` is sent.
    pub app_root: Option<String>,
    /// Where everything is sent, for good.
    pub permanent: Option<Location>,
    /// With which status.
    pub permanent_code: Option<u16>,
    /// Where everything is sent, for now.
    pub temporal: Option<Location>,
    /// With which status.
    pub temporal_code: Option<u16>,
    /// What is spoken to backends.
    pub protocol: Option<Protocol>,
    /// Bytes of a request's body; none: no limit.
    pub body_bytes: Option<u64>,
    /// To open a connection to a backend.
    pub connect: Option<Duration>,
    /// For the head of its response, and between two reads of it.
    pub read: Option<Duration>,
    /// Between two writes to it.
    pub send: Option<Duration>,
    /// What is tried at another endpoint.
    pub next: Option<Next>,
    /// How many endpoints are tried.
    pub tries: Option<u32>,
    /// Who may come.
    pub allow: Vec<IpNet>,
    /// Who may not.
    pub deny: Vec<IpNet>,
    /// Whether it is the other version of another Ingress.
    pub canary: bool,
    /// Who gets it.
    pub canary_by: CanaryBy,
    /// Whether a client stays with its endpoint.
    pub affinity: bool,
    /// By which cookie.
    pub cookie: Cookie,
    /// Further hosts.
    pub aliases: Vec<HostPattern>,
    /// The host that backends see.
    pub vhost: Option<String>,
    /// Whether a host with `www.` before it, or without it, is sent to the one that is served.
    pub www: bool,
    /// Whether other origins may use it from a browser.
    pub cors: bool,
    /// Which may.
    pub cors_asked: CorsAsked,
    /// Whether TLS is passed through.
    pub passthrough: bool,
    /// `X-Forwarded-Prefix`.
    pub prefix: Option<String>,
    /// How an endpoint is chosen.
    pub balancing: Option<Balancing>,
    /// The same, by what is hashed; it comes before the other.
    pub hash: Option<Balancing>,
}

/// What is spoken to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    Grpc,
    Grpcs,
}

impl Protocol {
    /// Whether it is TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Grpcs)
    }
}

/// What is tried at another endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Next {
    /// Connections that cannot be opened, or break.
    pub errors: bool,
    /// What takes too long.
    pub timeouts: bool,
    /// These statuses.
    pub codes: BTreeSet<u16>,
}

/// Who gets the canary: by header, else by cookie, else by weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CanaryBy {
    /// The header, in lower case.
    pub header: Option<String>,
    /// Its value; none: `always` and `never`.
    pub value: Option<String>,
    /// An expression for its value, where no value is given.
    pub pattern: Option<String>,
    /// The cookie, whose value is `always` or `never`.
    pub cookie: Option<String>,
    /// Of `total` requests.
    pub weight: u32,
    /// None: 100.
    pub total: Option<u32>,
}

/// The cookie of a client that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub name: Option<String>,
    pub path: Option<String>,
    pub max_age: Option<Duration>,
    pub expires: Option<Duration>,
    pub same_site: Option<&'static str>,
    pub secure: bool,
    pub domain: Option<String>,
}

/// Who may use it from other origins, as ingress-nginx has it where nothing is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct CorsAsked {
    pub origins: Option<Vec<String>>,
    pub methods: Option<Vec<String>>,
    pub headers: Option<Vec<String>>,
    pub expose: Option<Vec<String>>,
    pub credentials: Option<bool>,
    pub max_age: Option<u32>,
}

impl CorsAsked {
    /// What is asked for, with the defaults of ingress-nginx. Where every origin may, none may with credentials: browsers
    /// refuse that, and echoing the origin instead would give every page its visitors' sessions.
    pub fn settled(&self) -> Cors {
        let or = |asked: &Option<Vec<String>>, usual: &[&str]| {
            asked.clone().unwrap_or_else(|| usual.iter().map(|item| (*item).to_owned()).collect())
        };
        let allow_origins = or(&self.origins, &["*"]);
        let everybody = allow_origins.iter().any(|origin| origin == "*");
        Cors {
            allow_credentials: !everybody && self.credentials.unwrap_or(true),
            allow_origins,
            allow_methods: or(&self.methods, &["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
            allow_headers: or(
                &self.headers,
                &[
                    "DNT",
                    "Keep-Alive",
                    "User-Agent",
                    "X-Requested-With",
                    "If-Modified-Since",
                    "Cache-Control",
                    "Content-Type",
                    "Range",
                    "Authorization",
                ],
            ),
            expose_headers: or(&self.expose, &[]),
            max_age: self.max_age.unwrap_or(1_728_000),
        }
    }
}
