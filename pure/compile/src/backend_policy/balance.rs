//! `loadBalancer` of a BackendTrafficPolicy.

use tidegate_model::traffic::{BackendPolicy, Balancing, HashKey, ZoneAware};
use tidegate_objects::policy::{
    ConsistentHash, ConsistentHashType, HashCookie, HashHeader, LoadBalancer, LoadBalancerType, PreferLocal,
};

use crate::duration;
use crate::report::Report;
use crate::rule::is_token;

/// The largest table of a consistent hash, in slots.
const TABLE_SIZE_MAX: u32 = 5_000_011;

pub(super) fn read(asked: &LoadBalancer, policy: &mut BackendPolicy, report: &mut Report<'_>) {
    policy.balancing = match asked.balancer_type {
        LoadBalancerType::RoundRobin => Balancing::RoundRobin,
        LoadBalancerType::LeastRequest => Balancing::LeastRequest,
        LoadBalancerType::Random => Balancing::Random,
        LoadBalancerType::PeakEwma => Balancing::PeakEwma,
        LoadBalancerType::ConsistentHash => {
            let hash = asked.consistent_hash.as_ref().map(consistent_hash).unwrap_or_else(|| {
                Err((String::new(), "type ConsistentHash needs consistentHash".to_owned()))
            });
            hash.unwrap_or_else(|(field, why)| {
                let dot = if field.is_empty() { "" } else { "." };
                let message = format!("{why}; endpoints are chosen in turn");
                report.part("Invalid", &format!("consistentHash{dot}{field}"), message);
                Balancing::RoundRobin
            })
        }
    };
    let is_hash = asked.balancer_type == LoadBalancerType::ConsistentHash;
    if !is_hash && asked.consistent_hash.is_some() {
        let message = "without type ConsistentHash it has no effect".to_owned();
        report.warn("NoEffect", "consistentHash", message);
    }
    if let Some(slow_start) = &asked.slow_start {
        policy.slow_start = match is_hash {
            true => {
                report.sound("slowStart", Err("type ConsistentHash gives no endpoint less at first".into()))
            }
            false => report.sound("slowStart.window", duration::above_zero(&slow_start.window)),
        };
    }
    policy.zone_aware =
        asked.zone_aware.as_ref().and_then(|zones| zones.prefer_local.as_ref()).map(zone_aware);
}

fn zone_aware(asked: &PreferLocal) -> ZoneAware {
    let endpoints_min = asked.min_endpoints_threshold.unwrap_or_default();
    ZoneAware {
        endpoints_min: u32::try_from(endpoints_min).unwrap_or(u32::MAX),
        force_min: asked.force.as_ref().map(|force| force.min_endpoints_in_zone_threshold),
    }
}

/// A field below, and why it cannot be used.
type Bad = (String, String);

fn consistent_hash(asked: &ConsistentHash) -> Result<Balancing, Bad> {
    let table_size = asked.table_size;
    if table_size > TABLE_SIZE_MAX || !is_prime(table_size) {
        let why = format!("{table_size} is no prime from 2 to {TABLE_SIZE_MAX}, as 65537 is");
        return Err(("tableSize".into(), why));
    }
    let missing = |field: &str| (field.to_owned(), format!("type {:?} needs {field}", asked.hash_type));
    let key = match asked.hash_type {
        ConsistentHashType::SourceIp => HashKey::SourceIp,
        ConsistentHashType::Header => {
            let header = asked.header.as_ref().ok_or_else(|| missing("header"))?;
            HashKey::Headers(vec![name("header.name", header)?])
        }
        ConsistentHashType::Headers if asked.headers.is_empty() => return Err(missing("headers")),
        ConsistentHashType::Headers => {
            let headers = asked.headers.iter().enumerate();
            let names = headers.map(|(index, header)| name(&format!("headers[{index}].name"), header));
            HashKey::Headers(names.collect::<Result<_, _>>()?)
        }
        ConsistentHashType::Cookie => cookie(asked.cookie.as_ref().ok_or_else(|| missing("cookie"))?)?,
    };
    Ok(Balancing::ConsistentHash { key, table_size })
}

fn name(field: &str, header: &HashHeader) -> Result<String, Bad> {
    match is_token(&header.name) {
        true => Ok(header.name.to_ascii_lowercase()),
        false => Err((field.to_owned(), format!("{:?} is no header name", header.name))),
    }
}

fn cookie(asked: &HashCookie) -> Result<HashKey, Bad> {
    let bad = |field: &str, why| Err((format!("cookie.{field}"), why));
    if !is_token(&asked.name) {
        return bad("name", format!("{:?} is no cookie name", asked.name));
    }
    let ttl = match asked.ttl.as_deref().map(duration::gep2257).transpose() {
        Ok(ttl) => ttl.unwrap_or_default(),
        Err(why) => return bad("ttl", why),
    };
    for (name, value) in &asked.attributes {
        let sound = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';');
        if !is_token(name) || !sound {
            return bad("attributes", format!("{name}={value} is no cookie attribute"));
        }
    }
    let attributes = asked.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(HashKey::Cookie { name: asked.name.clone(), ttl: Some(ttl), attributes })
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Primes are told from other numbers, up to the largest table.
    #[test]
    fn primes() {
        for (number, prime) in
            [(0, false), (1, false), (2, true), (3, true), (4, false), (65_537, true), (65_535, false)]
        {
            assert_eq!(is_prime(number), prime, "{number}");
        }
        assert!(is_prime(TABLE_SIZE_MAX) && !is_prime(2_237 * 2_237));
    }
}
