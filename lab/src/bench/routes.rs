//! The route table that every proxy is given: hosts by path prefixes, spread over services that all have one endpoint.

use std::ops::Range;

/// The domain of every host.
pub const DOMAIN: &str = "bench.example";
/// The host of the gRPC service.
pub const GRPC_HOST: &str = "grpc.bench.example";
/// Path of its method.
pub const GRPC_PATH: &str = "/bench.Echo/Call";
/// Path prefixes of a host.
pub const PREFIXES: usize = 10;

/// Header fields of every request, as a browser sends them.
pub const BROWSER: [(&str, &str); 5] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Cookie", "session=0f4c2d9b7a6e4d53a1c8; theme=dark; consent=essential"),
];

/// A table of `hosts` x [`PREFIXES`] routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Number of hosts.
    pub hosts: usize,
    /// Number of services.
    pub services: usize,
}

/// The table of the comparison.
pub const THOUSAND: Routes = Routes { hosts: 100, services: 100 };
/// Ten routes.
pub const FEW: Routes = Routes { hosts: 1, services: 10 };
/// Ten thousand routes to as many services as [`FEW`] has.
pub const MANY: Routes = Routes { hosts: 1000, services: 10 };

impl Routes {
    /// The service behind a prefix of a host.
    pub fn service(self, host: usize, prefix: usize) -> usize {
        (host + prefix * 10 + prefix) % self.services
    }

    /// Every host number.
    pub fn hosts(self) -> Range<usize> {
        0..self.hosts
    }
}

/// Name of a host.
pub fn host(number: usize) -> String {
    format!("h{number}.{DOMAIN}")
}

/// A path prefix, with a slash on both ends.
pub fn prefix(number: usize) -> String {
    format!("/app{number}/")
}

/// An HTTP/1.1 request for a file.
pub fn request(host_number: usize, prefix_number: usize, file: &str, close: bool) -> String {
    let mut text = format!("GET {}{file} HTTP/1.1\r\nHost: {}\r\n", prefix(prefix_number), host(host_number));
    BROWSER.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    if close {
        text += "Connection: close\r\n";
    }
    text + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every service of every table is used, so that no pool stands idle.
    #[test]
    fn services_are_all_used() {
        for table in [THOUSAND, FEW, MANY] {
            let used: std::collections::BTreeSet<_> = table
                .hosts()
                .flat_map(|host| (0..PREFIXES).map(move |prefix| table.service(host, prefix)))
                .collect();
            assert_eq!(used.len(), table.services);
        }
    }
}
