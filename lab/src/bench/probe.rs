//! One request before and after a load, whose answer is compared to the last byte: a proxy that is fast because it
//! answers something else is found here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::anyhow;

use super::contender::{Contender, Setting, here};
use super::ground::Ground;
use super::origin::{Body, GRPC_MESSAGE};
use super::routes::{BROWSER, GRPC_HOST, GRPC_PATH, host, prefix};
use super::{bulk, datagrams};

/// Seconds that a probe may take.
const PATIENCE_SECS: u64 = 5;

/// Why a probe did not pass.
#[derive(Debug)]
pub enum Fault {
    /// The proxy does not serve this: no connection, no such protocol, or an answer that is not 200.
    Unserved(String),
    /// It serves it, wrongly.
    Wrong(String),
}

impl Fault {
    /// As an error.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Fault::Unserved(why) => anyhow!("not served: {why}"),
            Fault::Wrong(why) => anyhow!("{why}"),
        }
    }
}

/// A file over HTTP/1.1, and the address that the origin is told of.
pub fn http1(ground: &Ground, contender: &Contender, body: Body) -> Result<(), Fault> {
    let (name, port) = (host(0), contender.ports.http);
    let ask = |file: &str| curl(ground, &["--http1.1"], &format!("http://{name}{}{file}", prefix(0)), port);
    compare(&ask(body.file())?, "1.1", &body.bytes())?;
    let forwarded = ask("forwarded")?;
    match String::from_utf8_lossy(&forwarded.body).trim() {
        "127.0.0.1" => switched_on(ground, contender),
        other => Err(Fault::Wrong(format!("X-Forwarded-For is `{other}`, not 127.0.0.1"))),
    }
}

/// Whether ours really does what the full column says: filters answer, and lines are written.
fn switched_on(ground: &Ground, contender: &Contender) -> Result<(), Fault> {
    if !contender.kind.ours() || contender.setting == Setting::Off {
        return Ok(());
    }
    let head = ground.path("probe.head");
    let url = format!("http://{}{}{}", host(0), prefix(0), Body::Small.file());
    curl(ground, &["--http1.1", "-D", &head.to_string_lossy()], &url, contender.ports.http)?;
    let head = std::fs::read_to_string(head).unwrap_or_default();
    if !head.to_lowercase().contains("x-served-by: bench") {
        return Err(Fault::Wrong("the response header filter did nothing".into()));
    }
    // Lines are written in batches.
    std::thread::sleep(Duration::from_millis(1200));
    let log = ground.path(&format!("{}/access.log", contender.kind.name()));
    match std::fs::metadata(&log) {
        Ok(file) if file.len() > 0 => Ok(()),
        _ => Err(Fault::Wrong("the access log stayed empty".into())),
    }
}

/// A file over TLS 1.3, by HTTP/1.1 or HTTP/2.
pub fn tls(ground: &Ground, contender: &Contender, body: Body, h2: bool) -> Result<(), Fault> {
    let (name, port) = (host(0), contender.ports.tls);
    let (flag, version) = if h2 { ("--http2", "2") } else { ("--http1.1", "1.1") };
    let answer =
        curl(ground, &[flag, "--tlsv1.3"], &format!("https://{name}{}{}", prefix(0), body.file()), port)?;
    compare(&answer, version, &body.bytes())
}

/// A file over HTTP/2 in clear, by prior knowledge.
pub fn h2c(ground: &Ground, contender: &Contender, body: Body) -> Result<(), Fault> {
    let (name, port) = (host(0), contender.ports.h2c);
    let url = format!("http://{name}{}{}", prefix(0), body.file());
    compare(&curl(ground, &["--http2-prior-knowledge"], &url, port)?, "2", &body.bytes())
}

