//! Where a collector takes spans.

/// The path of OTLP over HTTP (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

/// A collector's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// `http://HOST[:PORT]` or `https://…`, with the path below which the collector listens, or the whole of it. The error
    /// is a sentence.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let wrong =
            |why: &str| Err(format!("{why}; expected a URL such as `http://127.0.0.1:4318`, found `{text}`"));
        let rest = match text.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            Some(("grpc" | "grpcs", _)) => {
                return wrong("OTLP over gRPC is not spoken; collectors take HTTP too, on port 4318");
            }
            Some(_) => return wrong("only http and https are spoken"),
            None => return wrong("it names no scheme"),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return wrong("it names no host");
        }
        if rest.contains(['?', '#', '@']) {
            return wrong("a collector has no query, fragment or user");
        }
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return wrong("its port is none");
        }
        let base = text.trim_end_matches('/');
        Ok(Endpoint(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }))
    }

    /// The URL that spans are sent to.
    pub fn url(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collector's address stands for its path, and what cannot be one is refused with what would be right.
    #[test]
    fn urls() {
        for (text, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector/", "http://collector/v1/traces"),
            ("https://[::1]:4318/otel", "https://[::1]:4318/otel/v1/traces"),
            ("http://c/v1/traces", "http://c/v1/traces"),
        ] {
            assert_eq!(Endpoint::parse(text).map(|endpoint| endpoint.url().to_owned()), Ok(url.to_owned()));
        }
        for (text, why) in [
            ("127.0.0.1:4318", "it names no scheme"),
            ("grpc://c:4317", "OTLP over gRPC is not spoken"),
            ("ftp://c", "only http and https"),
            ("http://", "it names no host"),
            ("http://c:http", "its port is none"),
            ("http://c/?a", "a collector has no query"),
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.starts_with(why) && error.ends_with(&format!("found `{text}`")), "{error}");
        }
    }
}
