//! Certificates: Secrets that listeners and Gateways name, and whose certificates clients must show.
//!
//! A listener of which no certificate can be used, or that would ask clients for certificates of nobody, is not served;
//! the others are. Nothing here looks at a clock: an expired certificate is served, and told elsewhere.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;

use tidegate_model::traffic::{Certificate, ClientValidation, Entrance, Roots, ServerTls, TlsVersion};
use tidegate_objects::gateway::{FrontendValidation, FrontendValidationMode, TlsMode};
use tidegate_objects::reference::{NamespacedRef, SecretRef};
use tidegate_objects::{Key, Kind, Snapshot};

use crate::gateway::OurGateway;
use crate::grants::Grants;
use crate::listener::{Listener, Protocol};
use crate::verdicts::Verdicts;
use crate::words::meant;

/// The type of a Secret with a certificate and its key.
const SECRET_TYPE: &str = "kubernetes.io/tls";

/// The key of a Secret under which a stapled OCSP response stands, in DER.
const OCSP_KEY: &str = "tls.ocsp-staple";

/// The key under which certificates of authorities stand.
const CA_KEY: &str = "ca.crt";

/// What is offered by ALPN on an HTTPS listener.
const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];

/// Gives every listener its TLS, and every Gateway what it shows to backends. Certificates that `previous` has too are
/// the same ones.
pub(crate) fn serve<'a>(
    gateways: &mut [OurGateway<'a>],
    snapshot: &'a Snapshot,
    previous: &[Arc<Entrance>],
    verdicts: &mut Verdicts,
) {
    let mut secrets = Secrets {
        snapshot,
        grants: Grants::new(snapshot),
        previous: certificates_of(previous),
        read: BTreeMap::new(),
    };
    for gateway in gateways {
        let key = gateway.resource.key();
        gateway.certificate = backend_certificate(gateway, &mut secrets, verdicts);
        let mut frontend = Frontend::new(gateway, verdicts);
        for listener in gateway.listeners.iter_mut().filter(|listener| listener.sound) {
            let Some(certificates) = certificates(listener, &mut secrets, verdicts) else { continue };
            let https = listener.protocol == Some(Protocol::Https);
            let validation = match https {
                true => frontend.of_port(listener.spec.port, key, &secrets, verdicts),
                false => Ok(None),
            };
            match validation {
                Ok(client_validation) => {
                    let alpn = if https { HTTP_ALPN.map(str::to_owned).to_vec() } else { Vec::new() };
                    listener.tls = Some(Arc::new(server_tls(certificates, alpn, client_validation)));
                }
                Err(NoAuthority) => {
                    let message = format!(
                        "clients must show a certificate, but no authority that Gateway {key} names for port {} can be used, so nobody could; see its spec.tls.frontend",
                        listener.spec.port
                    );
                    listener.refuse("NoValidCACertificate", "", message, verdicts);
                }
            }
        }
    }
}

fn server_tls(
    certificates: Vec<Arc<Certificate>>,
    alpn: Vec<String>,
    client_validation: Option<Arc<ClientValidation>>,
) -> ServerTls {
    ServerTls {
        certificates,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        ciphers: Vec::new(),
        alpn,
        resumption: true,
        client_validation,
    }
}

fn certificates_of(entrances: &[Arc<Entrance>]) -> BTreeMap<Key, Arc<Certificate>> {
    let listeners = entrances.iter().flat_map(|entrance| &entrance.listeners);
    let tls = listeners.filter_map(|listener| listener.tls.as_ref());
    let certificates = tls.flat_map(|tls| &tls.certificates);
    certificates.map(|certificate| (certificate.secret.clone(), Arc::clone(certificate))).collect()
}

/// The certificates of a listener where TLS ends; none where it does not, or where none can be used.
fn certificates(
    listener: &mut Listener<'_>,
    secrets: &mut Secrets<'_>,
    verdicts: &mut Verdicts,
) -> Option<Vec<Arc<Certificate>>> {
    let tls = listener.spec.tls.as_ref()?;
    for name in tls.options.keys() {
        let message = "Tidegate knows no such option, so it has no effect".to_owned();
        listener.warn("NoEffect", &format!("tls.options[{name}]"), message, verdicts);
    }
    if tls.mode == TlsMode::Passthrough {
        return None;
    }
    let mut certificates = Vec::new();
    for (index, reference) in tls.certificate_refs.iter().enumerate() {
        match secrets.certificate(listener.owner, reference) {
            Ok(certificate) => certificates.push(certificate),
            Err(fault) => {
                let below = format!("tls.certificateRefs[{index}]");
                let (reason, field, message) = fault.told("InvalidCertificateRef");
                listener.part(reason, &format!("{below}{field}"), message, verdicts);
            }
        }
    }
    if certificates.is_empty() {
        let message = match tls.certificate_refs.is_empty() {
            true => "TLS ends here, but no certificate is named; add a Secret of type kubernetes.io/tls",
            false => "none of the certificates can be used, so the listener is not served",
        };
        listener.refuse("InvalidCertificateRef", "tls.certificateRefs", message.to_owned(), verdicts);
        return None;
    }
    Some(certificates)
}

