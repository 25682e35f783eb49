//! What becomes of responses: compression, and answers in place of others. Parts of a BackendTrafficPolicy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Empty, ResponseBody};
use crate::Quantity;
use crate::route::HeaderModifier;
use crate::schema;

/// A way to compress responses.
///
/// Never compressed are answers to requests with `Cookie`, `Authorization` or a client certificate, and answers with
/// `Set-Cookie`, unless `includeCredentialed` says so: the length of a compressed text gives away what stands in it beside
/// what an attacker chose (BREACH).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// Which.
    #[serde(rename = "type")]
    pub compressor: Compressor,
    /// Settings of Brotli; it has none.
    #[serde(default)]
    pub brotli: Option<Empty>,
    /// Settings of gzip; it has none.
    #[serde(default)]
    pub gzip: Option<Empty>,
    /// Settings of zstd; it has none.
    #[serde(default)]
    pub zstd: Option<Empty>,
    /// The shortest body worth it, in bytes; default and least 30. A body of unknown length is worth it.
    #[serde(default)]
    #[schemars(with = "Option<schema::CompressedBytes>")]
    pub min_content_length: Option<Quantity>,
    /// Ours: content types worth it, as `text/html`; default: the usual ones of text, script and data.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// Ours: whether answers may be compressed that hold secrets of one client.
    #[serde(default)]
    pub include_credentialed: bool,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Compressor {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

/// An answer in place of a backend's, or of the gateway's own refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("has(self.response) != has(self.redirect)", "there must be response or redirect, and not both"),
])))]
pub struct ResponseOverride {
    /// Which answers it stands in for.
    #[serde(rename = "match")]
    pub matches: ResponseMatch,
    /// What is answered; this or `redirect`.
    #[serde(default)]
    pub response: Option<CustomResponse>,
    /// Where the client is sent.
    #[serde(default)]
    pub redirect: Option<CustomRedirect>,
}

/// Answers that are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseMatch {
    /// Any of these statuses; at least one.
    #[schemars(length(min = 1))]
    pub status_codes: Vec<StatusCodeMatch>,
}

/// A status, or several in a row; `type` says which of the others is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.type == 'Range' || (has(self.value) && !has(self.range))", "type Value needs value, and nothing else"),
    ("self.type == 'Value' || (has(self.range) && !has(self.value))", "type Range needs range, and nothing else"),
])))]
pub struct StatusCodeMatch {
    /// What it is.
    #[serde(rename = "type")]
    pub match_type: StatusCodeMatchType,
    /// The status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub value: Option<u16>,
    /// The first and the last.
    pub range: Option<StatusCodeRange>,
}

/// What a status is matched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatusCodeMatchType {
    /// One status.
    #[default]
    Value,
    /// Several in a row.
    Range,
}

/// Statuses in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.start <= self.end", "start must not be above end"),
])))]
pub struct StatusCodeRange {
    /// The first.
    #[schemars(range(min = 200, max = 599))]
    pub start: u16,
    /// The last.
    #[schemars(range(min = 200, max = 599))]
    pub end: u16,
}

/// What is answered; what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomResponse {
    /// 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status_code: Option<u16>,
    /// `Content-Type` of the body.
    pub content_type: Option<String>,
    /// The body, at most 1 MiB.
    pub body: Option<ResponseBody>,
    /// Changes to the headers of the answer.
    pub header: Option<HeaderModifier>,
}

/// Where a client is sent; what is absent is as the client asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("!has(self.scheme) || self.scheme in ['http', 'https']", "scheme must be http or https"),
    ("!has(self.statusCode) || self.statusCode in [301, 302]", "statusCode must be 301 or 302"),
    ("!has(self.path) || self.path.type == 'ReplaceFullPath'", "only ReplaceFullPath can be used here"),
])))]
pub struct CustomRedirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<crate::route::PathModifier>,
    /// The port.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// 301 or 302; default 302.
    pub status_code: Option<u16>,
}
