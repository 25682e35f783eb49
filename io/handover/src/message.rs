//! The words of a hand-over, and how they are written.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tidegate_model::DrainedEndpoints;
use tidegate_model::handover::{Election, Listening, Tickets, UdpSession};

/// What this version speaks; a process that speaks another is not handed over to.
pub const PROTOCOL: u32 = 1;

/// The longest message.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Descriptors with one message; the kernel takes 253 (unix(7)).
pub const DESCRIPTORS_MAX: usize = 64;

/// A message. Where descriptors belong to it, they come in the order told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The new process says who it is.
    Hello {
        /// What it speaks.
        protocol: u32,
        /// Its version, for people.
        version: String,
    },
    /// The old one does not hand over, for this reason.
    Refused {
        /// A sentence.
        reason: String,
    },
    /// The old one begins. Descriptors: the lock on the state directory; the socket of hand-overs; the lock on the kernel, if
    /// held; the admin socket; a channel of each process that still drains.
    Welcome {
        /// Its version, for people.
        version: String,
        /// Its process id.
        pid: u32,
        /// Whether the lock on the kernel is among the descriptors.
        kernel: bool,
        /// Where the admin socket listens.
        admin: SocketAddr,
        /// What its persistent sessions are made with, where the gateways of a set share no secret.
        secret: Vec<u8>,
        /// The keys of its session tickets; a version that had none made them of the secret.
        #[serde(default)]
        tickets: Option<Box<Tickets>>,
        /// A digest of what the gateways shared when the keys were told; empty: nothing, or of a version that did not say.
        #[serde(default)]
        tickets_secret: Vec<u8>,
        /// The processes that still drain.
        draining: Vec<u32>,
    },
    /// Listening sockets, a descriptor for each.
    Sockets(Vec<Listening>),
    /// All sockets that are open now were told.
    Prepared,
    /// The new one could serve, and asks for the rest.
    TakeOver,
    /// Elections.
    Elections(Vec<Election>),
    /// UDP sessions, a descriptor for each.
    Sessions(Vec<UdpSession>),
    /// Endpoints that are drained by hand; only if there are any, so that a version that does not know of it is not disturbed.
    Drained(DrainedEndpoints),
    /// Everything was told.
    Complete,
    /// The new one has it all: from here on it is responsible.
    Taken,
    /// The old one has let go.
    Released {
        /// Whether it was ready.
        ready: bool,
    },
    /// What the old one still holds.
    Draining {
        /// Client connections.
        connections: u64,
    },
}