fn backend_certificate(
    gateway: &OurGateway<'_>,
    secrets: &mut Secrets<'_>,
    verdicts: &mut Verdicts,
) -> Option<Arc<Certificate>> {
    let tls = gateway.resource.spec.tls.as_ref()?;
    let reference = tls.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let key = gateway.resource.key();
    let found = secrets.certificate((Kind::Gateway, key), reference);
    let told = |fault: Fault| {
        let (reason, field, message) = fault.told("InvalidClientCertificateRef");
        let field = format!("spec.tls.backend.clientCertificateRef{field}");
        let message = format!("{message}; backends are shown no certificate");
        verdicts.part(Kind::Gateway, key, reason, field, message);
    };
    found.map_err(told).ok()
}

/// What is said of a reference: Gateway API's reason, the field below it, a sentence.
type Told = (&'static str, &'static str, String);

/// Why a certificate cannot be had.
#[derive(Clone)]
struct Fault {
    permitted: bool,
    field: &'static str,
    message: String,
}

impl Fault {
    fn new(field: &'static str, message: String) -> Fault {
        Fault { permitted: true, field, message }
    }

    fn not_permitted(kind: Kind, key: &Key, from: (Kind, &Key)) -> Fault {
        let message = format!(
            "{kind} {key} is in another namespace and no ReferenceGrant there allows this; add one in namespace {} from {} in namespace {} to {kind}",
            key.namespace, from.0, from.1.namespace
        );
        Fault { permitted: false, field: ".namespace", message }
    }

    fn told(self, invalid: &'static str) -> Told {
        (if self.permitted { invalid } else { "RefNotPermitted" }, self.field, self.message)
    }
}

/// Secrets, each read once.
struct Secrets<'a> {
    snapshot: &'a Snapshot,
    grants: Grants<'a>,
    previous: BTreeMap<Key, Arc<Certificate>>,
    read: BTreeMap<Key, Result<Arc<Certificate>, Fault>>,
}

impl Secrets<'_> {
    fn certificate(&mut self, from: (Kind, &Key), to: &SecretRef) -> Result<Arc<Certificate>, Fault> {
        if (to.group.as_str(), to.kind.as_str()) != ("", Kind::Secret.name()) {
            let message =
                format!("{} of group {:?} holds no certificate here; a Secret does", to.kind, to.group);
            return Err(Fault::new(".kind", message));
        }
        let key = from.1.sibling(to.namespace.as_deref().unwrap_or(&from.1.namespace), &to.name);
        if !self.grants.allow(from, (Kind::Secret, &key)) {
            return Err(Fault::not_permitted(Kind::Secret, &key, from));
        }
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        let read = self.read(&key).map(|certificate| match self.previous.get(&key) {
            Some(known) if **known == certificate => Arc::clone(known),
            _ => Arc::new(certificate),
        });
        self.read.insert(key, read.clone());
        read
    }

    fn read(&self, key: &Key) -> Result<Certificate, Fault> {
        let Some(secret) = self.snapshot.secrets.get(key) else {
            let names = self.snapshot.secrets.keys();
            let names =
                names.filter(|other| (&other.source, &other.namespace) == (&key.source, &key.namespace));
            let message = format!(
                "Secret {key} does not exist; create it or correct the name{}",
                meant(&key.name, names.map(|other| &*other.name))
            );
            return Err(Fault::new(".name", message));
        };
        let secret = &secret.spec;
        if secret.secret_type != SECRET_TYPE {
            let found = &secret.secret_type;
            let message =
                format!("Secret {key} is of type {found:?}; a certificate is of type {SECRET_TYPE}");
            return Err(Fault::new("", message));
        }
        let value = |name: &str| {
            let value = secret.data.get(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| Fault::new("", format!("Secret {key} has no {name}")))
        };
        let (chain, private) = (value("tls.crt")?, value("tls.key")?);
        let ocsp = secret.data.get(OCSP_KEY).map(|value| value.expose());
        tidegate_tls::certificate(key.clone(), chain.expose(), private.expose(), ocsp)
            .map_err(|error| Fault::new("", format!("Secret {key} cannot be used: {error}")))
    }
}

/// Clients must show a certificate, and none would do.
#[derive(Clone, Copy)]
struct NoAuthority;

/// What a Gateway asks of clients' certificates, each part read once.
struct Frontend<'g> {
    default: Option<&'g FrontendValidation>,
    /// By port: where in the list, and what is asked.
    ports: BTreeMap<u16, (usize, Option<&'g FrontendValidation>)>,
    read: BTreeMap<Option<usize>, Result<Arc<ClientValidation>, NoAuthority>>,
}

