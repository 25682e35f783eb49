//! What browsers ask before and beside a request.

use super::super::case::{ASK, Ask, CASE, Case};

const PREFLIGHT: &[&str] =
    &["-X", "OPTIONS", "-H", "Origin: https://a.example", "-H", "Access-Control-Request-Method: PUT"];
const ORIGIN: &[&str] = &["-H", "Origin: https://a.example"];

pub const CASES: &[Case] = &[
    Case {
        row: "enable-cors",
        annotations: &[("enable-cors", "true")],
        asks: &[
            Ask {
                about: "every origin",
                args: ORIGIN,
                says: &["access-control-allow-origin: *\r\n"],
                silent: &["access-control-allow-credentials"],
                ..ASK
            },
            Ask {
                about: "a preflight is answered here",
                args: PREFLIGHT,
                status: "204",
                says: &["access-control-max-age: 1728000"],
                ..ASK
            },
        ],
        ..CASE
    },
    Case {
        row: "cors-allow-origin",
        annotations: &[
            ("enable-cors", "true"),
            ("cors-allow-origin", "https://a.example, https://*.b.example"),
        ],
        asks: &[
            Ask {
                about: "one that may",
                args: ORIGIN,
                says: &[
                    "access-control-allow-origin: https://a.example\r\n",
                    "access-control-allow-credentials: true",
                ],
                ..ASK
            },
            Ask {
                about: "one that may not",
                args: &["-H", "Origin: https://c.example"],
                silent: &["access-control-allow-origin"],
                ..ASK
            },
        ],
        ..CASE
    },
    Case {
        row: "cors-allow-methods",
        annotations: &[("enable-cors", "true"), ("cors-allow-methods", "PUT, GET")],
        asks: &[Ask {
            about: "in a preflight",
            args: PREFLIGHT,
            status: "204",
            says: &["access-control-allow-methods: put, get\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "cors-allow-headers",
        annotations: &[("enable-cors", "true"), ("cors-allow-headers", "X-One, X-Two")],
        asks: &[Ask {
            about: "in a preflight",
            args: PREFLIGHT,
            status: "204",
            says: &["access-control-allow-headers: x-one, x-two\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "cors-expose-headers",
        annotations: &[("enable-cors", "true"), ("cors-expose-headers", "X-One")],
        asks: &[Ask {
            about: "in an answer",
            args: ORIGIN,
            says: &["access-control-expose-headers: x-one\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "cors-allow-credentials",
        annotations: &[
            ("enable-cors", "true"),
            ("cors-allow-origin", "https://a.example"),
            ("cors-allow-credentials", "false"),
        ],
        asks: &[Ask {
            about: "without",
            args: ORIGIN,
            says: &["access-control-allow-origin: https://a.example"],
            silent: &["access-control-allow-credentials"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "cors-max-age",
        annotations: &[("enable-cors", "true"), ("cors-max-age", "60")],
        asks: &[Ask {
            about: "in a preflight",
            args: PREFLIGHT,
            status: "204",
            says: &["access-control-max-age: 60\r\n"],
            ..ASK
        }],
        ..CASE
    },
];
