//! What `explain` says: the way when a backend serves the request, the first reason when none does.

use std::sync::Arc;

use tidegate_model::Traffic;
use tidegate_model::traffic::*;

use super::{backend, entrance, listener, path_match, prefix, route};
use crate::explain::{Explanation, Question, entrance_for, explain, explain_tls};
use crate::router::Router;

fn shop() -> Router {
    let forward =
        |index, path, backends| HttpRule::plain(index, vec![prefix(path)], Action::Forward(backends));
    let broken = |weight| WeightedBackend::plain(weight, Target::Broken("BackendNotFound"));
    let checkout = RequestMatch {
        method: Some("POST".into()),
        headers: vec![("x-beta".into(), ValueMatch::Exact("1".into()))],
        query: vec![("v".into(), ValueMatch::Regex("[0-9]".into()))],
        ..path_match(PathMatch::Exact("/checkout".into()))
    };
    let rules = vec![
        forward(0, "/web", vec![backend("web", 9, &["10.0.0.1:80"]), backend("canary", 1, &[])]),
        forward(1, "/none", vec![backend("web", 1, &[])]),
        forward(2, "/weightless", vec![backend("web", 0, &["10.0.0.1:80"])]),
        forward(3, "/broken", vec![broken(1), backend("web", 0, &["10.0.0.1:80"])]),
        HttpRule::plain(
            4,
            vec![prefix("/refused")],
            Action::Refuse { status: 500, reason: "UnsupportedFilter" },
        ),
        HttpRule {
            guard: Guard {
                allow: vec!["10.0.0.0/8".parse().unwrap()],
                deny: vec!["10.0.0.9/32".parse().unwrap()],
                ..Guard::default()
            }
            .into(),
            ..forward(6, "/office", vec![backend("web", 1, &["10.0.0.1:80"])])
        },
        HttpRule::plain(5, vec![checkout], Action::Forward(vec![backend("pay", 1, &["10.0.0.2:80"])])),
    ];
    Router::new(&entrance(vec![listener(
        "http",
        Some("*.example"),
        vec![route("web", &["shop.example"], rules)],
    )]))
}

fn ask(host: &str, target: &str) -> Explanation {
    explain(&shop(), &Question { host, method: "GET", target, headers: vec![], client: None })
}

/// A rule that does not let everybody in says whom, and turns away who is not among them; nobody in particular is let in.
#[test]
fn who_may_come() {
    let ask = |client: Option<&str>| {
        let client = client.map(|client| client.parse().unwrap());
        let question =
            Question { host: "shop.example", method: "GET", target: "/office", headers: vec![], client };
        explain(&shop(), &question)
    };
    for admitted in [None, Some("10.1.1.1"), Some("::ffff:10.1.1.1")] {
        let told = ask(admitted);
        assert_eq!(
            (told.refusal, told.clients.as_deref()),
            (None, Some("only 10.0.0.0/8, but not 10.0.0.9/32"))
        );
    }
    for stranger in ["192.0.2.1", "10.0.0.9"] {
        let told = ask(Some(stranger));
        assert_eq!(told.refusal.map(|refusal| refusal.reason), Some("ClientNotAllowed"));
        assert_eq!((told.rule, told.backends.len()), (Some(6), 0));
    }
}

/// A request that is served names its way and every backend with its weight and endpoints.
#[test]
fn the_way_of_a_request() {
    let told = ask("Shop.Example:8080", "/x/../web/1?q=1");
    assert_eq!(told.listener.as_deref(), Some("shop/edge/http"));
    assert_eq!((told.route.as_deref(), told.rule), (Some("shop/web"), Some(0)));
    assert_eq!((told.path.as_str(), told.matched.as_deref()), ("/web/1", Some("path under /web")));
    assert_eq!(told.refusal, None);
    let shares: Vec<_> = told
        .backends
        .iter()
        .map(|share| (share.backend.as_deref(), share.weight, share.endpoints.len()))
        .collect();
    assert_eq!(shares, [(Some("shop/web:80"), 9, 1), (Some("shop/canary:80"), 1, 0)]);
    assert_eq!(told.backends[1].refusal.map(|refusal| refusal.reason), Some("NoEndpoint"));
}

