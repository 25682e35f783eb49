//! No token and no cookie that is not ours is believed, wherever it stands; the one we give is found among any others.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Source, header_lines};
use tidegate_model::traffic::{SessionCarrier, SessionPersistence};
use tidegate_traffic::session::{SessionKey, held, write_line};

const NAMES: [&str; 3] = ["Cookie", "cookie", "X-Session"];

fn settings(carrier: SessionCarrier, name: &str) -> SessionPersistence {
    let (absolute_timeout, idle_timeout) = (Some(Duration::from_secs(3600)), Some(Duration::from_secs(600)));
    SessionPersistence { name: name.to_owned(), carrier, absolute_timeout, idle_timeout }
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let now_secs =
        u64::from(u32::from_be_bytes([source.byte(), source.byte(), source.byte(), source.byte()]));
    let lines = header_lines(&mut source, &NAMES);
    let endpoint: SocketAddr = ([10, 0, 0, 1], 80).into();
    let (ours, others) = (SessionKey::new([7; 32]), SessionKey::new([8; 32]));
    let cookie = settings(SessionCarrier::Cookie { path: "/".to_owned(), permanent: true, attributes: Default::default() }, "session");
    let header = settings(SessionCarrier::Header, "x-session");
    for settings in [&cookie, &header] {
        assert_eq!(held(settings, &ours, &lines, now_secs), None, "nobody can guess a token");
        let mut out = Vec::new();
        write_line(settings, &ours, None, endpoint, now_secs, true, &mut out);
        let text = String::from_utf8(out).expect("what is written is text");
        let (_, value) = text.trim_end().split_once(": ").expect("one line");
        let given = value.split(';').next().expect("a value").as_bytes().to_vec();
        let name = if settings.carrier == SessionCarrier::Header { "X-Session" } else { "Cookie" };
        // A browser sends it first, a client that hides it behind others gains nothing.
        let mut sent = vec![(name, given)];
        sent.extend(lines.iter().cloned());
        let found = held(settings, &ours, &sent, now_secs).expect("the token that was just given");
        assert_eq!(found.endpoint, ours.tag(endpoint));
        assert_eq!(held(settings, &others, &sent, now_secs), None, "another key");
    }
});
