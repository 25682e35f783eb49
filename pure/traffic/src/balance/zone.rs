//! Preferring endpoints of the gateway's own zone without overloading any zone.

use std::collections::BTreeMap;

use tidegate_model::traffic::{Endpoint, Home, ZoneAware};

/// By what the weight of each endpoint is multiplied; none: zones do not matter now.
///
/// In proportion: if the own zone has at least the share of endpoints that it has of gateways, all requests stay.
/// Otherwise as many stay as it can carry for its part, and the rest goes to the zones that have more endpoints than
/// gateways, by what they have to spare. A zone's capacity is the sum of the weights in it.
pub fn factors(endpoints: &[&Endpoint], rule: &ZoneAware, home: &Home) -> Option<Vec<f64>> {
    let own = endpoints.iter().filter(|endpoint| endpoint.zone.as_ref() == Some(&home.zone)).count();
    if own == 0 || own == endpoints.len() || endpoints.len() < rule.endpoints_min as usize {
        return None;
    }
    let shares = if rule.force_min.is_some_and(|least| own >= least as usize) {
        BTreeMap::from([(Some(&*home.zone), 1.0)])
    } else {
        proportional(endpoints, home)
    };
    let factor = |endpoint: &&Endpoint| shares.get(&endpoint.zone.as_deref()).copied().unwrap_or(0.0);
    Some(endpoints.iter().map(factor).collect())
}

/// Zones by name; endpoints may be in none.
type ByZone<'z> = BTreeMap<Option<&'z str>, f64>;

/// What each zone gets for each unit of its weight. Zones that get nothing are absent.
fn proportional<'z>(endpoints: &[&'z Endpoint], home: &'z Home) -> ByZone<'z> {
    let mut capacity = ByZone::new();
    for endpoint in endpoints {
        *capacity.entry(endpoint.zone.as_deref()).or_default() += f64::from(endpoint.weight);
    }
    normalise(&mut capacity);
    let demand = demand(&capacity, home);
    let own = Some(&*home.zone);
    let stays = match (capacity.get(&own), demand.get(&own)) {
        (Some(capacity), Some(demand)) if capacity < demand => capacity / demand,
        _ => 1.0,
    };
    let mut spare: ByZone = capacity
        .iter()
        .map(|(zone, capacity)| (*zone, capacity - demand.get(zone).copied().unwrap_or(0.0)))
        .filter(|(zone, spare)| *zone != own && stays < 1.0 && *spare > 1e-9)
        .collect();
    normalise(&mut spare);
    for share in spare.values_mut() {
        *share *= 1.0 - stays;
    }
    spare.insert(own, stays);
    for (zone, share) in &mut spare {
        *share /= capacity[zone];
    }
    spare
}

fn demand<'z>(capacity: &ByZone<'z>, home: &'z Home) -> ByZone<'z> {
    let mut demand: ByZone = if home.gateways.is_empty() {
        capacity.keys().filter(|zone| zone.is_some()).map(|zone| (*zone, 1.0)).collect()
    } else {
        home.gateways.iter().map(|(zone, &count)| (Some(&**zone), f64::from(count))).collect()
    };
    normalise(&mut demand);
    demand
}

fn normalise(shares: &mut ByZone<'_>) {
    let total: f64 = shares.values().sum();
    if total > 0.0 {
        shares.values_mut().for_each(|share| *share /= total);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn endpoints(zones: &[(&str, u8)]) -> Vec<Endpoint> {
        let mut list = Vec::new();
        for (zone, count) in zones {
            for _ in 0..*count {
                let address = ([10, 0, 0, list.len() as u8], 80).into();
                list.push(Endpoint { address, weight: 1, zone: Some((*zone).into()) });
            }
        }
        list
    }

    fn shares(list: &[Endpoint], rule: ZoneAware, home: &Home) -> Option<BTreeMap<String, i64>> {
        let factors = factors(&list.iter().collect::<Vec<_>>(), &rule, home)?;
        let mut shares: BTreeMap<String, f64> = BTreeMap::new();
        for (endpoint, factor) in list.iter().zip(&factors) {
            *shares.entry(endpoint.zone.as_deref().unwrap_or("-").into()).or_default() += factor;
        }
        let total: f64 = shares.values().sum();
        Some(
            shares.into_iter().map(|(zone, share)| (zone, (share / total * 1000.0).round() as i64)).collect(),
        )
    }

    const PROPORTIONAL: ZoneAware = ZoneAware { endpoints_min: 2, force_min: None };

    fn expected(shares: &[(&str, i64)]) -> Option<BTreeMap<String, i64>> {
        Some(shares.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect())
    }

    /// The own zone keeps what it can carry, and only zones with something to spare get the rest.
    #[test]
    fn in_proportion() {
        let home = Home::in_zone("a");
        let even = endpoints(&[("a", 3), ("b", 3), ("c", 3)]);
        assert_eq!(shares(&even, PROPORTIONAL, &home), expected(&[("a", 1000), ("b", 0), ("c", 0)]));
        let poor = endpoints(&[("a", 1), ("b", 3)]);
        assert_eq!(shares(&poor, PROPORTIONAL, &home), expected(&[("a", 500), ("b", 500)]));
        let spare = endpoints(&[("a", 2), ("b", 4), ("c", 6)]);
        assert_eq!(shares(&spare, PROPORTIONAL, &home), expected(&[("a", 500), ("b", 0), ("c", 500)]));
        let gateways = BTreeMap::from([("a".into(), 3), ("b".into(), 1)]);
        let uneven = Home { zone: "a".into(), gateways };
        let list = endpoints(&[("a", 3), ("b", 3)]);
        assert_eq!(shares(&list, PROPORTIONAL, &uneven), expected(&[("a", 667), ("b", 333)]));
    }

    /// The sum over gateways is even: no endpoint gets more than its part, wherever requests come in.
    #[test]
    fn nobody_is_overloaded() {
        let list = endpoints(&[("a", 1), ("b", 5), ("c", 3)]);
        let gateways: BTreeMap<Arc<str>, u32> =
            BTreeMap::from([("a".into(), 2), ("b".into(), 1), ("c".into(), 1)]);
        let mut load = vec![0.0; list.len()];
        for (zone, count) in &gateways {
            let home = Home { zone: zone.clone(), gateways: gateways.clone() };
            let factors = factors(&list.iter().collect::<Vec<_>>(), &PROPORTIONAL, &home).unwrap();
            let total: f64 = factors.iter().sum();
            for (load, factor) in load.iter_mut().zip(factors) {
                *load += f64::from(*count) * factor / total;
            }
        }
        let fair = 4.0 / 9.0;
        assert!(load.iter().all(|load| (load - fair).abs() < 1e-6), "{load:?}");
    }

    /// With force everything stays as long as enough are there; with too few endpoints, none at home or all, zones do
    /// not matter.
    #[test]
    fn force_and_off() {
        let home = Home::in_zone("a");
        let list = endpoints(&[("a", 2), ("b", 6)]);
        let force = |least| ZoneAware { endpoints_min: 2, force_min: Some(least) };
        assert_eq!(shares(&list, force(2), &home), expected(&[("a", 1000), ("b", 0)]));
        assert_eq!(shares(&list, force(3), &home), expected(&[("a", 500), ("b", 500)]));
        assert_eq!(shares(&list, ZoneAware { endpoints_min: 9, force_min: Some(1) }, &home), None);
        assert_eq!(shares(&list, PROPORTIONAL, &Home::in_zone("c")), None);
        assert_eq!(shares(&endpoints(&[("a", 4)]), PROPORTIONAL, &home), None);
    }
}
