//! Why a request is answered here and not by a backend: status and reason, one constant for each.

/// A status and the reason for it, as they stand in the access log and in `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// A CamelCase word.
    pub reason: &'static str,
}

impl Refusal {
    /// No listener of the socket serves the host.
    pub const NO_LISTENER: Refusal = Refusal { status: 404, reason: "NoListener" };
    /// The listener has no route for the host.
    pub const NO_ROUTE: Refusal = Refusal { status: 404, reason: "NoRoute" };
    /// Routes serve the host, but no rule matches path, method, headers and query.
    pub const NO_RULE: Refusal = Refusal { status: 404, reason: "NoRule" };
    /// The connection's server name belongs to another listener than the request's host (RFC 9110 section 15.5.20).
    pub const MISDIRECTED: Refusal = Refusal { status: 421, reason: "Misdirected" };
    /// The weights of the rule's backends sum up to 0, or it has none (Gateway API asks for 500).
    pub const NO_BACKEND_WEIGHT: Refusal = Refusal { status: 500, reason: "NoBackendWeight" };
    /// The backend has no endpoint that may get requests (Gateway API asks for 503).
    pub const NO_ENDPOINT: Refusal = Refusal { status: 503, reason: "NoEndpoint" };
    /// The rule is not for clients of this address.
    pub const CLIENT_NOT_ALLOWED: Refusal = Refusal { status: 403, reason: "ClientNotAllowed" };
    /// The host is no valid `host[:port]`.
    pub const BAD_HOST: Refusal = Refusal { status: 400, reason: "BadHost" };
    /// The path is one that stages could read differently; see [`path`](crate::path).
    pub const BAD_PATH: Refusal = Refusal { status: 400, reason: "BadPath" };

    /// The backend's reference cannot be followed (Gateway API asks for 500).
    pub const fn broken(reason: &'static str) -> Refusal {
        Refusal { status: 500, reason }
    }
}
