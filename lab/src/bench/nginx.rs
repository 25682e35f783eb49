//! nginx as a contender: one process, one upstream with kept connections for each service, buffers as they come.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use super::contender::{Ports, Setting};
use super::ground::Ground;
use super::origin;
use super::routes::{GRPC_HOST, PREFIXES, THOUSAND, host, prefix};

/// Connections that an upstream keeps, and requests that a connection may carry: no connection ends for its age.
const KEPT: &str = "keepalive 512; keepalive_requests 100000000;";

/// Writes the configuration; the command that serves it.
pub fn prepare(ground: &Ground, ports: &Ports, setting: Setting) -> Result<Command> {
    let home = ground.path("nginx");
    std::fs::create_dir_all(&home)?;
    let text = format!(
        "{}http {{\n{}{}{}{}}}\n{}",
        preamble("nginx"),
        scratch(),
        common(setting),
        upstreams(),
        servers(ground, ports),
        stream(ports, setting)
    );
    let config = ground.put("nginx/nginx.conf", text)?;
    Ok(command(&home, &config))
}

/// The command that serves a configuration below a directory.
pub fn command(home: &std::path::Path, config: &std::path::Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(home).arg("-c").arg(config).args(["-e", "stderr"]);
    command
}

/// One process, so that nothing is left when it is killed; the work of a request is that of a worker.
pub fn preamble(name: &str) -> String {
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; master_process off; user root;\n\
         pid {name}.pid; error_log stderr warn;\nevents {{ worker_connections 8192; }}\n"
    )
}

/// Directories that nginx wants even where it never writes to them.
pub fn scratch() -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {what}_temp;\n"))
        .concat()
}

fn common(setting: Setting) -> String {
    let mut text = String::from(
        "  keepalive_requests 100000000; keepalive_timeout 75s; server_names_hash_max_size 4096;\n  \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n  \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n  \
         grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n",
    );
    text += match setting {
        Setting::Off => "  access_log off;\n",
        Setting::On => {
            "  access_log access.log combined buffer=64k flush=1s;\n  \
             limit_conn_zone $binary_remote_addr zone=peers:1m; limit_conn peers 10000;\n  \
             client_header_timeout 10s; client_body_timeout 30s; send_timeout 30s; client_max_body_size 10m;\n  \
             proxy_connect_timeout 5s; proxy_read_timeout 30s; proxy_send_timeout 30s;\n  \
             grpc_connect_timeout 5s; grpc_read_timeout 30s; grpc_send_timeout 30s;\n"
        }
    };
    text
}

fn upstreams() -> String {
    let mut text = String::new();
    for service in 0..THOUSAND.services {
        let _ = writeln!(text, "  upstream s{service} {{ server 127.0.0.1:{}; {KEPT} }}", origin::HTTP);
    }
    let _ = writeln!(text, "  upstream grpc {{ server 127.0.0.1:{}; {KEPT} }}", origin::H2C);
    text
}

fn servers(ground: &Ground, ports: &Ports) -> String {
    let (cert, key) = (ground.path("tls.crt"), ground.path("tls.key"));
    let listen = format!(
        "listen 127.0.0.1:{} backlog=4096; listen 127.0.0.1:{} http2; listen 127.0.0.1:{} ssl http2 backlog=4096;",
        ports.http, ports.h2c, ports.tls
    );
    let again = listen.replace(" backlog=4096", "");
    let mut text = format!(
        "  ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;\n",
        cert.display(),
        key.display()
    );
    for number in THOUSAND.hosts() {
        let listen = if number == 0 { &listen } else { &again };
        let _ = writeln!(text, "  server {{ {listen} server_name {};", host(number));
        for at in 0..PREFIXES {
            let service = THOUSAND.service(number, at);
            let _ = writeln!(text, "    location {} {{ proxy_pass http://s{service}; }}", prefix(at));
        }
        text += "  }\n";
    }
    let _ = writeln!(
        text,
        "  server {{ {again} server_name {GRPC_HOST}; location / {{ grpc_pass grpc://grpc; }} }}"
    );
    text
}

fn stream(ports: &Ports, setting: Setting) -> String {
    let on = match setting {
        Setting::Off => "access_log off;",
        Setting::On => {
            "log_format tcp '$remote_addr [$time_local] $status $bytes_sent $bytes_received $session_time';\n  \
             access_log tcp.log tcp buffer=64k flush=1s; proxy_connect_timeout 5s; proxy_timeout 60s;\n  \
             limit_conn_zone $binary_remote_addr zone=tunnels:1m; limit_conn tunnels 10000;"
        }
    };
    format!(
        "stream {{\n  {on}\n  server {{ listen 127.0.0.1:{}; proxy_pass 127.0.0.1:{}; }}\n  \
         server {{ listen 127.0.0.1:{}; proxy_pass 127.0.0.1:{}; }}\n  \
         server {{ listen 127.0.0.1:{} udp; proxy_pass 127.0.0.1:{}; }}\n  \
         server {{ listen 127.0.0.1:{} udp; proxy_pass 127.0.0.1:{}; proxy_responses 1; }}\n}}\n",
        ports.echo,
        origin::ECHO,
        ports.bulk,
        origin::BULK,
        ports.udp,
        origin::ECHO,
        ports.udp_once,
        origin::ECHO
    )
}
