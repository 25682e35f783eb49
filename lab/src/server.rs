//! The servers inside pods and on the legacy network: HTTP/1.1 with keep-alive, an answer in JSON that says who
//! answered, who asked and with which header fields. On SIGTERM they finish what they began and go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{Head, Reader};

/// How many pieces a slow answer comes in.
const PIECES: u32 = 50;

/// Who a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Personality {
    /// In a pod of this name: answers its name.
    Pod(String),
    /// At every address of its host: answers the one that it was asked at.
    Endpoints,
    /// On the legacy network: answers, and writes to standard output, the source address it saw.
    Legacy,
}

/// Serves until SIGTERM.
pub fn serve(personality: Personality, ports: &[u16]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopping) = watch::channel(false);
        let mut term = signal(SignalKind::terminate())?;
        let mut accepting = JoinSet::new();
        for port in ports {
            let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
            let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?;
            accepting.spawn(accept(listener, personality.clone(), stopping.clone()));
            let datagrams =
                UdpSocket::bind(at).await.with_context(|| format!("hearing datagrams on {at}"))?;
            accepting.spawn(echo_datagrams(datagrams, stopping.clone()));
        }
        term.recv().await;
        let _ = stop.send(true);
        accepting.join_all().await;
        Ok(())
    })
}

async fn accept(listener: TcpListener, personality: Personality, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                // An error here concerns one connection that is gone already.
                let Ok((stream, peer)) = accepted else { continue };
                connections.spawn(converse(stream, peer, personality.clone(), stopping.clone()));
            }
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    me: Personality,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    if me == Personality::Legacy {
        println!(
            "{} {peer} -> {}",
            jiff::Timestamp::now(),
            stream.local_addr().map_or(0, |local| local.port())
        );
    }
    let at = stream.local_addr().map_or(peer.ip(), |at| at.ip());
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    while !*stopping.borrow() {
        let head = tokio::select! {
            head = reader.head() => head,
            _ = stopping.changed() => return,
        };
        let Ok(Some(head)) = head else { return };
        if reader.body(&head).await.is_err() {
            return;
        }
        if head.fields.get("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
            // What was promised is a WebSocket; bytes that come back as they went are one that echoes.
            return echo_bytes(&mut reader, &mut write).await.unwrap_or_default();
        }
        let close = head.closes() || *stopping.borrow();
        let answered = answer(&mut write, &head, &body(&me, (at, peer), &head), close).await;
        if answered.is_err() || close {
            return;
        }
    }
}

/// Sends each datagram back behind the port that it came from, so that its sender sees whether that changes.
async fn echo_datagrams(socket: UdpSocket, mut stopping: watch::Receiver<bool>) {
    let mut room = [0; 2048];
    loop {
        tokio::select! {
            _ = stopping.changed() => return,
            received = socket.recv_from(&mut room) => {
                // An error is about one that was sent, and whose receiver is gone.
                let Ok((count, from)) = received else { continue };
                let mut reply = format!("{} ", from.port()).into_bytes();
                reply.extend_from_slice(&room[..count]);
                let _ = socket.send_to(&reply, from).await;
            }
        }
    }
}

/// Switches protocols, and sends back what comes.
async fn echo_bytes(
    reader: &mut Reader<impl tokio::io::AsyncRead + Unpin>,
    write: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    write.write_all(head.as_bytes()).await?;
    loop {
        let bytes = reader.bytes().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        write.write_all(&bytes).await?;
    }
}

async fn answer(
    write: &mut (impl AsyncWriteExt + Unpin),
    head: &Head,
    body: &str,
    close: bool,
) -> std::io::Result<()> {
    let slow_ms = slow_ms(head.target());
    let padding = if slow_ms.is_some() { PIECES as usize } else { 0 };
    let connection = if close { "connection: close\r\n" } else { "" };
    let length = padding + body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{connection}\r\n"
    );
    write.write_all(head.as_bytes()).await?;
    if let Some(ms) = slow_ms {
        for _ in 0..PIECES {
            tokio::time::sleep(Duration::from_millis(ms) / PIECES).await;
            write.write_all(b" ").await?;
        }
    }
    write.write_all(body.as_bytes()).await?;
    write.flush().await
}

fn body(me: &Personality, (at, peer): (IpAddr, SocketAddr), head: &Head) -> String {
    let source: IpAddr = peer.ip();
    let who = match me {
        Personality::Pod(name) => name.clone(),
        Personality::Endpoints => at.to_string(),
        Personality::Legacy => source.to_string(),
    };
    json!({"who": who, "source": source, "port": peer.port(), "request": head.first_line, "headers": head.fields}).to_string()
}

/// `/slow?ms=5000` asks for an answer that takes that long; a minute at most.
fn slow_ms(target: &str) -> Option<u64> {
    let ms: u64 = target.strip_prefix("/slow?ms=")?.parse().ok()?;
    Some(ms.min(60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow answer is as long as it says and ends with the same JSON as a quick one.
    #[tokio::test(flavor = "current_thread")]
    async fn slow_answers_are_whole() {
        let head = Head { first_line: "GET /slow?ms=100 HTTP/1.1".into(), ..Head::default() };
        let mut bytes = std::io::Cursor::new(Vec::new());
        answer(&mut bytes, &head, r#"{"who":"x"}"#, false).await.unwrap();
        let mut reader = Reader::new(bytes.get_ref().as_slice());
        let head = reader.head().await.unwrap().unwrap();
        let body = reader.body(&head).await.unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["who"], "x");
    }

    /// Only a slow target with a number is slow, and never for more than a minute.
    #[test]
    fn slow_targets() {
        assert_eq!(slow_ms("/slow?ms=5000"), Some(5000));
        assert_eq!(slow_ms("/slow?ms=999999999"), Some(60_000));
        assert_eq!((slow_ms("/"), slow_ms("/slow?ms=x")), (None, None));
    }
}
