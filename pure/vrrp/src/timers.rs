//! The advertisement interval and the two times derived from it (RFC 9568 section 6.1).
//!
//! Owns arithmetic only; who waits for what is the session's business.

use std::time::Duration;

const CENTISECOND: Duration = Duration::from_millis(10);

/// How often a master speaks: 1 to 4095 hundredths of a second (10 ms to 40.95 s), as the 12-bit field
/// Max Advertise Interval carries it (RFC 9568 section 5.2.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AdvertInterval(u16);

impl AdvertInterval {
    /// Largest value of the field, hundredths of a second.
    pub const MAX_CENTISECONDS: u16 = 0x0fff;

    /// From the field's unit; `None` outside 1 to 4095.
    pub fn from_centiseconds(centiseconds: u16) -> Option<Self> {
        (1..=Self::MAX_CENTISECONDS).contains(&centiseconds).then_some(Self(centiseconds))
    }

    /// From a duration; `None` unless it is a multiple of 10 ms from 10 ms to 40.95 s.
    pub fn from_duration(interval: Duration) -> Option<Self> {
        let centiseconds = u16::try_from(interval.as_millis() / CENTISECOND.as_millis()).ok()?;
        Self::from_centiseconds(centiseconds).filter(|exact| exact.duration() == interval)
    }

    /// The field's value, hundredths of a second.
    pub fn centiseconds(self) -> u16 {
        self.0
    }

    /// The interval itself.
    pub fn duration(self) -> Duration {
        CENTISECOND * u32::from(self.0)
    }

    /// Skew_Time: what a router of this priority waits after a farewell, so that the best one speaks first.
    /// Computed in microseconds: in hundredths of a second all routers of a 100 ms group would fall together.
    pub fn skew(self, priority: u8) -> Duration {
        self.duration() * (256 - u32::from(priority)) / 256
    }

    /// Active_Down_Interval: the silence after which a master counts as dead.
    pub fn master_down(self, priority: u8) -> Duration {
        self.duration() * 3 + self.skew(priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_times_follow_the_rfc() {
        // (interval in centiseconds, priority, skew in us, master down in us)
        let table = [
            (10, 200, 21_875, 321_875),
            (10, 150, 41_406, 341_406),
            (10, 100, 60_937, 360_937),
            (1, 254, 78, 30_078),
            (100, 100, 609_375, 3_609_375),
            (4095, 1, 40_790_039, 163_640_039),
        ];
        for (centiseconds, priority, skew, down) in table {
            let interval = AdvertInterval::from_centiseconds(centiseconds).unwrap();
            assert_eq!(interval.skew(priority).as_micros(), skew, "{centiseconds} {priority}");
            assert_eq!(interval.master_down(priority).as_micros(), down, "{centiseconds} {priority}");
        }
    }

    #[test]
    fn only_what_the_field_can_carry_is_an_interval() {
        for (millis, centiseconds) in [
            (0, None),
            (9, None),
            (10, Some(1)),
            (15, None),
            (100, Some(10)),
            (40_950, Some(4095)),
            (40_960, None),
        ] {
            let interval = AdvertInterval::from_duration(Duration::from_millis(millis));
            assert_eq!(interval.map(AdvertInterval::centiseconds), centiseconds, "{millis} ms");
        }
        assert_eq!(AdvertInterval::from_centiseconds(0x1000), None);
        assert_eq!(AdvertInterval::from_duration(Duration::MAX), None);
    }
}
