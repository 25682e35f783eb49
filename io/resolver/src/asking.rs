//! One question to DNS, and who is asked.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tidegate_dns::Heard;
use tidegate_objects::dns::DnsName;

/// Where the machine says who is to be asked.
const SYSTEM: &str = "/etc/resolv.conf";

/// How long one server has for one answer, and how often it is asked again. What a file says beyond that is cut.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nameservers {
    /// Those of `/etc/resolv.conf`, which may change.
    #[default]
    System,
    /// These, over UDP and TCP.
    Listed(Vec<SocketAddr>),
}

/// Who is asked at the moment.
#[derive(Default)]
pub(crate) struct Asked {
    resolver: Option<TokioResolver>,
    /// Why there is nobody.
    missing: String,
    /// What the file said.
    file: Option<Vec<u8>>,
}

impl Asked {
    /// Looks whom to ask. A file that cannot be read leaves those of before.
    pub fn look(&mut self, nameservers: &Nameservers) {
        match nameservers {
            Nameservers::Listed(_) if self.resolver.is_some() => {}
            Nameservers::Listed(servers) => {
                let config = ResolverConfig::from_name_servers(servers.iter().map(at).collect());
                self.build(config, ResolverOpts::default());
            }
            Nameservers::System => self.look_at(Path::new(SYSTEM)),
        }
    }

    fn look_at(&mut self, path: &Path) {
        let text = match std::fs::read(path) {
            Ok(text) if self.file.as_ref() == Some(&text) => return,
            Ok(text) => text,
            Err(error) => {
                self.missing = format!("{} cannot be read: {error}", path.display());
                return;
            }
        };
        match parse_resolv_conf(&text) {
            Ok((config, options)) => {
                let (_, _, servers) = config.into_parts();
                self.build(ResolverConfig::from_name_servers(servers), options);
            }
            Err(error) => self.missing = format!("{}: {error}", path.display()),
        }
        self.file = Some(text);
    }

    fn build(&mut self, config: ResolverConfig, mut options: ResolverOpts) {
        // What holds how long is kept by `pure/dns`.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        options.try_tcp_on_error = true;
        options.timeout = options.timeout.min(TIMEOUT);
        options.attempts = options.attempts.min(ATTEMPTS);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        match builder.build() {
            Ok(resolver) => self.resolver = Some(resolver),
            Err(error) => self.missing = error.to_string(),
        }
    }

    /// A question that may be asked now.
    pub fn question(&self, name: DnsName) -> impl Future<Output = (DnsName, Heard)> + use<> {
        let (resolver, missing) = (self.resolver.clone(), self.missing.clone());
        async move {
            let heard = match resolver {
                Some(resolver) => ask(&resolver, &name).await,
                None => Heard::Failed(missing),
            };
            (name, heard)
        }
    }
}

fn at(server: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = server.port());
    NameServerConfig::new(server.ip(), true, connections)
}

/// Asks for IPv4 addresses, and only where there is none for IPv6: who has both need not have a way for both, and IPv4 is what
/// gateways have.
async fn ask(resolver: &TokioResolver, name: &DnsName) -> Heard {
    let absolute = match Name::from_ascii(format!("{name}.")) {
        Ok(absolute) => absolute,
        Err(error) => return Heard::Failed(error.to_string()),
    };
    let v4 = heard(resolver.lookup(absolute.clone(), RecordType::A).await);
    match v4 {
        Heard::Nothing { .. } => match heard(resolver.lookup(absolute, RecordType::AAAA).await) {
            // Of two answers that there is nothing, either will do.
            Heard::Nothing { .. } => v4,
            v6 => v6,
        },
        found => found,
    }
}

fn heard(found: Result<hickory_resolver::lookup::Lookup, NetError>) -> Heard {
    match found {
        Ok(lookup) => of_records(lookup.answers()),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Heard::Nothing {
            ttl: none.negative_ttl.map(|secs| Duration::from_secs(secs.into())),
            reason: format!("DNS says that it has no address ({})", none.response_code),
        },
        Err(error) => Heard::Failed(error.to_string()),
    }
}

fn of_records(records: &[Record]) -> Heard {
    let (mut addresses, mut aliases, mut ttl) = (Vec::new(), Vec::new(), u32::MAX);
    for record in records {
        match &record.data {
            RData::A(address) => addresses.push(address.0.into()),
            RData::AAAA(address) => addresses.push(address.0.into()),
            RData::CNAME(alias) => match DnsName::parse(&alias.0.to_ascii()) {
                Ok(alias) => aliases.push(alias),
                Err(wrong) => return Heard::Failed(format!("it stands for a name that {wrong}")),
            },
            _ => continue,
        }
        ttl = ttl.min(record.ttl);
    }
    if addresses.is_empty() {
        return Heard::Nothing { ttl: None, reason: "the answer has no address in it".to_owned() };
    }
    Heard::Addresses { addresses, aliases, ttl: Duration::from_secs(ttl.into()) }
}
