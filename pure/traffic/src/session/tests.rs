use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_790_000_000;

fn key() -> SessionKey {
    SessionKey::new(std::array::from_fn(|index| index as u8))
}

fn endpoint(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 8080))
}

fn cookie(permanent: bool) -> SessionPersistence {
    SessionPersistence {
        name: "sid".to_owned(),
        carrier: SessionCarrier::Cookie {
            path: "/shop".to_owned(),
            permanent,
            attributes: CookieAttributes::default(),
        },
        absolute_timeout: Some(Duration::from_secs(3600)),
        idle_timeout: Some(Duration::from_secs(80)),
    }
}

fn header() -> SessionPersistence {
    SessionPersistence { name: "X-Session".to_owned(), carrier: SessionCarrier::Header, ..cookie(false) }
}

fn line(
    settings: &SessionPersistence,
    held: Option<&Held>,
    to: SocketAddr,
    now: u64,
    secure: bool,
) -> String {
    let mut out = Vec::new();
    write_line(settings, &key(), held, to, now, secure, &mut out);
    String::from_utf8(out).unwrap()
}

fn sent(settings: &SessionPersistence, value: &str, now: u64) -> Option<Held> {
    let line = match settings.carrier {
        SessionCarrier::Cookie { .. } => ("Cookie", format!("{}={value}", settings.name)),
        SessionCarrier::Header => ("x-session", value.to_owned()),
    };
    held(settings, &key(), &vec![line], now)
}

/// The token that a new client gets.
fn first(settings: &SessionPersistence, to: SocketAddr, now: u64) -> String {
    let line = line(settings, None, to, now, false);
    match settings.carrier {
        SessionCarrier::Cookie { .. } => line["set-cookie: sid=".len()..][..32].to_owned(),
        SessionCarrier::Header => line["X-Session: ".len()..][..32].to_owned(),
    }
}

/// A new client gets a line, comes back with it and is known; it gets no second line for the same endpoint.
#[test]
fn a_session_is_kept() {
    for settings in [cookie(false), header()] {
        let token = first(&settings, endpoint(1), NOW);
        let held = sent(&settings, &token, NOW + 1).unwrap();
        assert_eq!(held.endpoint, key().tag(endpoint(1)));
        assert_ne!(held.endpoint, key().tag(endpoint(2)));
        assert_eq!(line(&settings, Some(&held), endpoint(1), NOW + 1, false), "");
    }
}

/// The cookie is for the rule's path and the browser alone, lasts as long as it should, and travels by TLS if it came so.
#[test]
fn cookie_attributes() {
    let plain = line(&cookie(false), None, endpoint(1), NOW, false);
    assert!(plain.starts_with("set-cookie: sid="), "{plain}");
    assert!(plain.ends_with("; Path=/shop; HttpOnly; SameSite=Strict\r\n"), "{plain}");
    let secure = line(&cookie(true), None, endpoint(1), NOW, true);
    assert!(
        secure.ends_with("; Path=/shop; HttpOnly; Secure; SameSite=Strict; Max-Age=3600\r\n"),
        "{secure}"
    );
    let carrier = SessionCarrier::Cookie {
        path: "/a;Domain=evil".to_owned(),
        permanent: false,
        attributes: CookieAttributes::default(),
    };
    assert!(
        line(&SessionPersistence { carrier, ..cookie(false) }, None, endpoint(1), NOW, true)
            .contains("; Path=/; ")
    );
}

/// A session moves when its endpoint is gone: the client gets a token for the new one, and a new start.
#[test]
fn a_session_moves() {
    let settings = cookie(true);
    let held = sent(&settings, &first(&settings, endpoint(1), NOW), NOW + 50).unwrap();
    let moved = line(&settings, Some(&held), endpoint(2), NOW + 50, false);
    assert!(moved.ends_with("; Max-Age=3600\r\n"), "{moved}");
    let value = &moved["set-cookie: sid=".len()..][..32];
    assert_eq!(sent(&settings, value, NOW + 51).unwrap().endpoint, key().tag(endpoint(2)));
}

