//! How backends are spoken to, and who may ask.

use super::super::case::{ASK, Ask, CASE, Case, Who};

/// A host that the other gateway answers with 404.
const NOWHERE: &str = "nowhere.invalid";

pub const CASES: &[Case] = &[
    Case {
        row: "backend-protocol",
        annotations: &[("backend-protocol", "HTTPS")],
        service: "secure",
        asks: &[Ask { about: "TLS to the backend", says: &["s_server"], ..ASK }],
        ..CASE
    },
    Case {
        row: "backend-protocol",
        annotations: &[("backend-protocol", "GRPC"), ("upstream-vhost", "plain.example")],
        service: "other",
        asks: &[Ask {
            about: "HTTP/2 to the backend, which is another gateway",
            url: "http://HOST/by-http-2",
            logs: Some(("protocol", "HTTP/2")),
            logged_host: "plain.example",
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "load-balance",
        annotations: &[("load-balance", "round_robin")],
        service: "both",
        asks: &[Ask { about: "both endpoints", times: 12, who: Who::Both, ..ASK }],
        ..CASE
    },
    Case {
        row: "load-balance",
        annotations: &[("load-balance", "ewma")],
        service: "both",
        asks: &[Ask { about: "the quicker one of two", times: 12, ..ASK }],
        ..CASE
    },
    Case {
        row: "upstream-hash-by",
        annotations: &[("upstream-hash-by", "$http_x_user")],
        service: "both",
        asks: &[
            Ask { about: "one user", args: &["-H", "X-User: a"], times: 12, who: Who::Same, ..ASK },
            Ask { about: "nobody in particular", times: 12, who: Who::Both, ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "upstream-hash-by",
        annotations: &[("upstream-hash-by", "$request_uri")],
        service: "both",
        asks: &[Ask { about: "one path", url: "http://HOST/a?b", times: 12, who: Who::Same, ..ASK }],
        ..CASE
    },
    Case {
        row: "proxy-body-size",
        annotations: &[("proxy-body-size", "1k")],
        asks: &[
            Ask { about: "a little", args: &["--data-raw", "a"], ..ASK },
            Ask {
                about: "too much",
                args: &["-H", "Expect:", "-F", "a=@/proc/self/exe;filename=x"],
                status: "413",
                ..ASK
            },
        ],
        ..CASE
    },
    Case {
        row: "proxy-connect-timeout",
        annotations: &[("proxy-connect-timeout", "1"), ("proxy-next-upstream", "off")],
        service: "nobody",
        asks: &[Ask {
            about: "nobody is there",
            status: "504",
            logs: Some(("reason", "UpstreamConnectTimeout")),
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "proxy-read-timeout",
        annotations: &[("proxy-read-timeout", "1")],
        asks: &[
            Ask {
                about: "an answer that pauses",
                url: "http://HOST/slow?ms=60000",
                logs: Some(("reason", "BodyStalled")),
                ..ASK
            },
            Ask {
                about: "one that does not",
                url: "http://HOST/slow?ms=2000",
                says: &["\"who\":\"one\""],
                ..ASK
            },
        ],
        ..CASE
    },
    Case {
        row: "proxy-send-timeout",
        annotations: &[("proxy-send-timeout", "1")],
        asks: &[Ask {
            about: "an answer that pauses",
            url: "http://HOST/slow?ms=60000",
            logs: Some(("reason", "BodyStalled")),
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "proxy-next-upstream",
        annotations: &[("proxy-next-upstream", "error timeout http_404"), ("upstream-vhost", NOWHERE)],
        service: "mixed",
        asks: &[Ask { about: "another endpoint is tried", times: 20, who: Who::One, ..ASK }],
        ..CASE
    },
    Case {
        row: "proxy-next-upstream",
        annotations: &[("proxy-next-upstream", "off"), ("upstream-vhost", NOWHERE)],
        service: "mixed",
        asks: &[Ask { about: "none is", times: 20, who: Who::SomeFail, ..ASK }],
        ..CASE
    },
    Case {
        row: "proxy-next-upstream-tries",
        annotations: &[
            ("proxy-next-upstream", "http_404"),
            ("proxy-next-upstream-tries", "1"),
            ("upstream-vhost", NOWHERE),
        ],
        service: "mixed",
        asks: &[Ask { about: "one try", times: 20, who: Who::SomeFail, ..ASK }],
        ..CASE
    },
    Case {
        row: "whitelist-source-range",
        annotations: &[("whitelist-source-range", "192.0.2.0/24, 198.51.100.7")],
        asks: &[Ask {
            about: "others are kept out",
            status: "403",
            logs: Some(("reason", "ClientNotAllowed")),
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "whitelist-source-range",
        annotations: &[("whitelist-source-range", "10.10.0.0/24")],
        asks: &[Ask { about: "who is named may come", ..ASK }],
        ..CASE
    },
    Case {
        row: "allowlist-source-range",
        annotations: &[("allowlist-source-range", "192.0.2.0/24")],
        asks: &[Ask { about: "others are kept out", status: "403", ..ASK }],
        ..CASE
    },
    Case {
        row: "denylist-source-range",
        annotations: &[("denylist-source-range", "10.10.0.2")],
        asks: &[Ask { about: "who is named is kept out", status: "403", ..ASK }],
        ..CASE
    },
];
