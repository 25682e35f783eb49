//! Who the client is: whom the gateway believes, and what it tells the backend.
//!
//! What a request says about its own origin is never passed on as it is: the fields are written anew, from what the
//! gateway saw and from what trusted hops before it say (facts: a backend that reads the first address must not read a
//! forged one). So of `X-Forwarded-For` only the part goes on that begins with the client that is believed.
//!
//! Only `X-Forwarded-` fields are read; `Forwarded` is replaced.

use std::net::{IpAddr, Ipv4Addr};

use tidegate_model::traffic::Trust;

use crate::host::Authority;
use crate::redirect::well_known;
use crate::request::HeaderLines;
use crate::text::{list_items, push_address, push_number};

/// The addresses of `X-Forwarded-For` that are looked at, from the end.
pub const HOPS_MAX: usize = 64;

/// The origin of a request: as the gateway saw it, or as it is believed to be.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The client: the peer of the connection, or who its PROXY protocol header names.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host as the client wrote it, with its port.
    pub host: &'a str,
    /// The port the client connected to.
    pub port: u16,
}

impl Origin<'_> {
    /// Nobody in particular, in the clear.
    pub const UNKNOWN: Origin<'static> =
        Origin { client: IpAddr::V4(Ipv4Addr::UNSPECIFIED), scheme: "http", host: "", port: 80 };

    /// Writes the `X-Forwarded-` lines.
    pub fn write(&self, head: &mut Vec<u8>) {
        head.extend_from_slice(b"x-forwarded-for: ");
        push_address(head, self.client);
        self.write_rest(head);
    }

    /// Ends the line of addresses and writes the others.
    fn write_rest(&self, head: &mut Vec<u8>) {
        for part in ["\r\nx-forwarded-proto: ", self.scheme, "\r\nx-forwarded-port: "] {
            head.extend_from_slice(part.as_bytes());
        }
        push_number(head, self.port.into());
        if !self.host.is_empty() {
            head.extend_from_slice(b"\r\nx-forwarded-host: ");
            head.extend_from_slice(self.host.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
    }
}

/// Whether a peer may begin its connection with a PROXY protocol header, where the listener takes them.
pub fn may_send_proxy_header(trust: &Trust, peer: IpAddr) -> bool {
    trust.cidrs.is_empty() || is_in(trust, peer)
}

/// Whether what a peer says of its client is believed.
pub fn is_trusted(trust: &Trust, peer: IpAddr) -> bool {
    (trust.hops > 0 && trust.cidrs.is_empty()) || is_in(trust, peer)
}

fn is_in(trust: &Trust, address: IpAddr) -> bool {
    let address = address.to_canonical();
    trust.cidrs.iter().any(|cidr| cidr.contains(&address))
}

/// Where a request comes from, as far as it is believed; borrowed, nothing is copied.
#[derive(Clone, Copy)]
pub struct Believed<'a> {
    /// The client and what it asked for. This is the address for logs, limits, hashing and traces.
    pub origin: Origin<'a>,
    peer: IpAddr,
    chain: Option<Chain<'a>>,
}

