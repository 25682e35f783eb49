//! An election's memory as it travels to the next process, and back.

use std::time::Duration;

use tidegate_model::handover::{Election, ElectionLeg, HeardMaster};
use tidegate_vrrp::{AdvertInterval, HeardMemory, LegMemory, Memory};

/// As it travels.
pub(super) fn to(group: &str, memory: &Memory) -> Election {
    let leg = |leg: &LegMemory| ElectionLeg {
        interface: leg.interface.clone(),
        virtual_router_id: leg.vrid,
        heard: leg.heard.map(|heard| HeardMaster {
            address: heard.address,
            priority: heard.priority,
            interval_ms: millis(heard.interval.duration()),
            silent_ms: millis(heard.silent),
        }),
    };
    Election {
        group: group.to_owned(),
        master: memory.master,
        since_ms: millis(memory.since),
        transitions: memory.transitions,
        reason: memory.last_reason.clone(),
        legs: memory.legs.iter().map(leg).collect(),
    }
}

/// As it was. A master with an interval that cannot be was not heard.
pub(super) fn from(election: &Election) -> Memory {
    let heard = |heard: HeardMaster| {
        Some(HeardMemory {
            address: heard.address,
            priority: heard.priority,
            interval: AdvertInterval::from_duration(Duration::from_millis(heard.interval_ms))?,
            silent: Duration::from_millis(heard.silent_ms),
        })
    };
    let leg = |leg: &ElectionLeg| LegMemory {
        interface: leg.interface.clone(),
        vrid: leg.virtual_router_id,
        heard: leg.heard.and_then(heard),
    };
    Memory {
        master: election.master,
        since: Duration::from_millis(election.since_ms),
        transitions: election.transitions,
        last_reason: election.reason.clone(),
        legs: election.legs.iter().map(leg).collect(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What travels arrives as it was.
    #[test]
    fn there_and_back() {
        let heard = HeardMemory {
            address: [10, 0, 0, 2].into(),
            priority: 150,
            interval: AdvertInterval::from_centiseconds(10).unwrap(),
            silent: Duration::from_millis(70),
        };
        let legs = vec![
            LegMemory { interface: "outside".into(), vrid: 51, heard: Some(heard) },
            LegMemory { interface: "inside".into(), vrid: 52, heard: None },
        ];
        let memory = Memory {
            master: false,
            since: Duration::from_secs(3),
            transitions: 4,
            last_reason: Some("outranked".into()),
            legs,
        };
        assert_eq!(from(&to("edge", &memory)), memory);
    }
}
