//! [`Scope`]: what one list and watch covers, and how it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_objects::{Key, Kind, ObjectRef};

/// How many Secrets (or ConfigMaps) of a namespace are watched one by one; if more are named, the namespace is watched,
/// and what nobody names is dropped as it comes.
const SINGLY_MAX: usize = 8;
/// How many are watched one by one in all, where there is a choice; the namespaces after these are watched.
const SINGLY_ALL_MAX: usize = 64;
/// How many are watched one by one in all where there is no right for their namespaces. What is named beyond it is asked for by
/// namespace, which is refused, and told of.
const SINGLY_FORCED_MAX: usize = 1_024;
/// How many namespaces are watched; if more are wanted, the rest are had by one watch of all namespaces, of which what nobody
/// names is dropped as it comes. Without a right for that, [`SINGLY_FORCED_MAX`] are.
const NAMESPACES_MAX: usize = 64;

/// A kind as the cluster serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// One of the versions that the kind is read in.
    pub version: &'static str,
    /// Its name in paths.
    pub plural: String,
    /// Whether its objects have a status that is written apart.
    pub has_status: bool,
}

impl Served {
    /// The path of an object. Its parts are those of one that was decoded.
    pub fn path_of(&self, kind: Kind, key: &Key) -> String {
        let Served { version, plural, .. } = self;
        let root = match kind.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        match &*key.namespace {
            "" => format!("{root}/{plural}/{}", key.name),
            namespace => format!("{root}/namespaces/{namespace}/{plural}/{}", key.name),
        }
    }
}

/// What one reflector reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty: all.
    pub namespace: Arc<str>,
    /// The names that count, of all namespaces as `namespace/name`; empty: all.
    pub names: BTreeSet<Arc<str>>,
}

impl Scope {
    /// All objects of a kind.
    pub fn all(kind: Kind) -> Self {
        Scope { kind, namespace: "".into(), names: BTreeSet::new() }
    }

    /// Whether an object is read by it.
    pub fn covers(&self, kind: Kind, key: &Key) -> bool {
        if self.kind != kind {
            return false;
        }
        if self.namespace.is_empty() {
            return self.names.is_empty() || self.names.contains(&*placed(&key.namespace, &key.name));
        }
        self.namespace == key.namespace && (self.names.is_empty() || self.names.contains(&key.name))
    }

    /// The path and query that ask for it, without what lists and watches add. Names are those of objects that were
    /// checked when they were decoded, so nothing in them needs an escape.
    pub fn path(&self, served: &Served) -> String {
        let Served { version, plural, .. } = served;
        let root = match self.kind.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let path = match &*self.namespace {
            "" => format!("{root}/{plural}"),
            namespace => format!("{root}/namespaces/{namespace}/{plural}"),
        };
        match (self.names.len(), self.names.first()) {
            (1, Some(name)) if !self.namespace.is_empty() => {
                format!("{path}?fieldSelector=metadata.name%3D{name}&")
            }
            _ => format!("{path}?"),
        }
    }

    /// For people: `Secret shop/web`, `Pod`.
    pub fn shown(&self) -> String {
        match (&*self.namespace, self.names.first(), self.names.len()) {
            ("", Some(_), _) => format!("{} of the other namespaces", self.kind),
            ("", ..) => self.kind.to_string(),
            (namespace, Some(name), 1) => format!("{} {namespace}/{name}", self.kind),
            (namespace, ..) => format!("{} of {namespace}", self.kind),
        }
    }
}

