//! Named cases of the router: hosts as clients write them, and what random requests reach too rarely.

use std::sync::Arc;

use tidegate_model::traffic::*;

use super::{entrance, listener, path_match, prefix, route};
use crate::client::Origin;
use crate::request::RequestView;
use crate::router::{Decision, Router};

fn found(router: &Router, host: &str, path: &str) -> String {
    found_by(router, None, host, path)
}

fn found_by(router: &Router, server_name: Option<&str>, host: &str, path: &str) -> String {
    let none: Vec<(String, String)> = vec![];
    match router.route(&RequestView {
        host,
        method: "GET",
        path,
        query: None,
        server_name,
        origin: Origin::UNKNOWN,
        headers: &none,
    }) {
        Decision::Misdirected(_) => "misdirected".into(),
        Decision::Matched(found) => format!("{}#{}", found.route.name.name, found.rule.index),
        Decision::NoListener => "no listener".into(),
        Decision::NoRoute(_) => "no route".into(),
        Decision::NoRule(_) => "no rule".into(),
    }
}

fn forward(matches: Vec<RequestMatch>) -> HttpRule {
    HttpRule::plain(0, matches, Action::Forward(vec![]))
}

/// What a request says about its own origin matches no rule, unless the listener believes whoever says it; what the gateway
/// itself tells the backend does.
#[test]
fn claims_match_as_the_backend_reads_them() {
    let rule = |name: &str, value: &str| {
        let headers = vec![(name.to_owned(), ValueMatch::Exact(value.to_owned()))];
        forward(vec![RequestMatch { headers, ..prefix("/") }])
    };
    let rules = [
        ("x-real-ip", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=10.0.0.1"),
    ];
    let forged = rules.map(|(name, value)| (name.to_lowercase(), value.to_owned())).to_vec();
    let find = |trust: Trust, scheme: &'static str, peer: &str, only: usize| {
        let (name, value) = rules[only];
        let served = listener("a", None, vec![route("r", &[], vec![rule(name, value)])]);
        let client = Arc::new(ClientPolicy { trust, ..ClientPolicy::default() });
        let served = Listener { client, ..Listener::clone(&served) };
        let router = Router::new(&entrance(vec![Arc::new(served)]));
        let origin = Origin { client: peer.parse().unwrap(), scheme, host: "h", port: 80 };
        let (host, method, path, query, server_name) = ("h", "GET", "/", None, None);
        let view = RequestView { host, method, path, query, server_name, origin, headers: &forged };
        matches!(router.route(&view), Decision::Matched(_))
    };
    let by = |trust: &Trust, scheme| {
        (0..5).map(|only| find(trust.clone(), scheme, "192.0.2.1", only)).collect::<Vec<_>>()
    };
    assert_eq!(by(&Trust::default(), "http"), [false, false, false, true, false]);
    assert_eq!(by(&Trust::default(), "https"), [false, true, false, true, false]);
    let hop = Trust { hops: 0, cidrs: vec!["10.0.0.0/8".parse().unwrap()] };
    assert!(find(hop.clone(), "http", "10.9.9.9", 1), "a trusted hop says that it was https");
    assert!(!find(hop, "http", "192.0.2.1", 1), "somebody else");
}

/// Case, port and a trailing dot make no difference to the host; a host that is none finds only listeners for all.
#[test]
fn hosts_as_clients_write_them() {
    let shop = route("shop", &["shop.example"], vec![forward(vec![prefix("")])]);
    let only_shop = Router::new(&entrance(vec![listener("http", Some("shop.example"), vec![shop.clone()])]));
    for host in ["shop.example", "SHOP.Example", "shop.example:8080", "shop.example.", "Shop.Example.:80"] {
        assert_eq!(found(&only_shop, host, "/"), "shop#0", "{host}");
    }
    for host in ["", "shop", "xshop.example", "shop.example.evil", "shop.example:x", "a.shop.example"] {
        assert_eq!(found(&only_shop, host, "/"), "no listener", "{host}");
    }
    let rest = route("rest", &[], vec![forward(vec![prefix("")])]);
    let all = Router::new(&entrance(vec![listener("http", None, vec![shop, rest])]));
    assert_eq!(found(&all, "", "/"), "rest#0");
    assert_eq!(found(&all, "[::1]:80", "/"), "rest#0");
}

