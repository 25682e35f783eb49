//! A second Ingress beside the first.

use super::super::case::{ASK, Ask, CASE, Case, Who};

pub const CASES: &[Case] = &[
    Case {
        row: "canary",
        canary: &[("canary-weight", "50")],
        asks: &[Ask { about: "both versions", times: 40, who: Who::Both, ..ASK }],
        ..CASE
    },
    Case {
        row: "canary-by-header",
        canary: &[("canary-by-header", "X-Canary"), ("canary-weight", "0")],
        asks: &[
            Ask { about: "always", args: &["-H", "X-Canary: always"], times: 3, who: Who::Two, ..ASK },
            Ask { about: "never", args: &["-H", "X-Canary: never"], times: 3, who: Who::One, ..ASK },
            Ask { about: "anything else", args: &["-H", "X-Canary: x"], times: 3, who: Who::One, ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "canary-by-header",
        canary: &[("canary-by-header", "X-Canary"), ("canary-weight", "100")],
        asks: &[Ask {
            about: "never comes before weights",
            args: &["-H", "X-Canary: never"],
            times: 3,
            who: Who::One,
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "canary-by-header-value",
        canary: &[("canary-by-header", "X-Canary"), ("canary-by-header-value", "beta")],
        asks: &[
            Ask { about: "the value", args: &["-H", "X-Canary: beta"], times: 3, who: Who::Two, ..ASK },
            Ask { about: "another", args: &["-H", "X-Canary: always"], times: 3, who: Who::One, ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "canary-by-header-pattern",
        canary: &[("canary-by-header", "X-Canary"), ("canary-by-header-pattern", "v[0-9]{2}")],
        asks: &[
            Ask { about: "what matches", args: &["-H", "X-Canary: v12"], times: 3, who: Who::Two, ..ASK },
            Ask { about: "what does not", args: &["-H", "X-Canary: v1"], times: 3, who: Who::One, ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "canary-by-cookie",
        canary: &[("canary-by-cookie", "try")],
        asks: &[
            Ask {
                about: "always",
                args: &["-H", "Cookie: a=b; try=always; c=d"],
                times: 3,
                who: Who::Two,
                ..ASK
            },
            Ask { about: "never", args: &["-H", "Cookie: try=never"], times: 3, who: Who::One, ..ASK },
            Ask {
                about: "another cookie",
                args: &["-H", "Cookie: retry=always"],
                times: 3,
                who: Who::One,
                ..ASK
            },
        ],
        ..CASE
    },
    Case {
        row: "canary-weight",
        canary: &[("canary-weight", "100")],
        asks: &[Ask { about: "all", times: 5, who: Who::Two, ..ASK }],
        ..CASE
    },
    Case {
        row: "canary-weight-total",
        canary: &[("canary-weight", "10"), ("canary-weight-total", "10")],
        asks: &[Ask { about: "ten of ten", times: 5, who: Who::Two, ..ASK }],
        ..CASE
    },
];
