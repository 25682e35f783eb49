//! The cases: an Ingress with an annotation, and requests that show what it does.

/// An Ingress, and what is asked of it.
pub struct Case {
    /// The annotation that it shows.
    pub row: &'static str,
    /// It, and those beside it.
    pub annotations: &'static [(&'static str, &'static str)],
    /// Those of a canary beside it, which leads to server two; empty: there is none.
    pub canary: &'static [(&'static str, &'static str)],
    pub path: &'static str,
    pub service: &'static str,
    /// Whether the host has a certificate.
    pub tls: bool,
    pub asks: &'static [Ask],
}

/// A request, and what must be true of the answer.
pub struct Ask {
    /// What it shows.
    pub about: &'static str,
    /// What curl is told; `HOST` stands for the host of the Ingress, here and below.
    pub args: &'static [&'static str],
    pub url: &'static str,
    pub status: &'static str,
    /// Texts in the answer, in any case of letters.
    pub says: &'static [&'static str],
    /// Texts that are not.
    pub silent: &'static [&'static str],
    /// How often it is asked.
    pub times: usize,
    /// Who answers.
    pub who: Who,
    /// Whether the client keeps cookies from one to the next.
    pub keeps_cookies: bool,
    /// A field of the access log, and its value, in a line of `logged_host`.
    pub logs: Option<(&'static str, &'static str)>,
    pub logged_host: &'static str,
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Any,
    One,
    Two,
    /// Always the same.
    Same,
    /// Each at some time.
    Both,
    /// Somebody, or nobody, each at some time.
    SomeFail,
}

const ASK: Ask = Ask {
    about: "",
    args: &[],
    url: "http://HOST/",
    status: "200",
    says: &[],
    silent: &[],
    times: 1,
    who: Who::Any,
    keeps_cookies: false,
    logs: None,
    logged_host: "HOST",
};

const CASE: Case =
    Case { row: "", annotations: &[], canary: &[], path: "/", service: "one", tls: false, asks: &[] };

const PREFLIGHT: &[&str] =
    &["-X", "OPTIONS", "-H", "Origin: https://a.example", "-H", "Access-Control-Request-Method: PUT"];
const ORIGIN: &[&str] = &["-H", "Origin: https://a.example"];

/// A host that the other gateway answers with 404.
const NOWHERE: &str = "nowhere.invalid";

/// Every case.
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
