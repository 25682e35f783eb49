//! Everybody at once before one gateway: requests over kept and over new connections, in the clear and over TLS, HTTP/2
//! streams, a WebSocket, a UDP session, and a keepalived that takes the address as soon as nobody speaks for it. Whatever happens meanwhile, none of them
//! may notice.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::certificates::Certificates;
use crate::election::CONTESTED;
use crate::lab::Lab;
use crate::load::{Load, Plan};
use crate::netns::Netns;
use crate::process;
use crate::report::Report;
use crate::scenarios::keepalived_election::start_keepalived;
use crate::talk::Talk;

const WEB: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(CONTESTED), 80);
const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(CONTESTED), 53);
/// Longer than any pause that would be allowed; then a datagram counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// HTTP/2 streams on one connection.
const STREAMS: u64 = 8;
/// The host that every request names.
pub const HOST: &str = "any.example";
/// Requests a second over HTTP/2 and TLS.
const SECURE_RATE: u64 = 20;
/// Between two TLS connections of one request each.
const HANDSHAKES: Duration = Duration::from_millis(200);

/// The load under way.
pub struct Crowd {
    kept: Load,
    fresh: Load,
    held: Load,
    streams: Child,
    secure: Child,
    /// How many requests `secure` sends.
    asks: u64,
    socket: Talk<usize>,
    session: Talk<usize>,
    handshakes: Talk<Handshakes>,
    /// The certificates that the gateway may show.
    pub certificates: Certificates,
    masters: usize,
}

/// What came of TLS connections.
#[derive(Debug, Default)]
struct Handshakes {
    answers: usize,
    /// Whose certificates were shown.
    subjects: BTreeSet<String>,
}

impl Crowd {
    /// Starts everything, and waits until the gateway holds the address; HTTP/2 streams last for about this time.
    pub fn gather(lab: &mut Lab, lasts: Duration) -> Result<Crowd> {
        let certificates = serve(lab)?;
        lab.start_gateway("gw1")?;
        let client = lab.ns("client");
        let plan = |rate| Plan::new(client.clone(), WEB, HOST, rate);
        lab.wait("first answer", Duration::from_secs(20), |_| Ok(plan(1).ask().ok()))?;
        start_keepalived(lab)?;
        lab.pause(Duration::from_millis(1500))?;
        let masters = times_master(lab);
        let seconds = lasts.as_secs().clamp(4, 55);
        let asks = lasts.as_secs().max(4) * SECURE_RATE;
        Ok(Crowd {
            kept: plan(200).kept(16).start(),
            fresh: plan(50).start(),
            held: plan(2).path("/slow?ms=3000").kept(8).start(),
            streams: streams(&client, seconds * 1000)?,
            secure: secure(&client, &certificates, asks)?,
            asks,
            socket: Talk::start(client.clone(), web_socket),
            session: Talk::start(client.clone(), session),
            handshakes: Talk::start(client, {
                let bundle = certificates.bundle.display().to_string();
                move |stop| handshakes(stop, &bundle)
            }),
            certificates,
            masters,
        })
    }

    /// Ends everything, and says what became of each; the gateway showed so many `certificates`, one after the other.
    pub fn disperse(self, lab: &mut Lab, report: &mut Report, certificates: usize) -> Result<()> {
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
        let output = self.secure.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let whole = text.lines().filter(|line| *line == "200 2").count();
        let others: Vec<_> = text.lines().filter(|line| *line != "200 2").take(5).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        let detail =
            format!("{}; {}", others.join(", "), errors.lines().take(3).collect::<Vec<_>>().join(", "));
        report.exactly("requests over HTTP/2 and TLS answered", whole, self.asks as usize, &detail);
        match self.handshakes.end() {
            Ok(Handshakes { answers, subjects }) => {
                report.at_least(
                    "TLS connections made and answered, each with a certificate to trust",
                    answers,
                    5,
                );
                let names = subjects.into_iter().collect::<Vec<_>>();
                report.exactly("certificates shown", names.len(), certificates, &names.join(", "));
            }
            Err(error) => report.holds("TLS connections", false, format!("{error:#}")),
        }
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

/// Starts the server, and puts the certificate in place that the Gateway names.
pub fn serve(lab: &mut Lab) -> Result<Certificates> {
    let server = ["/proc/self/exe", "pod", "--name", "server", "--port", "8080", "--port", "8081"];
    lab.start("server", "server", &server.map(String::from))?;
    let certificates = Certificates::make(&lab.dir("client")?, HOST, &["first", "second"])?;
    lab.manifests().put("certificate.yaml", &certificates.secret(0))?;
    Ok(certificates)
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

/// Requests over HTTP/2 and TLS on one connection, for as long as the gateway keeps it, at [`SECURE_RATE`]; curl prints a
/// line of status and version for each.
fn secure(client: &Netns, certificates: &Certificates, asks: u64) -> Result<Child> {
    let mut command = client.command("curl")?;
    command.args(["--silent", "--show-error", "--http2", "--output", "/dev/null", "--max-time", "8"]);
    command.args(["--write-out", "%{http_code} %{http_version}\n", "--rate", &format!("{SECURE_RATE}/s")]);
    command.arg("--cacert").arg(&certificates.bundle).args(["--resolve", &format!("{HOST}:443:{CONTESTED}")]);
    command.arg(format!("https://{HOST}/?[1-{asks}]"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("curl cannot be started")
}

/// One TLS connection after the other, each checked by curl and used once.
fn handshakes(stop: &AtomicBool, bundle: &str) -> Result<Handshakes> {
    let mut seen = Handshakes::default();
    while !stop.load(Ordering::Relaxed) {
        let mut command = std::process::Command::new("curl");
        command.args([
            "--verbose",
            "--silent",
            "--output",
            "/dev/null",
            "--max-time",
            "8",
            "--cacert",
            bundle,
        ]);
        command.args(["--write-out", "%{http_code}", "--resolve", &format!("{HOST}:443:{CONTESTED}")]);
        let output = command.arg(format!("https://{HOST}/")).stdin(Stdio::null()).output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.stdout != b"200" {
            let (status, answers) = (output.status, seen.answers);
            bail!(
                "after {answers} answers, {status}: {}",
                told.lines().rev().take(8).collect::<Vec<_>>().join(" < ")
            );
        }
        seen.answers += 1;
        seen.subjects
            .extend(told.lines().find_map(|line| line.strip_prefix("*  subject: ")).map(str::to_owned));
        std::thread::sleep(HANDSHAKES);
    }
    Ok(seen)
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
