//! A stand-in for an API server: says what a real one said, list by list and page by page as it was recorded, and sends events
//! of a watch when it is told to. So what a change costs is measured without a real server's work beside it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::netns::Netns;

/// Groups in which something is read; the core group is always.
const GROUPS: [&str; 3] = ["discovery.k8s.io", "gateway.networking.k8s.io", "networking.k8s.io"];
/// The list whose changes are replayed.
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const PAGES: &str = "pages.jsonl";
const EVENTS: &str = "events.jsonl";

/// What a real API server said.
#[derive(Debug, Default)]
pub struct Recording {
    /// By path and token.
    pages: BTreeMap<(String, String), String>,
    /// Lines of a watch of EndpointSlices.
    pub events: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Page {
    path: String,
    token: String,
    body: String,
}

impl Recording {
    /// Asks for everything that a gateway asks for.
    pub fn of(cluster: &Cluster) -> Result<Recording> {
        let mut recording = Recording::default();
        let groups = recording.page(cluster, "/apis", "")?;
        let mut places = vec!["/api/v1".to_owned()];
        for group in groups["groups"].as_array().into_iter().flatten() {
            let versions = group["versions"].as_array().into_iter().flatten();
            let read = versions.filter(|_| group["name"].as_str().is_some_and(|name| GROUPS.contains(&name)));
            places.extend(read.filter_map(|it| Some(format!("/apis/{}", it["groupVersion"].as_str()?))));
        }
        for place in places {
            let resources = recording.page(cluster, &place, "")?;
            for resource in resources["resources"].as_array().into_iter().flatten() {
                let name = resource["name"].as_str().unwrap_or_default();
                let verbs = resource["verbs"].to_string();
                if !name.contains('/')
                    && verbs.contains("list")
                    && verbs.contains("watch")
                    && name != "events"
                {
                    recording.list(cluster, &format!("{place}/{name}"))?;
                }
            }
        }
        Ok(recording)
    }

    fn list(&mut self, cluster: &Cluster, path: &str) -> Result<()> {
        let mut token = String::new();
        loop {
            let page = self.page(cluster, path, &token)?;
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return Ok(()),
            }
        }
    }

    fn page(&mut self, cluster: &Cluster, path: &str, token: &str) -> Result<Value> {
        let more = if token.is_empty() { String::new() } else { format!("&continue={token}") };
        let body = cluster.kubectl(&["get", "--raw", &format!("{path}?limit=500{more}")])?;
        let value = serde_json::from_str(&body).with_context(|| format!("{path} is no JSON"))?;
        self.pages.insert((path.to_owned(), token.to_owned()), body);
        Ok(value)
    }

    /// The version of the list of EndpointSlices, from which a watch goes on.
    pub fn version(&self) -> Result<String> {
        let page =
            self.pages.get(&(SLICES.to_owned(), String::new())).context("no EndpointSlices were recorded")?;
        let page: Value = serde_json::from_str(page)?;
        Ok(page["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned())
    }

    /// Writes it into a folder.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut pages = std::io::BufWriter::new(std::fs::File::create(folder.join(PAGES))?);
        for ((path, token), body) in &self.pages {
            let page = Page { path: path.clone(), token: token.clone(), body: body.clone() };
            writeln!(pages, "{}", serde_json::to_string(&page)?)?;
        }
        pages.flush()?;
        std::fs::write(folder.join(EVENTS), self.events.join("\n"))?;
        Ok(())
    }

    /// Reads what was kept.
    pub fn kept(folder: &Path) -> Result<Recording> {
        let lines = BufReader::new(std::fs::File::open(folder.join(PAGES)).context("no recording is there")?);
        let mut recording = Recording::default();
        for line in lines.lines() {
            let Page { path, token, body } = serde_json::from_str(&line?)?;
            recording.pages.insert((path, token), body);
        }
        let events = std::fs::read_to_string(folder.join(EVENTS))?;
        recording.events = events.lines().map(str::to_owned).collect();
        Ok(recording)
    }
}

/// A stand-in that runs. It ends with this process.
pub struct StandIn {
    /// Where it listens, inside the namespace.
    pub address: SocketAddr,
    watches: Arc<Mutex<Vec<TcpStream>>>,
}

impl StandIn {
    /// Starts one on the loopback of a namespace.
    pub fn start(ns: &Netns, recording: Arc<Recording>) -> Result<StandIn> {
        let listener = ns.inside(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))?;
        let address = listener.local_addr()?;
        let watches = Arc::<Mutex<Vec<TcpStream>>>::default();
        let shared = watches.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (recording, watches) = (recording.clone(), shared.clone());
                // A client that goes away ends its conversation, whatever the error.
                std::thread::spawn(move || converse(stream, &recording, &watches).unwrap_or_default());
            }
        });
        Ok(StandIn { address, watches })
    }

    /// Sends an event to whoever watches EndpointSlices; the moment before its first byte was written.
    pub fn push(&self, event: &str) -> Result<Instant> {
        let mut chunk = format!("{:x}\r\n", event.len() + 1).into_bytes();
        chunk.extend_from_slice(event.as_bytes());
        chunk.extend_from_slice(b"\n\r\n");
        let mut watches = lock(&self.watches);
        let at = Instant::now();
        watches.retain_mut(|stream| stream.write_all(&chunk).is_ok());
        ensure!(!watches.is_empty(), "nobody watches EndpointSlices");
        Ok(at)
    }
}

fn lock(watches: &Mutex<Vec<TcpStream>>) -> MutexGuard<'_, Vec<TcpStream>> {
    watches.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn converse(stream: TcpStream, recording: &Recording, watches: &Mutex<Vec<TcpStream>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut length = 0;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            if field.trim().is_empty() {
                break;
            }
            if let Some((_, value)) = field.to_ascii_lowercase().split_once("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        if query.split('&').any(|part| part == "watch=1") {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            writer.write_all(head.as_bytes())?;
            if path == SLICES {
                lock(watches).push(writer.try_clone()?);
            }
            // Nothing more is asked on this connection; it ends when the client goes.
            std::io::copy(&mut reader, &mut std::io::sink())?;
            return Ok(());
        }
        let token = query.split('&').find_map(|part| part.strip_prefix("continue=")).unwrap_or_default();
        let page = recording.pages.get(&(path.to_owned(), unescaped(token)));
        let nothing = r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#;
        let (status, body) = match (method, page) {
            ("GET", Some(page)) => ("200 OK", page.as_str()),
            ("GET", None) if query.contains("limit=") => ("200 OK", nothing),
            // Nobody may write here, so no gateway does.
            _ => ("403 Forbidden", r#"{"kind":"Status","status":"Failure","code":403,"reason":"Forbidden"}"#),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        writer.write_all(head.as_bytes())?;
        writer.write_all(body.as_bytes())?;
    }
}

/// A value of a query, as it was before it was escaped.
fn unescaped(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or_default()).to_digit(16).unwrap_or_default();
        let code = digit(bytes.next()) * 16 + digit(bytes.next());
        out.extend(u8::try_from(code));
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token comes back as the server gave it.
    #[test]
    fn tokens() {
        assert_eq!(unescaped("eyJ2%3D%3d-x"), "eyJ2==-x");
        assert_eq!(unescaped(""), "");
    }
}
