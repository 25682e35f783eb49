//! What gateways say to each other: a message has a topic, and a topic has versions.
//!
//! | topic | version | body |
//! |---|---|---|
//! | 0 Hello | 1 | the name of the gateway, UTF-8, 1 to 253 bytes |
//! | 1 Alive | 1 | nothing |
//! | 2 Refused | 1 | a sentence, UTF-8, up to 1024 bytes |
//! | 16 Ticket keys | 1 | up to 192 keys of 52 bytes: id (16), secret (32), how long it is accepted still (4, seconds) |
//!
//! A topic or version that is not in the table is passed over, so a newer gateway may say more than an older one hears.
//! Topics below 16 are about the link itself.

use tidegate_model::peers::TicketKey;

use crate::fault::Fault;
use crate::frame::{self, Frame};

/// Keys that are told at once, and kept: three of each gateway of a set of sixty.
pub const KEYS_MAX: usize = 192;

/// The longest name of a gateway (RFC 1123).
pub const NAME_BYTES_MAX: usize = 253;

/// The longest sentence of a refusal.
const REASON_BYTES_MAX: usize = 1024;

/// The one version that every topic has so far.
const VERSION: u8 = 1;

const HELLO: u8 = 0;
const ALIVE: u8 = 1;
const REFUSED: u8 = 2;
const TICKET_KEYS: u8 = 16;

const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const KEY_BYTES: usize = ID_BYTES + SECRET_BYTES + 4;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who speaks.
    Hello {
        /// Its name.
        node: String,
    },
    /// Nothing new; sent so that silence means something.
    Alive,
    /// Why this gateway is not wanted; the last message.
    Refused {
        /// A sentence.
        reason: String,
    },
    /// Keys whose session tickets the one who hears of them may accept.
    TicketKeys(Vec<TicketKey>),
}

impl Message {
    /// Appends its frame. What is longer than its topic allows is cut: names and sentences at a character, keys at
    /// [`KEYS_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let topic = match self {
            Message::Hello { node } => {
                body.extend_from_slice(cut(node, NAME_BYTES_MAX).as_bytes());
                HELLO
            }
            Message::Alive => ALIVE,
            Message::Refused { reason } => {
                body.extend_from_slice(cut(reason, REASON_BYTES_MAX).as_bytes());
                REFUSED
            }
            Message::TicketKeys(keys) => {
                for TicketKey { id, secret, left_secs } in keys.iter().take(KEYS_MAX) {
                    body.extend_from_slice(id);
                    body.extend_from_slice(secret);
                    body.extend_from_slice(&left_secs.to_be_bytes());
                }
                TICKET_KEYS
            }
        };
        let fits = frame::write(out, topic, VERSION, &body);
        debug_assert!(fits, "every topic is bounded below the frame");
    }

    /// Reads the body of a frame; nothing, if its topic or version is not known here.
    ///
    /// # Errors
    /// [`Fault::Message`]: the body is not what the topic says.
    pub fn decode(frame: Frame<'_>) -> Result<Option<Message>, Fault> {
        let Frame { topic, version, body } = frame;
        let message = match (topic, version) {
            (HELLO, VERSION) => Message::Hello { node: name(body)? },
            (ALIVE, VERSION) if body.is_empty() => Message::Alive,
            (ALIVE, VERSION) => return Err(Fault::Message("Alive has no body")),
            (REFUSED, VERSION) => Message::Refused { reason: reason(body)? },
            (TICKET_KEYS, VERSION) => Message::TicketKeys(ticket_keys(body)?),
            _ => return Ok(None),
        };
        Ok(Some(message))
    }

    /// The word for its topic in metrics.
    pub fn topic(&self) -> &'static str {
        match self {
            Message::Hello { .. } | Message::Alive | Message::Refused { .. } => "link",
            Message::TicketKeys(_) => "ticket_keys",
        }
    }
}

/// As much of a text as fits, whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn name(body: &[u8]) -> Result<String, Fault> {
    if !(1..=NAME_BYTES_MAX).contains(&body.len()) {
        return Err(Fault::Message("a name has 1 to 253 bytes"));
    }
    let name = std::str::from_utf8(body).map_err(|_| Fault::Message("a name that is no UTF-8"))?;
    // It goes to logs and tables.
    match name.chars().all(|char| char.is_ascii_graphic()) {
        true => Ok(name.to_owned()),
        false => Err(Fault::Message("a name with characters that no name has")),
    }
}

