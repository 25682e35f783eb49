//! Who the client is, as told to the backend.
//!
//! No hop before the gateway is trusted today, so what a request says about its own origin is never passed on: the
//! fields are replaced, not extended (facts: a backend that reads the first address must not read a forged one).

use std::io::Write;
use std::net::IpAddr;

/// The origin of a request as the gateway saw it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The peer of the connection.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host as the client wrote it, with its port.
    pub host: &'a str,
    /// The port the client connected to.
    pub port: u16,
}

impl Origin<'_> {
    /// Writes the `X-Forwarded-` lines.
    pub fn write(&self, head: &mut Vec<u8>) {
        let Origin { client, scheme, host, port } = self;
        let client = client.to_canonical();
        // Writing to a Vec cannot fail.
        let _ = write!(
            head,
            "x-forwarded-for: {client}\r\nx-forwarded-proto: {scheme}\r\nx-forwarded-port: {port}\r\n"
        );
        if !host.is_empty() {
            let _ = write!(head, "x-forwarded-host: {host}\r\n");
        }
    }
}

/// Whether a request's own line of this name is left out: it says where the request came from. `_` counts as `-`,
/// because servers that follow CGI (RFC 3875 section 4.1.18) cannot tell them apart.
pub fn is_claim(name: &str) -> bool {
    // The last two say which path was asked for, and some frameworks route by them: past this router.
    const CLAIMS: [&str; 17] = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-ssl",
        "x-real-ip",
        "client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "forwarded-for",
        "x-original-forwarded-for",
        "x-original-url",
        "x-rewrite-url",
    ];
    matches!(name.len(), 9..=24) && CLAIMS.iter().any(|claim| alias(claim, name))
}

/// Whether `name` is `lower` (lower case, with dashes) to a server that takes `_` for `-` and any case.
pub fn alias(lower: &str, name: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    lower.len() == name.len() && lower.bytes().eq(name.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client is the peer, in its own family, and the fields are complete.
    #[test]
    fn origin_is_what_the_gateway_saw() {
        let mut head = Vec::new();
        let client = "::ffff:192.0.2.7".parse().unwrap();
        Origin { client, scheme: "http", host: "shop.example:8080", port: 8080 }.write(&mut head);
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-port: 8080\r\n\
             x-forwarded-host: shop.example:8080\r\n"
        );
    }

    /// Every spelling of a claim about the origin is left out, and nothing else.
    #[test]
    fn claims() {
        for name in ["X-Forwarded-For", "x_forwarded_for", "Forwarded", "X-Real-IP", "x-forwarded_proto"] {
            assert!(is_claim(name), "{name}");
        }
        for name in ["x-forwarded-fo", "x-forwarded-client-cert", "for", "x-request-id"] {
            assert!(!is_claim(name), "{name}");
        }
    }
}