impl<'g> Frontend<'g> {
    fn new(gateway: &OurGateway<'g>, verdicts: &mut Verdicts) -> Self {
        let frontend = gateway.resource.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
        let default = frontend.and_then(|frontend| frontend.default.validation.as_ref());
        let mut ports = BTreeMap::new();
        for (index, asked) in frontend.iter().flat_map(|frontend| &frontend.per_port).enumerate() {
            match ports.entry(asked.port) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert((index, asked.tls.validation.as_ref()));
                }
                btree_map::Entry::Occupied(_) => {
                    let message = format!("port {} stands in perPort before; the first counts", asked.port);
                    let field = format!("spec.tls.frontend.perPort[{index}].port");
                    verdicts.part(Kind::Gateway, gateway.resource.key(), "Invalid", field, message);
                }
            }
        }
        Frontend { default, ports, read: BTreeMap::new() }
    }

    fn of_port(
        &mut self,
        port: u16,
        gateway: &Key,
        secrets: &Secrets<'_>,
        verdicts: &mut Verdicts,
    ) -> Result<Option<Arc<ClientValidation>>, NoAuthority> {
        let (place, asked) = match self.ports.get(&port) {
            Some((index, asked)) => (Some(*index), *asked),
            None => (None, self.default),
        };
        let Some(asked) = asked else { return Ok(None) };
        let at = match place {
            Some(index) => format!("spec.tls.frontend.perPort[{index}].tls.validation"),
            None => "spec.tls.frontend.default.validation".to_owned(),
        };
        let read = || validation(asked, &at, gateway, secrets, verdicts);
        self.read.entry(place).or_insert_with(read).clone().map(Some)
    }
}

fn validation(
    asked: &FrontendValidation,
    at: &str,
    gateway: &Key,
    secrets: &Secrets<'_>,
    verdicts: &mut Verdicts,
) -> Result<Arc<ClientValidation>, NoAuthority> {
    let mut authorities = BTreeSet::new();
    for (index, reference) in asked.ca_certificate_refs.iter().enumerate() {
        match roots(gateway, reference, secrets) {
            Ok(roots) => authorities.extend(roots.iter().cloned()),
            Err((reason, field, message)) => {
                let field = format!("{at}.caCertificateRefs[{index}]{field}");
                verdicts.part(Kind::Gateway, gateway, reason, field, message);
            }
        }
    }
    let optional = asked.mode == FrontendValidationMode::AllowInsecureFallback;
    if optional {
        let message = "clients without a valid certificate are served too; backends must tell them apart";
        let field = format!("{at}.mode");
        verdicts.warn(Kind::Gateway, gateway, "InsecureFrontendValidationMode", field, message.to_owned());
    }
    if authorities.is_empty() {
        return Err(NoAuthority);
    }
    let roots = Roots::These(authorities.into_iter().collect());
    Ok(Arc::new(ClientValidation { roots, optional }))
}

/// The authorities in a ConfigMap or Secret.
fn roots(gateway: &Key, to: &NamespacedRef, secrets: &Secrets<'_>) -> Result<Arc<[Vec<u8>]>, Told> {
    let kind = match Kind::find(&to.group, &to.kind) {
        Some(kind @ (Kind::ConfigMap | Kind::Secret)) => kind,
        _ => {
            let message = format!(
                "{} of group {:?} holds no authorities here; a ConfigMap or Secret does",
                to.kind, to.group
            );
            return Err(("InvalidCACertificateKind", ".kind", message));
        }
    };
    let key = gateway.sibling(to.namespace.as_deref().unwrap_or(&gateway.namespace), &to.name);
    if !secrets.grants.allow((Kind::Gateway, gateway), (kind, &key)) {
        return Err(Fault::not_permitted(kind, &key, (Kind::Gateway, gateway)).told(""));
    }
    let snapshot = secrets.snapshot;
    let (exists, value) = match kind {
        Kind::Secret => {
            let secret = snapshot.secrets.get(&key);
            let value = secret.and_then(|secret| secret.spec.data.get(CA_KEY));
            (secret.is_some(), value.map(|value| value.expose()))
        }
        _ => {
            let map = snapshot.config_maps.get(&key);
            (map.is_some(), map.and_then(|map| map.spec.get(CA_KEY)))
        }
    };
    let invalid = |field, message| Err(("InvalidCACertificateRef", field, message));
    match value {
        Some(value) => tidegate_tls::roots(value)
            .or_else(|error| invalid("", format!("{kind} {key} cannot be used: {error}"))),
        None if exists => invalid("", format!("{kind} {key} has no {CA_KEY}")),
        None => invalid(".name", format!("{kind} {key} does not exist; create it or correct the name")),
    }
}
