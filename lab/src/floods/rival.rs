//! HAProxy or nginx in the daemon's place, with the same timeouts and nothing else set: what the same flood does to the same
//! honest client there, on the same machine.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::origin;
use super::stand::{HTTP, HTTP2, TIMEOUT, TLS};
use crate::bench::ground::Ground;
use crate::bench::nginx;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// One thread.
    Haproxy,
    /// One process.
    Nginx,
}

impl Rival {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Haproxy => "haproxy",
            Rival::Nginx => "nginx",
        }
    }

    /// Writes the configuration; the command that serves it.
    pub fn prepare(self, ground: &Ground) -> Result<Command> {
        let pem = ground.path("tls.pem");
        ensure!(pem.is_file(), "no certificate");
        match self {
            Rival::Haproxy => haproxy(ground, &pem.display().to_string()),
            Rival::Nginx => nginx(ground),
        }
    }
}

fn haproxy(ground: &Ground, pem: &str) -> Result<Command> {
    let (secs, honest, large) = (TIMEOUT.as_secs(), origin::HONEST, origin::LARGE);
    let text = format!(
        "global\n  nbthread 1\n  maxconn 8000\n  ssl-default-bind-options ssl-min-ver TLSv1.2\ndefaults\n  mode http\n  \
         timeout connect 5s\n  timeout server 75s\n  timeout client {secs}s\n  timeout http-request {secs}s\n  \
         timeout http-keep-alive {secs}s\n  http-reuse always\n\
         frontend all\n  bind 127.0.0.1:{HTTP} backlog 4096\n  bind 127.0.0.1:{HTTP2} proto h2 backlog 4096\n  \
         bind 127.0.0.1:{TLS} ssl crt {pem} alpn h2,http/1.1 backlog 4096\n  \
         use_backend large if {{ path /big /slow }}\n  default_backend honest\n\
         backend honest\n  server s 127.0.0.1:{honest}\nbackend large\n  server s 127.0.0.1:{large}\n"
    );
    let config = ground.put("floods/haproxy.cfg", text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config);
    Ok(command)
}

fn nginx(ground: &Ground) -> Result<Command> {
    let home = ground.path("floods/nginx");
    std::fs::create_dir_all(&home)?;
    let secs = TIMEOUT.as_secs();
    let mut text = format!(
        "{}http {{\n{}  access_log off; keepalive_requests 100000000; keepalive_timeout {secs}s;\n  \
         client_header_timeout {secs}s; client_body_timeout {secs}s; send_timeout {secs}s;\n  \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n",
        nginx::preamble("floods"),
        nginx::scratch()
    );
    for (name, port) in [("honest", origin::HONEST), ("large", origin::LARGE)] {
        let _ = writeln!(text, "  upstream {name} {{ server 127.0.0.1:{port}; keepalive 512; }}");
    }
    let _ = writeln!(
        text,
        "  server {{\n    listen 127.0.0.1:{HTTP} backlog=4096; listen 127.0.0.1:{HTTP2} http2 backlog=4096;\n    \
         listen 127.0.0.1:{TLS} ssl http2 backlog=4096;\n    ssl_certificate {}; ssl_certificate_key {};\n    \
         location / {{ proxy_pass http://honest; }}\n    location /big {{ proxy_pass http://large; }}\n    \
         location /slow {{ proxy_pass http://large; }}\n  }}\n}}",
        ground.path("tls.crt").display(),
        ground.path("tls.key").display()
    );
    let config = ground.put("floods/nginx/nginx.conf", text)?;
    Ok(nginx::command(&home, &config))
}
