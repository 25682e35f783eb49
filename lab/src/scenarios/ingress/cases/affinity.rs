//! Clients that come back to the same endpoint.

use super::super::case::{ASK, Ask, CASE, Case, Who};

pub const CASES: &[Case] = &[
    Case {
        row: "affinity",
        annotations: &[("affinity", "cookie")],
        service: "both",
        asks: &[
            Ask {
                about: "the cookie",
                says: &["set-cookie: INGRESSCOOKIE=", "path=/", "httponly"],
                silent: &["max-age"],
                ..ASK
            },
            Ask { about: "the same endpoint", times: 12, keeps_cookies: true, who: Who::Same, ..ASK },
            Ask { about: "without the cookie", times: 12, who: Who::Both, ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "affinity-mode",
        annotations: &[("affinity", "cookie"), ("affinity-mode", "persistent")],
        service: "both",
        asks: &[Ask { about: "the same endpoint", times: 12, keeps_cookies: true, who: Who::Same, ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-name",
        annotations: &[("affinity", "cookie"), ("session-cookie-name", "route")],
        asks: &[Ask { about: "its name", says: &["set-cookie: route="], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-path",
        annotations: &[("affinity", "cookie"), ("session-cookie-path", "/part")],
        asks: &[Ask { about: "its path", says: &["path=/part;"], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-max-age",
        annotations: &[("affinity", "cookie"), ("session-cookie-max-age", "3600")],
        asks: &[Ask { about: "its age", says: &["max-age=3600"], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-expires",
        annotations: &[("affinity", "cookie"), ("session-cookie-expires", "7200")],
        asks: &[Ask { about: "its age", says: &["max-age=7200"], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-samesite",
        annotations: &[("affinity", "cookie"), ("session-cookie-samesite", "Lax")],
        asks: &[Ask { about: "its sites", says: &["samesite=lax"], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-secure",
        annotations: &[("affinity", "cookie"), ("session-cookie-secure", "true")],
        asks: &[Ask { about: "secure", says: &["; secure"], silent: &["samesite"], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-domain",
        annotations: &[("affinity", "cookie"), ("session-cookie-domain", "wide.example")],
        asks: &[Ask { about: "its domain", says: &["domain=wide.example"], ..ASK }],
        ..CASE
    },
    Case {
        row: "session-cookie-change-on-failure",
        annotations: &[("affinity", "cookie"), ("session-cookie-change-on-failure", "true")],
        service: "half",
        asks: &[Ask {
            about: "an endpoint that is not there is left",
            times: 8,
            keeps_cookies: true,
            who: Who::One,
            ..ASK
        }],
        ..CASE
    },
];
