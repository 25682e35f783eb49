//! Where this gateway stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// Where this gateway is, and where the others are (`topology.kubernetes.io/zone` of GatewayNodes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Home {
    /// The gateway's own zone.
    pub zone: Arc<str>,
    /// Gateways of each zone that share the traffic, this one included. Empty: not known; as many are presumed in every
    /// zone that has endpoints.
    pub gateways: BTreeMap<Arc<str>, u32>,
}

impl Home {
    /// In this zone; where other gateways are is not known.
    pub fn in_zone(zone: &str) -> Home {
        Home { zone: zone.into(), gateways: BTreeMap::new() }
    }
}
