//! IPAddressPools: how full they are, as MetalLB tells it.

use tidegate_model::StatusOf;
use tidegate_model::status::{PoolStatus, StatusBody};
use tidegate_objects::Kind;

use super::Facts;

pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let each = facts.standing.pools.iter().map(|(key, standing)| {
        let status = PoolStatus {
            assigned_v4: bounded(standing.assigned_v4.into()),
            assigned_v6: bounded(standing.assigned_v6.into()),
            available_v4: bounded(standing.available_v4),
            available_v6: bounded(standing.available_v6),
        };
        StatusOf::new(Kind::IPAddressPool, key, StatusBody::Pool(status))
    });
    each.collect()
}

/// The schema's numbers have 64 bits and a sign.
fn bounded(count: u128) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
