//! The hosts of a class: which paths each has of which Ingress, and with which certificate.
//!
//! Who comes first has a path: the older Ingress, then the one whose name comes first. Hosts of rules come before those that are
//! only other names of one.

use std::collections::BTreeMap;

use tidegate_model::traffic::{HostPattern, PathMatch};
use tidegate_objects::Kind;
use tidegate_objects::ingress::{HttpIngressPath, IngressBackend, IngressTls};

use super::annotation::PREFIX;
use super::{Member, path};
use crate::listener::parse_hostname;
use crate::verdicts::Verdicts;

/// The hosts, each once.
pub(super) struct Sites<'a> {
    pub all: Vec<Site<'a>>,
}

/// A host; none: every host without rules of its own.
#[derive(Clone)]
pub(super) struct Site<'a> {
    pub host: Option<HostPattern>,
    /// The Ingress that came first with it, and the place of its rule there.
    pub owner: (usize, usize),
    pub entries: Vec<Entry<'a>>,
    /// Its certificate.
    pub tls: Option<Tls<'a>>,
    /// The Ingress that has its TLS passed through.
    pub passthrough: Option<usize>,
    /// The host that all of its requests are sent to.
    pub redirect: Option<String>,
}

/// The certificate of a host.
#[derive(Clone, Copy)]
pub(super) struct Tls<'a> {
    pub secret: &'a str,
    /// The Ingress that names it, and the place of its `tls` entry there.
    pub owner: (usize, usize),
}

/// A path of a host.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    /// Whose it is.
    pub member: usize,
    /// The field that its backend stands in.
    pub at: String,
    /// As written.
    pub text: &'a str,
    pub matched: PathMatch,
    pub to: To<'a>,
    pub canary: Option<Canary<'a>>,
}

/// Where a path leads.
#[derive(Clone, Copy)]
pub(super) enum To<'a> {
    Backend(&'a IngressBackend),
    /// The `app-root` of its Ingress.
    AppRoot,
}

/// The other version of what a path leads to.
#[derive(Clone)]
pub(super) struct Canary<'a> {
    pub member: usize,
    pub at: String,
    pub backend: &'a IngressBackend,
}

type Host = Option<HostPattern>;

impl<'a> Sites<'a> {
    pub fn new(members: &[Member<'a>], verdicts: &mut Verdicts) -> Self {
        let mut plan =
            Plan { members, hosts: BTreeMap::new(), own: vec![Vec::new(); members.len()], verdicts };
        let versions = |canary: bool| {
            let numbers = 0..members.len();
            numbers.filter(move |number| members[*number].settings.canary == canary).collect::<Vec<_>>()
        };
        let mains = versions(false);
        mains.iter().for_each(|number| plan.rules(*number));
        mains.iter().for_each(|number| plan.app_root(*number));
        mains.iter().for_each(|number| plan.default_backend(*number));
        plan.hosts.retain(|_, site| !site.entries.is_empty());
        versions(true).into_iter().for_each(|number| plan.canary(number));
        mains.iter().for_each(|number| plan.certificates(*number));
        mains.iter().for_each(|number| plan.passthrough(*number));
        mains.iter().for_each(|number| plan.aliases(*number));
        mains.iter().for_each(|number| plan.www(*number));
        Sites { all: plan.hosts.into_values().collect() }
    }
}

struct Plan<'p, 'a> {
    members: &'p [Member<'a>],
    hosts: BTreeMap<Host, Site<'a>>,
    /// The hosts that each Ingress has rules for, in its order.
    own: Vec<Vec<(Host, usize)>>,
    verdicts: &'p mut Verdicts,
}