/// A request that no backend serves gets the first reason on its way.
#[test]
fn the_first_reason() {
    for (host, target, status, reason) in [
        ("a b", "/", 400, "BadHost"),
        ("shop.example", "/a%2fb", 400, "BadPath"),
        ("shop.test", "/web", 404, "NoListener"),
        ("other.example", "/web", 404, "NoRoute"),
        ("shop.example", "/", 404, "NoRule"),
        ("shop.example", "/refused", 500, "UnsupportedFilter"),
        ("shop.example", "/broken", 500, "BackendNotFound"),
        ("shop.example", "/weightless", 500, "NoBackendWeight"),
        ("shop.example", "/none", 503, "NoEndpoint"),
    ] {
        let told = ask(host, target);
        let refusal = told.refusal.map(|refusal| (refusal.status, refusal.reason));
        assert_eq!(refusal, Some((status, reason)), "{host}{target}");
        assert!(told.message.ends_with('.'), "{}", told.message);
    }
}

/// Method, headers and query take part, and the match is told in words.
#[test]
fn every_part_of_a_match() {
    let headers = vec![("X-Beta".to_owned(), "1".to_owned())];
    let question =
        Question { host: "shop.example", method: "POST", target: "/checkout?v=3", headers, client: None };
    let told = explain(&shop(), &question);
    assert_eq!(told.rule, Some(5));
    let words = "path = /checkout, method POST, header x-beta = 1, query v ~ [0-9]";
    assert_eq!(told.matched.as_deref(), Some(words));
    for other in [
        Question { method: "GET", ..question.clone() },
        Question { target: "/checkout?v=x", ..question.clone() },
    ] {
        assert_eq!(explain(&shop(), &other).rule, None);
    }
}

/// A connection reaches the socket of its own address before those of every local address.
#[test]
fn sockets_by_address() {
    let at = |address: &str| {
        let address = address.parse().unwrap();
        Arc::new(Entrance { address, ..entrance(vec![]) })
    };
    let entrances = vec![at("[::]:80"), at("0.0.0.0:80"), at("10.0.0.1:80"), at("[::]:81")];
    let traffic = Traffic { entrances, ..Traffic::default() };
    for (address, port, expected) in [
        ("10.0.0.1", 80, Some("10.0.0.1:80")),
        ("10.0.0.2", 80, Some("0.0.0.0:80")),
        ("2001:db8::1", 80, Some("[::]:80")),
        ("10.0.0.1", 81, Some("[::]:81")),
        ("10.0.0.1", 82, None),
    ] {
        let found = entrance_for(&traffic, address.parse().unwrap(), port)
            .map(|entrance| entrance.address.to_string());
        assert_eq!(found.as_deref(), expected, "{address}:{port}");
    }
}

/// Over TLS the server name chooses the listener: HTTP is explained as ever, a TLSRoute by its backends, and a host that
/// another listener serves is told.
#[test]
fn over_tls() {
    let forward = vec![HttpRule::plain(
        0,
        vec![prefix("/")],
        Action::Forward(vec![backend("web", 1, &["10.0.0.1:80"])]),
    )];
    let site = listener("site", Some("shop.example"), vec![route("web", &[], forward)]);
    let name = site.name.gateway.clone();
    let stream = StreamRoute { name, backends: vec![backend("db", 1, &["10.0.0.2:5432"])] };
    let stream =
        TlsRoute { hostnames: vec![HostPattern::Exact("a.db.example".into())], route: Arc::new(stream) };
    let mut passed = (*listener("passed", Some("*.db.example"), vec![])).clone();
    passed.serves = Serves::Tls(vec![Arc::new(stream)]);
    let router = Router::new(&entrance(vec![site, Arc::new(passed)]));
    let ask = |host, server_name| {
        let question = Question { host, method: "GET", target: "/", headers: vec![], client: None };
        explain_tls(&router, &question, server_name)
    };
    let reason = |explanation: &Explanation| explanation.refusal.map(|refusal| refusal.reason);
    let site = ask("shop.example", "Shop.Example");
    assert_eq!((reason(&site), site.backends.len()), (None, 1));
    let db = ask("a.db.example", "a.db.example");
    assert_eq!(reason(&db), None);
    assert_eq!(db.backends[0].endpoints, ["10.0.0.2:5432".parse().unwrap()]);
    assert_eq!(reason(&ask("b.db.example", "b.db.example")), Some("NoRoute"));
    assert_eq!(reason(&ask("shop.example", "other.example")), Some("NoListener"));
}
