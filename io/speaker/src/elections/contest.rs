//! One group's election on this machine: the session that decides, and the interfaces it decides for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tidegate_model::speaker::Group;
use tidegate_vrrp as vrrp;

use super::observed::Election;
use crate::links::Link;

/// A group, and its session once every interface it needs is there.
pub(super) struct Contest {
    pub(super) group: Group,
    session: Option<vrrp::Session>,
    /// Why there is no session, as a sentence.
    obstacle: String,
    since: Instant,
    /// What another process knew, until a session goes on with it.
    inherited: Option<vrrp::Memory>,
}

impl Contest {
    /// A group whose session does not run yet.
    pub(super) fn new(group: Group, inherited: Option<vrrp::Memory>, now: Instant) -> Self {
        Contest { group, session: None, obstacle: "not started".into(), since: now, inherited }
    }

    /// What another process must know to go on with it; none while no session takes part.
    pub(super) fn memory(&self, now: Instant) -> Option<vrrp::Memory> {
        self.session.as_ref()?.memory(now)
    }

    /// Whether this gateway holds the group's addresses.
    pub(super) fn is_master(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.state() == vrrp::State::Master)
    }

    /// The addresses it holds on `interface` now.
    pub(super) fn holds_on<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = Ipv4Addr> + 'a {
        let legs = self.is_master().then_some(&self.group.legs).into_iter().flatten();
        legs.filter(move |leg| leg.interface == interface).flat_map(|leg| leg.addresses.iter().copied())
    }

    /// Starts the session, or says what stands in its way.
    pub(super) fn start(&mut self, links: &[Option<Link>], conditions: Conditions, now: Instant) {
        match self.config(links, conditions) {
            Ok(config) => match self.begin(config, now) {
                Ok(session) => {
                    self.session = Some(session);
                    self.obstacle.clear();
                }
                Err(error) => self.stop(error.to_string(), now),
            },
            Err(obstacle) => self.stop(obstacle, now),
        }
    }

    fn begin(&mut self, config: vrrp::Config, now: Instant) -> Result<vrrp::Session, vrrp::ConfigError> {
        match self.inherited.take() {
            Some(memory) => vrrp::Session::resume(config, &memory, now),
            None => vrrp::Session::new(config, now),
        }
    }

    /// Whether a group is the same virtual routers as this one, so that its settings can change in place.
    pub(super) fn is_same_routers(&self, group: &Group) -> bool {
        let routers = |group: &Group| -> Vec<(String, u8)> {
            group.legs.iter().map(|leg| (leg.interface.clone(), leg.virtual_router_id)).collect()
        };
        routers(&self.group) == routers(group)
    }

    /// Takes over changed settings without giving the addresses up.
    pub(super) fn change(
        &mut self,
        group: Group,
        links: &[Option<Link>],
        conditions: Conditions,
        now: Instant,
    ) {
        self.group = group;
        let config = match self.config(links, conditions) {
            Ok(config) => config,
            Err(obstacle) => return self.stop(obstacle, now),
        };
        match &mut self.session {
            Some(session) => {
                if let Err(error) = session.reconfigure(config, now) {
                    self.stop(error.to_string(), now);
                }
            }
            None => self.start(links, conditions, now),
        }
    }

    /// Ends the session for `obstacle`.
    pub(super) fn stop(&mut self, obstacle: String, now: Instant) {
        self.session = None;
        if self.obstacle != obstacle {
            self.obstacle = obstacle;
            self.since = now;
        }
    }

    /// Whether a session runs.
    pub(super) fn runs(&self) -> bool {
        self.session.is_some()
    }

    /// Hands an input to the session.
    pub(super) fn handle(&mut self, input: vrrp::Input<'_>, now: Instant) {
        if let Some(session) = &mut self.session {
            session.handle(input, now);
        }
    }

    /// The session's next output.
    pub(super) fn poll_output(&mut self) -> Option<vrrp::Output> {
        self.session.as_mut()?.poll_output()
    }

    /// The session's next deadline.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.session.as_ref()?.poll_timeout()
    }

    fn config(&self, links: &[Option<Link>], conditions: Conditions) -> Result<vrrp::Config, String> {
        let group = &self.group;
        let legs = group.legs.iter().zip(links).enumerate().map(|(at, (leg, link))| {
            let interface = &leg.interface;
            let link = link.as_ref().ok_or_else(|| format!("there is no interface {interface}"))?;
            let source = link.primary.ok_or_else(|| format!("interface {interface} has no IPv4 address"))?;
            Ok(vrrp::LegConfig {
                id: vrrp::LegId(at as u32),
                interface: interface.clone(),
                vrid: vrrp::Vrid::new(leg.virtual_router_id).ok_or("virtual router id 0 does not exist")?,
                source: IpAddr::V4(source),
                // A packet lists 255 addresses at most; the election moves all of them nevertheless.
                addresses: leg.addresses.iter().take(255).map(|&address| IpAddr::V4(address)).collect(),
                unicast_peers: Vec::new(),
                up: link.up,
            })
        });
        Ok(vrrp::Config {
            interval: vrrp::AdvertInterval::from_duration(group.interval)
                .ok_or("advertisementInterval must be 10ms to 40s")?,
            priority: vrrp::Priority::new(group.priority).ok_or("priority must be 1 to 254")?,
            preempt: group.preempt,
            preempt_delay: group.preempt_delay,
            ready: conditions.ready || !group.track_ready,
            ready_grace: vrrp::Config::READY_GRACE,
            drained: false,
            legs: legs.collect::<Result<_, String>>()?,
        })
    }

    /// What others may see of it.
    pub(super) fn observe(&self) -> Election {
        let Some(session) = &self.session else {
            return Election::waiting(&self.group, self.obstacle.clone(), self.since);
        };
        let status = session.status();
        let heard = status.legs.iter().find_map(|leg| leg.master.as_ref());
        let own = status.legs.first().map(|leg| leg.source);
        let master = match status.state {
            vrrp::State::Master => own,
            _ => heard.map(|heard| heard.address),
        };
        Election {
            group: self.group.name.clone(),
            state: status.state.to_string(),
            master_here: status.state == vrrp::State::Master,
            since: status.since,
            priority: status.priority.get(),
            master,
            legs: self.group.legs.clone(),
            reason: status.last_reason.unwrap_or_default(),
            transitions: status.transitions,
        }
    }
}

/// What holds for every election of this gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Whether this gateway could carry traffic.
    pub(super) ready: bool,
}

/// Interfaces that these groups use.
pub(super) fn interfaces<'a>(contests: impl Iterator<Item = &'a Contest>) -> BTreeSet<String> {
    contests.flat_map(|contest| contest.group.legs.iter().map(|leg| leg.interface.clone())).collect()
}

/// Longest sleep of the loop, so that a clock that jumps is noticed.
pub(super) const IDLE: Duration = Duration::from_secs(1);
