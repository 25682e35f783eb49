//! BackendTLSPolicy: TLS towards Services, and how their certificates are verified (gateway.networking.k8s.io/v1).
//!
//! A policy that cannot be followed breaks the backends that it is for: they are answered with 500, never spoken to in
//! the clear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_model::traffic::{AlternativeName, BackendTls, HostPattern, Roots};
use tidegate_objects::backend_tls::{
    BackendTlsPolicy, BackendTlsValidation, SubjectAltName, SubjectAltNameType,
};
use tidegate_objects::reference::LocalRef;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::listener::parse_hostname;
use crate::policy_target::{Policies, Target};
use crate::verdicts::Verdicts;

/// The key under which a ConfigMap or Secret holds authorities.
const CA_KEY: &str = "ca.crt";

/// Why a backend is broken whose policy cannot be followed; for the access log and `explain`.
pub(crate) const INVALID: &str = "BackendTLSPolicy is invalid";

/// The policies, by what they are for.
pub(crate) struct BackendTlsPolicies {
    by_target: BTreeMap<Target, Key>,
    /// None: it cannot be followed.
    read: BTreeMap<Key, Option<Arc<BackendTls>>>,
    used: BTreeSet<Key>,
}

impl BackendTlsPolicies {
    pub fn new(snapshot: &Snapshot, verdicts: &mut Verdicts) -> Self {
        let policies = Policies {
            kind: Kind::BackendTLSPolicy,
            all: &snapshot.backend_tls_policies,
            targets: |policy: &BackendTlsPolicy| &policy.target_refs,
            snapshot,
            attaches_to: &[Kind::Service],
        };
        let settled = policies.settle(verdicts);
        let by_target = settled.into_iter().map(|(target, policy)| (target, policy.key().clone())).collect();
        let policies = snapshot.backend_tls_policies.values();
        let read = policies.map(|policy| {
            let tls = Reader { snapshot, policy, verdicts }.read();
            (policy.key().clone(), tls.map(Arc::new))
        });
        BackendTlsPolicies { by_target, read: read.collect(), used: BTreeSet::new() }
    }

    /// The settings for a port of a Service; none without a policy, an error for one that cannot be followed.
    pub fn of(&mut self, service: &Key, port: &str) -> Option<Result<Arc<BackendTls>, &'static str>> {
        let target = |section| Target { kind: Kind::Service, key: service.clone(), section };
        let named = self.by_target.get(&target(Some(port.to_owned())));
        let policy = named.or_else(|| self.by_target.get(&target(None)))?;
        self.used.insert(policy.clone());
        Some(self.read.get(policy)?.clone().ok_or(INVALID))
    }

    /// Says of the policies that no backend has asked for that they do nothing yet.
    pub fn note_unused(&self, verdicts: &mut Verdicts) {
        for key in self.read.keys().filter(|key| !self.used.contains(key)) {
            if !verdicts.is_rejected(Kind::BackendTLSPolicy, key) {
                let message = "no route of ours leads to its targets, so it does nothing yet".to_owned();
                verdicts.warn(Kind::BackendTLSPolicy, key, "NoEffect", "spec.targetRefs", message);
            }
        }
    }
}

struct Reader<'a, 'v> {
    snapshot: &'a Snapshot,
    policy: &'a Resource<BackendTlsPolicy>,
    verdicts: &'v mut Verdicts,
}

