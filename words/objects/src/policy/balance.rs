//! `loadBalancer` of a BackendTrafficPolicy: how an endpoint is chosen.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.type != 'ConsistentHash' || has(self.consistentHash)", "type ConsistentHash needs consistentHash"),
    ("self.type != 'ConsistentHash' || !has(self.slowStart)", "slowStart does not go with type ConsistentHash"),
])))]
pub struct LoadBalancer {
    /// By which rule.
    #[serde(rename = "type")]
    pub balancer_type: LoadBalancerType,
    /// With `type: ConsistentHash`, what is hashed.
    #[serde(default)]
    pub consistent_hash: Option<ConsistentHash>,
    /// New endpoints get their share little by little; not with ConsistentHash.
    #[serde(default)]
    pub slow_start: Option<SlowStart>,
    /// Endpoints of our own zone are preferred.
    #[serde(default)]
    pub zone_aware: Option<ZoneAware>,
}

/// A rule to choose an endpoint by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancerType {
    /// One after the other.
    RoundRobin,
    /// Of two drawn at random the one with fewer requests under way.
    LeastRequest,
    /// At random.
    Random,
    /// The same key goes to the same endpoint, on every gateway.
    ConsistentHash,
    /// Ours: of two drawn at random the one with the lower moving average of its latency times its load.
    #[serde(rename = "PeakEWMA")]
    PeakEwma,
}

/// What is hashed: `type` says which of the others is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.type != 'Header' || has(self.header)", "type Header needs header"),
    ("self.type != 'Headers' || (has(self.headers) && size(self.headers) > 0)", "type Headers needs headers"),
    ("self.type != 'Cookie' || has(self.cookie)", "type Cookie needs cookie"),
])))]
pub struct ConsistentHash {
    /// What.
    #[serde(rename = "type")]
    pub hash_type: ConsistentHashType,
    /// With `Header`, which.
    #[serde(default)]
    pub header: Option<HashHeader>,
    /// With `Headers`, which, all together.
    #[serde(default)]
    pub headers: Vec<HashHeader>,
    /// With `Cookie`, which.
    #[serde(default)]
    pub cookie: Option<HashCookie>,
    /// How many slots the table has, a prime from 2 to 5,000,011; default 65,537.
    #[serde(default = "table_size")]
    #[schemars(range(min = 2, max = 5_000_011))]
    pub table_size: u32,
}

fn table_size() -> u32 {
    65_537
}

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsistentHashType {
    /// The client's address.
    #[serde(rename = "SourceIP")]
    SourceIp,
    /// The value of one header.
    Header,
    /// The values of several headers.
    Headers,
    /// The value of a cookie; a client without one gets one.
    Cookie,
}

/// A header that is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HashHeader {
    /// Its name, case-insensitive.
    #[schemars(with = "schema::Token")]
    pub name: String,
}

/// A cookie that is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HashCookie {
    /// Its name.
    #[schemars(with = "schema::Token")]
    pub name: String,
    /// How long the one we give lives, a GEP-2257 duration; absent: as long as the browser's session.
    #[serde(default)]
    #[schemars(with = "Option<schema::Time>")]
    pub ttl: Option<String>,
    /// Further attributes of the one we give, as `SameSite: Strict`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// New endpoints get their share little by little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlowStart {
    /// Until they have all of it, a GEP-2257 duration.
    #[schemars(with = "schema::TimeAboveZero")]
    pub window: String,
}

/// Endpoints of our own zone are preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneAware {
    /// How; absent: they are not.
    pub prefer_local: Option<PreferLocal>,
}

/// How endpoints of our own zone are preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferLocal {
    /// With fewer endpoints in all zones together there is no preference.
    pub min_endpoints_threshold: Option<u64>,
    /// All traffic stays in the zone, rather than so much as keeps zones even.
    pub force: Option<ForceLocal>,
}

/// All traffic stays in the zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ForceLocal {
    /// With fewer endpoints in the zone it does not; default 1.
    pub min_endpoints_in_zone_threshold: u32,
}

impl Default for ForceLocal {
    fn default() -> Self {
        ForceLocal { min_endpoints_in_zone_threshold: 1 }
    }
}
