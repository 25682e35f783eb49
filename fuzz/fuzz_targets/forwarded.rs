//! Whatever a request says of its client, one address is believed, each field is written once, and nothing can end a line; from
//! whom nothing is believed nothing counts.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Source, header_lines};
use tidegate_model::traffic::Trust;
use tidegate_traffic::client::{Believed, Origin, is_trusted};

const NAMES: [&str; 6] = [
    "X-Forwarded-For",
    "x-forwarded-for",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "Forwarded",
];

fn written(believed: &Believed<'_>) -> String {
    let mut out = Vec::new();
    believed.write(true, &mut out);
    String::from_utf8(out).expect("what is written is text")
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let (peer, hops) = (source.byte(), source.byte() % 4);
    let cidrs = if source.byte() & 1 == 0 { vec![] } else { vec!["10.0.0.0/8".parse().expect("a network")] };
    let trust = Trust { hops: hops.into(), cidrs };
    let peer: IpAddr = if peer & 1 == 0 { [10, 0, 0, peer] } else { [192, 0, 2, peer] }.into();
    let seen = Origin { client: peer, scheme: "http", host: "shop.example", port: 8080 };
    let lines = header_lines(&mut source, &NAMES);
    let believed = Believed::of(seen, &trust, &lines);
    let text = written(&believed);
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    let expected =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "forwarded"];
    assert_eq!(names, expected, "{text:?}");
    assert_eq!(text.matches("\r\n").count(), expected.len(), "{text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || b" \r\n".contains(&byte)), "{text:?}");
    let list = text.lines().next().and_then(|line| line.split_once(": ")).expect("the first line").1;
    let addresses: Vec<IpAddr> = list.split(", ").map(|item| item.parse().expect("an address")).collect();
    assert_eq!(addresses.last(), Some(&peer));
    assert_eq!(addresses.first(), Some(&believed.origin.client));
    if !is_trusted(&trust, peer) {
        let nothing = Vec::<(&str, &[u8])>::new();
        assert_eq!(text, written(&Believed::of(seen, &trust, &nothing)));
    }
});
