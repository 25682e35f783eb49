//! Any HTTP/2 stream is survived by both roles, and cuts change nothing of what is heard.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Source, cut};
use tidegate_http2::{Connection, Event, Fields, Limits};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames with a sound length before each chunk of the input, except where the input says otherwise.
fn frames(source: &mut Source<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !source.is_empty() {
        let (kind, flags, number) = (source.byte(), source.byte(), source.byte());
        let body = source.chunk();
        if kind & 0x80 == 0 {
            stream.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
            stream.extend_from_slice(&[kind % 11, flags]);
            stream.extend_from_slice(&u32::from(number).to_be_bytes());
        }
        stream.extend_from_slice(body);
    }
    stream
}

/// What a machine heard: heads and the like in order, bodies joined by stream.
fn heard(mut connection: Connection, pieces: &[&[u8]]) -> (Vec<String>, Vec<(u32, u8)>) {
    let (mut fields, mut told, mut bodies) = (Fields::new(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            let mut release = None;
            match connection.receive(&mut input, &mut fields, Duration::ZERO) {
                Ok(None) => break,
                Ok(Some(Event::Data { stream, data, end })) => {
                    bodies.extend(data.iter().map(|&byte| (stream.number(), byte)));
                    release = Some((stream, data.len()));
                    if end {
                        told.push(format!("{} ends", stream.number()));
                    }
                }
                Ok(Some(Event::Head { stream, end })) => {
                    let text = String::from_utf8_lossy(fields.text(0..fields.len())).into_owned();
                    assert!(!text.contains('\0') && fields.path().is_none_or(|path| !path.contains(&b'\n')));
                    told.push(format!("{} head {end} {text:?}", stream.number()));
                }
                Ok(Some(other)) => told.push(format!("{other:?}")),
                Err(error) => {
                    told.push(format!("{error:?}"));
                    return (told, bodies);
                }
            }
            if let Some((stream, bytes)) = release {
                connection.release(stream, bytes);
            }
        }
        connection.advance_output(connection.output().len());
        while connection.next_writable().is_some() {}
    }
    (told, bodies)
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let (seed, server) = (source.byte(), source.byte() & 1 == 0);
    let mut stream = if server { PREFACE.to_vec() } else { Vec::new() };
    stream.extend(frames(&mut source));
    let role = || {
        let limits = Arc::new(Limits { extended_connect: true, ..Limits::default() });
        if server { Connection::server(limits) } else { Connection::client(limits) }
    };
    assert_eq!(heard(role(), &[&stream]), heard(role(), &cut(&stream, seed)), "cuts change what is heard");
});
