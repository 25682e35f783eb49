//! `retry` of a BackendTrafficPolicy: what is tried again, how often, and within which budget.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What is tried again. A route's own `retry` wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// How many more times; default 2.
    pub num_retries: u32,
    /// What is tried again; absent: 503 and connections that did not stand or broke.
    pub retry_on: Option<RetryOn>,
    /// Each try.
    pub per_retry: Option<PerRetry>,
    /// Ours: how many retries there may be beside requests; absent: our choice.
    pub budget: Option<RetryBudget>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { num_retries: 2, retry_on: None, per_retry: None, budget: None }
    }
}

/// What is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryOn {
    /// Any of these.
    pub triggers: Vec<RetryTrigger>,
    /// With `retriable-status-codes`, these, 100 to 599.
    #[schemars(with = "Vec<schema::Status>")]
    pub http_status_codes: Vec<u16>,
}

/// Something that is tried again. The last five are gRPC status codes, of a call that was answered with nothing but its
/// trailers: then nobody has seen a part of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryTrigger {
    /// Any 5xx, or no answer at all.
    #[serde(rename = "5xx")]
    Status5xx,
    /// 502, 503 or 504.
    GatewayError,
    /// The connection ended before an answer.
    Reset,
    /// The connection ended before the request was sent.
    ResetBeforeRequest,
    /// No connection.
    ConnectFailure,
    /// 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// HTTP/2 REFUSED_STREAM (RFC 9113 section 8.7); such a request is tried again without being asked for.
    RefusedStream,
    /// One of `httpStatusCodes`.
    RetriableStatusCodes,
    /// CANCELLED.
    Cancelled,
    /// DEADLINE_EXCEEDED.
    DeadlineExceeded,
    /// INTERNAL.
    Internal,
    /// RESOURCE_EXHAUSTED.
    ResourceExhausted,
    /// UNAVAILABLE.
    Unavailable,
}

/// Each try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PerRetry {
    /// How long one may take, a GEP-2257 duration; absent: as long as the request.
    #[schemars(with = "Option<schema::TimeAboveZero>")]
    pub timeout: Option<String>,
    /// How long between two.
    pub back_off: Option<BackOff>,
}

/// How long between two tries: at random, up to a bound that doubles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackOff {
    /// The first bound, a GEP-2257 duration; absent: `25ms`.
    #[schemars(with = "Option<schema::TimeAboveZero>")]
    pub base_interval: Option<String>,
    /// The last bound, a GEP-2257 duration; absent: ten times the first.
    #[schemars(with = "Option<schema::TimeAboveZero>")]
    pub max_interval: Option<String>,
}

/// Ours: how many retries there may be beside requests, per Service port and gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Of a hundred requests, 0 to 100; default 20.
    #[schemars(range(max = 100))]
    pub percent: u8,
    /// So many a second are free, however few requests there are; default 10.
    pub min_retry_rate: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget { percent: 20, min_retry_rate: 10 }
    }
}
