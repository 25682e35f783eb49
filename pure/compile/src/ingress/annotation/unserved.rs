//! The rows of what is not served, or needs nothing done: names that share what becomes of them, and what that is.

use super::{Annotation, Read};

/// They, in the order of the documentation.
pub(super) fn rows() -> impl Iterator<Item = Annotation> {
    let each =
        GROUPS.iter().flat_map(|(names, about, read)| names.iter().map(move |name| (name, about, read)));
    each.map(|(name, about, read)| Annotation { name, value: "", about, read: *read })
}

const GROUPS: &[(&[&str], &str, Read)] = &[
    // Nothing to do.
    (
        &["proxy-buffering", "proxy-request-buffering"],
        "bodies pass through as they come, a little at a time",
        Read::NoEffect,
    ),
    (&["proxy-buffer-size"], "heads of up to 64 KiB pass", Read::NoEffect),
    (
        &["proxy-buffers-number", "proxy-busy-buffers-size", "client-body-buffer-size"],
        "bodies pass through as they come, a little at a time",
        Read::NoEffect,
    ),
    (&["proxy-max-temp-file-size"], "nothing is written to disk", Read::NoEffect),
    (&["proxy-http-version"], "HTTP/1.1 is spoken to backends, or HTTP/2", Read::NoEffect),
    (
        &["connection-proxy-header"],
        "connections to backends are kept, and headers of one hop are not passed on",
        Read::NoEffect,
    ),
    (
        &["service-upstream"],
        "requests go to the Service's endpoints, of which one is chosen here",
        Read::NoEffect,
    ),
    (
        &["session-cookie-conditional-samesite-none"],
        "no browser of today misreads `SameSite=None`",
        Read::NoEffect,
    ),
    (&["http2-push-preload"], "browsers take no pushed responses any more", Read::NoEffect),
    (&["enable-rewrite-log"], "`explain http` says what becomes of a request", Read::NoEffect),
    (&["preserve-trailing-slash"], "redirects keep the path as it is", Read::NoEffect),
    // Not served.
    (
        &["affinity-canary-behavior"],
        "clients with a session stay with its endpoint, of whichever version",
        Read::Unserved,
    ),
    (
        &["custom-http-errors"],
        "what backends answer goes to clients as it is; see responseOverride of a BackendTrafficPolicy",
        Read::Unserved,
    ),
    (&["default-backend"], "where no endpoint is ready the answer is 503", Read::Unserved),
    (&["disable-proxy-intercept-errors"], "what backends answer goes to clients as it is", Read::Unserved),
    (
        &["proxy-next-upstream-timeout"],
        "how often is limited by proxy-next-upstream-tries, and not how long",
        Read::Unserved,
    ),
    (
        &["proxy-cookie-domain", "proxy-cookie-path"],
        "cookies of backends go to clients as they are",
        Read::Unserved,
    ),
    (
        &["proxy-redirect-from", "proxy-redirect-to"],
        "redirects of backends go to clients as they are",
        Read::Unserved,
    ),
    (
        &["proxy-ssl-secret", "proxy-ssl-verify", "proxy-ssl-verify-depth"],
        "write a BackendTLSPolicy for the Service, which has its certificate verified",
        Read::Unserved,
    ),
    (
        &["proxy-ssl-name"],
        "write a BackendTLSPolicy for the Service, which names what its certificate must",
        Read::Unserved,
    ),
    (
        &["proxy-ssl-server-name"],
        "write a BackendTLSPolicy for the Service, by which its name is sent",
        Read::Unserved,
    ),
    (&["proxy-ssl-ciphers"], "TLS 1.2 and 1.3 are spoken with suites that are safe", Read::Unserved),
    (&["proxy-ssl-protocols"], "TLS 1.2 and 1.3 are spoken", Read::Unserved),
    (
        &["ssl-ciphers", "ssl-prefer-server-ciphers"],
        "TLS 1.2 and 1.3 are spoken with suites that are safe",
        Read::Unserved,
    ),
    (&["limit-connections", "limit-rps", "limit-rpm"], "requests are not limited for it", Read::Unserved),
    (&["limit-rate", "limit-rate-after"], "responses are not slowed down", Read::Unserved),
    (&["limit-burst-multiplier"], "requests are not limited for it", Read::Unserved),
    (
        &["limit-whitelist", "limit-allowlist"],
        "requests are not limited, so nobody needs leave",
        Read::Unserved,
    ),
    (
        &["mirror-target", "mirror-host", "mirror-request-body"],
        "no copies are sent; see RequestMirror of an HTTPRoute",
        Read::Unserved,
    ),
    (&["custom-headers"], "no headers are added; see ResponseHeaderModifier of an HTTPRoute", Read::Unserved),
    (
        &["upstream-hash-by-subset", "upstream-hash-by-subset-size"],
        "all endpoints are one set",
        Read::Unserved,
    ),
    (
        &["enable-access-log"],
        "every request is logged, as accessLog of the bootstrap file says",
        Read::Unserved,
    ),
    (
        &["enable-opentelemetry", "opentelemetry-trust-incoming-span", "opentelemetry-operation-name"],
        "requests are traced as tracing of the bootstrap file says",
        Read::Unserved,
    ),
    (&["auth-realm", "auth-secret-type"], "it says something only beside auth-type", Read::Unserved),
    (
        &[
            "auth-signin",
            "auth-signin-redirect-param",
            "auth-method",
            "auth-response-headers",
            "auth-request-redirect",
            "auth-cache-key",
            "auth-cache-duration",
            "auth-keepalive",
            "auth-keepalive-share-vars",
            "auth-keepalive-requests",
            "auth-keepalive-timeout",
            "auth-always-set-cookie",
            "auth-proxy-set-headers",
        ],
        "it says something only beside auth-url",
        Read::Unserved,
    ),
    (&["enable-global-auth"], "there is no global authentication", Read::Unserved),
    (
        &["auth-tls-verify-depth", "auth-tls-error-page", "auth-tls-pass-certificate-to-upstream"],
        "it says something only beside auth-tls-secret",
        Read::Unserved,
    ),
    (
        &["enable-owasp-core-rules", "modsecurity-transaction-id"],
        "it says something only beside enable-modsecurity",
        Read::Unserved,
    ),
    // Not served, and nobody is let in without them.
    (
        &["auth-type", "auth-secret"],
        "who a client is is not asked; requests get 503",
        Read::UnservedProtection,
    ),
    (
        &["auth-url"],
        "nobody else is asked whether a request may pass; requests get 503",
        Read::UnservedProtection,
    ),
    (
        &["auth-tls-secret", "auth-tls-verify-client", "auth-tls-match-cn"],
        "certificates of clients are asked for by a Gateway's frontend validation; requests get 503",
        Read::UnservedProtection,
    ),
    (
        &["satisfy"],
        "it joins ways of keeping clients out that are not served; requests get 503",
        Read::UnservedProtection,
    ),
    (
        &["enable-modsecurity"],
        "there is no web application firewall; with `true`, requests get 503",
        Read::UnservedProtection,
    ),
    // Refused.
    (
        &["configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet", "modsecurity-snippet"],
        "refused: code in configuration",
        Read::Snippet,
    ),
];