fn reason(body: &[u8]) -> Result<String, Fault> {
    if body.len() > REASON_BYTES_MAX {
        return Err(Fault::Message("a refusal has 1024 bytes at most"));
    }
    let reason = std::str::from_utf8(body).map_err(|_| Fault::Message("a refusal that is no UTF-8"))?;
    Ok(reason.chars().filter(|char| !char.is_control()).collect())
}

fn ticket_keys(body: &[u8]) -> Result<Vec<TicketKey>, Fault> {
    let (keys, []) = body.as_chunks::<KEY_BYTES>() else {
        return Err(Fault::Message("keys have 52 bytes each"));
    };
    if keys.len() > KEYS_MAX {
        return Err(Fault::Message("more keys than are told at once"));
    }
    let key = |key: &[u8; KEY_BYTES]| {
        let (id, rest) = key.split_first_chunk::<ID_BYTES>()?;
        let (secret, left) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let left_secs = u32::from_be_bytes(*left.first_chunk()?);
        Some(TicketKey { id: *id, secret: *secret, left_secs })
    };
    Ok(keys.iter().filter_map(key).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Frames;

    fn read(wire: &[u8]) -> Result<Option<Message>, Fault> {
        let mut frames = Frames::default();
        frames.push(wire);
        Message::decode(frames.next()?.unwrap())
    }

    fn keys() -> impl Strategy<Value = Vec<TicketKey>> {
        let key = |(id, secret, left_secs)| TicketKey { id, secret, left_secs };
        prop::collection::vec(any::<([u8; 16], [u8; 32], u32)>().prop_map(key), 0..=KEYS_MAX)
    }

    /// What was written is read as it was.
    #[test]
    fn round_trips() {
        for message in [
            Message::Hello { node: "gw1.example".into() },
            Message::Alive,
            Message::Refused { reason: "no GatewayNode is named \"gw9\" here".into() },
            Message::TicketKeys(vec![]),
        ] {
            let mut wire = Vec::new();
            message.encode(&mut wire);
            assert_eq!(read(&wire), Ok(Some(message)));
        }
    }

    /// What is too long is cut where it is written, and refused where it is read.
    #[test]
    fn bounds() {
        let mut wire = Vec::new();
        Message::Refused { reason: "ä".repeat(2000) }.encode(&mut wire);
        assert_eq!(read(&wire), Ok(Some(Message::Refused { reason: "ä".repeat(512) })));
        for (topic, body) in [
            (HELLO, vec![]),
            (HELLO, vec![b'a'; 254]),
            (HELLO, b"a\nb".to_vec()),
            (HELLO, "gß".into()),
            (ALIVE, vec![0]),
            (REFUSED, vec![b'a'; 1025]),
            (REFUSED, vec![0xff]),
            (TICKET_KEYS, vec![0; 51]),
            (TICKET_KEYS, vec![0; 53]),
            (TICKET_KEYS, vec![0; KEY_BYTES * (KEYS_MAX + 1)]),
        ] {
            assert!(
                Message::decode(Frame { topic, version: VERSION, body: &body }).is_err(),
                "{topic} {}",
                body.len()
            );
        }
    }

    /// A topic, or a version, of a newer gateway is passed over, whatever is in it.
    #[test]
    fn news() {
        for (topic, version) in [(HELLO, 0), (HELLO, 2), (TICKET_KEYS, 2), (3, 1), (17, 1), (255, 255)] {
            assert_eq!(Message::decode(Frame { topic, version, body: b"anything" }), Ok(None));
        }
    }

    /// Keys are never printed.
    #[test]
    fn keys_are_not_printed() {
        let key = TicketKey { id: [77; 16], secret: [99; 32], left_secs: 5 };
        assert_eq!(format!("{key:?}"), "TicketKey { left_secs: 5, .. }");
    }

    proptest! {
        /// Keys arrive as they were told.
        #[test]
        fn all_keys(keys in keys()) {
            let mut wire = Vec::new();
            Message::TicketKeys(keys.clone()).encode(&mut wire);
            prop_assert_eq!(read(&wire), Ok(Some(Message::TicketKeys(keys))));
        }

        /// Any body is a message, nothing known, or a fault; what is read is written as something that is read as the same.
        #[test]
        fn any_body(topic in 0u8..20, version in 0u8..3, body in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(Some(message)) = Message::decode(Frame { topic, version, body: &body }) {
                let mut wire = Vec::new();
                message.encode(&mut wire);
                prop_assert_eq!(read(&wire), Ok(Some(message)));
            }
        }
    }
}