/// An object among those of all namespaces. Neither part can hold the stroke.
fn placed(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Whether a kind is only read where something names it.
pub(crate) fn is_named(kind: Kind) -> bool {
    matches!(kind, Kind::Secret | Kind::ConfigMap)
}

/// Everything that is to be read: all of the kinds served, but of Secrets and ConfigMaps those that are named; one by one in
/// namespaces in which there is no right for all (`singly`).
pub(crate) fn wanted(
    served: &BTreeMap<Kind, Served>,
    named: &BTreeSet<ObjectRef>,
    singly: &BTreeSet<(Kind, Arc<str>)>,
) -> BTreeSet<Scope> {
    let whole = served.keys().filter(|kind| !is_named(**kind)).map(|kind| Scope::all(*kind));
    let mut wanted: BTreeSet<Scope> = whole.collect();
    let mut places: BTreeMap<(Kind, &Arc<str>), BTreeSet<Arc<str>>> = BTreeMap::new();
    for object in named.iter().filter(|object| is_sound(&object.key)) {
        let place = (object.kind, &object.key.namespace);
        places.entry(place).or_default().insert(object.key.name.clone());
    }
    let (mut chosen, mut forced, mut namespaces) = (0, 0, 0);
    let most_namespaces = |kind| match singly.contains(&(kind, "".into())) {
        true => SINGLY_FORCED_MAX,
        false => NAMESPACES_MAX,
    };
    let mut others: BTreeMap<Kind, BTreeSet<Arc<str>>> = BTreeMap::new();
    for ((kind, namespace), names) in places {
        let scope = |names| Scope { kind, namespace: namespace.clone(), names };
        let count = names.len();
        let (bound, taken) = match singly.contains(&(kind, namespace.clone())) {
            true => (SINGLY_FORCED_MAX, &mut forced),
            false if count <= SINGLY_MAX => (SINGLY_ALL_MAX, &mut chosen),
            false => (0, &mut chosen),
        };
        if *taken + count <= bound {
            *taken += count;
            wanted.extend(names.into_iter().map(|name| scope(BTreeSet::from([name]))));
        } else if namespaces < most_namespaces(kind) {
            namespaces += 1;
            wanted.insert(scope(names));
        } else {
            let placed = names.iter().map(|name| placed(namespace, name).into());
            others.entry(kind).or_default().extend(placed);
        }
    }
    wanted.extend(others.into_iter().map(|(kind, names)| Scope { kind, namespace: "".into(), names }));
    wanted
}

/// Whether namespace and name could be those of an object: a reference holds whatever was written there, and it goes into
/// a path.
fn is_sound(key: &Key) -> bool {
    let part = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && text.split('.').all(|label| !label.is_empty())
    };
    part(&key.namespace) && part(&key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(namespace: &str, name: &str) -> ObjectRef {
        ObjectRef { kind: Kind::Secret, key: Key::new("a", namespace, name) }
    }

    fn served() -> BTreeMap<Kind, Served> {
        let of = |plural: &str| Served { version: "v1", plural: plural.into(), has_status: false };
        BTreeMap::from([
            (Kind::Secret, of("secrets")),
            (Kind::Pod, of("pods")),
            (Kind::Gateway, of("gateways")),
        ])
    }

    /// Few Secrets of a namespace are asked for one by one, many by their namespace, and none that nobody names; what could
    /// not be a name is not asked for.
    #[test]
    fn secrets_by_name() {
        let few = BTreeSet::from([secret("shop", "web"), secret("shop", "x&limit=1"), secret("..", "web")]);
        let scopes = wanted(&served(), &few, &BTreeSet::new());
        let shown: Vec<String> = scopes.iter().map(Scope::shown).collect();
        assert_eq!(shown, ["Secret shop/web", "Pod", "Gateway"]);
        let paths: Vec<String> = scopes.iter().map(|scope| scope.path(&served()[&scope.kind])).collect();
        let secrets = "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Dweb&";
        let gateways = "/apis/gateway.networking.k8s.io/v1/gateways?";
        assert_eq!(paths, [secrets, "/api/v1/pods?", gateways]);
        let many = (0..20).map(|n| secret("shop", &format!("s{n}"))).collect();
        let scope = wanted(&served(), &many, &BTreeSet::new()).into_iter().next().expect("a scope");
        assert_eq!(scope.path(&served()[&Kind::Secret]), "/api/v1/namespaces/shop/secrets?");
        assert!(scope.covers(Kind::Secret, &Key::new("a", "shop", "s7")));
        assert!(!scope.covers(Kind::Secret, &Key::new("a", "shop", "s21")));
        let singly = BTreeSet::from([(Kind::Secret, "shop".into())]);
        assert_eq!(wanted(&served(), &many, &singly).len(), 22);
    }

    /// However many namespaces Secrets are named in, the number of watches is bounded, and each that is named is covered once,
    /// while one of the same name in another namespace is not.
    #[test]
    fn bounded_in_all() {
        let named: BTreeSet<ObjectRef> = (0..500).map(|n| secret(&format!("n{n}"), "web")).collect();
        let check = |singly: &BTreeSet<_>, most: usize| {
            let mut scopes = wanted(&served(), &named, singly);
            scopes.retain(|scope| scope.kind == Kind::Secret);
            assert_eq!(scopes.len(), most);
            for object in &named {
                assert_eq!(scopes.iter().filter(|scope| scope.covers(Kind::Secret, &object.key)).count(), 1);
            }
            let other = Key::new("a", "n500", "web");
            assert!(!scopes.iter().any(|scope| scope.covers(Kind::Secret, &other)));
            scopes
        };
        let scopes = check(&BTreeSet::new(), 64 + 64 + 1);
        let all = scopes.first().expect("a scope");
        assert_eq!(all.path(&served()[&Kind::Secret]), "/api/v1/secrets?");
        assert_eq!(all.shown(), "Secret of the other namespaces");
        // Where no namespace may be read, each name still may.
        let singly = named.iter().map(|object| (Kind::Secret, object.key.namespace.clone())).collect();
        check(&singly, 500);
        check(&BTreeSet::from([(Kind::Secret, "".into())]), 500);
    }
}