impl<'a> Believed<'a> {
    /// What is believed of a request whose origin the gateway saw as `seen`.
    ///
    /// - Nobody is trusted, or addresses are named and the peer is none of them: what was seen.
    /// - `hops` proxies stand before this one, each of which appends to `X-Forwarded-For`: the client is the `hops`th
    ///   address from the end. If there are fewer, or one of these is no address, it is the peer.
    /// - Addresses are trusted: the client is the last address that is none of them. If all are, it is the first that
    ///   was looked at; before what is no address the list is not believed.
    ///
    /// Scheme, host and port are what the last of their fields' items says, if the peer is trusted and it is valid.
    /// Where a scheme is told but no port, the port is the host's or the scheme's own.
    pub fn of(seen: Origin<'a>, trust: &Trust, lines: &'a dyn HeaderLines) -> Believed<'a> {
        // One spelling for logs, limits and traces: a dual-stack socket sees IPv4 mapped into IPv6.
        let seen = Origin { client: seen.client.to_canonical(), ..seen };
        let by_hops = trust.hops > 0;
        if !is_trusted(trust, seen.client) {
            return Believed { origin: seen, peer: seen.client, chain: None };
        }
        let chain =
            if by_hops { Chain::of_hops(lines, trust.hops) } else { Chain::of_addresses(lines, trust) };
        let client = chain.addresses().next().unwrap_or(seen.client);
        Believed { origin: told(Origin { client, ..seen }, lines), peer: seen.client, chain: Some(chain) }
    }

    /// Writes the `X-Forwarded-` lines, and `Forwarded` (RFC 7239) if asked for.
    pub fn write(&self, forwarded: bool, head: &mut Vec<u8>) {
        match &self.chain {
            None => self.origin.write(head),
            Some(chain) => {
                head.extend_from_slice(b"x-forwarded-for: ");
                for address in chain.addresses() {
                    push_address(head, address);
                    head.extend_from_slice(b", ");
                }
                push_address(head, self.peer);
                self.origin.write_rest(head);
            }
        }
        if forwarded {
            self.write_forwarded(head);
        }
    }

    /// The value of a line that says where the request comes from, as the backend reads it; none: it gets no such line.
    /// Rules that match and hashes that are taken look at this, never at what a client claims.
    pub fn value(&self, name: &str, forwarded: bool) -> Option<Vec<u8>> {
        let mut lines = Vec::new();
        self.write(forwarded, &mut lines);
        let line = lines.split(|&byte| byte == b'\n').find(|line| {
            line.get(..name.len()).is_some_and(|known| known.eq_ignore_ascii_case(name.as_bytes()))
                && line.get(name.len()) == Some(&b':')
        });
        line.map(|line| line[name.len() + 1..].trim_ascii().to_vec())
    }

    /// One element for each hop, the client's first, with what it asked for (RFC 7239 section 7.4). `by` would tell the
    /// inside's addresses and is left out.
    fn write_forwarded(&self, head: &mut Vec<u8>) {
        head.extend_from_slice(b"forwarded: ");
        let hops = self.chain.iter().flat_map(Chain::addresses).chain([self.peer]);
        for (index, address) in hops.enumerate() {
            if index > 0 {
                head.extend_from_slice(b", ");
            }
            push_node(head, address);
            if index == 0 {
                self.write_asked(head);
            }
        }
        head.extend_from_slice(b"\r\n");
    }

    fn write_asked(&self, head: &mut Vec<u8>) {
        let Origin { scheme, host, .. } = self.origin;
        // A host that is none could end the quotes.
        if Authority::parse(host).is_some() {
            let quote = if host.contains(':') { "\"" } else { "" };
            for part in [";host=", quote, host, quote] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        head.extend_from_slice(b";proto=");
        head.extend_from_slice(scheme.as_bytes());
    }
}

/// `for=` and an address; IPv6 in brackets and quotes (RFC 7239 section 6).
fn push_node(head: &mut Vec<u8>, address: IpAddr) {
    let address = address.to_canonical();
    let (open, close) = if address.is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
    head.extend_from_slice(open.as_bytes());
    push_address(head, address);
    head.extend_from_slice(close.as_bytes());
}

/// The items of `X-Forwarded-For` that are believed: all lines, one list, from `start` on. All are addresses.
#[derive(Clone, Copy)]
struct Chain<'a> {
    lines: &'a dyn HeaderLines,
    start: usize,
}

