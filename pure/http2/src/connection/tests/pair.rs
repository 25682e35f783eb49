//! Two machines on one wire that cuts as it likes: the same messages arrive, windows hold, and no bytes do harm.

use super::*;
use crate::error::SendError;
use proptest::collection::vec;
use proptest::prelude::*;

/// One exchange: the bodies' lengths in both directions, and whether each ends by trailers.
#[derive(Debug, Clone)]
struct Plan {
    request: usize,
    response: usize,
    trailers: (bool, bool),
}

fn plan() -> impl Strategy<Value = Plan> {
    let length = prop_oneof![Just(0), 1usize..100, 1usize..200_000];
    (length.clone(), length, any::<(bool, bool)>()).prop_map(|(request, response, trailers)| Plan {
        request,
        response,
        trailers,
    })
}

/// What one side still has to send on a stream, and what it has got.
#[derive(Debug, Default)]
struct Side {
    to_send: usize,
    sent: usize,
    trailers: bool,
    done: bool,
    got: usize,
    ended: bool,
    trailed: bool,
}

/// The byte at `at` of a body.
fn byte(stream: u32, at: usize) -> u8 {
    (stream as usize * 31 + at * 7 + at / 251) as u8
}

struct End {
    bench: Bench,
    sides: Vec<(StreamId, Side)>,
}

impl End {
    fn side(&mut self, stream: StreamId) -> &mut Side {
        let at = self.sides.iter().position(|(id, _)| *id == stream).unwrap();
        &mut self.sides[at].1
    }

    /// Sends on a stream what can be sent.
    fn push(&mut self, stream: StreamId) {
        let at = self.sides.iter().position(|(id, _)| *id == stream).unwrap();
        let (id, side) = &mut self.sides[at];
        if side.done {
            return;
        }
        let body: Vec<u8> = (side.sent..side.to_send).map(|at| byte(id.number, at)).collect();
        let sent = self.bench.connection.send_data(*id, &body, !side.trailers).unwrap();
        side.sent += sent;
        if side.sent == side.to_send {
            side.done = true;
            if side.trailers {
                self.bench.connection.send_trailers(*id, |writer| writer.field(b"X-Sum", b"1")).unwrap();
            }
        }
    }

    /// Takes bytes, checks bodies, releases windows, and goes on where it can.
    fn take(&mut self, mut bytes: &[u8], answer: &mut impl FnMut(&mut End, StreamId)) {
        loop {
            let event =
                self.bench.connection.receive(&mut bytes, &mut self.bench.fields, Duration::ZERO).unwrap();
            match event {
                None => break,
                Some(Event::Head { stream, end }) => {
                    answer(self, stream);
                    self.side(stream).ended = end;
                }
                Some(Event::Data { stream, data, end }) => {
                    self.bench.connection.release(stream, data.len());
                    let side = self.side(stream);
                    assert!(!side.ended);
                    let from = side.got;
                    assert!(data.iter().enumerate().all(|(at, &got)| got == byte(stream.number, from + at)));
                    side.got += data.len();
                    side.ended = end;
                }
                Some(Event::Trailers { stream }) => {
                    let side = self.side(stream);
                    (side.ended, side.trailed) = (true, true);
                    assert_eq!(self.bench.fields.get(b"x-sum"), Some(&b"1"[..]));
                }
                Some(Event::Settings | Event::SettingsAcked) => {}
                Some(other) => panic!("{other:?}"),
            }
        }
        while let Some(stream) = self.bench.connection.next_writable() {
            self.push(stream);
        }
    }

    fn cut(&mut self, most: usize) -> Vec<u8> {
        let output = self.bench.connection.output();
        let bytes = output[..output.len().min(most)].to_vec();
        self.bench.connection.advance_output(bytes.len());
        while let Some(stream) = self.bench.connection.next_writable() {
            self.push(stream);
        }
        bytes
    }
}