/// A gRPC call, its message and its trailer.
pub fn grpc(ground: &Ground, contender: &Contender) -> Result<(), Fault> {
    let port = contender.ports.h2c;
    let message = ground.put("grpc.message", GRPC_MESSAGE).map_err(|e| Fault::Wrong(e.to_string()))?;
    let data = format!("@{}", message.display());
    let options = [
        "--http2-prior-knowledge",
        "--data-binary",
        &data,
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
    ];
    let answer = curl(ground, &options, &format!("http://{GRPC_HOST}{GRPC_PATH}"), port)?;
    compare(&answer, "2", GRPC_MESSAGE)?;
    // curl shows no trailers.
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["-v", "-H", &format!(":authority: {GRPC_HOST}"), "-H", "te: trailers"]);
    nghttp.args(["-H", "content-type: application/grpc", "-d"]).arg(&message);
    nghttp.arg(format!("http://127.0.0.1:{port}{GRPC_PATH}")).stdin(Stdio::null());
    let output = nghttp.output().map_err(|e| Fault::Wrong(format!("nghttp: {e}")))?;
    match String::from_utf8_lossy(&output.stdout).contains("grpc-status: 0") {
        true => Ok(()),
        false => Err(Fault::Wrong("the trailer grpc-status: 0 did not come through".into())),
    }
}

/// Bytes there and back over TCP.
pub fn echo(port: u16) -> Result<(), Fault> {
    let converse = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(here(port))?;
        stream.set_read_timeout(Some(Duration::from_secs(PATIENCE_SECS)))?;
        stream.write_all(b"is anybody there")?;
        let mut answer = vec![0; 16];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    match converse() {
        Ok(answer) if answer == b"is anybody there" => Ok(()),
        Ok(answer) => Err(Fault::Wrong(format!("{:?} came back", String::from_utf8_lossy(&answer)))),
        Err(error) => Err(Fault::Unserved(format!("TCP port: {error}"))),
    }
}

/// A datagram there and back.
pub fn datagram(port: u16) -> Result<(), Fault> {
    match datagrams::ask(port) {
        Ok(answer) if answer == b"is anybody there" => Ok(()),
        Ok(answer) => Err(Fault::Wrong(format!("{:?} came back", String::from_utf8_lossy(&answer)))),
        Err(error) => Err(Fault::Unserved(format!("UDP port: {error}"))),
    }
}

/// The first bytes of bulk.
pub fn bulk(port: u16) -> Result<(), Fault> {
    let begin = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(here(port))?;
        stream.set_read_timeout(Some(Duration::from_secs(PATIENCE_SECS)))?;
        let mut answer = vec![0; 64];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    match begin() {
        Ok(answer) if answer == bulk::block()[..64] => Ok(()),
        Ok(_) => Err(Fault::Wrong("other bytes than the origin sent".into())),
        Err(error) => Err(Fault::Unserved(format!("TCP port: {error}"))),
    }
}

struct Answer {
    status: String,
    version: String,
    body: Vec<u8>,
}

fn curl(ground: &Ground, options: &[&str], url: &str, port: u16) -> Result<Answer, Fault> {
    let file = ground.path("probe.body");
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new("curl");
    command.args(["-sS", "-k", "-m", &PATIENCE_SECS.to_string(), "--noproxy", "*"]).args(options);
    command.args([
        "--connect-to",
        &format!("::127.0.0.1:{port}"),
        "-w",
        "%{http_code} %{http_version}",
        "-o",
    ]);
    command.arg(&file).arg(url);
    for (name, value) in BROWSER {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|e| Fault::Wrong(format!("curl: {e}")))?;
    if !output.status.success() {
        return Err(Fault::Unserved(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (status, version) = text.split_once(' ').unwrap_or((&text, ""));
    let body = std::fs::read(&file).unwrap_or_default();
    match status {
        "200" => Ok(Answer { status: status.into(), version: version.into(), body }),
        _ => Err(Fault::Unserved(format!("answered {status}"))),
    }
}

fn compare(answer: &Answer, version: &str, body: &[u8]) -> Result<(), Fault> {
    if answer.version != version {
        return Err(Fault::Unserved(format!("HTTP/{} was spoken, not HTTP/{version}", answer.version)));
    }
    if answer.body != body {
        let (len, status) = (answer.body.len(), &answer.status);
        return Err(Fault::Wrong(format!("{status} with a wrong body of {len} bytes, not {}", body.len())));
    }
    Ok(())
}
