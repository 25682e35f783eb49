//! The rows of what is served, in groups as ingress-nginx documents it; the others are in `unserved.rs`.

use super::settings::Settings;
use super::value;
use super::{Annotation, Read};
use crate::listener::parse_hostname;
use crate::rule::regex;

const BOOLEAN: &str = "`true` or `false`";

const fn row(name: &'static str, value: &'static str, about: &'static str, read: Read) -> Annotation {
    Annotation { name, value, about, read }
}

macro_rules! sets {
    ($name:literal, $value:expr, $about:literal, |$settings:ident, $text:ident| $set:expr) => {
        row(
            $name,
            $value,
            $about,
            Read::Sets(|$settings: &mut Settings, $text: &str| {
                $set;
                Ok(())
            }),
        )
    };
}

/// Every annotation that does something.
pub(super) const SERVED: &[Annotation] = &[
    // Paths.
    sets!(
        "rewrite-target",
        "a path, perhaps with `$1` to `$9`",
        "backends see this path; groups stand for what the path's expression has matched. Paths of type ImplementationSpecific, and others that hold an expression, are expressions then",
        |settings, text| settings.rewrite = Some(value::template(text)?)
    ),
    sets!(
        "use-regex",
        BOOLEAN,
        "paths of type ImplementationSpecific, and others that hold an expression, are regular expressions from the start of the path, in any case of letters; those of this Ingress only, not all of the host",
        |settings, text| settings.use_regex = value::boolean(text)?
    ),
    sets!("app-root", "a path", "a request for `/` is redirected there with 302", |settings, text| {
        settings.app_root = Some(value::path(text)?)
    }),
    sets!("x-forwarded-prefix", "text", "backends get it as `X-Forwarded-Prefix`", |settings, text| {
        settings.prefix = Some(value::header_value(text)?)
    }),
    // Redirects.
    sets!(
        "ssl-redirect",
        BOOLEAN,
        "who comes in the clear to a host that has a certificate is redirected to https with 308; default `true`. Paths under `/.well-known/acme-challenge` are not",
        |settings, text| settings.ssl_redirect = Some(value::boolean(text)?)
    ),
    sets!(
        "force-ssl-redirect",
        BOOLEAN,
        "the same for hosts without a certificate, where TLS ends elsewhere",
        |settings, text| settings.force_ssl_redirect = value::boolean(text)?
    ),
    sets!(
        "permanent-redirect",
        "a URL or path, `$request_uri` at its end if wanted",
        "every request is redirected there with 301; nothing goes to a backend",
        |settings, text| settings.permanent = Some(value::location(text)?)
    ),
    sets!("permanent-redirect-code", "300 to 308", "another status for it", |settings, text| settings
        .permanent_code =
        Some(value::redirect_code(text)?)),
    sets!(
        "temporal-redirect",
        "a URL or path, `$request_uri` at its end if wanted",
        "every request is redirected there with 302; it comes before `permanent-redirect`",
        |settings, text| settings.temporal = Some(value::location(text)?)
    ),
    sets!("temporal-redirect-code", "300 to 308", "another status for it", |settings, text| settings
        .temporal_code =
        Some(value::redirect_code(text)?)),
    sets!(
        "from-to-www-redirect",
        BOOLEAN,
        "the host with `www.` before it, or without it, is redirected with 308 to the one that is served, unless another Ingress serves it",
        |settings, text| settings.www = value::boolean(text)?
    ),
    // Hosts.
    sets!(
        "server-alias",
        "host names with commas between",
        "these hosts are served as the first host of this Ingress is; a host that has rules of its own keeps them. Expressions are not served",
        |settings, text| {
            let names = value::items(text)?;
            settings.aliases = names.into_iter().map(parse_hostname).collect::<Result<_, _>>()?;
        }
    ),
    sets!("upstream-vhost", "a host name", "backends see this `Host`", |settings, text| settings.vhost =
        Some(value::host(text)?)),
    sets!(
        "ssl-passthrough",
        BOOLEAN,
        "TLS for the hosts of this Ingress is not ended here: connections go by their server name to the backend of the path `/`",
        |settings, text| settings.passthrough = value::boolean(text)?
    ),
    // Backends.
    sets!(
        "backend-protocol",
        "`HTTP`, `HTTPS`, `GRPC` or `GRPCS`",
        "what is spoken to backends. As in ingress-nginx, their certificates are not verified; a BackendTLSPolicy for the Service has them verified",
        |settings, text| settings.protocol = Some(value::protocol(text)?)
    ),
    sets!(
        "load-balance",
        "`round_robin` or `ewma`",
        "endpoints in turn, or the one of two that is the quicker",
        |settings, text| settings.balancing = Some(value::balancing(text)?)
    ),
    sets!(
        "upstream-hash-by",
        "`$remote_addr`, `$request_uri`, `$http_NAME` or `$cookie_NAME`",
        "the same endpoint for the same value, and few move when endpoints change",
        |settings, text| settings.hash = Some(value::hash_key(text)?)
    ),
    sets!(
        "proxy-body-size",
        "bytes, or a number with `k`, `m` or `g`",
        "a longer request body is answered with 413; 0, or no annotation: no limit",
        |settings, text| settings.body_bytes = value::bytes(text)?
    ),
    sets!("proxy-connect-timeout", "seconds", "to open a connection to a backend", |settings, text| {
        settings.connect = Some(value::seconds(text)?)
    }),
    sets!(
        "proxy-read-timeout",
        "seconds",
        "for the head of a response, else 504; and without a byte of a body or WebSocket, of the longer of this and `proxy-send-timeout`",
        |settings, text| settings.read = Some(value::seconds(text)?)
    ),
    sets!(
        "proxy-send-timeout",
        "seconds",
        "without a byte of a body or WebSocket; see `proxy-read-timeout`",
        |settings, text| settings.send = Some(value::seconds(text)?)
    ),
    sets!(
        "proxy-next-upstream",
        "nginx's words with spaces between",
        "`error`, `timeout` and `http_NNN` are tried at another endpoint; `off`: only connections that could not be opened. What is not safe to repeat never is, whatever `non_idempotent` says",
        |settings, text| settings.next = Some(value::next_upstream(text)?)
    ),
    sets!(
        "proxy-next-upstream-tries",
        "1 to 100",
        "how many endpoints are tried, 3 if nothing is said; those that could not be connected to do not count",
        |settings, text| settings.tries = Some(value::number(text, 1, 100)? as u32)
    ),
    // Who may come.
    row(
        "whitelist-source-range",
        "networks with commas between",
        "clients of other addresses get 403",
        Read::Protects(|settings, text| {
            settings.allow.extend(value::networks(text)?);
            Ok(())
        }),
    ),
    row(
        "allowlist-source-range",
        "networks with commas between",
        "the same by its newer name",
        Read::Protects(|settings, text| {
            settings.allow.extend(value::networks(text)?);
            Ok(())
        }),
    ),
    row(
        "denylist-source-range",
        "networks with commas between",
        "clients of these addresses get 403",
        Read::Protects(|settings, text| {
            settings.deny = value::networks(text)?;
            Ok(())
        }),
    ),
    // Canaries.
    sets!(
        "canary",
        BOOLEAN,
        "the Ingress is the other version of one that has the same host and path: it gives a backend, and all other settings are that one's",
        |settings, text| settings.canary = value::boolean(text)?
    ),
    sets!(
        "canary-by-header",
        "a header name",
        "requests with `always` in it go to the canary, with `never` they do not",
        |settings, text| settings.canary_by.header = Some(value::token(text)?.to_ascii_lowercase())
    ),
    sets!(
        "canary-by-header-value",
        "text",
        "this value in the place of `always` and `never`",
        |settings, text| settings.canary_by.value = Some(value::header_value(text)?)
    ),
    row(
        "canary-by-header-pattern",
        "a regular expression",
        "this expression in the place of a value, over the whole value",
        Read::SetsExpression(|settings, text| {
            regex(text)?;
            settings.canary_by.pattern = Some(text.to_owned());
            Ok(())
        }),
    ),
    sets!(
        "canary-by-cookie",
        "a cookie name",
        "requests with `always` in it go to the canary, with `never` they do not",
        |settings, text| settings.canary_by.cookie = Some(value::token(text)?)
    ),
    sets!(
        "canary-weight",
        "0 to `canary-weight-total`",
        "of a hundred requests so many go to the canary",
        |settings, text| settings.canary_by.weight = value::number(text, 0, 1_000_000)? as u32
    ),
    sets!("canary-weight-total", "1 to 1000000", "of so many, instead of a hundred", |settings, text| {
        settings.canary_by.total = Some(value::number(text, 1, 1_000_000)? as u32)
    }),
    // Clients that stay.
    sets!(
        "affinity",
        "`cookie`",
        "a client stays with its endpoint, by a cookie, as long as the endpoint is there",
        |settings, text| {
            value::one_of(text, &["cookie"])?;
            settings.affinity = true;
        }
    ),
    sets!(
        "affinity-mode",
        "`persistent` or `balanced`",
        "either is accepted: sessions stay where they are when endpoints are added",
        |_settings, text| value::one_of(text, &["persistent", "balanced"])?
    ),
    sets!(
        "session-cookie-name",
        "a cookie name",
        "its name, `INGRESSCOOKIE` if nothing is said",
        |settings, text| settings.cookie.name = Some(value::token(text)?)
    ),
    sets!(
        "session-cookie-path",
        "a path",
        "its `Path`; else the path of the rule, `/` of an expression",
        |settings, text| settings.cookie.path = Some(value::path(text)?)
    ),
    sets!(
        "session-cookie-max-age",
        "seconds",
        "its `Max-Age`, after which the session is over too",
        |settings, text| settings.cookie.max_age = Some(value::seconds(text)?)
    ),
    sets!(
        "session-cookie-expires",
        "seconds",
        "the same, for want of the other; written as `Max-Age`",
        |settings, text| settings.cookie.expires = Some(value::seconds(text)?)
    ),
    sets!("session-cookie-samesite", "`None`, `Lax` or `Strict`", "its `SameSite`", |settings, text| {
        settings.cookie.same_site = Some(value::same_site(text)?)
    }),
    sets!(
        "session-cookie-secure",
        BOOLEAN,
        "`Secure` also for who comes in the clear; who came by TLS always gets it",
        |settings, text| settings.cookie.secure = value::boolean(text)?
    ),
    sets!("session-cookie-domain", "a host name", "its `Domain`", |settings, text| settings.cookie.domain =
        Some(value::host(text.strip_prefix('.').unwrap_or(text))?)),
    sets!(
        "session-cookie-change-on-failure",
        BOOLEAN,
        "either is accepted: a client whose endpoint fails gets another, and its cookie says so",
        |_settings, text| value::boolean(text)?
    ),
    // Other origins.
    sets!(
        "enable-cors",
        BOOLEAN,
        "other origins may use it from a browser; preflights are answered here",
        |settings, text| settings.cors = value::boolean(text)?
    ),
    sets!(
        "cors-allow-origin",
        "origins with commas between, or `*`",
        "which may; `*` if nothing is said, and then without credentials",
        |settings, text| settings.cors_asked.origins = Some(value::list(text)?)
    ),
    sets!("cors-allow-methods", "methods with commas between", "with which methods", |settings, text| {
        settings.cors_asked.methods = Some(value::tokens(text)?)
    }),
    sets!(
        "cors-allow-headers",
        "header names with commas between",
        "with which request headers",
        |settings, text| settings.cors_asked.headers = Some(value::tokens(text)?)
    ),
    sets!(
        "cors-expose-headers",
        "header names with commas between",
        "which response headers scripts may read",
        |settings, text| settings.cors_asked.expose = Some(value::tokens(text)?)
    ),
    sets!(
        "cors-allow-credentials",
        BOOLEAN,
        "whether with cookies; default `true`, and never where every origin may",
        |settings, text| settings.cors_asked.credentials = Some(value::boolean(text)?)
    ),
    sets!(
        "cors-max-age",
        "seconds",
        "how long a browser may remember it, 1728000 if nothing is said",
        |settings, text| settings.cors_asked.max_age = Some(value::number(text, 1, 31_536_000)? as u32)
    ),
];
