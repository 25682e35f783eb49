//! Whatever happens to a group, Claim and Release alternate, every payload sent is an advert of ours, and timers end.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Clock, Source};
use tidegate_vrrp::packet::{GROUP_V4, decode};
use tidegate_vrrp::{
    Advert, AdvertInterval, Checksum, Config, Input, LegConfig, LegId, Output, Priority, Session, State, Vrid,
};

fn address(leg: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, leg, 0, host).into()
}

fn leg(leg: u8, unicast: bool) -> LegConfig {
    LegConfig {
        id: LegId(leg.into()),
        interface: format!("eth{leg}"),
        vrid: Vrid::MIN,
        source: address(leg, 12),
        addresses: vec![address(leg, 50)],
        unicast_peers: if unicast { vec![address(leg, 11), address(leg, 13)] } else { vec![] },
        up: true,
    }
}

fn config(flags: u8) -> Config {
    Config {
        interval: AdvertInterval::from_centiseconds(10).expect("within 1 to 4095"),
        priority: Priority::new(150).expect("within 1 to 254"),
        preempt: flags & 1 != 0,
        preempt_delay: Duration::from_millis(if flags & 2 == 0 { 0 } else { 500 }),
        ready: flags & 4 == 0,
        ready_grace: Config::READY_GRACE,
        drained: flags & 8 != 0,
        legs: (0..1 + (flags >> 4) % 3).map(|number| leg(number, flags & 0x80 != 0)).collect(),
    }
}

/// An advert that comes near to a real one, or any bytes.
fn payload(source: &mut Source<'_>, leg: u8, from: IpAddr, sound: bool) -> Vec<u8> {
    if !sound {
        return source.chunk().to_vec();
    }
    let interval = u16::from(source.byte()) << (source.byte() % 5);
    let advert = Advert {
        vrid: Vrid::MIN,
        priority: source.byte(),
        interval: AdvertInterval::from_centiseconds(interval)
            .unwrap_or(AdvertInterval::from_centiseconds(10).expect("sound")),
        addresses: vec![address(leg, 50 + source.byte() % 2)],
    };
    advert.encode(from, GROUP_V4.into(), Checksum::default())
}

fn drain(session: &mut Session, master: &mut bool) {
    while let Some(output) = session.poll_output() {
        match output {
            Output::Claim(reason) => {
                assert!(!std::mem::replace(master, true), "claims twice");
                assert!(!reason.to_string().is_empty());
            }
            Output::Release(reason) => {
                assert!(std::mem::replace(master, false), "releases what it has not");
                assert!(!reason.to_string().is_empty());
            }
            Output::Announce => assert!(*master, "announces what it has not"),
            Output::Send { leg, destination, bytes } => {
                let received =
                    decode(&bytes, address(leg.0 as u8, 12), destination, 255).expect("a sound advert");
                assert_eq!(received.advert.vrid, Vrid::MIN);
            }
            Output::Report(report) => assert!(!report.to_string().is_empty()),
        }
    }
    assert_eq!(*master, session.state() == State::Master);
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let mut clock = Clock::start();
    let mut session = Session::new(config(source.byte()), clock.now()).expect("sound settings");
    let mut master = false;
    drain(&mut session, &mut master);
    while !source.is_empty() {
        let (kind, value) = (source.byte(), source.byte());
        let (flag, leg) = (kind & 0x80 != 0, value % 4);
        let from = address(leg, 10 + (value >> 2) % 8);
        let advert;
        let input = match kind % 9 {
            0 => {
                clock.pass(u64::from(value) * 4);
                Input::Timeout
            }
            1 => {
                session.poll_timeout().into_iter().for_each(|due| clock.reach(due));
                Input::Timeout
            }
            2 => Input::Link { leg: LegId(leg.into()), up: flag },
            3 => Input::Priority(Priority::new(value).unwrap_or(Priority::new(1).expect("within 1 to 254"))),
            4 => Input::Ready(flag),
            5 => Input::Drain(flag),
            6 if value == 0 => Input::Stop,
            6 => Input::Rebalance,
            _ => {
                advert = payload(&mut source, leg, from, flag);
                let destination = GROUP_V4.into();
                Input::Advert {
                    leg: LegId(leg.into()),
                    source: from,
                    destination,
                    ttl: 255,
                    payload: &advert,
                }
            }
        };
        session.handle(input, clock.now());
        drain(&mut session, &mut master);
        assert!(session.poll_timeout().is_none_or(|due| due > clock.now()), "a timer that is never served");
    }
});
