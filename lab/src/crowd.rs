//! Everybody at once before one gateway: requests over kept and over new connections, HTTP/2 streams, a WebSocket, a UDP
//! session, and a keepalived that takes the address as soon as nobody speaks for it. Whatever happens meanwhile, none of them
//! may notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::election::CONTESTED;
use crate::lab::Lab;
use crate::load::{Load, Plan};
use crate::netns::Netns;
use crate::process;
use crate::report::Report;
use crate::scenarios::keepalived_election::start_keepalived;

const WEB: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(CONTESTED), 80);
const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(CONTESTED), 53);
/// Longer than any pause that would be allowed; then a datagram counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// HTTP/2 streams on one connection.
const STREAMS: u64 = 8;
const HOST: &str = "any.example";

/// The load under way.
pub struct Crowd {
    kept: Load,
    fresh: Load,
    held: Load,
    streams: Child,
    socket: Talk,
    session: Talk,
    masters: usize,
}

/// A conversation that never begins anew; how often it was answered, or what broke it.
struct Talk {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
}

impl Crowd {
    /// Starts everything, and waits until the gateway holds the address; HTTP/2 streams last for about this time.
    pub fn gather(lab: &mut Lab, lasts: Duration) -> Result<Crowd> {
        let server = ["/proc/self/exe", "pod", "--name", "server", "--port", "8080"].map(String::from);
        lab.start("server", "server", &server)?;
        lab.start_gateway("gw1")?;
        let client = lab.ns("client");
        let plan = |rate| Plan::new(client.clone(), WEB, HOST, rate);
        lab.wait("first answer", Duration::from_secs(20), |_| Ok(plan(1).ask().ok()))?;
        start_keepalived(lab)?;
        lab.pause(Duration::from_millis(1500))?;
        let masters = times_master(lab);
        let seconds = lasts.as_secs().clamp(4, 55);
        Ok(Crowd {
            kept: plan(200).kept(16).start(),
            fresh: plan(50).start(),
            held: plan(2).path("/slow?ms=3000").kept(8).start(),
            streams: streams(&client, seconds * 1000)?,
            socket: Talk::start(client.clone(), web_socket),
            session: Talk::start(client, session),
            masters,
        })
    }

    /// Ends everything; what became of each.
    pub fn disperse(self, lab: &mut Lab, report: &mut Report) -> Result<()> {
        report.none_failed("over kept connections", &self.kept.stop()?, 200);
        report.none_failed("over new connections", &self.fresh.stop()?, 50);
        report.none_failed("of three seconds each", &self.held.stop()?, 4);
        let output = self.streams.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let whole = text.lines().filter(|line| line.contains(" 200 ") && line.contains("/slow?ms=")).count();
        report.exactly(
            "HTTP/2 streams held all the time that ended whole",
            whole,
            STREAMS as usize,
            text.trim(),
        );
        for (what, talk) in [("a WebSocket", self.socket), ("a UDP session", self.session)] {
            match talk.end() {
                Ok(answers) => {
                    report.at_least(&format!("answers over {what}, held all the time"), answers, 50)
                }
                Err(error) => report.holds(&format!("{what} holds"), false, format!("{error:#}")),
            }
        }
        let became = times_master(lab) - self.masters;
        report.exactly("times that keepalived took the address", became, 0, "");
        Ok(())
    }
}

/// How often keepalived says that it became master.
fn times_master(lab: &Lab) -> usize {
    process::tail(&lab.logs().join("other.log"), 1 << 20).matches("Entering MASTER STATE").count()
}

/// Streams of one HTTP/2 connection, all begun at once, that last so many milliseconds and a little longer; nghttp, a stranger's
/// client, prints a line with the status of each.
fn streams(client: &Netns, ms: u64) -> Result<Child> {
    let mut command = client.command("nghttp")?;
    command.args(["--null-out", "--stat", "--header", &format!(":authority: {HOST}")]);
    command.args((0..STREAMS).map(|stream| format!("http://{WEB}/slow?ms={}", ms + stream * 100)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("nghttp cannot be started")
}

impl Talk {
    fn start(from: Netns, talk: fn(&AtomicBool) -> Result<usize>) -> Talk {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            from.enter()?;
            talk(&stopped)
        });
        Talk { stop, thread }
    }

    fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// One WebSocket over which frames go and come back; how many.
fn web_socket(stop: &AtomicBool) -> Result<usize> {
    let mut stream = TcpStream::connect(WEB)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("no answer to the upgrade")?;
        answer.push(byte[0]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let mut echoes = 0;
    while !stop.load(Ordering::Relaxed) {
        // A masked text frame of eight bytes (RFC 6455 section 5.2).
        let mut frame = vec![0x81, 0x88, 1, 2, 3, 4];
        frame.extend_from_slice(&(echoes as u64).to_be_bytes());
        stream.write_all(&frame)?;
        let mut back = vec![0; frame.len()];
        stream.read_exact(&mut back).with_context(|| format!("cut after {echoes} frames"))?;
        ensure!(back == frame, "frame {echoes} came back changed");
        echoes += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(echoes)
}

/// One UDP session; how many datagrams were answered. None may be lost, and the server must see one socket all the time.
fn session(stop: &AtomicBool) -> Result<usize> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(DNS)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut answers, mut port) = (0, None);
    while !stop.load(Ordering::Relaxed) {
        let (asked, sent) = (format!("question {answers}"), Instant::now());
        socket.send(asked.as_bytes())?;
        let mut room = [0; 256];
        let count = socket.recv(&mut room).with_context(|| format!("lost: {asked}"))?;
        let text = String::from_utf8_lossy(&room[..count]).into_owned();
        let (from, answer) = text.split_once(' ').context("an answer without a port")?;
        ensure!(answer == asked, "{answer:?} answers {asked:?} after {:?}", sent.elapsed());
        let known = port.get_or_insert_with(|| from.to_owned());
        ensure!(known == from, "the session moved from port {known} to {from} after {answers} answers");
        answers += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(answers)
}
