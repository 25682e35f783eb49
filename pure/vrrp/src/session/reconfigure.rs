//! New settings for a session that runs: who is master does not change because an address was added.

use std::time::Instant;

use super::{Config, Input, LegConfig, Session};
use crate::error::ConfigError;

impl Session {
    /// Takes over new settings. As long as the legs are the same virtual routers with the same sources, state and
    /// timers stay; otherwise the session says farewell, if it is master, and starts anew.
    ///
    /// # Errors
    /// As [`Session::new`]; the session is then as it was.
    pub fn reconfigure(&mut self, config: Config, now: Instant) -> Result<(), ConfigError> {
        config.check()?;
        let same = self.config.legs.len() == config.legs.len()
            && self.config.legs.iter().zip(&config.legs).all(|(old, new)| is_same_router(old, new));
        if !same {
            self.handle(Input::Stop, now);
            // What was said last, the farewell among it, still has to leave.
            let outbox = std::mem::take(&mut self.outbox);
            *self = Session { outbox, ..Session::new(config, now)? };
            return Ok(());
        }
        for (leg, new) in self.legs.iter_mut().zip(&config.legs) {
            leg.config.clone_from(new);
        }
        let links: Vec<_> = config.legs.iter().map(|leg| (leg.id, leg.up)).collect();
        let (priority, ready, drained) = (config.priority, config.ready, config.drained);
        self.config = config;
        // Others are told the new interval with the next advert, and from then on wait no longer than it says.
        let soon = now + self.config.interval.duration();
        self.advert_at = self.advert_at.map(|at| at.min(soon));
        for (leg, up) in links {
            self.handle(Input::Link { leg, up }, now);
        }
        self.handle(Input::Priority(priority), now);
        self.handle(Input::Ready(ready), now);
        self.handle(Input::Drain(drained), now);
        Ok(())
    }
}

fn is_same_router(old: &LegConfig, new: &LegConfig) -> bool {
    (old.id, &old.interface, old.vrid, old.source) == (new.id, &new.interface, new.vrid, new.source)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use crate::session::tests::{One, config};
    use crate::session::{Output, State};

    /// A master that gets another address, another priority or another interval stays master, without a farewell, and
    /// its next advert lists the address.
    #[test]
    fn a_master_stays_master_when_an_address_is_added() {
        let One { mut session, now, .. } = One::master(config(1, 200, 2));
        let mut changed = config(1, 150, 2);
        changed.legs[0].addresses.push(IpAddr::V4(Ipv4Addr::new(10, 0, 50, 21)));
        session.reconfigure(changed, now).unwrap();
        assert_eq!(session.state(), State::Master);
        let later = now + Duration::from_millis(100);
        session.handle(crate::Input::Timeout, later);
        let mut longest = 0;
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    assert_eq!(bytes[2], 150, "priority of every advert is the new one");
                    longest = longest.max(bytes.len());
                }
                other => panic!("nothing but adverts: {other:?}"),
            }
        }
        assert_eq!(longest, 8 + 2 * 4);
    }

    /// A master whose interval shrinks keeps the beat that its adverts promise from the first one that says so.
    #[test]
    fn a_shorter_interval_counts_at_once() {
        let mut slow = config(1, 200, 1);
        slow.interval = crate::AdvertInterval::from_centiseconds(100).unwrap();
        let One { mut session, now, .. } = One::master_after(slow, 5_000);
        let mut fast = config(1, 150, 1);
        fast.interval = crate::AdvertInterval::from_centiseconds(10).unwrap();
        session.reconfigure(fast, now).unwrap();
        let promised = now + Duration::from_millis(100);
        assert!(session.poll_timeout().is_some_and(|due| due <= promised));
    }

    /// Another virtual router id is another virtual router: farewell first, then Backup.
    #[test]
    fn another_virtual_router_starts_anew() {
        let One { mut session, now, .. } = One::master(config(1, 200, 1));
        let mut changed = config(1, 200, 1);
        changed.legs[0].vrid = crate::Vrid::new(52).unwrap();
        session.reconfigure(changed, now).unwrap();
        assert_eq!(session.state(), State::Backup);
        let outputs: Vec<_> = std::iter::from_fn(|| session.poll_output()).collect();
        assert!(matches!(&outputs[0], Output::Send { bytes, .. } if bytes[2] == 0), "{outputs:?}");
        assert!(outputs.iter().any(|output| matches!(output, Output::Release(_))));
    }

    /// Settings that cannot be are refused, and the session goes on as it was.
    #[test]
    fn bad_settings_change_nothing() {
        let One { mut session, now, .. } = One::master(config(1, 200, 1));
        let mut changed = config(1, 200, 1);
        changed.legs.clear();
        assert!(session.reconfigure(changed, now).is_err());
        assert_eq!(session.state(), State::Master);
    }
}
