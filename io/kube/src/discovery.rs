//! Which of the kinds that we read a cluster serves, and in which version.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use serde::Deserialize;
use tidegate_objects::Kind;

use crate::body::fetch;
use crate::scope::Served;
use crate::trouble::Trouble;

/// `APIGroupList`, as far as it is looked at.
#[derive(Debug, Default, Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    name: String,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

/// `APIResourceList`, as far as it is looked at.
#[derive(Debug, Default, Deserialize)]
struct Resources {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    name: String,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}

impl Resource {
    /// Whether its objects can be followed; `pods/log` is part of another resource.
    fn is_followed(&self) -> bool {
        let verb = |wanted: &str| self.verbs.iter().any(|verb| verb == wanted);
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        verb("list") && verb("watch") && self.name.bytes().all(plain)
    }
}

/// Asks a cluster. One request for the groups, and one for each version of theirs in which we read something.
///
/// # Errors
/// One of the answers could not be had. What is known so far is not returned: a group that did not answer is not one that
/// is not there. An answer without Services comes from something else than a Kubernetes API server.
pub(crate) async fn discover(client: &Client) -> Result<BTreeMap<Kind, Served>, Trouble> {
    let groups: Groups = fetch(client, "/apis").await?;
    let mut offered: BTreeMap<(&'static str, &'static str), Resources> = BTreeMap::new();
    for (group, version) in asked_of(&groups) {
        let path =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match fetch(client, &path).await {
            Ok(resources) => offered.insert((group, version), resources),
            // Taken away since the groups were listed.
            Err(Trouble::Missing(_)) => None,
            Err(trouble) => return Err(trouble),
        };
    }
    let chosen = chosen(&offered);
    if !chosen.contains_key(&Kind::Service) {
        return Err(Trouble::Other("what answers offers no Services, so it is no Kubernetes API".into()));
    }
    Ok(chosen)
}

/// The versions of groups that are both offered and read.
fn asked_of(groups: &Groups) -> BTreeSet<(&'static str, &'static str)> {
    let offers = |group: &str, version: &str| {
        let versions = groups.groups.iter().filter(|offered| offered.name == group).flat_map(|g| &g.versions);
        group.is_empty() || versions.clone().any(|offered| offered.version == version)
    };
    let read =
        Kind::ALL.iter().flat_map(|kind| kind.versions().iter().map(|version| (kind.group(), *version)));
    read.filter(|(group, version)| offers(group, version)).collect()
}

/// For each kind the version that we like best among those that offer it.
fn chosen(offered: &BTreeMap<(&'static str, &'static str), Resources>) -> BTreeMap<Kind, Served> {
    let each = Kind::ALL.iter().filter_map(|kind| {
        let served = kind.versions().iter().find_map(|version| {
            let resources = &offered.get(&(kind.group(), *version))?.resources;
            let found = resources.iter().find(|found| found.kind == kind.name() && found.is_followed())?;
            let status = format!("{}/status", found.name);
            let has_status = resources.iter().any(|resource| resource.name == status);
            Some(Served { version, plural: found.name.clone(), has_status })
        })?;
        Some((*kind, served))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(names: &[(&str, &str)]) -> Resources {
        let verbs = vec!["list".to_owned(), "watch".to_owned()];
        let one = |(name, kind): &(&str, &str)| Resource {
            name: (*name).into(),
            kind: (*kind).into(),
            verbs: verbs.clone(),
        };
        Resources { resources: names.iter().map(one).collect() }
    }

    /// The version that the table of kinds names first wins where it is offered, another one that we read serves too, and a
    /// kind that nothing offers is not there; whether it has a status apart is known.
    #[test]
    fn preferred_versions() {
        let group = "gateway.networking.k8s.io";
        let both = [("httproutes", "HTTPRoute"), ("httproutes/status", "HTTPRoute")];
        let offered = BTreeMap::from([
            ((group, "v1"), resources(&both)),
            (
                (group, "v1beta1"),
                resources(&[("httproutes", "HTTPRoute"), ("referencegrants", "ReferenceGrant")]),
            ),
        ]);
        let chosen = chosen(&offered);
        let of = |version, plural: &str, has_status| Served { version, plural: plural.into(), has_status };
        let expected = [
            (Kind::HTTPRoute, of("v1", "httproutes", true)),
            (Kind::ReferenceGrant, of("v1beta1", "referencegrants", false)),
        ];
        assert_eq!(chosen, BTreeMap::from(expected));
    }

    /// Only what is both offered and read is asked for; the core group is always there.
    #[test]
    fn asks_for_what_is_read() {
        let version = |version: &str| Version { version: version.into() };
        let group = |name: &str, versions| Group { name: name.into(), versions };
        let groups = Groups {
            groups: vec![
                group("apps", vec![version("v1")]),
                group("metallb.io", vec![version("v1beta1"), version("v9")]),
            ],
        };
        let asked: Vec<_> = asked_of(&groups).into_iter().collect();
        assert_eq!(asked, [("", "v1"), ("metallb.io", "v1beta1")]);
    }
}
