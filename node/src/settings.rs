//! The bootstrap file and the flags of `run`, settled: one value for each setting, checked once, here.

mod external_names;
pub mod peers;
mod sources;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidegate_compile::duration;
use tidegate_decode::nearest;
use tidegate_proxy::{ACCESS_LOG_FIELDS, AccessLogOutput};
use tidegate_spans::Endpoint;

use self::external_names::ExternalNames;
use self::peers::{Peers, Secret};
pub use self::sources::{Cluster, Origin, Source};
use crate::args;

/// Where the daemon answers when nothing else is said.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9440);

/// More worker threads than any machine has cores for.
const WORKERS_MAX: usize = 1024;

/// What the daemon runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the GatewayNode or Node.
    pub node: String,
    /// The admin address.
    pub admin: SocketAddr,
    /// Where state is kept between runs; created on the first start, with mode 0700.
    pub state_dir: PathBuf,
    /// Worker threads.
    pub workers: usize,
    /// Where objects are read from.
    pub sources: Vec<Source>,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// Who is sent spans.
    pub tracing: Tracing,
    /// How the gateways of a set meet, and where their secret is.
    pub peers: Peers,
    /// What the gateways of a set share.
    pub peers_secret: Secret,
    /// Which Services of type LoadBalancer are served.
    pub load_balancer: LoadBalancer,
    /// The class of ingress-nginx that is served too; empty: none.
    pub ingress_class: String,
    /// Where Services of type ExternalName may lead, and who is asked for names.
    pub external_names: ExternalNames,
    /// How long what is in flight may finish after SIGTERM, and keep the addresses here.
    pub drain_timeout: Duration,
}

/// `accessLog` of the bootstrap file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccessLog {
    /// `stderr`, `off`, `syslog`, `syslog://ADDRESS:PORT`, or a file.
    pub output: LogOutput,
    /// `json`, `logfmt`, `common`, `combined`, or a text with `%{field}` in it.
    pub format: String,
    /// Which fields; empty: all.
    pub fields: Vec<LogField>,
}

/// A field of the access log that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogField(String);

impl<'de> Deserialize<'de> for LogField {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |name| {
            if ACCESS_LOG_FIELDS.contains(&name) {
                return Ok(LogField(name.to_owned()));
            }
            let meant = nearest(name, ACCESS_LOG_FIELDS).map(|meant| format!("did you mean `{meant}`? "));
            let all = ACCESS_LOG_FIELDS.join(", ");
            Err(format!("there is no field `{name}`; {}there are {all}", meant.unwrap_or_default()))
        })
    }
}

/// An output of the access log that can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOutput(AccessLogOutput);

impl<'de> Deserialize<'de> for LogOutput {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| {
            let output = AccessLogOutput::parse(text)?;
            // A slip would become a file that nobody looks for.
            match nearest(text, ["stderr", "off", "syslog", "stdout"]) {
                Some(meant) if matches!(output, AccessLogOutput::File(_)) => Err(match meant {
                    "stdout" => format!(
                        "`{text}`: for standard output write /dev/stdout; a file of this name is `./{text}`"
                    ),
                    meant => format!("`{text}`: did you mean `{meant}`? A file of this name is `./{text}`"),
                }),
                _ => Ok(LogOutput(output)),
            }
        })
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog { output: LogOutput::default(), format: "json".into(), fields: Vec::new() }
    }
}

/// `tracing` of the bootstrap file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tracing {
    /// The collector; empty: nobody is sent spans.
    pub otlp: Collector,
    /// The share of traces beginning here that are recorded, from 0 to 1.
    pub sample: Share,
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing { otlp: Collector(None), sample: Share(0.01) }
    }
}

/// A collector's URL; empty: there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collector(pub Option<Endpoint>);

impl<'de> Deserialize<'de> for Collector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| match text {
            "" => Ok(Collector(None)),
            text => Endpoint::parse(text).map(|endpoint| Collector(Some(endpoint))),
        })
    }
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Share;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number from 0 to 1")
            }

            fn visit_f64<E: serde::de::Error>(self, share: f64) -> Result<Share, E> {
                let wrong = || E::custom(format!("expected a number from 0 to 1, found {share}"));
                (0.0..=1.0).contains(&share).then_some(Share(share)).ok_or_else(wrong)
            }

            fn visit_u64<E: serde::de::Error>(self, share: u64) -> Result<Share, E> {
                self.visit_f64(share as f64)
            }

            fn visit_i64<E: serde::de::Error>(self, share: i64) -> Result<Share, E> {
                self.visit_f64(share as f64)
            }
        }
        from.deserialize_f64(Number)
    }
}

/// `loadBalancer` of the bootstrap file; every gateway of a set must say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Services of type LoadBalancer without a class are served too.
    pub default: bool,
}

/// `drainTimeout` of the bootstrap file.
#[derive(Debug)]
struct DrainTimeout(Duration);

impl Default for DrainTimeout {
    fn default() -> Self {
        DrainTimeout(Duration::from_secs(10))
    }
}

impl<'de> Deserialize<'de> for DrainTimeout {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| duration::gep2257(text).map(DrainTimeout))
    }
}

