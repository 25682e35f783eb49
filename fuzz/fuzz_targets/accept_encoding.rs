//! Whatever a client says it takes, no coding is chosen that the policy does not have, or that the client never named; and in
//! whatever case it says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Source, header_lines};
use tidegate_model::traffic::{Coding, Compression};
use tidegate_traffic::compression::{Answered, Asked, Compressed, decide};

const NAMES: [&str; 5] = ["Accept-Encoding", "accept-encoding", "Cache-Control", "Cookie", "Range"];

fn way(coding: Coding) -> Compression {
    Compression { coding, bytes_min: 30, content_types: ["text/html".to_owned()].into(), credentialed: false }
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let which = source.byte();
    let asked = header_lines(&mut source, &NAMES);
    let policy: Vec<Compression> = Coding::ALL
        .into_iter()
        .enumerate()
        .filter(|(index, _)| which >> index & 1 == 1)
        .map(|(_, coding)| way(coding))
        .collect();
    let decided = |lines: &Vec<(&str, Vec<u8>)>| {
        let asked = Asked { method: "GET", http_1_0: false, certified: false, headers: lines };
        let answered = vec![("content-type", "text/html; charset=utf-8")];
        decide(&policy, &asked, &Answered { status: 200, bytes: Some(1000), headers: &answered })
    };
    let chosen = decided(&asked);
    assert_eq!(chosen == Compressed::Never, policy.is_empty());
    if let Compressed::With(coding) = chosen {
        assert!(policy.iter().any(|way| way.coding == coding));
        let said = asked.iter().filter(|(name, _)| name.eq_ignore_ascii_case("accept-encoding"));
        let text =
            said.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase()).collect::<Vec<_>>();
        assert!(text.iter().any(|text| text.contains(coding.name()) || text.contains('*')), "{text:?}");
    }
    let upper = asked.iter().map(|(name, value)| (*name, value.to_ascii_uppercase())).collect();
    let same = |line: &(&str, Vec<u8>)| !line.0.eq_ignore_ascii_case("cache-control");
    if asked.iter().all(same) {
        assert_eq!(decided(&upper), chosen);
    }
});
