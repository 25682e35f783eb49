use super::*;
use proptest::prelude::*;

fn trust(hops: u32, cidrs: &[&str]) -> Trust {
    Trust { hops, cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect() }
}

fn seen(peer: &str) -> Origin<'static> {
    Origin { client: peer.parse().unwrap(), scheme: "http", host: "shop.example:8080", port: 8080 }
}

fn written(seen: Origin<'_>, trust: &Trust, lines: &[(&str, &str)], forwarded: bool) -> String {
    let (mut head, lines) = (Vec::new(), lines.to_vec());
    Believed::of(seen, trust, &lines).write(forwarded, &mut head);
    String::from_utf8(head).unwrap()
}

/// The first line that is written, and the client.
fn believed(trust: &Trust, peer: &str, xff: &[&str]) -> (String, String) {
    let lines: Vec<(&str, &str)> = xff.iter().map(|value| ("X-Forwarded-For", *value)).collect();
    let client = Believed::of(seen(peer), trust, &lines).origin.client.to_string();
    let text = written(seen(peer), trust, &lines, false);
    (client, text.lines().next().unwrap()["x-forwarded-for: ".len()..].to_owned())
}

/// The client is the peer, in its own family, and the fields are complete.
#[test]
fn origin_is_what_the_gateway_saw() {
    let mut head = Vec::new();
    let client = "::ffff:192.0.2.7".parse().unwrap();
    Origin { client, scheme: "http", host: "shop.example:8080", port: 8080 }.write(&mut head);
    assert_eq!(
        String::from_utf8(head).unwrap(),
        "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-port: 8080\r\n\
         x-forwarded-host: shop.example:8080\r\n"
    );
}

/// Nobody is trusted: whatever a request claims, the backend reads what the gateway saw.
#[test]
fn claims_of_strangers_are_replaced() {
    let lines = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Port", "443"),
    ];
    let expected = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\nx-forwarded-port: 8080\r\n\
                    x-forwarded-host: shop.example:8080\r\n";
    for trust in [trust(0, &[]), trust(0, &["10.0.0.0/8"]), trust(1, &["10.0.0.0/8"])] {
        assert_eq!(written(seen("192.0.2.1"), &trust, &lines, false), expected, "{trust:?}");
        assert_eq!(
            written(seen("192.0.2.1"), &trust, &lines, true),
            format!("{expected}forwarded: for=192.0.2.1;host=\"shop.example:8080\";proto=http\r\n")
        );
    }
}

/// An IPv4 address is told and counted as one however a hop writes it.
#[test]
fn mapped_addresses() {
    for item in ["203.0.113.7", "::ffff:203.0.113.7", "[::ffff:203.0.113.7]", "[::ffff:203.0.113.7]:80"] {
        let expected = ("203.0.113.7".to_owned(), "203.0.113.7, 192.0.2.1".to_owned());
        assert_eq!(believed(&trust(1, &[]), "192.0.2.1", &[item]), expected, "{item}");
    }
}

/// With so many hops, the client is the address that the outermost of them appended; what is left of it is not passed on.
#[test]
fn hops() {
    for (hops, xff, client, line) in [
        (1, &["1.1.1.1"][..], "1.1.1.1", "1.1.1.1, 10.0.0.9"),
        (1, &["6.6.6.6, 1.1.1.1"], "1.1.1.1", "1.1.1.1, 10.0.0.9"),
        (2, &["1.1.1.1, 2.2.2.2"], "1.1.1.1", "1.1.1.1, 2.2.2.2, 10.0.0.9"),
        (2, &["6.6.6.6", "1.1.1.1", "2.2.2.2"], "1.1.1.1", "1.1.1.1, 2.2.2.2, 10.0.0.9"),
        (2, &["6.6.6.6,1.1.1.1", ", 2.2.2.2,"], "1.1.1.1", "1.1.1.1, 2.2.2.2, 10.0.0.9"),
        // Too few addresses, or something else among them: the peer.
        (2, &["2.2.2.2"], "10.0.0.9", "10.0.0.9"),
        (1, &[], "10.0.0.9", "10.0.0.9"),
        (1, &["unknown"], "10.0.0.9", "10.0.0.9"),
        (2, &["1.1.1.1, unknown"], "10.0.0.9", "10.0.0.9"),
        (u32::MAX, &["1.1.1.1"], "10.0.0.9", "10.0.0.9"),
    ] {
        let found = believed(&trust(hops, &[]), "10.0.0.9", xff);
        assert_eq!(found, (client.to_owned(), line.to_owned()), "{hops} {xff:?}");
    }
}