impl<'a> Chain<'a> {
    fn of_hops(lines: &'a dyn HeaderLines, hops: u32) -> Chain<'a> {
        let total = items(lines, "x-forwarded-for").count();
        let hops = usize::try_from(hops).unwrap_or(usize::MAX);
        let start = total.checked_sub(hops).filter(|_| hops <= HOPS_MAX);
        let all_addresses =
            |start: &usize| items(lines, "x-forwarded-for").skip(*start).all(|item| address(item).is_some());
        Chain { lines, start: start.filter(all_addresses).unwrap_or(total) }
    }

    fn of_addresses(lines: &'a dyn HeaderLines, trust: &Trust) -> Chain<'a> {
        let total = items(lines, "x-forwarded-for").count();
        let mut start = total.saturating_sub(HOPS_MAX);
        for (index, item) in items(lines, "x-forwarded-for").enumerate().skip(start) {
            match address(item) {
                Some(address) if is_in(trust, address) => {}
                Some(_) => start = index,
                None => start = index + 1,
            }
        }
        Chain { lines, start }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        items(self.lines, "x-forwarded-for").skip(self.start).filter_map(address)
    }
}

/// The items of a list field, over all its lines.
fn items<'a>(lines: &'a dyn HeaderLines, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    (0..)
        .map_while(|index| lines.line(index))
        .filter(move |(line, _)| line.len() == name.len() && line.eq_ignore_ascii_case(name))
        .flat_map(|(_, value)| list_items(value))
}

/// An address as proxies write it: some add a port, some put IPv6 in brackets.
fn address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if is_port { Some(IpAddr::V6(address.parse().ok()?).to_canonical()) } else { None };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    if is_port(port) { Some(IpAddr::V4(address.parse().ok()?)) } else { None }
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}

/// What trusted hops say about the request. The last item of a field is the word of the hop that is known; those before
/// it may be the client's own.
fn told<'a>(seen: Origin<'a>, lines: &'a dyn HeaderLines) -> Origin<'a> {
    let last = |name| items(lines, name).last().and_then(|item| std::str::from_utf8(item).ok());
    let scheme = last("x-forwarded-proto")
        .and_then(|scheme| ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme)));
    let host = last("x-forwarded-host").filter(|host| Authority::parse(host).is_some()).unwrap_or(seen.host);
    let port = last("x-forwarded-port").filter(|port| is_port(port)).and_then(|port| port.parse().ok());
    let of_scheme = || {
        let scheme = scheme?;
        Authority::parse(host).and_then(|authority| authority.port).or_else(|| well_known(scheme))
    };
    Origin {
        client: seen.client,
        scheme: scheme.unwrap_or(seen.scheme),
        host,
        port: port.or_else(of_scheme).unwrap_or(seen.port),
    }
}

/// Whether a request's own line of this name is left out: it says where the request came from. `_` counts as `-`,
/// because servers that follow CGI (RFC 3875 section 4.1.18) cannot tell them apart.
pub fn is_claim(name: &[u8]) -> bool {
    // Length and first letter settle most.
    let claims: &[&str] = match (name.len(), name.first().map_or(0, u8::to_ascii_lowercase)) {
        (9, b'f') => &["forwarded"],
        (9, b'x') => &["x-real-ip"],
        (9, b'c') => &["client-ip"],
        (11, b'x') => &["x-client-ip"],
        // Of a client's certificate (RFC 9440 section 2.4); whoever terminates TLS is the one who knows.
        (11, b'c') => &["client-cert"],
        (17, b'c') => &["client-cert-chain"],
        (23, b'x') => &["x-forwarded-client-cert"],
        (15, b'f') => &["front-end-https"],
        (13, b'f') => &["forwarded-for"],
        // These two say which path was asked for, and some frameworks route by them: past this router.
        (13, b'x') => &["x-rewrite-url"],
        (14, b'x') => &["x-original-url"],
        (14, b't') => &["true-client-ip"],
        (15, b'x') => &["x-forwarded-for", "x-forwarded-ssl", "x-original-host"],
        (16, b'x') => &["x-forwarded-host", "x-forwarded-port"],
        (16, b'c') => &["cf-connecting-ip"],
        (17, b'x') => &["x-forwarded-proto"],
        (18, b'x') => &["x-forwarded-scheme"],
        (19, b'x') => &["x-cluster-client-ip"],
        (24, b'x') => &["x-original-forwarded-for"],
        _ => &[],
    };
    claims.iter().any(|claim| alias(claim, name))
}

/// Whether `name` is `lower` (lower case, with dashes) to a server that takes `_` for `-` and any case.
pub fn alias(lower: &str, name: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    lower.len() == name.len() && lower.bytes().eq(name.iter().copied().map(fold))
}

#[cfg(test)]
mod tests;
