//! An [`Origin`]: a server behind the gateway, that answers with its name and the request it got.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long `/slow` takes for its second half.
pub const SLOW: Duration = Duration::from_millis(1500);
/// The body of `/slow`, in two halves.
pub const SLOW_BODY: &str = "first half, second half";

/// A server on a port of its own. Its threads end with the test.
pub struct Origin {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Hears when half of a slow answer is out.
    pub half_way: Receiver<()>,
}

impl Origin {
    /// Starts one; `name` is the first line of every answer.
    pub fn start(name: &'static str) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, half_way) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, name, &sender));
            }
        });
        Origin { port, half_way }
    }
}

/// Requests without bodies, one after the other, until the client closes.
fn serve(stream: TcpStream, name: &str, half_way: &Sender<()>) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
        let first = request.first()?;
        if first.contains(" /slow ") {
            let (half, rest) = SLOW_BODY.split_at(SLOW_BODY.len() / 2);
            write!(answers, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{half}", SLOW_BODY.len()).ok()?;
            half_way.send(()).ok()?;
            std::thread::sleep(SLOW);
            write!(answers, "{rest}").ok()?;
        } else {
            let body = format!("{name}\n{}\n", request.join("\n"));
            write!(answers, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()?;
        }
    }
}
