//! `healthCheck` of a BackendTrafficPolicy: which endpoints are chosen from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which endpoints are chosen from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// By asking them; no effect on UDP, which has no question that every server answers.
    pub active: Option<ActiveCheck>,
    /// By how they serve.
    pub passive: Option<PassiveCheck>,
    /// With fewer of a hundred endpoints healthy all are chosen from, 0 (never) to 100; absent: our choice.
    #[schemars(range(max = 100))]
    pub panic_threshold: Option<u8>,
}

/// Endpoints are asked: `type` says which of the last three is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.type != 'HTTP' || has(self.http)", "type HTTP needs http"),
])))]
pub struct ActiveCheck {
    /// How they are asked.
    #[serde(rename = "type")]
    pub check_type: ActiveCheckType,
    /// How long an answer may take, a GEP-2257 duration; default `1s`.
    #[serde(default = "one_second")]
    #[schemars(with = "schema::TimeAboveZero")]
    pub timeout: String,
    /// How long between two questions, a GEP-2257 duration; default `3s`.
    #[serde(default = "three_seconds")]
    #[schemars(with = "schema::TimeAboveZero")]
    pub interval: String,
    /// At most this long, at random, before the first question, a GEP-2257 duration.
    #[serde(default)]
    #[schemars(with = "Option<schema::Time>")]
    pub initial_jitter: Option<String>,
    /// How many failures in a row make an endpoint unhealthy, at least 1; default 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub unhealthy_threshold: u32,
    /// How many successes in a row make it healthy again, at least 1; default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub healthy_threshold: u32,
    /// With `type: HTTP`.
    #[serde(default)]
    pub http: Option<HttpCheck>,
    /// With `type: TCP`; absent: a connection is enough.
    #[serde(default)]
    pub tcp: Option<TcpCheck>,
    /// With `type: GRPC`; absent: the server as a whole.
    #[serde(default)]
    pub grpc: Option<GrpcCheck>,
}

fn one_second() -> String {
    "1s".into()
}

fn three_seconds() -> String {
    "3s".into()
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

/// How endpoints are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ActiveCheckType {
    /// By an HTTP request.
    Http,
    /// By a connection.
    Tcp,
    /// By the gRPC health checking protocol (`grpc.health.v1`).
    Grpc,
}

/// An HTTP request and the statuses that are healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("!has(self.method) || !(self.method in ['CONNECT', 'TRACE'])", "CONNECT and TRACE are no methods to ask with"),
])))]
pub struct HttpCheck {
    /// The path.
    pub path: String,
    /// The Host sent; absent: the server name of TLS, else the endpoint's address.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The method; absent: GET.
    #[serde(default)]
    #[schemars(with = "Option<schema::Token>")]
    pub method: Option<String>,
    /// Statuses that are healthy, 100 to 599; empty: 200.
    #[serde(default)]
    #[schemars(with = "Vec<schema::Status>")]
    pub expected_statuses: Vec<u16>,
}

/// Bytes sent after connecting, and bytes that must come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpCheck {
    /// Sent; absent: nothing.
    pub send: Option<CheckPayload>,
    /// Must be in what comes back; absent: a connection is enough.
    pub receive: Option<CheckPayload>,
}

/// Bytes of a check. Of Envoy Gateway's two forms this is `type: Text`; `Binary` is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckPayload {
    /// `Text`, and may be left out.
    #[serde(rename = "type", default)]
    pub payload_type: PayloadType,
    /// The bytes, as text.
    pub text: String,
}

/// A form of [`CheckPayload`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PayloadType {
    /// Text.
    #[default]
    Text,
}

/// The gRPC health checking protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GrpcCheck {
    /// The service asked about; absent: the server as a whole.
    pub service: Option<String>,
}

/// Endpoints that serve badly are left out for a while (outlier ejection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PassiveCheck {
    /// How long for the first time, a GEP-2257 duration; each further time as long again. Default `30s`.
    #[schemars(with = "schema::TimeAboveZero")]
    pub base_ejection_time: String,
    /// How often it is judged, a GEP-2257 duration; default `3s`.
    #[schemars(with = "schema::TimeAboveZero")]
    pub interval: String,
    /// Of a hundred endpoints at most so many are left out, 0 to 100; default 10. One may always be.
    #[schemars(range(max = 100))]
    pub max_ejection_percent: u8,
    /// So many 5xx in a row, 0 for never; default 5.
    #[serde(rename = "consecutive5XxErrors")]
    pub consecutive_5xx_errors: u32,
    /// So many 502, 503 or 504 in a row, 0 for never; absent: never.
    pub consecutive_gateway_errors: Option<u32>,
    /// So many connections in a row that did not stand or broke, 0 for never; default 5. Only where errors are split.
    pub consecutive_local_origin_failures: u32,
    /// Whether failures of connections are counted apart from bad answers.
    pub split_external_local_origin_errors: bool,
}

impl Default for PassiveCheck {
    fn default() -> Self {
        PassiveCheck {
            base_ejection_time: "30s".into(),
            interval: three_seconds(),
            max_ejection_percent: 10,
            consecutive_5xx_errors: 5,
            consecutive_gateway_errors: None,
            consecutive_local_origin_failures: 5,
            split_external_local_origin_errors: false,
        }
    }
}
