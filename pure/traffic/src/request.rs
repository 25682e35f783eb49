//! What the router looks at of a request; borrowed, nothing is copied.

use crate::client::Origin;

/// A request as the router sees it.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// `Host`, or the authority of a target in absolute form, as written: any case, with or without port. Empty when
    /// an HTTP/1.0 request names none.
    pub host: &'a str,
    /// The method; case counts.
    pub method: &'a str,
    /// The path, normalised by [`path::normalise`](crate::path::normalise).
    pub path: &'a str,
    /// The query without `?`, as written.
    pub query: Option<&'a str>,
    /// The server name of TLS when it ended here: empty if the client sent none; nothing for requests in the clear.
    pub server_name: Option<&'a str>,
    /// Where it comes from, as the gateway saw it: what it says about that itself matches no rule unless it is believed.
    pub origin: Origin<'a>,
    /// Its header lines.
    pub headers: &'a dyn HeaderLines,
}

/// Header lines by position, whatever holds them.
pub trait HeaderLines {
    /// Name (any case) and value of the line at `index`; nothing past the end.
    fn line(&self, index: usize) -> Option<(&str, &[u8])>;
}

impl<N: AsRef<str>, V: AsRef<[u8]>> HeaderLines for [(N, V)] {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        self.get(index).map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> HeaderLines for Vec<(N, V)> {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        self.as_slice().line(index)
    }
}

impl RequestView<'_> {
    /// The value of a header; several lines are one list (RFC 9110 section 5.3).
    pub(crate) fn with_header<T>(&self, name: &str, test: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut lines = (0..)
            .map_while(|index| self.headers.line(index))
            .filter(|(line, _)| line.eq_ignore_ascii_case(name))
            .map(|(_, value)| value);
        let first = lines.next()?;
        let Some(second) = lines.next() else { return Some(test(first)) };
        let mut list = [first, b", ", second].concat();
        for value in lines {
            list.extend_from_slice(b", ");
            list.extend_from_slice(value);
        }
        Some(test(&list))
    }

    /// The decoded value of the first query parameter of that name.
    pub(crate) fn query_value(&self, name: &str) -> Option<impl Iterator<Item = u8> + Clone> {
        let pairs = self.query?.split('&').filter(|pair| !pair.is_empty());
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| form_decoded(key).eq(name.bytes())).map(|(_, value)| form_decoded(value))
    }
}

/// The bytes that a name or value in a query stands for; a broken escape stands for itself.
fn form_decoded(text: &str) -> impl Iterator<Item = u8> + Clone {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        at += 1;
        match byte {
            b'+' => Some(b' '),
            b'%' => {
                let digit =
                    |offset: usize| bytes.get(at + offset).and_then(|&byte| char::from(byte).to_digit(16));
                match (digit(0), digit(1)) {
                    (Some(high), Some(low)) => {
                        at += 2;
                        Some((high * 16 + low) as u8)
                    }
                    _ => Some(b'%'),
                }
            }
            _ => Some(byte),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first parameter of a name counts, and escapes in name and value stand for what they encode.
    #[test]
    fn query_parameters() {
        let none: [(&str, &str); 0] = [];
        for (query, name, value) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&a=2", "a", Some("1")),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("%61=x%20y+z", "a", Some("x y z")),
            ("a=%zz", "a", Some("%zz")),
            ("a=1=2", "a", Some("1=2")),
            ("&&a=1", "a", Some("1")),
            ("ab=1", "a", None),
            ("", "", None),
        ] {
            let view = RequestView {
                host: "",
                method: "GET",
                path: "/",
                query: Some(query),
                server_name: None,
                origin: Origin::UNKNOWN,
                headers: &none.as_slice().to_vec(),
            };
            let found = view.query_value(name).map(|value| String::from_utf8(value.collect()).unwrap());
            assert_eq!(found.as_deref(), value, "{query}");
        }
    }

    /// Several lines of one header are one list.
    #[test]
    fn header_lines_are_combined() {
        let headers = vec![("X-A", "1"), ("b", "0"), ("x-a", "2")];
        let view = RequestView {
            host: "",
            method: "GET",
            path: "/",
            query: None,
            server_name: None,
            origin: Origin::UNKNOWN,
            headers: &headers,
        };
        assert_eq!(view.with_header("x-a", |value| value == b"1, 2"), Some(true));
        assert_eq!(view.with_header("B", |value| value == b"0"), Some(true));
        assert_eq!(view.with_header("c", |_| ()), None);
    }
}
