//! Paths, redirects, hosts.

use super::super::case::{ASK, Ask, CASE, Case};

pub const CASES: &[Case] = &[
    Case {
        row: "rewrite-target",
        annotations: &[("rewrite-target", "/new/$2")],
        path: "/old(/|$)(.*)",
        asks: &[
            Ask {
                about: "groups",
                url: "http://HOST/old/a/b?c",
                says: &["\"GET /new/a/b?c HTTP/1.1\""],
                ..ASK
            },
            Ask {
                about: "any case of letters",
                url: "http://HOST/OLD/a",
                says: &["\"GET /new/a HTTP/1.1\""],
                ..ASK
            },
            Ask { about: "another path", url: "http://HOST/older", status: "404", ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "use-regex",
        annotations: &[("use-regex", "true")],
        path: "/v[0-9]+/",
        asks: &[
            Ask {
                about: "what matches",
                url: "http://HOST/v12/x",
                says: &["\"GET /v12/x HTTP/1.1\""],
                ..ASK
            },
            Ask { about: "what does not", url: "http://HOST/vx/", status: "404", ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "app-root",
        annotations: &[("app-root", "/app")],
        asks: &[
            Ask { about: "the root", status: "302", says: &["location: http://HOST/app\r\n"], ..ASK },
            Ask { about: "another path", url: "http://HOST/x", ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "x-forwarded-prefix",
        annotations: &[("x-forwarded-prefix", "/old")],
        asks: &[Ask {
            about: "a header for the backend, whatever the client says",
            args: &["-H", "X-Forwarded-Prefix: /mine"],
            says: &["\"x-forwarded-prefix\":\"/old\""],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "ssl-redirect",
        annotations: &[("ssl-redirect", "true")],
        tls: true,
        asks: &[
            Ask {
                about: "in the clear",
                url: "http://HOST/a?b",
                status: "308",
                says: &["location: https://HOST/a?b\r\n"],
                ..ASK
            },
            Ask {
                about: "over TLS",
                args: &["--http1.1"],
                url: "https://HOST/a",
                says: &["\"x-forwarded-proto\":\"https\""],
                ..ASK
            },
        ],
        ..CASE
    },
    Case {
        row: "ssl-redirect",
        annotations: &[("ssl-redirect", "false")],
        tls: true,
        asks: &[Ask { about: "switched off", says: &["\"x-forwarded-proto\":\"http\""], ..ASK }],
        ..CASE
    },
    Case {
        row: "ssl-redirect",
        annotations: &[("ssl-redirect", "true")],
        tls: true,
        path: "/.well-known/acme-challenge",
        asks: &[Ask {
            about: "what proves a certificate is wanted",
            url: "http://HOST/.well-known/acme-challenge/x",
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "force-ssl-redirect",
        annotations: &[("force-ssl-redirect", "true")],
        asks: &[Ask {
            about: "without a certificate",
            status: "308",
            says: &["location: https://HOST/\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "permanent-redirect",
        annotations: &[("permanent-redirect", "https://new.example$request_uri")],
        asks: &[Ask {
            about: "path and query stay",
            url: "http://HOST/a?b=1",
            status: "301",
            says: &["location: https://new.example/a?b=1\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "permanent-redirect-code",
        annotations: &[
            ("permanent-redirect", "https://new.example/there"),
            ("permanent-redirect-code", "308"),
        ],
        asks: &[Ask {
            about: "status",
            url: "http://HOST/a?b=1",
            status: "308",
            says: &["location: https://new.example/there\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "temporal-redirect",
        annotations: &[
            ("temporal-redirect", "https://new.example/there"),
            ("permanent-redirect", "https://other.example/"),
        ],
        asks: &[Ask {
            about: "it comes first",
            status: "302",
            says: &["location: https://new.example/there\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "temporal-redirect-code",
        annotations: &[("temporal-redirect", "https://new.example/there"), ("temporal-redirect-code", "307")],
        asks: &[Ask {
            about: "status",
            status: "307",
            says: &["location: https://new.example/there\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "from-to-www-redirect",
        annotations: &[("from-to-www-redirect", "true")],
        asks: &[Ask {
            about: "with www.",
            url: "http://www.HOST/a?b",
            status: "308",
            says: &["location: http://HOST/a?b\r\n"],
            ..ASK
        }],
        ..CASE
    },
    Case {
        row: "server-alias",
        annotations: &[("server-alias", "other-name.example, *.third-name.example")],
        asks: &[
            Ask { about: "another name", url: "http://other-name.example/", ..ASK },
            Ask { about: "a wildcard", url: "http://x.third-name.example/", ..ASK },
            Ask { about: "of one label", url: "http://y.x.third-name.example/", status: "404", ..ASK },
        ],
        ..CASE
    },
    Case {
        row: "upstream-vhost",
        annotations: &[("upstream-vhost", "inner.example")],
        asks: &[Ask { about: "the host that backends see", says: &["\"host\":\"inner.example\""], ..ASK }],
        ..CASE
    },
    Case {
        row: "ssl-passthrough",
        annotations: &[("ssl-passthrough", "true")],
        service: "secure",
        asks: &[Ask {
            about: "TLS ends at the backend",
            args: &["--http1.1"],
            url: "https://HOST/",
            says: &["s_server"],
            ..ASK
        }],
        ..CASE
    },
];
