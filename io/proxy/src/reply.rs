//! Answers of the gateway itself: a status and one sentence of plain text.

use tidegate_traffic::Refusal;

use crate::framing::Malformed;

/// An answer that no backend gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// A CamelCase word for the log.
    pub reason: &'static str,
    message: String,
}

impl Reply {
    /// No endpoint could be connected to.
    pub fn unreachable() -> Reply {
        Reply::new(502, "UpstreamConnect", "No endpoint of the service could be reached.")
    }

    /// No endpoint accepted a connection in time.
    pub fn connect_timeout() -> Reply {
        Reply::new(504, "UpstreamConnectTimeout", "No endpoint of the service accepted a connection in time.")
    }

    /// The upstream closed or broke the connection before it answered.
    pub fn upstream_closed() -> Reply {
        Reply::new(502, "UpstreamClosed", "The service closed the connection before it answered.")
    }

    /// The upstream's answer is no acceptable HTTP.
    pub fn upstream_malformed() -> Reply {
        Reply::new(502, "UpstreamMalformed", "The service gave a malformed answer.")
    }

    /// The upstream did not answer in time.
    pub fn upstream_timeout() -> Reply {
        Reply::new(504, "UpstreamTimeout", "The service did not answer in time.")
    }

    /// The client did not send its request in time.
    pub fn client_timeout() -> Reply {
        Reply::new(408, "ClientTimeout", "The request did not arrive in time.")
    }

    fn new(status: u16, reason: &'static str, message: &str) -> Reply {
        Reply { status, reason, message: message.to_owned() }
    }

    /// The bytes of the answer.
    pub fn render(&self, to_head: bool, connection: &str) -> Vec<u8> {
        let Reply { status, message, .. } = self;
        let (phrase, length) = (phrase(*status), message.len() + 1);
        let mut text = format!(
            "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n{connection}\r\n"
        );
        if !to_head {
            text.push_str(message);
            text.push('\n');
        }
        text.into_bytes()
    }
}

impl From<Malformed> for Reply {
    fn from(malformed: Malformed) -> Reply {
        Reply::new(malformed.status, malformed.reason, malformed.message)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        let message = match refusal {
            Refusal::NO_LISTENER => "No listener here serves this host.".into(),
            Refusal::NO_ROUTE => "No route serves this host.".into(),
            Refusal::NO_RULE => "No route matches this request.".into(),
            Refusal::NO_ENDPOINT => "The service has no ready endpoint.".into(),
            Refusal::NO_BACKEND_WEIGHT => "The route sends its traffic nowhere.".into(),
            Refusal { reason, .. } => format!("The route cannot be served as written: {reason}."),
        };
        Reply { status: refusal.status, reason: refusal.reason, message }
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer has a length, the sentence, and no body when it answers HEAD.
    #[test]
    fn answers_are_complete() {
        let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 35\r\n";
        let body = "The service has no ready endpoint.\n";
        let reply = Reply::from(Refusal::NO_ENDPOINT);
        assert_eq!(reply.render(false, ""), format!("{head}\r\n{body}").into_bytes());
        assert_eq!(
            reply.render(true, "connection: close\r\n"),
            format!("{head}connection: close\r\n\r\n").into_bytes()
        );
    }
}