impl Message {
    /// As bytes.
    ///
    /// # Errors
    /// It is longer than [`MESSAGE_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        match bytes.len() {
            0..=MESSAGE_BYTES_MAX => Ok(bytes),
            length => Err(format!("a message of {length} bytes, more than {MESSAGE_BYTES_MAX}")),
        }
    }

    /// Of bytes and the number of descriptors that came with them.
    ///
    /// # Errors
    /// They are no message, or it is not one of so many descriptors.
    pub fn decode(bytes: &[u8], descriptors: usize) -> Result<Message, String> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err("too long".into());
        }
        let message: Message = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match message.descriptors() {
            expected if expected == descriptors => Ok(message),
            expected => Err(format!("{descriptors} descriptors where {expected} belong")),
        }
    }

    /// How many descriptors belong to it.
    pub fn descriptors(&self) -> usize {
        match self {
            Message::Welcome { kernel, draining, .. } => 3 + usize::from(*kernel) + draining.len(),
            Message::Sockets(sockets) => sockets.len(),
            Message::Sessions(sessions) => sessions.len(),
            _ => 0,
        }
    }

    /// Its name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Hello { .. } => "Hello",
            Message::Refused { .. } => "Refused",
            Message::Welcome { .. } => "Welcome",
            Message::Sockets(_) => "Sockets",
            Message::Prepared => "Prepared",
            Message::TakeOver => "TakeOver",
            Message::Elections(_) => "Elections",
            Message::Sessions(_) => "Sessions",
            Message::Drained(_) => "Drained",
            Message::Complete => "Complete",
            Message::Taken => "Taken",
            Message::Released { .. } => "Released",
            Message::Draining { .. } => "Draining",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use tidegate_model::peers::TicketKey;
    use tidegate_model::traffic::Transport;

    use super::*;

    fn session(number: u64) -> UdpSession {
        UdpSession {
            socket: number,
            client: ([192, 0, 2, 1], 5353).into(),
            asked: [192, 0, 2, 2].into(),
            interface: 0,
            backend: "shop/dns:53/udp".into(),
            endpoint: ([10, 0, 0, 1], 53).into(),
            datagrams: 1,
            received_bytes: u64::MAX,
            sent_bytes: 0,
            age_ms: 12,
            idle_ms: 0,
            answered: true,
        }
    }

    /// What was written is read as it was, and a full batch of sessions fits a message, as do all endpoints that may be drained.
    #[test]
    fn round_trips() {
        let listening =
            Listening { transport: Transport::Udp, address: ([0, 0, 0, 0], 53).into(), number: 3 };
        let longest: IpAddr = "fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap();
        let drained = (0..DrainedEndpoints::MAX).map(|port| SocketAddr::new(longest, 60_000 + port as u16));
        for message in [
            Message::Hello { protocol: PROTOCOL, version: "1".into() },
            Message::Sockets(vec![listening; DESCRIPTORS_MAX]),
            Message::Sessions((0..DESCRIPTORS_MAX as u64).map(session).collect()),
            Message::Drained(drained.collect()),
            Message::Prepared,
            Message::Draining { connections: 7 },
        ] {
            let bytes = message.encode().unwrap();
            assert_eq!(Message::decode(&bytes, message.descriptors()), Ok(message.clone()));
            assert!(Message::decode(&bytes, message.descriptors() + 1).is_err());
        }
    }

    /// All the keys of session tickets that a gateway ever has fit the first message, and one without any is read.
    #[test]
    fn welcomes() {
        let key = |number: u8| TicketKey { id: [number; 16], secret: [0xff; 32], left_secs: u32::MAX };
        let (next, current) = (key(201), key(202));
        let tickets =
            Tickets { turns_in_secs: u32::MAX, next, current, accepted: (0..190).map(key).collect() };
        let welcome = |tickets| Message::Welcome {
            version: "1".into(),
            pid: 1,
            kernel: true,
            admin: ([127, 0, 0, 1], 9440).into(),
            secret: vec![0xff; 32],
            tickets,
            tickets_secret: vec![0xff; 32],
            draining: vec![u32::MAX; DESCRIPTORS_MAX - 4],
        };
        let full = welcome(Some(Box::new(tickets)));
        let bytes = full.encode().unwrap();
        assert_eq!(Message::decode(&bytes, DESCRIPTORS_MAX), Ok(full));
        let mut older: serde_json::Value = serde_json::from_slice(&welcome(None).encode().unwrap()).unwrap();
        let fields = older["Welcome"].as_object_mut().unwrap();
        for field in ["tickets", "tickets_secret"] {
            assert!(fields.remove(field).is_some());
        }
        let older = Message::decode(older.to_string().as_bytes(), DESCRIPTORS_MAX).unwrap();
        let Message::Welcome { tickets, tickets_secret, .. } = older else { panic!("{older:?}") };
        assert_eq!((tickets, tickets_secret), (None, vec![]));
    }

    /// What is too long is not written, and not read.
    #[test]
    fn bounds() {
        let long = Message::Refused { reason: "x".repeat(MESSAGE_BYTES_MAX) };
        assert!(long.encode().is_err());
        assert!(Message::decode(&vec![b' '; MESSAGE_BYTES_MAX + 1], 0).is_err());
    }

    proptest! {
        /// Any bytes are a message or an error; a message is written as something that is read as the same.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), descriptors in 0usize..4) {
            if let Ok(message) = Message::decode(&bytes, descriptors) {
                let again = message.encode().unwrap();
                prop_assert_eq!(Message::decode(&again, descriptors), Ok(message));
            }
        }

        /// A message that is cut or changed in one place is no panic.
        #[test]
        fn nearly_a_message(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = Message::Sessions(vec![session(1)]).encode().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Message::decode(&bytes, 1);
            bytes.truncate(at);
            prop_assert!(Message::decode(&bytes, 1).is_err());
        }
    }
}
