//! HAProxy as a contender: one thread, one map for all routes, upstream connections shared.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use super::contender::{Ports, Setting};
use super::ground::Ground;
use super::origin;
use super::routes::{GRPC_HOST, PREFIXES, THOUSAND, host, prefix};

/// Writes the configuration; the command that serves it.
pub fn prepare(ground: &Ground, ports: &Ports, setting: Setting) -> Result<Command> {
    let mut map = format!("{GRPC_HOST}/ grpc\n");
    for number in THOUSAND.hosts() {
        for at in 0..PREFIXES {
            let _ = writeln!(map, "{}{} s{}", host(number), prefix(at), THOUSAND.service(number, at));
        }
    }
    let map = ground.put("haproxy/routes.map", map)?;
    let text = [
        global(setting),
        frontend(ground, ports, setting, &map.display().to_string()),
        backends(),
        stream(ports, setting),
    ]
    .concat();
    let config = ground.put("haproxy/haproxy.cfg", text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config);
    Ok(command)
}

fn global(setting: Setting) -> String {
    let log = match setting {
        Setting::Off => String::new(),
        // A buffer in memory, emptied over TCP: HAProxy writes no files.
        Setting::On => "  log ring@lines format raw local0\n".into(),
    };
    let ring = match setting {
        Setting::Off => String::new(),
        Setting::On => format!(
            "ring lines\n  format raw\n  maxlen 2000\n  size 4194304\n  timeout connect 5s\n  timeout server 10s\n  \
             server sink 127.0.0.1:{} log-proto octet-count\n",
            origin::LOG
        ),
    };
    format!(
        "global\n  nbthread 1\n  maxconn 6000\n  ssl-default-bind-options ssl-min-ver TLSv1.2\n{log}{ring}defaults\n  \
         timeout connect 5s\n  timeout client 75s\n  timeout server 75s\n  timeout tunnel 1h\n"
    )
}

fn frontend(ground: &Ground, ports: &Ports, setting: Setting, map: &str) -> String {
    let on = match setting {
        Setting::Off => "",
        Setting::On => {
            "  log global\n  option httplog\n  timeout http-request 10s\n  timeout http-keep-alive 75s\n  maxconn 6000\n  \
             stick-table type ip size 100k expire 1m store conn_cur\n  tcp-request connection track-sc0 src\n  \
             tcp-request connection reject if { sc0_conn_cur gt 6000 }\n"
        }
    };
    format!(
        "frontend http\n  mode http\n  bind 127.0.0.1:{} backlog 4096\n  bind 127.0.0.1:{} proto h2\n  \
         bind 127.0.0.1:{} ssl crt {} alpn h2,http/1.1 backlog 4096\n{on}  use_backend %[base,map_beg({map},none)]\n",
        ports.http,
        ports.h2c,
        ports.tls,
        ground.path("tls.pem").display()
    )
}

fn backends() -> String {
    let backend = |name: &str, port: u16, proto: &str| {
        format!(
            "backend {name}\n  mode http\n  option forwardfor\n  http-reuse always\n  server s 127.0.0.1:{port}{proto}\n"
        )
    };
    let mut text = String::from("backend none\n  mode http\n  http-request return status 404\n");
    (0..THOUSAND.services).for_each(|service| text += &backend(&format!("s{service}"), origin::HTTP, ""));
    text + &backend("grpc", origin::H2C, " proto h2")
}

fn stream(ports: &Ports, setting: Setting) -> String {
    let on = match setting {
        Setting::Off => "",
        Setting::On => "  log global\n  option tcplog\n  maxconn 6000\n",
    };
    let listen = |name: &str, port: u16, to: u16, options: &str| {
        format!(
            "listen {name}\n  mode tcp\n  bind 127.0.0.1:{port}\n{on}{options}  server s 127.0.0.1:{to}\n"
        )
    };
    [
        listen("echo", ports.echo, origin::ECHO, ""),
        listen("bulk", ports.bulk, origin::BULK, ""),
        listen("splice", ports.bulk_splice, origin::BULK, "  option splice-auto\n"),
    ]
    .concat()
}