/// With trusted addresses, the client is the last address that is none of them.
#[test]
fn addresses() {
    let trust = trust(0, &["10.0.0.0/8", "2001:db8::/32"]);
    for (xff, client, line) in [
        (&["1.1.1.1"][..], "1.1.1.1", "1.1.1.1, 10.0.0.9"),
        (&["6.6.6.6, 1.1.1.1, 10.2.2.2"], "1.1.1.1", "1.1.1.1, 10.2.2.2, 10.0.0.9"),
        (&["6.6.6.6", "1.1.1.1", "2001:db8::5"], "1.1.1.1", "1.1.1.1, 2001:db8::5, 10.0.0.9"),
        (&["10.1.1.1, 10.2.2.2"], "10.1.1.1", "10.1.1.1, 10.2.2.2, 10.0.0.9"),
        (&["1.1.1.1, nonsense, 10.2.2.2"], "10.2.2.2", "10.2.2.2, 10.0.0.9"),
        (&["1.1.1.1, nonsense"], "10.0.0.9", "10.0.0.9"),
        (&["::ffff:1.1.1.1, ::ffff:10.2.2.2"], "1.1.1.1", "1.1.1.1, 10.2.2.2, 10.0.0.9"),
        (&[], "10.0.0.9", "10.0.0.9"),
    ] {
        let found = believed(&trust, "10.0.0.9", xff);
        assert_eq!(found, (client.to_owned(), line.to_owned()), "{xff:?}");
        assert_eq!(believed(&trust, "::ffff:10.0.0.9", xff).0, client);
    }
}

/// Hops count only behind a trusted peer, if addresses are named too.
#[test]
fn hops_behind_trusted_addresses() {
    let trust = trust(1, &["10.0.0.0/8"]);
    assert_eq!(believed(&trust, "10.0.0.9", &["10.7.7.7"]).0, "10.7.7.7");
    assert_eq!(believed(&trust, "192.0.2.1", &["10.7.7.7"]).0, "192.0.2.1");
}

/// No more addresses are looked at than the bound, from the end.
#[test]
fn bounded() {
    let long = vec!["10.1.1.1"; 10_000].join(",");
    let (client, line) = believed(&trust(0, &["10.0.0.0/8"]), "10.0.0.9", &["1.1.1.1", &long]);
    assert_eq!((client.as_str(), line.split(", ").count()), ("10.1.1.1", HOPS_MAX + 1));
    assert_eq!(believed(&trust(65, &[]), "10.0.0.9", &[&long]).0, "10.0.0.9");
    assert_eq!(believed(&trust(64, &[]), "10.0.0.9", &[&long]).0, "10.1.1.1");
}