/// The bootstrap file as written. What this version does not serve is held as it stands, so that it can be refused by
/// name and not passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bootstrap {
    node: Option<String>,
    admin: Admin,
    state_dir: Option<PathBuf>,
    workers: usize,
    sources: Vec<sources::Written>,
    access_log: AccessLog,
    peers: Peers,
    tracing: Tracing,
    drain_timeout: DrainTimeout,
    load_balancer: LoadBalancer,
    ingress_nginx: IngressNginx,
    external_names: ExternalNames,
    egress: Option<Value>,
}

/// `ingressNginx` of the bootstrap file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IngressNginx {
    class: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Admin {
    address: Option<Address>,
    metrics_from: Vec<String>,
    tls: Option<Value>,
    token_file: Option<String>,
}

/// An IP address with a port.
#[derive(Debug)]
struct Address(SocketAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| {
            let wrong = || format!("expected an IP address with a port such as `{ADMIN}`, found `{text}`");
            text.parse().map(Address).map_err(|_| wrong())
        })
    }
}

impl Settings {
    /// Settles flags over the bootstrap file over defaults. `warn` is told of what has no effect.
    pub fn settle(
        admin: Option<SocketAddr>,
        run: &args::Run,
        warn: &mut dyn FnMut(String),
    ) -> Result<Settings> {
        let file = match &run.config {
            Some(path) => read(path, warn)?,
            None => Bootstrap::default(),
        };
        // Only a file that was written can be refused, so there is a name whenever it is asked for.
        let name = || run.config.as_deref().unwrap_or(Path::new("")).display().to_string();
        file.refuse_unserved(warn).with_context(name)?;
        let sources = sources::settle(&file.sources, run).with_context(name)?;
        sources::check(&sources)?;
        let node = run.node.clone().or(file.node);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            node: node.filter(|name| !name.is_empty()).map_or_else(host_name, Ok)?,
            admin: admin.or(file.admin.address.map(|Address(address)| address)).unwrap_or(ADMIN),
            state_dir: file.state_dir.unwrap_or_else(default_state_dir),
            workers: if file.workers == 0 { cores } else { file.workers },
            sources,
            access_log: file.access_log,
            tracing: file.tracing,
            peers_secret: file.peers.secret().with_context(name)?,
            peers: file.peers,
            load_balancer: file.load_balancer,
            ingress_class: file.ingress_nginx.class,
            external_names: file.external_names,
            drain_timeout: file.drain_timeout.0,
        })
    }
}

impl Bootstrap {
    /// Security settings that would not be honoured stop the start; others are warned of.
    fn refuse_unserved(&self, warn: &mut dyn FnMut(String)) -> Result<()> {
        let admin = &self.admin;
        let set = |value: &Option<Value>| value.as_ref().is_some_and(|value| !empty(value));
        if !admin.metrics_from.is_empty()
            || set(&admin.tls)
            || admin.token_file.as_ref().is_some_and(|file| !file.is_empty())
        {
            bail!(
                "admin: this version serves loopback only, without tls, tokenFile and metricsFrom; leave them out"
            );
        }
        if self.workers > WORKERS_MAX {
            bail!("workers: {} is more than {WORKERS_MAX}; 0 is one for each core", self.workers);
        }
        let log = self.access_log.settled();
        if let Err(message) = tidegate_proxy::AccessLog::check(&log.format, &log.fields) {
            bail!("accessLog.format: {message}");
        }
        let unserved = [("egress", &self.egress)];
        for (field, _) in unserved.iter().filter(|(_, value)| set(value)) {
            warn(format!("{field}: not served by this version; it has no effect"));
        }
        Ok(())
    }
}

/// A setting that asks for nothing: null, false, empty, zero, or made of such.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(empty),
        _ => false,
    }
}

/// Reads a text as `parse` does. A mistake is placed at the text itself; with `try_from` it would be placed at what holds
/// the text, and lose its line.
fn parsed<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Text<T>(fn(&str) -> Result<T, String>);
    impl<T> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(E::custom)
        }
    }
    from.deserialize_str(Text(parse))
}

fn read(path: &Path, warn: &mut dyn FnMut(String)) -> Result<Bootstrap> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let place = |problem: &tidegate_decode::Problem| {
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
        format!("{}:{}: {field}{}", path.display(), problem.line, problem.message)
    };
    match tidegate_decode::settings(&text) {
        Ok((bootstrap, warnings)) => {
            warnings.iter().for_each(|warning| warn(place(warning)));
            Ok(bootstrap)
        }
        Err(problem) => bail!(place(&problem)),
    }
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("the host name cannot be read; give --node")?;
    Ok(name.trim().to_owned())
}

/// `/var/lib/tidegate` for root; a user's own state otherwise, so that the first try needs no rights.
pub fn default_state_dir() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let own = || std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    match own() {
        Some(state) if !nix::unistd::geteuid().is_root() => state.join("tidegate"),
        _ => PathBuf::from("/var/lib/tidegate"),
    }
}

/// `stateDir` of a bootstrap file, or the default.
pub fn state_dir(config: Option<&Path>) -> Result<PathBuf> {
    let file = config.map(|path| read(path, &mut |_| {})).transpose()?;
    Ok(file.and_then(|file| file.state_dir).unwrap_or_else(default_state_dir))
}

impl AccessLog {
    /// As the proxy takes it.
    pub fn settled(&self) -> tidegate_proxy::AccessLog {
        tidegate_proxy::AccessLog {
            output: self.output.0.clone(),
            format: self.format.clone(),
            fields: self.fields.iter().map(|LogField(name)| name.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