/// Idle time is counted from the last use, the absolute time from the start, through every fresh token.
#[test]
fn timeouts() {
    let settings = cookie(true);
    let mut value = first(&settings, endpoint(1), NOW);
    assert_eq!(sent(&settings, &value, NOW + 80), None);
    let mut now = NOW;
    while now + 60 < NOW + 3600 {
        now += 60;
        let held = sent(&settings, &value, now).unwrap();
        let fresh = line(&settings, Some(&held), endpoint(1), now, false);
        assert!(fresh.ends_with(&format!("; Max-Age={}\r\n", NOW + 3600 - now)), "{fresh}");
        value = fresh["set-cookie: sid=".len()..][..32].to_owned();
    }
    assert_eq!(now, NOW + 3540);
    assert_eq!(sent(&settings, &value, NOW + 3600), None);
}

/// Without an idle timeout a token is never written twice; without any it never ends, and a clock set back ends nothing.
#[test]
fn no_timeouts() {
    let settings = SessionPersistence { idle_timeout: None, absolute_timeout: None, ..cookie(false) };
    let value = first(&settings, endpoint(1), NOW);
    for now in [NOW - 3600, NOW + 1_000_000, u64::MAX] {
        let held = sent(&settings, &value, now).unwrap();
        assert_eq!(line(&settings, Some(&held), endpoint(1), now, false), "");
    }
}

/// A token of another key, of another session, or changed in any letter is none.
#[test]
fn forged_tokens() {
    let settings = cookie(false);
    let value = first(&settings, endpoint(1), NOW);
    for at in 0..value.len() {
        let mut letters = value.clone().into_bytes();
        letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(sent(&settings, std::str::from_utf8(&letters).unwrap(), NOW), None, "letter {at}");
    }
    let other = SessionPersistence { name: "other".to_owned(), ..cookie(false) };
    assert_eq!(sent(&other, &value, NOW), None);
    let lines = vec![("cookie", format!("sid={value}"))];
    assert!(held(&settings, &key(), &lines, NOW).is_some());
    assert!(held(&settings, &SessionKey::new([9; 32]), &lines, NOW).is_none());
}

/// The cookie is found among others, over several lines, and behind one of the same name that is not ours.
#[test]
fn among_other_cookies() {
    let settings = cookie(false);
    let value = first(&settings, endpoint(1), NOW);
    for (cookie, found) in [
        (format!("a=1; sid={value}; b=2"), true),
        (format!("a=1;sid={value}"), true),
        (format!("sid=old; sid={value}"), true),
        (format!("SID={value}"), false),
        (format!("xsid={value}"), false),
        (format!("sid=\"{value}\""), false),
        (format!("sid={value}x"), false),
        (format!("a=sid={value}"), false),
        ("sid".to_owned(), false),
        (format!("{}sid={value}", "sid=x; ".repeat(TRIED_MAX)), false),
    ] {
        let lines = vec![("host", "x".to_owned()), ("cookie", "z=1".to_owned()), ("Cookie", cookie.clone())];
        assert_eq!(held(&settings, &key(), &lines, NOW).is_some(), found, "{cookie}");
    }
}

/// A token shows no address, and the key does not show itself.
#[test]
fn nothing_leaks() {
    let tags: Vec<EndpointTag> = (1..=100).map(|last| key().tag(endpoint(last))).collect();
    let mut unique = tags.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), tags.len());
    assert_ne!(SessionKey::new([9; 32]).tag(endpoint(1)), tags[0]);
    assert_eq!(format!("{:?}", key()), "SessionKey(secret)");
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:8080".parse().unwrap();
    assert_eq!(key().tag(mapped), tags[0]);
}

proptest! {
    /// Whatever a client sends, it holds no session that it was not given.
    #[test]
    fn never_by_chance(value: Vec<u8>, text in "[A-Za-z0-9_-]{32}") {
        prop_assert_eq!(held(&cookie(false), &key(), &vec![("cookie", &value)], NOW), None);
        prop_assert_eq!(sent(&cookie(false), &text, NOW), None);
    }

    /// Text and bytes of a token stand for each other.
    #[test]
    fn text_round_trip(bytes: [u8; TOKEN_BYTES]) {
        prop_assert_eq!(from_text(&to_text(&bytes)), Some(bytes));
    }
}
