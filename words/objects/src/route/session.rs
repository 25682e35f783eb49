//! Session persistence (Gateway API GEP-1619, experimental channel): requests of one session go to one endpoint.

use serde::{Deserialize, Serialize};

/// How sessions are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPersistence {
    /// Name of the cookie or header, at most 128 characters; absent: our choice.
    pub session_name: Option<String>,
    /// How long a session may last in all, a GEP-2257 duration; required for a permanent cookie.
    pub absolute_timeout: Option<String>,
    /// How long a session may be idle, a GEP-2257 duration. Gateway API had it until v1.5.
    pub idle_timeout: Option<String>,
    /// What carries the session.
    #[serde(rename = "type")]
    pub session_type: SessionType,
    /// With `type: Cookie`, how the cookie lives.
    pub cookie_config: Option<CookieConfig>,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionType {
    /// A cookie.
    #[default]
    Cookie,
    /// A header.
    Header,
}

/// How a session's cookie lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieConfig {
    /// How long.
    pub lifetime_type: CookieLifetime,
}

/// How long a cookie lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieLifetime {
    /// Until the browser forgets it: no `Max-Age`, no `Expires`.
    #[default]
    Session,
    /// For `absoluteTimeout`.
    Permanent,
}
