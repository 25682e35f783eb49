//! What stands behind every proxy, on the core of the load: files in memory by nginx, the same over HTTP/2 for gRPC,
//! an echo server for TCP and one for UDP, a source of bulk, a sink for logs.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;

use anyhow::Result;

use super::contender::{here, wait};
use super::daemon::Daemon;
use super::ground::Ground;
use super::routes::{GRPC_PATH, PREFIXES};
use super::{bulk, datagrams, echo, nginx};

/// Files over HTTP/1.1.
pub const HTTP: u16 = 9000;
/// A gRPC method over HTTP/2 in clear.
pub const H2C: u16 = 9001;
/// Sends back what it gets, over TCP and UDP.
pub const ECHO: u16 = 9002;
/// Sends [`bulk::BYTES`] and closes.
pub const BULK: u16 = 9003;
/// Takes log lines and forgets them.
pub const LOG: u16 = 9004;

/// Body of a gRPC message: not compressed, nine bytes.
pub const GRPC_MESSAGE: &[u8] = b"\0\0\0\0\x09\x0a\x07bench-1";

/// A body of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// 1 KiB.
    Small,
    /// 64 KiB.
    Medium,
    /// 1 MiB.
    Large,
}

impl Body {
    /// Name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Body::Small => "1k",
            Body::Medium => "64k",
            Body::Large => "1m",
        }
    }

    /// Its content: no two blocks alike, so that a body put together wrongly is seen.
    pub fn bytes(self) -> Vec<u8> {
        let len = match self {
            Body::Small => 1 << 10,
            Body::Medium => 1 << 16,
            Body::Large => 1 << 20,
        };
        (0..len / 16).flat_map(|line| format!("{line:015x}\n").into_bytes()).collect()
    }
}

/// The running origin.
pub struct Origin {
    _files: Daemon,
}

impl Origin {
    /// Starts it. Its threads end with this process.
    pub fn start(ground: &Ground) -> Result<Origin> {
        for body in [Body::Small, Body::Medium, Body::Large] {
            ground.put(&format!("origin/www/app0/{}", body.file()), body.bytes())?;
        }
        for number in 1..PREFIXES {
            let link = ground.path(&format!("origin/www/app{number}"));
            if !link.exists() {
                symlink("app0", link)?;
            }
        }
        ground.put(&format!("origin/www{GRPC_PATH}"), GRPC_MESSAGE)?;
        let config = ground.put("origin/nginx.conf", config(ground))?;
        let command = nginx::command(&ground.path("origin"), &config);
        let mut files = Daemon::start("origin", command, ground.load_core, ground.path("origin.log"))?;
        wait(&mut files, HTTP)?;
        serve_once(ECHO, echo::serve)?;
        datagrams::serve_echo()?;
        serve_once(BULK, |listener| each(&listener, bulk::send))?;
        serve_once(LOG, |listener| {
            each(&listener, |stream| std::io::copy(&mut &stream, &mut std::io::sink()).map(|_| ()))
        })?;
        Ok(Origin { _files: files })
    }
}

/// A server thread, unless an earlier column left it running.
fn serve_once(port: u16, serve: impl FnOnce(TcpListener) + Send + 'static) -> Result<()> {
    if TcpStream::connect(here(port)).is_err() {
        let listener = TcpListener::bind(here(port))?;
        std::thread::spawn(move || serve(listener));
    }
    Ok(())
}

fn each(listener: &TcpListener, serve: fn(TcpStream) -> std::io::Result<()>) {
    for stream in listener.incoming().flatten() {
        // A thread each; what a client breaks off concerns nobody else.
        std::thread::spawn(move || serve(stream));
    }
}

/// As gRPC servers do, the method answers without a length: a filter that finds nothing takes it away.
fn config(ground: &Ground) -> String {
    let root = ground.path("origin/www");
    format!(
        "{}http {{\n{}  access_log off; sendfile on; tcp_nopush on; open_file_cache max=100 inactive=1h; \
         open_file_cache_valid 1h;\n  keepalive_requests 100000000; keepalive_timeout 1h; types {{}} default_type text/plain;\n  \
         root {};\n  server {{ listen 127.0.0.1:{HTTP} backlog=8192; \
         location = /app0/forwarded {{ return 200 \"$http_x_forwarded_for\"; }} }}\n  \
         server {{ listen 127.0.0.1:{H2C} http2; default_type application/grpc; http2_max_concurrent_streams 1024;\n    \
         location / {{ error_page 405 =200 $uri; add_trailer grpc-status 0 always;\n    \
         sub_filter_types *; sub_filter unheard unheard; }} }}\n}}\n",
        nginx::preamble("origin"),
        nginx::scratch(),
        root.display()
    )
}