impl<'a> Plan<'_, 'a> {
    fn part(&mut self, member: usize, reason: &'static str, field: String, message: String) {
        self.members[member].part(reason, field, message, self.verdicts);
    }

    fn warn(&mut self, member: usize, field: String, message: String) {
        self.verdicts.warn(Kind::Ingress, self.members[member].key(), "NoEffect", field, message);
    }

    /// The host of a rule, if it is one.
    fn host(&mut self, member: usize, rule: usize, text: Option<&str>) -> Option<Host> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Some(None) };
        match parse_hostname(text) {
            Ok(host) => Some(Some(host)),
            Err(why) => {
                let field = format!("spec.rules[{rule}].host");
                self.part(member, "UnsupportedValue", field, format!("{why}; this rule is left out"));
                None
            }
        }
    }

    fn rules(&mut self, member: usize) {
        let resource = self.members[member].resource;
        if resource.spec.rules.is_empty() && resource.spec.default_backend.is_none() {
            let message = "it has neither rules nor a default backend; add one".to_owned();
            let key = resource.key();
            self.verdicts.whole(Kind::Ingress, key, "UnsupportedValue", "spec.rules", message);
        }
        for (index, rule) in resource.spec.rules.iter().enumerate() {
            let Some(host) = self.host(member, index, rule.host.as_deref()) else { continue };
            if !self.own[member].iter().any(|(known, _)| *known == host) {
                self.own[member].push((host.clone(), index));
            }
            self.site(&host, (member, index));
            let paths = rule.http.as_ref().map_or(&[][..], |http| &http.paths);
            if paths.is_empty() && resource.spec.default_backend.is_none() {
                let message = "the rule has no path, and there is no default backend; add one".to_owned();
                self.part(member, "PartiallyInvalid", format!("spec.rules[{index}].http"), message);
            }
            for (place, path) in paths.iter().enumerate() {
                let at = format!("spec.rules[{index}].http.paths[{place}]");
                self.path(member, &host, path, at);
            }
        }
    }

    fn site(&mut self, host: &Host, owner: (usize, usize)) -> &mut Site<'a> {
        self.hosts.entry(host.clone()).or_insert_with(|| Site {
            host: host.clone(),
            owner,
            entries: Vec::new(),
            tls: None,
            passthrough: None,
            redirect: None,
        })
    }

    fn path(&mut self, member: usize, host: &Host, path: &'a HttpIngressPath, at: String) {
        let settings = &self.members[member].settings;
        let expressions = settings.use_regex || settings.rewrite.is_some();
        let text = written(path);
        let matched = match path::read(text, path.path_type, expressions) {
            Ok(matched) => matched,
            Err(why) => {
                return self.part(member, "UnsupportedValue", at + ".path", format!("{why}; it is left out"));
            }
        };
        if !expressions && path::is_expressive(text) {
            let message = "it is compared letter by letter; for an expression set the annotation use-regex";
            self.warn(member, format!("{at}.path"), message.to_owned());
        }
        let Some(site) = self.hosts.get_mut(host) else { return };
        if let Some(winner) = site.entries.iter().find(|entry| entry.matched == matched) {
            let winner = match winner.member == member {
                true => "an earlier path of this Ingress is the same; it counts".to_owned(),
                false => {
                    let winner = self.members[winner.member].key();
                    format!("Ingress {winner}, which is older, has this path of the host; it counts")
                }
            };
            return self.part(member, "Conflicted", at + ".path", winner);
        }
        let to = To::Backend(&path.backend);
        site.entries.push(Entry { member, at: at + ".backend", text, matched, to, canary: None });
    }

    fn app_root(&mut self, member: usize) {
        if self.members[member].settings.app_root.is_none() {
            return;
        }
        let at = format!("metadata.annotations[{PREFIX}app-root]");
        for (host, _) in self.own[member].clone() {
            let Some(site) = self.hosts.get_mut(&host) else { continue };
            let root = PathMatch::Exact("/".to_owned());
            if site.entries.iter().any(|entry| entry.matched == root) {
                self.warn(
                    member,
                    at.clone(),
                    "the host has a rule for the path / alone, which counts".to_owned(),
                );
                continue;
            }
            let (at, to) = (at.clone(), To::AppRoot);
            site.entries.push(Entry { member, at, text: "/", matched: root, to, canary: None });
        }
    }

    /// What no rule matches: at its own hosts, and at hosts without rules.
    fn default_backend(&mut self, member: usize) {
        let resource = self.members[member].resource;
        let Some(backend) = &resource.spec.default_backend else { return };
        let everything = PathMatch::Prefix(String::new());
        let own = self.own[member].iter().map(|(host, _)| host.clone());
        let hosts: Vec<Host> = own.filter(Option::is_some).chain([None]).collect();
        for host in hosts {
            let site = self.site(&host, (member, 0));
            if let Some(winner) = site.entries.iter().find(|entry| entry.matched == everything) {
                let winner = winner.member;
                if host.is_none() && resource.spec.rules.is_empty() && winner != member {
                    let message = format!(
                        "Ingress {}, which is older, has all that no rule matches; it counts",
                        self.members[winner].key()
                    );
                    self.part(member, "Conflicted", "spec.defaultBackend".to_owned(), message);
                }
                continue;
            }
            let (at, to) = ("spec.defaultBackend".to_owned(), To::Backend(backend));
            let entry = Entry { member, at, text: "/", matched: everything.clone(), to, canary: None };
            site.entries.push(entry);
        }
    }

    fn canary(&mut self, member: usize) {
        let resource = self.members[member].resource;
        let mut stands = false;
        for (index, rule) in resource.spec.rules.iter().enumerate() {
            let Some(host) = self.host(member, index, rule.host.as_deref()) else { continue };
            for (place, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let at = format!("spec.rules[{index}].http.paths[{place}]");
                match self.beside(member, &host, path, format!("{at}.backend")) {
                    Ok(()) => stands = true,
                    Err(why) => self.part(member, "NoMainIngress", at, why),
                }
            }
        }
        if !stands {
            let message =
                "as a canary it stands beside no path of another Ingress, so nothing of it is served";
            let key = resource.key();
            self.verdicts.whole(Kind::Ingress, key, "NoMainIngress", "spec.rules", message.to_owned());
        }
    }

    /// Puts a canary beside the path that it is the other version of.
    fn beside(
        &mut self,
        member: usize,
        host: &Host,
        path: &'a HttpIngressPath,
        at: String,
    ) -> Result<(), String> {
        let members = self.members;
        let namespace = &members[member].key().namespace;
        let none = || {
            format!(
                "no other Ingress of namespace {namespace} serves this host and path; a canary stands beside one that does"
            )
        };
        let site = self.hosts.get_mut(host).ok_or_else(none)?;
        let is_main = |entry: &&mut Entry<'_>| {
            entry.text == written(path)
                && matches!(entry.to, To::Backend(_))
                && members[entry.member].key().namespace == *namespace
        };
        let entry = site.entries.iter_mut().find(is_main).ok_or_else(none)?;
        if let Some(other) = &entry.canary {
            let other = members[other.member].key();
            return Err(format!("Ingress {other}, which is older, is the canary of this path; there is one"));
        }
        entry.canary = Some(Canary { member, at, backend: &path.backend });
        Ok(())
    }

    fn certificates(&mut self, member: usize) {
        let resource = self.members[member].resource;
        let mut read: Vec<(usize, &'a IngressTls, Vec<HostPattern>)> = Vec::new();
        for (index, tls) in resource.spec.tls.iter().enumerate() {
            if tls.secret_name.as_deref().is_none_or(str::is_empty) {
                let message = "no Secret is named, and there is no certificate for all; its hosts are not served over TLS for it".to_owned();
                self.part(member, "InvalidCertificateRef", format!("spec.tls[{index}].secretName"), message);
                continue;
            }
            let mut hosts = Vec::new();
            for (place, text) in tls.hosts.iter().enumerate() {
                match parse_hostname(text) {
                    Ok(host) => hosts.push(host),
                    Err(why) => {
                        let field = format!("spec.tls[{index}].hosts[{place}]");
                        self.part(member, "UnsupportedValue", field, format!("{why}; it is left out"));
                    }
                }
            }
            if !hosts.is_empty() || tls.hosts.is_empty() {
                read.push((index, tls, hosts));
            }
        }
        let mut hosts: Vec<Host> = self.own[member].iter().map(|(host, _)| host.clone()).collect();
        let catches_all = self.hosts.get(&None).is_some_and(|site| site.owner.0 == member);
        if catches_all && !hosts.contains(&None) {
            hosts.push(None);
        }
        let mut used = vec![false; resource.spec.tls.len()];
        for host in hosts {
            let Some((index, tls, _)) = best(&read, host.as_ref()) else { continue };
            used[*index] = true;
            let secret = tls.secret_name.as_deref().unwrap_or_default();
            let Some(site) = self.hosts.get_mut(&host) else { continue };
            match site.tls {
                None => site.tls = Some(Tls { secret, owner: (member, *index) }),
                Some(first) => {
                    let winner = self.members[first.owner.0].key();
                    let same = (first.secret, &winner.namespace) == (secret, &resource.key().namespace);
                    if !same {
                        let message = format!(
                            "Ingress {winner}, which is older, names the certificate of this host; it counts"
                        );
                        self.part(member, "Conflicted", format!("spec.tls[{index}]"), message);
                    }
                }
            }
        }
        for (index, ..) in read.iter().filter(|(index, ..)| !used[*index]) {
            self.warn(
                member,
                format!("spec.tls[{index}].hosts"),
                "no rule of this Ingress is for these hosts".to_owned(),
            );
        }
    }

    fn passthrough(&mut self, member: usize) {
        if !self.members[member].settings.passthrough {
            return;
        }
        let field = format!("metadata.annotations[{PREFIX}ssl-passthrough]");
        for (host, _) in self.own[member].clone() {
            let Some(site) = self.hosts.get_mut(&host) else { continue };
            let everything = PathMatch::Prefix(String::new());
            let leads = |entry: &Entry<'_>| {
                entry.member == member && entry.matched == everything && matches!(entry.to, To::Backend(_))
            };
            match (&host, site.entries.iter().any(leads)) {
                (Some(_), true) => site.passthrough = Some(site.passthrough.unwrap_or(member)),
                (None, _) => {
                    let message =
                        "connections go by their server name, so the rule needs a host; it is left out";
                    self.part(member, "UnsupportedValue", field.clone(), message.to_owned());
                }
                (Some(host), false) => {
                    let message = format!(
                        "connections for {host} go to the backend of the path /, and this Ingress has none; it is left out"
                    );
                    self.part(member, "UnsupportedValue", field.clone(), message);
                }
            }
        }
    }

    fn aliases(&mut self, member: usize) {
        let field = format!("metadata.annotations[{PREFIX}server-alias]");
        for alias in self.members[member].settings.aliases.clone() {
            let first = self.own[member].iter().find(|(host, _)| host.is_some()).cloned();
            let site = first.and_then(|(host, _)| self.hosts.get(&host).cloned());
            let Some(site) = site else {
                let message = "no rule of this Ingress has a host, so there is nothing that another name could stand for";
                return self.warn(member, field, message.to_owned());
            };
            let host = Some(alias.clone());
            if self.hosts.contains_key(&host) {
                let message = format!(
                    "{alias} has rules of its own, or is another name of an older Ingress's host; they count"
                );
                self.part(member, "Conflicted", field.clone(), message);
                continue;
            }
            self.hosts.insert(host.clone(), Site { host, ..site });
        }
    }

    fn www(&mut self, member: usize) {
        if !self.members[member].settings.www {
            return;
        }
        for (host, rule) in self.own[member].clone() {
            let Some(HostPattern::Exact(name)) = &host else { continue };
            let other = match name.strip_prefix("www.") {
                Some(bare) => bare.to_owned(),
                None => format!("www.{name}"),
            };
            let (tls, other) =
                (self.hosts.get(&host).and_then(|site| site.tls), Some(HostPattern::Exact(other)));
            if !self.hosts.contains_key(&other) {
                let site = self.site(&other, (member, rule));
                (site.redirect, site.tls) = (Some(name.clone()), tls);
            }
        }
    }
}

/// The entry for a host: the one that names it, else one whose wildcard covers it, else one for all.
fn best<'r, 'a>(
    read: &'r [(usize, &'a IngressTls, Vec<HostPattern>)],
    host: Option<&HostPattern>,
) -> Option<&'r (usize, &'a IngressTls, Vec<HostPattern>)> {
    let named = host.and_then(|host| read.iter().find(|(_, _, hosts)| hosts.contains(host)));
    let covered = || match host {
        Some(HostPattern::Exact(name)) => {
            read.iter().find(|(_, _, hosts)| hosts.iter().any(|host| host.matches(name)))
        }
        _ => None,
    };
    named.or_else(covered).or_else(|| read.iter().find(|(_, _, hosts)| hosts.is_empty()))
}

/// A path as written, absent ones included.
fn written(path: &HttpIngressPath) -> &str {
    path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/")
}
