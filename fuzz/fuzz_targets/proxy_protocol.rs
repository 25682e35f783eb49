//! A PROXY protocol header is read in one way wherever it is cut, and what is written is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_traffic::proxy_protocol::{Transport, parse, write_v1, write_v2};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    for end in 0..data.len().min(600) {
        match parse(&data[..end]) {
            // What is enough stays enough.
            Ok(Some(header)) => assert_eq!(whole, Ok(Some(header))),
            Ok(None) => {}
            Err(error) => assert_eq!(whole, Err(error)),
        }
    }
    let Ok(Some(header)) = whole else { return };
    assert!(header.consumed <= data.len());
    let Some(addresses) = header.addresses else { return };
    let mut out = Vec::new();
    write_v2(&addresses, &mut out);
    assert_eq!(parse(&out).unwrap().unwrap().addresses, Some(addresses));
    if addresses.transport == Transport::Stream && addresses.source.is_ipv4() == addresses.destination.is_ipv4() {
        out.clear();
        write_v1(addresses.source, addresses.destination, &mut out);
        assert_eq!(parse(&out).unwrap().unwrap().addresses, Some(addresses));
    }
});