fn end(connection: Connection) -> End {
    End { bench: Bench::of(connection), sides: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the wire is cut, every body arrives as it was sent, in both directions, and both ends forget the streams.
    #[test]
    fn bodies_arrive(plans in vec(plan(), 1..8), cuts in vec(prop_oneof![1usize..40, 1usize..70_000], 1..30)) {
        let limits = Arc::new(Limits { stream_window_bytes: 65_535, connection_window_bytes: 100_000, ..Limits::default() });
        let (mut client, mut server) = (end(Connection::client(limits.clone())), end(Connection::server(limits)));
        for plan in &plans {
            let request = RequestLine {
                method: b"POST", scheme: Some(b"http"), authority: Some(b"a"), path: Some(b"/p"), protocol: None,
            };
            let id = client.bench.connection.open(request, false, |writer| writer.field(b"X-Any", b"thing")).unwrap();
            let side = Side { to_send: plan.request, trailers: plan.trailers.0, ..Side::default() };
            client.sides.push((id, side));
            client.push(id);
        }
        let mut answer = |server: &mut End, id: StreamId| {
            assert_eq!(server.bench.fields.get(b"x-any"), Some(&b"thing"[..]));
            let plan = &plans[(id.number / 2) as usize];
            let side = Side { to_send: plan.response, trailers: plan.trailers.1, ..Side::default() };
            server.sides.push((id, side));
            server.bench.connection.respond(id, 200, false, |_| {}).unwrap();
            server.push(id);
        };
        let (mut cuts, mut idle) = (cuts.iter().cycle(), 0);
        while idle < 4 {
            let bytes = client.cut(*cuts.next().unwrap());
            server.take(&bytes, &mut answer);
            let back = server.cut(*cuts.next().unwrap());
            client.take(&back, &mut |_, _| {});
            idle = if bytes.is_empty() && back.is_empty() { idle + 1 } else { 0 };
        }
        for (index, plan) in plans.iter().enumerate() {
            let (got, back) = (&server.sides[index].1, &client.sides[index].1);
            prop_assert_eq!((got.got, got.trailed, got.ended), (plan.request, plan.trailers.0, true));
            prop_assert_eq!((back.got, back.trailed, back.ended), (plan.response, plan.trailers.1, true));
        }
        prop_assert_eq!((client.bench.connection.open_streams(), server.bench.connection.open_streams()), (0, 0));
    }

    /// How input is cut changes nothing: the same events (pieces of data joined), the same fault, the same output.
    #[test]
    fn cuts_change_nothing(script in vec(any::<(u8, u8, u8)>(), 0..60), cuts in vec(1usize..50, 1..20)) {
        let stream = noise(&script);
        let whole = replay(&stream, &[stream.len().max(1)]);
        prop_assert_eq!(whole, replay(&stream, &cuts));
    }

    /// No bytes and no calls in between make either role panic, and nothing outgrows its bound.
    #[test]
    fn any_bytes_are_survived(
        server: bool, script in vec(any::<(u8, u8, u8)>(), 0..80), raw in vec(any::<u8>(), 0..300), calls in vec(any::<u8>(), 1..40),
    ) {
        let limits = Arc::new(Limits { extended_connect: true, ..Limits::default() });
        let mut bench = if server { Bench::of(Connection::server(limits)) } else { Bench::of(Connection::client(limits)) };
        let bytes = [noise(&script), raw].concat();
        let mut input = if server { &bytes[..] } else { &bytes[PREFACE.len()..] };
        for call in calls.iter().cycle().take(400) {
            let ids: Vec<_> = bench.connection.streams().collect();
            let id = ids.get(usize::from(*call) % ids.len().max(1)).copied().unwrap_or(StreamId { number: 1, slot: 3 });
            match call % 8 {
                0 => bench.connection.reset(id, ErrorCode::CANCEL),
                1 => bench.connection.release(id, usize::from(*call) * 999),
                2 => drop(bench.connection.respond(id, 100 + u16::from(*call), call & 1 == 0, |writer| writer.field(b"a", b"b"))),
                3 => drop(bench.connection.send_data(id, &[0; 9000], call & 16 == 0)),
                4 => drop(bench.connection.send_trailers(id, |_| {})),
                5 => drop(bench.connection.open(RequestLine::default(), call & 16 == 0, |_| {})),
                6 => bench.connection.advance_output(usize::from(*call) * 100),
                _ => drop(bench.connection.next_writable()),
            }
            if *call == 255 {
                bench.connection.begin_shutdown();
            }
            let before = input.len();
            if bench.connection.receive(&mut input, &mut bench.fields, Duration::ZERO) == Ok(None) {
                prop_assert!(input.is_empty());
            }
            prop_assert!(input.len() <= before && bench.connection.partial.len() <= 16_384 + 9);
            prop_assert!(bench.connection.open_streams() <= 100 && bench.connection.waiting.len() <= 100);
            prop_assert!(bench.connection.receive_window_is_sound());
        }
    }
}

impl Connection {
    /// Whether no window was given away beyond its size.
    fn receive_window_is_sound(&self) -> bool {
        let mut window = self.receive_window;
        !window.take((1 << 20) + 1)
    }
}

/// A stream that comes near to a real one: frames of every kind, some of them broken.
fn noise(script: &[(u8, u8, u8)]) -> Vec<u8> {
    let mut stream = [&PREFACE[..], &settings(&[]), &frame(kind::SETTINGS, flag::ACK, 0, &[])].concat();
    let mut next = 1;
    for &(what, a, b) in script {
        let number = if a & 1 == 0 { next } else { u32::from(a % 16) };
        stream.extend(match what % 16 {
            0..4 => {
                next += 2;
                [get, post][usize::from(b % 2)](next - 2)
            }
            4..7 => data(number, &vec![b; usize::from(a) * 9], b & 1 == 1),
            7 => frame(kind::HEADERS, b, number, &block(&GET)),
            8 => frame(kind::HEADERS, WHOLE, number, &block(&[("x", "y")])),
            9 => rst(number, b.into()),
            10 => update(number, u32::from(b) << (a % 24)),
            11 => settings(&[(u16::from(a % 9), u32::from(b) << (a % 25))]),
            12 => frame(kind::CONTINUATION, b, number, &[0x82]),
            13 => frame(kind::DATA, flag::PADDED | (b & 1), number, &vec![a; usize::from(b)]),
            14 => frame(kind::PING, b & 1, 0, &[a; 8]),
            _ => frame(a % 12, b, number, &[a; 7][..usize::from(b % 8)]),
        });
    }
    stream
}

/// A server that answers nothing, fed in pieces: what it saw, why it ended, what it sent.
fn replay(mut bytes: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<Fault>, Vec<u8>) {
    let mut bench = Bench::of(Connection::server(Arc::default()));
    let mut all: Vec<Seen> = Vec::new();
    for cut in cuts.iter().cycle() {
        let (piece, rest) = bytes.split_at(bytes.len().min(*cut));
        bytes = rest;
        let mut piece = piece;
        loop {
            let event = bench.connection.receive(&mut piece, &mut bench.fields, Duration::ZERO);
            let seen = match event {
                Ok(None) => break,
                Ok(Some(event)) => Seen::from(event),
                Err(error) => return (all, Some(error.fault), bench.connection.output().to_vec()),
            };
            match (all.last_mut(), seen) {
                (Some(Seen::Data(before, kept, false)), Seen::Data(stream, more, end))
                    if *before == stream =>
                {
                    kept.extend(more);
                    if end {
                        let whole = Seen::Data(stream, std::mem::take(kept), true);
                        all.pop();
                        all.push(whole);
                    }
                }
                (_, seen) => all.push(seen),
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    (all, None, bench.connection.output().to_vec())
}

/// Handles of streams that are gone reach nothing, also when their slot is used again.
#[test]
fn old_handles_reach_nothing() {
    let mut bench = Bench::server();
    bench.feed(&get(1)).unwrap();
    let old = bench.id(1);
    bench.feed(&[rst(1, 8), get(3)].concat()).unwrap();
    assert_eq!(bench.id(3).slot(), old.slot());
    assert_eq!(bench.connection.respond(old, 200, true, |_| {}), Err(SendError::Gone));
    bench.connection.reset(old, ErrorCode::CANCEL);
    assert!(bench.connection.is_open(bench.id(3)));
}
