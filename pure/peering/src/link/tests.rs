//! Two ends, a fake clock and a wire that cuts what it carries.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_model::Peers;
use tidegate_model::peers::TicketKey;

use super::*;
use crate::roster::Unwelcome;

/// A beginning: any moment is as good.
#[expect(clippy::disallowed_methods, reason = "where a fake clock begins")]
fn beginning() -> Instant {
    Instant::now()
}

const SHARED: &[u8] = b"0123456789abcdef0123456789abcdef";

fn roster(here: &str, others: &[&str]) -> Roster {
    let others: BTreeMap<_, _> = others.iter().map(|name| (name.to_string(), vec![])).collect();
    Roster::new(here, 9441, &Peers { here: vec![], others })
}

fn keys(of: u8, count: usize) -> Message {
    Message::TicketKeys(vec![TicketKey { id: [of; 16], secret: [of; 32], left_secs: 60 }; count])
}

/// Both ends, and what each was told.
struct Pair {
    ends: [Link; 2],
    seen: [Vec<Output>; 2],
    now: Instant,
    /// Bytes that the wire carries at once.
    cut: usize,
}

impl Pair {
    fn new(caller: Link, called: Link, now: Instant) -> Pair {
        Pair { ends: [caller, called], seen: [vec![], vec![]], now, cut: usize::MAX }
    }

    /// gw1 calls gw2, both with the right secret.
    fn usual() -> Pair {
        let (secret, now) = (Secret::new(SHARED).unwrap(), beginning());
        let caller = Link::call(&secret, &roster("gw1", &["gw2"]), "gw2", now).unwrap();
        Pair::new(caller, Link::answer(&secret, &roster("gw2", &["gw1"]), now).unwrap(), now)
    }

    /// Moves bytes until both are done.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..2 {
                while let Some(output) = self.ends[from].poll_output() {
                    moved = true;
                    match output {
                        Output::Send(bytes) => {
                            for part in bytes.chunks(self.cut.min(bytes.len())) {
                                self.ends[1 - from].handle(Input::Bytes(part), self.now);
                            }
                        }
                        other => self.seen[from].push(other),
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn tell(&mut self, from: usize, message: &Message) {
        let now = self.now;
        self.ends[from].handle(Input::Tell(message), now);
        self.settle();
    }

    /// Lets time pass, a timer at a time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = self.ends.iter().filter_map(Link::poll_timeout).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = due;
            for end in &mut self.ends {
                end.handle(Input::Timeout, due);
            }
            self.settle();
        }
        self.now = until;
    }

    fn faults(&self) -> [Option<&Fault>; 2] {
        let down = |output: &'_ Output| matches!(output, Output::Down(_));
        [0, 1].map(|end| match self.seen[end].iter().find(|output| down(output)) {
            Some(Output::Down(fault)) => Some(fault),
            _ => None,
        })
    }
}

fn up(name: &str) -> Output {
    Output::Up(name.into())
}

/// With one secret both learn who the other is, and hear what it says, however the wire cuts it.
#[test]
fn up_and_heard() {
    for cut in [1, 7, 1000, usize::MAX] {
        let mut pair = Pair::usual();
        pair.cut = cut;
        pair.settle();
        pair.tell(0, &keys(1, 192));
        pair.tell(1, &keys(2, 3));
        assert_eq!(pair.seen[0], [up("gw2"), Output::Heard(keys(2, 3))], "{cut}");
        assert_eq!(pair.seen[1], [up("gw1"), Output::Heard(keys(1, 192))], "{cut}");
    }
}

/// With two secrets neither says a name, and both say why.
#[test]
fn wrong_key() {
    let now = beginning();
    let (one, other) =
        (Secret::new(SHARED).unwrap(), Secret::new(b"another secret of 32 bytes......").unwrap());
    let caller = Link::call(&one, &roster("gw1", &["gw2"]), "gw2", now).unwrap();
    let mut pair = Pair::new(caller, Link::answer(&other, &roster("gw2", &["gw1"]), now).unwrap(), now);
    pair.settle();
    assert_eq!(pair.faults(), [Some(&Fault::WrongKey), Some(&Fault::WrongKey)]);
    assert_eq!(pair.seen.map(|seen| seen.len()), [1, 1]);
}

