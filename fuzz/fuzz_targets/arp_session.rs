//! Whatever happens on an interface, it speaks of held addresses only, never while its link is down, and timers end.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Clock, Source};
use tidegate_neighbor::session::MAX_OUTPUTS;
use tidegate_neighbor::{Arp, Input, Mac, Operation, Output, Session};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn address(byte: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, byte % 8)
}

fn frame(source: &mut Source<'_>, sound: bool) -> Vec<u8> {
    if !sound {
        return source.chunk().to_vec();
    }
    let kind = source.byte();
    let mac = Mac([2, 0, 0, 0, 0, kind % 4]);
    let arp = Arp {
        destination: if kind & 8 == 0 { Mac::BROADCAST } else { OURS },
        source: mac,
        operation: if kind & 16 == 0 { Operation::Request } else { Operation::Reply },
        sender_mac: if kind & 32 == 0 { mac } else { Mac([kind; 6]) },
        sender: address(source.byte()),
        target_mac: Mac::ZERO,
        target: address(source.byte()),
    };
    arp.encode().to_vec()
}

fn drain(session: &mut Session, up: bool) {
    let mut outputs = 0;
    while let Some(output) = session.poll_output() {
        outputs += 1;
        match output {
            Output::Send(bytes) => {
                let arp = Arp::decode(&bytes).expect("a sound frame");
                assert!(up, "speaks into a link that is down");
                assert!(session.holds(arp.sender) && arp.sender_mac == OURS && arp.source == OURS);
                assert_ne!(arp.destination, OURS);
            }
            Output::Conflict { address, mac } => assert!(session.holds(address) && mac != OURS),
        }
    }
    assert!(outputs <= MAX_OUTPUTS + 1, "{outputs} outputs waited");
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let mut clock = Clock::start();
    let mut session = Session::new(OURS);
    let mut up = true;
    while !source.is_empty() {
        let (kind, value) = (source.byte(), source.byte());
        let received;
        let input = match kind % 8 {
            0 => {
                session.poll_timeout().into_iter().for_each(|due| clock.reach(due));
                Input::Timeout
            }
            1 => {
                clock.pass(u64::from(value) * 40);
                Input::Timeout
            }
            2 | 3 => Input::Hold(address(value)),
            4 => Input::Release(address(value)),
            5 => Input::Announce(address(value)),
            6 if value & 7 == 0 => {
                up = value & 8 == 0;
                Input::Link { up }
            }
            _ => {
                received = frame(&mut source, kind & 0x80 == 0);
                Input::Frame(&received)
            }
        };
        session.handle(input, clock.now());
        // Now and then the shell is slow.
        if kind & 0x40 == 0 {
            drain(&mut session, up);
            assert!(
                session.poll_timeout().is_none_or(|due| due > clock.now()),
                "a timer that is never served"
            );
        }
    }
});