/// The listener that matches best decides alone, even when it has no route and a wider one has.
#[test]
fn no_fall_back_to_another_listener() {
    let everything = route("all", &[], vec![forward(vec![prefix("")])]);
    let router = Router::new(&entrance(vec![
        listener("wide", None, vec![everything]),
        listener("narrow", Some("*.example"), vec![]),
    ]));
    assert_eq!(found(&router, "a.example", "/"), "no route");
    assert_eq!(found(&router, "a.test", "/"), "all#0");
}

/// A route with a more specific host goes first, and a route with a less specific one still gets what it leaves.
#[test]
fn a_wider_route_gets_what_the_narrow_one_leaves() {
    let narrow = route("narrow", &["a.example"], vec![forward(vec![prefix("/in")])]);
    let wide = route(
        "wide",
        &["*.example"],
        vec![forward(vec![prefix(""), path_match(PathMatch::Exact("/in".into()))])],
    );
    let router = Router::new(&entrance(vec![listener("http", None, vec![wide, narrow])]));
    assert_eq!(found(&router, "a.example", "/in"), "narrow#0");
    assert_eq!(found(&router, "a.example", "/out"), "wide#0");
    assert_eq!(found(&router, "example", "/out"), "no route");
}

/// Prefixes count whole segments.
#[test]
fn prefixes_are_whole_segments() {
    let routes = vec![route("r", &[], vec![forward(vec![prefix("/foo")])])];
    let router = Router::new(&entrance(vec![listener("http", None, routes)]));
    for (path, expected) in [
        ("/foo", "r#0"),
        ("/foo/", "r#0"),
        ("/foo/bar", "r#0"),
        ("/foobar", "no rule"),
        ("/", "no rule"),
        ("*", "no rule"),
    ] {
        assert_eq!(found(&router, "a", path), expected, "{path}");
    }
}

/// Paths in objects are read as paths in requests are, so an escaped spelling of a rule still matches.
#[test]
fn rules_are_normalised_too() {
    let rules = vec![forward(vec![path_match(PathMatch::Exact("/caf%c3%a9".into())), prefix("/%61dmin")])];
    let router = Router::new(&entrance(vec![listener("http", None, vec![route("r", &[], rules)])]));
    assert_eq!(found(&router, "a", "/caf%C3%A9"), "r#0");
    assert_eq!(found(&router, "a", "/admin/x"), "r#0");
}

/// A request over TLS is served by the listener that the handshake was made with, or is misdirected; a client without
/// a server name reaches every listener that asks for no certificate.
#[test]
fn the_listener_of_the_handshake_serves() {
    let tls = |asks: bool| {
        let validation = ClientValidation { roots: Roots::System, optional: false };
        Arc::new(ServerTls {
            certificates: vec![],
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            ciphers: vec![],
            alpn: vec![],
            resumption: true,
            client_validation: asks.then(|| Arc::new(validation)),
        })
    };
    let over_tls = |section: &str, host: Option<&str>, asks: bool| {
        let routes = vec![route(section, &[], vec![forward(vec![prefix("")])])];
        let plain = listener(section, host, routes);
        Arc::new(Listener { tls: Some(tls(asks)), ..(*plain).clone() })
    };
    let router = Router::new(&entrance(vec![
        over_tls("open", Some("open.example"), false),
        over_tls("closed", Some("closed.example"), true),
        over_tls("wide", Some("*.wide.example"), false),
    ]));
    for (name, host, expected) in [
        ("open.example", "open.example", "open#0"),
        ("OPEN.example", "open.example:443", "open#0"),
        ("open.example", "closed.example", "misdirected"),
        ("closed.example", "open.example", "misdirected"),
        ("a.wide.example", "b.wide.example", "wide#0"),
        ("", "open.example", "open#0"),
        ("", "closed.example", "misdirected"),
        ("other.example", "open.example", "misdirected"),
        ("open.example", "other.example", "no listener"),
    ] {
        assert_eq!(found_by(&router, Some(name), host, "/"), expected, "{name} {host}");
    }
    assert_eq!(router.listener_for("Closed.Example").unwrap().name.section.as_ref(), "closed");
    assert!(router.listener_for("other.example").is_none());
}