/// Addresses are read with ports and brackets, and nothing else is one.
#[test]
fn spellings_of_addresses() {
    for (item, expected) in [
        ("1.2.3.4", Some("1.2.3.4")),
        ("1.2.3.4:5678", Some("1.2.3.4")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("1.2.3.4:", None),
        ("1.2.3.4:+1", None),
        ("1.2.3.4:99999", None),
        ("01.2.3.4", None),
        ("[1.2.3.4]", None),
        ("[2001:db8::1", None),
        ("[2001:db8::1]x", None),
        ("fe80::1%eth0", None),
        ("unknown", None),
        ("_hidden", None),
        ("\"1.2.3.4\"", None),
        ("", None),
    ] {
        assert_eq!(address(item.as_bytes()).map(|found| found.to_string()).as_deref(), expected, "{item}");
    }
}

/// Trusted hops say which scheme, host and port the client used; what they leave out follows from the rest.
#[test]
fn scheme_host_and_port() {
    for (lines, scheme, host, port) in [
        (&[][..], "http", "shop.example:8080", 8080),
        (&[("x-forwarded-proto", "HTTPS")][..], "https", "shop.example:8080", 8080),
        (&[("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example")], "https", "a.example", 443),
        (
            &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example:8443")],
            "https",
            "a.example:8443",
            8443,
        ),
        (&[("x-forwarded-port", "444")], "http", "shop.example:8080", 444),
        (
            &[("x-forwarded-proto", "http, https"), ("x-forwarded-port", "443")],
            "https",
            "shop.example:8080",
            443,
        ),
        // What is not valid was not said.
        (&[("x-forwarded-proto", "gopher"), ("x-forwarded-port", "x")], "http", "shop.example:8080", 8080),
        (&[("x-forwarded-host", "a.example;x=\"")], "http", "shop.example:8080", 8080),
    ] {
        let lines = lines.to_vec();
        let origin = Believed::of(seen("10.0.0.9"), &trust(0, &["10.0.0.0/8"]), &lines).origin;
        assert_eq!((origin.scheme, origin.host, origin.port), (scheme, host, port), "{lines:?}");
    }
}

/// `Forwarded` has an element for each hop; IPv6 stands in brackets and quotes, and a host that is none is left out.
#[test]
fn forwarded() {
    let lines = [
        ("x-forwarded-for", "2001:db8::7, 1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
    ];
    let text = written(seen("10.0.0.9"), &trust(2, &[]), &lines, true);
    let line = text.lines().last().unwrap();
    assert_eq!(
        line,
        "forwarded: for=\"[2001:db8::7]\";host=a.example;proto=https, for=1.1.1.1, for=10.0.0.9"
    );
    let odd = Origin { host: "a\"b", ..seen("2001:db8::9") };
    let text = written(odd, &trust(0, &[]), &[], true);
    assert_eq!(text.lines().last(), Some("forwarded: for=\"[2001:db8::9]\";proto=http"));
}

/// The PROXY protocol is for trusted addresses; for all, if none are named.
#[test]
fn proxy_headers() {
    for (cidrs, peer, may) in [
        (&[][..], "192.0.2.1", true),
        (&["10.0.0.0/8"], "10.1.2.3", true),
        (&["10.0.0.0/8"], "::ffff:10.1.2.3", true),
        (&["10.0.0.0/8"], "192.0.2.1", false),
    ] {
        assert_eq!(may_send_proxy_header(&trust(0, cidrs), peer.parse().unwrap()), may);
    }
}

/// Every spelling of a claim about the origin is left out, and nothing else.
#[test]
fn claims() {
    for name in [
        "X-Forwarded-For",
        "x_forwarded_for",
        "Forwarded",
        "X-Real-IP",
        "x-forwarded_proto",
        "X-Forwarded-Client-Cert",
        "Client-Cert",
        "Client-Cert-Chain",
        "Front-End-Https",
        "X-Original-Host",
    ] {
        assert!(is_claim(name.as_bytes()), "{name}");
    }
    for name in ["x-forwarded-fo", "x-forwarded-client-certs", "for", "x-request-id"] {
        assert!(!is_claim(name.as_bytes()), "{name}");
    }
}

/// What the list says, walked from its end one address at a time.
fn naive(trust: &Trust, peer: IpAddr, list: &[IpAddr]) -> IpAddr {
    let inside = |address: &IpAddr| trust.cidrs.iter().any(|cidr| cidr.contains(address));
    let mut client = peer;
    for address in list.iter().rev() {
        if !inside(&client) {
            break;
        }
        client = *address;
    }
    client
}

proptest! {
    /// The client is whom a walk from the end finds, and the lines are the same however the list is cut into fields.
    #[test]
    fn equals_a_walk_from_the_end(list in proptest::collection::vec("1[0-1]\\.0\\.0\\.[0-9]", 0..8), cut in 0usize..8, peer in "1[0-1]\\.0\\.0\\.1") {
        let trust = trust(0, &["10.0.0.0/8"]);
        let addresses: Vec<IpAddr> = list.iter().map(|text| text.parse().unwrap()).collect();
        let (first, second) = list.split_at(cut.min(list.len()));
        let (one, two) = (believed(&trust, &peer, &[&list.join(",")]), believed(&trust, &peer, &[&first.join(", "), &second.join(",")]));
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(one.0, naive(&trust, peer.parse().unwrap(), &addresses).to_string());
    }

    /// Whatever hops say, what is written are whole lines of our own names.
    #[test]
    fn lines_are_whole(value: Vec<u8>, hops in 0u32..3) {
        let lines: Vec<(&str, &[u8])> = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"]
            .map(|name| (name, value.as_slice()))
            .to_vec();
        let mut head = Vec::new();
        Believed::of(seen("10.0.0.9"), &trust(hops, &["10.0.0.0/8"]), &lines).write(true, &mut head);
        let text = String::from_utf8(head).unwrap();
        let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        prop_assert_eq!(lines.len(), 5);
        for line in lines {
            prop_assert!(is_claim(line.split_once(": ").unwrap().0.as_bytes()));
        }
    }
}