/// A caller that does not look at the key it is shown, and signs with another, is not let in.
#[test]
fn a_caller_that_looks_away() {
    let now = beginning();
    let (right, wrong) = (Secret::new(SHARED).unwrap(), Secret::new(b"guess").unwrap());
    // It has the verifier of the right secret, which it cannot have, and a key of its own.
    let mut config = (*wrong.caller).clone();
    let verifier = (*right.caller).clone();
    config.dangerous().set_certificate_verifier(verifier_of(&verifier));
    let cheat = Secret { caller: config.into(), called: wrong.called.clone() };
    let caller = Link::call(&cheat, &roster("gw1", &["gw2"]), "gw2", now).unwrap();
    let mut pair = Pair::new(caller, Link::answer(&right, &roster("gw2", &["gw1"]), now).unwrap(), now);
    pair.settle();
    assert_eq!(pair.faults()[1], Some(&Fault::WrongKey));
    assert!(!pair.seen[1].iter().any(|output| matches!(output, Output::Up(_) | Output::Heard(_))));
}

/// Takes whatever it is shown.
#[derive(Debug)]
struct Anyone;

fn verifier_of(_: &rustls::ClientConfig) -> std::sync::Arc<Anyone> {
    std::sync::Arc::new(Anyone)
}

mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    impl ServerCertVerifier for super::Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    }
}

/// One that is not known is told so, and both ends say it.
#[test]
fn unknown() {
    let (secret, now) = (Secret::new(SHARED).unwrap(), beginning());
    let caller = Link::call(&secret, &roster("gw0", &["gw2"]), "gw2", now).unwrap();
    let mut pair = Pair::new(caller, Link::answer(&secret, &roster("gw2", &["gw1"]), now).unwrap(), now);
    pair.settle();
    let unknown = Unwelcome::Unknown { here: "gw2".into(), name: "gw0".into() };
    assert_eq!(pair.faults(), [Some(&Fault::Refused(unknown.to_string())), Some(&Fault::Unwelcome(unknown))]);
}

/// Who answers at an address of another gateway is not taken for it.
#[test]
fn misplaced() {
    let (secret, now) = (Secret::new(SHARED).unwrap(), beginning());
    let caller = Link::call(&secret, &roster("gw1", &["gw2", "gw3"]), "gw2", now).unwrap();
    let mut pair = Pair::new(caller, Link::answer(&secret, &roster("gw3", &["gw1"]), now).unwrap(), now);
    pair.settle();
    assert_eq!(pair.faults()[0], Some(&Fault::Misplaced("gw3".into())));
}

/// A link on which nothing is said stays up, for a day; one whose other end is frozen ends in fifteen seconds.
#[test]
fn alive_and_silent() {
    let mut pair = Pair::usual();
    pair.settle();
    pair.pass(Duration::from_secs(86_400));
    assert_eq!(pair.seen, [vec![up("gw2")], vec![up("gw1")]]);
    let end = &mut pair.ends[0];
    let mut now = pair.now;
    while let Some(due) = end.poll_timeout() {
        now = due;
        end.handle(Input::Timeout, now);
    }
    assert!(now <= pair.now + SILENCE_MAX && now > pair.now + SILENCE_MAX - ALIVE_EVERY);
    let last = std::iter::from_fn(|| end.poll_output()).last();
    assert_eq!(last, Some(Output::Down(Fault::Silent)));
}

/// Half a handshake, and a name that is not said, end in five seconds.
#[test]
fn half_open() {
    let (secret, now) = (Secret::new(SHARED).unwrap(), beginning());
    let mut link = Link::answer(&secret, &roster("gw2", &["gw1"]), now).unwrap();
    link.handle(Input::Bytes(&[22, 3, 1]), now);
    link.handle(Input::Timeout, now + HELLO_WITHIN - Duration::from_millis(1));
    assert_eq!(link.poll_output(), None);
    assert_eq!(link.poll_timeout(), Some(now + HELLO_WITHIN));
    link.handle(Input::Timeout, now + HELLO_WITHIN);
    assert_eq!(link.poll_output(), Some(Output::Down(Fault::Late)));
    assert_eq!((link.poll_timeout(), link.is_proved()), (None, false));
}