/// Gateway API's reason, the field, and a sentence.
type Bad = (&'static str, String, String);

impl Reader<'_, '_> {
    /// None when the policy cannot be followed.
    fn read(&mut self) -> Option<BackendTls> {
        let (kind, key) = (Kind::BackendTLSPolicy, self.policy.key());
        if !self.policy.spec.options.is_empty() {
            let message = "Tidegate has no options of its own here, so spec.options has no effect".to_owned();
            self.verdicts.warn(kind, key, "NoEffect", "spec.options", message);
        }
        let validation = &self.policy.spec.validation;
        let server_name = server_name(&validation.hostname);
        let names: Vec<_> = validation.subject_alt_names.iter().enumerate().map(alternative_name).collect();
        let roots = self.roots(validation);
        let (mut alternative_names, mut sound) = (Vec::new(), true);
        let mut refuse = |verdicts: &mut Verdicts, (reason, field, message): Bad| {
            let message = format!("{message}; backends that this policy is for answer 500");
            let dot = if field.is_empty() { "" } else { "." };
            verdicts.whole(kind, key, reason, format!("spec.validation{dot}{field}"), message);
            sound = false;
        };
        for name in names {
            match name {
                Ok(name) => alternative_names.push(name),
                Err(bad) => refuse(self.verdicts, bad),
            }
        }
        let server_name = server_name.map_err(|bad| refuse(self.verdicts, bad)).ok();
        let roots = roots.map_err(|bad| refuse(self.verdicts, bad)).ok();
        let tls =
            BackendTls { server_name: server_name?, alternative_names, roots: roots?, certificate: None };
        sound.then_some(tls)
    }

    fn roots(&mut self, validation: &BackendTlsValidation) -> Result<Roots, Bad> {
        let refs = &validation.ca_certificate_refs;
        let invalid = |field: &str, message: &str| Err(("Invalid", field.to_owned(), message.to_owned()));
        match (refs.is_empty(), validation.well_known_ca_certificates.as_deref().unwrap_or_default()) {
            (true, "System") => Ok(Roots::System),
            (true, "") => {
                invalid("", "neither caCertificateRefs nor wellKnownCACertificates is given; one must be")
            }
            (true, other) => {
                let message = format!("{other:?} is no set of well-known authorities; there is System");
                invalid("wellKnownCACertificates", &message)
            }
            (false, "") => self.named_roots(refs),
            (false, _) => {
                invalid("wellKnownCACertificates", "caCertificateRefs is given too; only one of them may be")
            }
        }
    }

    /// What the references hold together. Those that are wrong are told one by one.
    fn named_roots(&mut self, refs: &[LocalRef]) -> Result<Roots, Bad> {
        let mut roots = Vec::new();
        for (index, to) in refs.iter().enumerate() {
            match self.bundle(to) {
                Ok(found) => roots.extend(found.iter().cloned()),
                Err((reason, message)) => {
                    let field = format!("spec.validation.caCertificateRefs[{index}]");
                    let message = format!("{message}; this reference is left out");
                    self.verdicts.part(Kind::BackendTLSPolicy, self.policy.key(), reason, field, message);
                }
            }
        }
        if roots.is_empty() {
            let message = "none of the references leads to a certificate".to_owned();
            return Err(("NoValidCACertificate", "caCertificateRefs".to_owned(), message));
        }
        Ok(Roots::These(roots.into()))
    }

    fn bundle(&self, to: &LocalRef) -> Result<Arc<[Vec<u8>]>, (&'static str, String)> {
        let key = self.policy.key().sibling(&self.policy.key().namespace, &to.name);
        let kind = Kind::find(&to.group, &to.kind);
        let (found, held) = match kind {
            Some(Kind::ConfigMap) => {
                let object = self.snapshot.config_maps.get(&key);
                (object.is_some(), object.and_then(|map| map.spec.get(CA_KEY)))
            }
            Some(Kind::Secret) => {
                let object = self.snapshot.secrets.get(&key);
                (
                    object.is_some(),
                    object.and_then(|secret| secret.spec.data.get(CA_KEY)).map(|value| &**value),
                )
            }
            _ => {
                let message = format!(
                    "{} of group {:?} holds no authorities; a ConfigMap or Secret may",
                    to.kind, to.group
                );
                return Err(("InvalidKind", message));
            }
        };
        let bad = |message| Err(("InvalidCACertificateRef", message));
        match held {
            Some(pem) => tidegate_tls::roots(pem)
                .or_else(|error| bad(format!("{CA_KEY} of {} {key} is not sound: {error}", to.kind))),
            None if found => bad(format!("{} {key} has no key {CA_KEY}", to.kind)),
            None => bad(format!("{} {key} does not exist; create it or correct the name", to.kind)),
        }
    }
}

fn server_name(hostname: &str) -> Result<String, Bad> {
    let bad = |message| Err(("Invalid", "hostname".to_owned(), message));
    match parse_hostname(hostname) {
        Ok(HostPattern::Exact(name)) => Ok(name.to_string()),
        Ok(HostPattern::Under(_)) => {
            bad(format!("{hostname:?} is a pattern; the name sent to a backend is one name"))
        }
        Err(message) => bad(message),
    }
}

fn alternative_name((index, name): (usize, &SubjectAltName)) -> Result<AlternativeName, Bad> {
    let bad = |message| Err(("Invalid", format!("subjectAltNames[{index}]"), message));
    match (name.name_type, &name.hostname, &name.uri) {
        (SubjectAltNameType::Hostname, Some(hostname), None) => match parse_hostname(hostname) {
            Ok(HostPattern::Exact(name)) => Ok(AlternativeName::Host(name.to_string())),
            Ok(HostPattern::Under(_)) => bad(format!(
                "{hostname:?} is a pattern; give a name that the certificate must cover, its own pattern may"
            )),
            Err(message) => bad(message),
        },
        (SubjectAltNameType::Uri, None, Some(uri)) if uri.contains(':') && uri.is_ascii() => {
            Ok(AlternativeName::Uri(uri.clone()))
        }
        (SubjectAltNameType::Uri, None, Some(uri)) => bad(format!("{uri:?} is no absolute URI")),
        (SubjectAltNameType::Hostname, ..) => {
            bad("type Hostname needs hostname, and nothing else".to_owned())
        }
        (SubjectAltNameType::Uri, ..) => bad("type URI needs uri, and nothing else".to_owned()),
    }
}
