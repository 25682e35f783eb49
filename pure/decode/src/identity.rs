//! Which [`Kind`] an `apiVersion` and a `kind` name, or why none.

use tidegate_objects::Kind;

use crate::nearest::distance;
use crate::problem::Fault;

/// What `apiVersion` and `kind` say.
pub(crate) enum Named {
    /// A kind that is read.
    Known(Kind),
    /// A kind that is left alone, and why.
    Foreign(String),
    /// A mistake.
    Wrong(Fault),
}

/// Finds the kind. Kinds of others are never a mistake: people keep Deployments in the same directory.
pub(crate) fn named(api_version: &str, kind: &str) -> Named {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if let Some(known) = Kind::find(group, kind) {
        return if known.versions().contains(&version) {
            Named::Known(known)
        } else {
            Named::Wrong(Fault::at("apiVersion", wrong_version(known, api_version)))
        };
    }
    let same_name = || Kind::ALL.iter().copied().filter(|known| known.name() == kind);
    if let Some(known) = same_name().find(|known| is_slip(group, known.group())) {
        let message = format!("{kind} is not a kind of `{api_version}`; write `{}`", written(known));
        return Named::Wrong(Fault::at("apiVersion", message));
    }
    let same_group = || Kind::ALL.iter().copied().filter(|known| known.group() == group);
    if let Some(known) = same_group().find(|known| known.name().eq_ignore_ascii_case(kind)) {
        return Named::Wrong(Fault::at("kind", format!("unknown kind `{kind}`; did you mean `{known}`?")));
    }
    let name = if group.is_empty() { kind.to_owned() } else { format!("{kind} of {group}") };
    Named::Foreign(format!("this version of Tidegate does not read {name}; left alone"))
}

/// The kind that an object with a mistake was meant to be, as far as its name tells.
pub(crate) fn meant(kind: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|known| known.name().eq_ignore_ascii_case(kind))
}

/// Whether a group that should have been `right` is a slip rather than another project's: it is mistyped, or one whose
/// kinds Tidegate knows, or one of Kubernetes itself. Istio has a Gateway too, and Knative a Service.
fn is_slip(group: &str, right: &str) -> bool {
    let ours = Kind::ALL.iter().any(|known| known.group() == group);
    let kubernetes = group.ends_with(".k8s.io") || ["apps", "batch", "extensions", "policy"].contains(&group);
    ours || kubernetes || distance(group, right) <= 3
}

fn wrong_version(kind: Kind, found: &str) -> String {
    let accepted: Vec<String> =
        kind.versions().iter().map(|version| format!("`{}`", full(kind.group(), version))).collect();
    format!("{kind} is not read in version `{found}`; write {}", accepted.join(" or "))
}

/// The preferred `apiVersion` of a kind.
fn written(kind: Kind) -> String {
    full(kind.group(), kind.versions().first().copied().unwrap_or("v1"))
}

fn full(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
