use std::sync::Arc;

use proptest::prelude::*;
use rustls::ClientConnection;

use super::*;
use crate::listener::tests::client_config;
use crate::testing::Authority;

/// What a rustls client sends first.
fn golden(name: &'static str) -> Vec<u8> {
    let config = client_config(&Authority::new("ca"), None);
    let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same message in records of so many bytes.
fn in_records_of(raw: &[u8], size: usize) -> Vec<u8> {
    raw[RECORD_HEADER_BYTES..]
        .chunks(size)
        .flat_map(|chunk| [&[22, 3, 1], &(chunk.len() as u16).to_be_bytes()[..], chunk].concat())
        .collect()
}

/// A message of these extensions, in one record.
fn with_extensions(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| {
            [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
        })
        .collect();
    let body = [&[3; 34][..], &[0, 0, 2, 19, 1, 1, 0], &(list.len() as u16).to_be_bytes(), &list].concat();
    let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    let record = [&[22, 3, 1], &(message.len() as u16).to_be_bytes()[..], &message].concat();
    if message.len() > RECORD_BYTES_MAX { in_records_of(&record, RECORD_BYTES_MAX) } else { record }
}

fn names(list: &[(u8, &str)]) -> Vec<u8> {
    let entry = |&(kind, name): &(u8, &str)| {
        [&[kind], &(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat()
    };
    let list: Vec<u8> = list.iter().flat_map(entry).collect();
    [&(list.len() as u16).to_be_bytes()[..], &list].concat()
}

fn scan(raw: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    HelloScan::default().advance(raw)
}

/// The name is found however the message is cut into records and packets, and not before the last byte.
#[test]
fn fragments() {
    let raw = golden("Shop.Example");
    for size in [1, 2, 3, 100, 16_384] {
        let raw = in_records_of(&raw, size);
        let mut scan = HelloScan::default();
        for end in 0..raw.len() {
            assert_eq!(scan.advance(&raw[..end]), Ok(None), "{size} {end}");
        }
        let behind = [&raw[..], b"more"].concat();
        let hello = scan.advance(&behind).unwrap().unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("shop.example"));
    }
}

/// A message of nearly 64 KiB is read; a larger one is refused.
#[test]
fn large() {
    let name = (0, names(&[(0, "shop.example")]));
    let raw = with_extensions(&[(21, vec![0; 65_000]), name.clone()]);
    assert_eq!(scan(&raw).unwrap().unwrap().server_name.as_deref(), Some("shop.example"));
    assert_eq!(scan(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Err(HelloError::TooLarge));
    let endless = in_records_of(&with_extensions(&[(21, vec![0; 65_000])]), 1);
    assert_eq!(HelloScan::default().advance(&endless[..RAW_HELLO_BYTES_MAX + 1]), Err(HelloError::TooLarge));
}

/// One name is a name; an address is none; two names, two extensions, or what is no name is malformed.
#[test]
fn server_names() {
    for (list, found) in [
        (vec![(0, "a.example")], Ok(Some("a.example"))),
        (vec![(0, "A.EXAMPLE.")], Ok(Some("a.example."))),
        (vec![(0, "10.0.0.1")], Ok(None)),
        (vec![(0, "::1")], Ok(None)),
        (vec![(0, "a.example"), (9, "x")], Ok(Some("a.example"))),
        (vec![(0, "a.example"), (0, "b.example")], Err(HelloError::Malformed)),
        (vec![(0, "a b")], Err(HelloError::Malformed)),
        (vec![(0, "")], Err(HelloError::Malformed)),
        (vec![], Err(HelloError::Malformed)),
    ] {
        let hello = scan(&with_extensions(&[(0, names(&list))])).map(|hello| hello.unwrap().server_name);
        assert_eq!(hello, found.map(|name| name.map(str::to_owned)), "{list:?}");
    }
    let twice = (0, names(&[(0, "a.example")]));
    assert_eq!(scan(&with_extensions(&[twice.clone(), twice])), Err(HelloError::Malformed));
    assert_eq!(scan(&with_extensions(&[])).unwrap().unwrap().server_name, None);
}

/// What is no TLS is known by its first bytes.
#[test]
fn no_tls() {
    for raw in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16G",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01\x00\x02",
        b"\x16\x03\x09",
    ] {
        assert_eq!(scan(raw), Err(HelloError::NotTls), "{raw:?}");
    }
    assert_eq!(scan(b"\x16\x03\x01\x00\x05\x02"), Ok(None));
    assert_eq!(scan(b"\x16\x03\x01\x00\x01\x02"), Err(HelloError::Malformed));
}

proptest! {
    /// Random bytes, and real messages with bytes changed, never panic, and read alike in one piece and in many.
    #[test]
    fn never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let _ = scan(&noise);
        let _ = scan(&[&[22, 3, 1, 1, 0, 1, 0, 0, 250][..], &noise].concat());
        let mut raw = with_extensions(&[(0, names(&[(0, "a.example")])), (16, noise)]);
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        let mut pieces = HelloScan::default();
        let piecemeal = (1..=raw.len()).map(|end| pieces.advance(&raw[..end])).find(|found| *found != Ok(None));
        match (scan(&raw), piecemeal) {
            (whole, Some(found)) => prop_assert_eq!(whole, found),
            (whole, None) => prop_assert_eq!(whole, Ok(None)),
        }
    }
}