/// What is sent behind the proof, but is no message, ends the link: too long, before the name, twice the name.
#[test]
fn misbehaviour() {
    let frame = |topic: u8, body: &[u8]| {
        let mut frame = Vec::new();
        assert!(crate::frame::write(&mut frame, topic, 1, body));
        frame
    };
    let long = (crate::frame::FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    for (bytes, fault) in [
        (long, Fault::FrameLength(crate::frame::FRAME_BYTES_MAX + 1)),
        (frame(16, &[0; 5]), Fault::Message("keys have 52 bytes each")),
        (frame(0, b"gw1"), Fault::Message("Hello for the second time")),
        (frame(1, b"x"), Fault::Message("Alive has no body")),
        (frame(2, b"go away"), Fault::Refused("go away".into())),
    ] {
        let mut pair = Pair::usual();
        pair.settle();
        pair.ends[0].tls.writer().write_all(&bytes).unwrap();
        pair.ends[0].flush();
        pair.settle();
        assert_eq!(pair.faults()[1], Some(&fault));
    }
}

/// What a newer gateway says besides is passed over, and the link goes on.
#[test]
fn newer_topics() {
    let mut pair = Pair::usual();
    pair.settle();
    let mut frames = Vec::new();
    assert!(crate::frame::write(&mut frames, 77, 3, b"of the future"));
    pair.ends[0].tls.writer().write_all(&frames).unwrap();
    pair.ends[0].flush();
    pair.settle();
    pair.tell(0, &keys(1, 1));
    assert_eq!(pair.seen[1], [up("gw1"), Output::PassedOver, Output::Heard(keys(1, 1))]);
}

/// A link that this end gives up tells the other so, and nothing has an effect afterwards.
#[test]
fn given_up() {
    let mut pair = Pair::usual();
    pair.settle();
    let now = pair.now;
    pair.ends[0].handle(Input::End(Fault::Replaced), now);
    pair.settle();
    pair.tell(0, &keys(1, 1));
    assert_eq!(pair.faults(), [Some(&Fault::Replaced), Some(&Fault::Closed)]);
    assert_eq!(pair.seen.map(|seen| seen.len()), [2, 2]);
}

/// A handshake message that never ends is given up after some bytes, not held.
#[test]
fn endless_handshake() {
    let (secret, now) = (Secret::new(SHARED).unwrap(), beginning());
    let mut link = Link::answer(&secret, &roster("gw2", &["gw1"]), now).unwrap();
    // A first message of 65,000 bytes, in records.
    let mut record = vec![22, 3, 1, 0x10, 0x00, 1, 0, 0xfd, 0xe8];
    record.resize(5 + 0x1000, 0);
    let mut sent = 0;
    while link.poll_output().is_none() {
        link.handle(Input::Bytes(&record), now);
        sent += record.len();
        record[5..9].fill(0);
        assert!(sent <= 2 * UNPROVEN_BYTES_MAX, "not given up");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes, alone or behind a right beginning, end the link or leave it waiting; nobody who knows nothing is up.
    #[test]
    fn noise(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        change in any::<prop::sample::Index>(),
        kind in 0u8..3,
    ) {
        let mut pair = Pair::usual();
        let mut bytes = match pair.ends[0].poll_output() {
            Some(Output::Send(bytes)) => bytes,
            other => panic!("{other:?}"),
        };
        match kind {
            0 => bytes.clone_from(&noise),
            1 => bytes.extend_from_slice(&noise),
            _ => {
                let at = change.index(bytes.len());
                bytes[at] = bytes[at].wrapping_add(noise.first().copied().unwrap_or(1).max(1));
            }
        }
        let now = pair.now;
        pair.ends[1].handle(Input::Bytes(&bytes), now);
        pair.ends[1].handle(Input::Bytes(&noise), now);
        prop_assert!(!pair.ends[1].is_proved());
    }
}
