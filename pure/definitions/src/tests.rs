//! The files are what is made, and the schemas judge as decode and compile do. Rules of the Common Expression Language are
//! judged by a real API server, in the lab's scenario `install`.

mod judge;
mod rights;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_decode::Outcome;
use tidegate_objects::Kind;

use crate::{DEFINED, definition, yaml};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The schema of a whole object of a kind.
fn schema(kind: Kind) -> Value {
    let defined = DEFINED.iter().find(|defined| defined.kind == kind).expect("a kind of ours");
    definition(defined)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// The documents of ours in a text.
fn ours(text: &str) -> Vec<Value> {
    let documents = text.split("\n---").filter(|part| part.contains("tidegate.dev/v1alpha1"));
    let documents = documents.filter_map(|part| tidegate_decode::settings::<Value>(part).ok());
    let documents = documents.map(|(object, _)| object);
    documents.filter(|object| object["apiVersion"] == "tidegate.dev/v1alpha1").collect()
}

fn kind(object: &Value) -> Kind {
    Kind::find("tidegate.dev", object["kind"].as_str().expect("a kind")).expect("a kind of ours")
}

/// Every kind of ours is defined, in the order of the table of kinds, by names that no other has.
#[test]
fn every_kind() {
    let ours: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| kind.group() == "tidegate.dev").collect();
    assert_eq!(DEFINED.iter().map(|defined| defined.kind).collect::<Vec<_>>(), ours);
    let mut names: Vec<&str> = DEFINED.iter().flat_map(|defined| [defined.plural, defined.short]).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), DEFINED.len() * 2);
}

/// `deploy/crds` holds exactly what is made here.
#[test]
fn files() {
    let folder = root().join("deploy/crds");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names = Vec::new();
    for defined in DEFINED {
        let name = format!("{}.tidegate.dev.yaml", defined.plural);
        let made = format!(
            "# Generated from the Rust types: UPDATE_GOLDEN=1 cargo test -p tidegate-definitions\n{}",
            yaml(&definition(defined))
        );
        let path = folder.join(&name);
        if update {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(&path, &made).expect("a file");
        }
        let stands = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stands, made, "{name} is out of date: run this test with UPDATE_GOLDEN=1");
        let (read, _): (Value, _) = tidegate_decode::settings(&made).expect("YAML");
        assert_eq!(read, definition(defined), "{name} says something else than what it was made of");
        names.push(name);
    }
    let listed = std::fs::read_dir(&folder).expect("a folder").flatten();
    let mut listed: Vec<String> =
        listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    listed.sort();
    names.sort();
    assert_eq!(listed, names, "a file in deploy/crds that nothing makes");
}

/// Every field is explained, and every part is what an API server calls structural.
#[test]
fn structural() {
    for defined in DEFINED {
        let spec = &schema(defined.kind)["properties"]["spec"];
        judge::structure(spec, &format!("{}.spec", defined.kind));
    }
}

/// The table of good and bad objects, as far as it goes without rules; the refusal names the field.
#[test]
fn judged() {
    let objects = ours(include_str!("../testdata/judged.yaml"));
    assert!(objects.len() > 60);
    for object in &objects {
        let name = format!("{} {}", kind(object), object["metadata"]["name"]);
        let complaints = judge::object(&schema(kind(object)), object);
        match (&object["metadata"]["annotations"]["refused"], &object["metadata"]["annotations"]["by"]) {
            (Value::String(field), by) if by == "schema" => {
                let found = complaints.iter().any(|complaint| complaint.starts_with(&format!("{field}: ")));
                assert!(found, "{name}: {field} should be refused; found {complaints:?}");
            }
            _ => assert!(complaints.is_empty(), "{name}: {complaints:?}"),
        }
    }
}

/// What decode reads and the schema lets in is the same, where the table says so: what is refused is refused, or told of, there as
/// well, and what is accepted is read without a warning.
#[test]
fn as_decode() {
    for object in ours(include_str!("../testdata/judged.yaml")) {
        let name = format!("{} {}", kind(&object), object["metadata"]["name"]);
        let document = tidegate_decode::value("test", kind(&object), "v1alpha1", object.clone());
        if object["metadata"]["annotations"]["refused"].is_null() {
            let read = matches!(document.outcome, Outcome::Object { .. });
            assert!(read && document.warnings.is_empty(), "{name}: {document:?}");
        }
    }
}

/// Every object of ours in the examples and the lab, and every golden one that compile accepts, is let in.
#[test]
fn whatever_is_accepted() {
    let mut count = 0;
    for folder in ["examples", "lab/manifests", "pure/compile/testdata"] {
        for path in files_below(&root().join(folder)) {
            let text = std::fs::read_to_string(&path).expect("text");
            let verdicts = path.file_name().filter(|name| *name == "in.yaml");
            let verdicts = verdicts.map(|_| std::fs::read_to_string(path.with_file_name("out.yaml")));
            let verdicts: Option<String> = verdicts.map(|text| text.expect("an outcome"));
            for object in ours(&text) {
                if verdicts.as_ref().is_some_and(|verdicts| !is_accepted(verdicts, &object)) {
                    continue;
                }
                let complaints = judge::object(&schema(kind(&object)), &object);
                assert!(complaints.is_empty(), "{}: {object}: {complaints:?}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 40, "only {count} objects were found");
}

fn is_accepted(verdicts: &str, object: &Value) -> bool {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    let namespace = meta["namespace"].as_str().unwrap_or("default");
    let names = [format!("{} {name}", kind(object)), format!("{} {namespace}/{name}", kind(object))];
    let accepted = |name: &String| verdicts.contains(&format!("\n  {name}:\n    outcome: \"Accepted\"\n"));
    names.iter().any(accepted)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files_below(&path)),
            path if path.extension().is_some_and(|end| end == "yaml")
                && path.file_name().is_some_and(|name| name != "out.yaml") =>
            {
                found.push(path);
            }
            _ => {}
        }
    }
    found.sort();
    found
}

/// The defaults of a schema are those that decode applies: an object that says little, and the same with every default filled
/// in, are read alike.
#[test]
fn defaults() {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}]);
    let cases = [
        (Kind::GatewayNode, json!({})),
        (Kind::VRRPAdvertisement, json!({})),
        (Kind::VRRPAdvertisement, json!({"track": {"interfaces": ["eth2"]}})),
        (Kind::RouteImport, json!({"prefixes": [{"cidr": "10.0.0.0/8"}]})),
        (Kind::RouteAdvertisement, json!({"prefixes": ["0.0.0.0/0"]})),
        (Kind::ClientTrafficPolicy, json!({"targetRefs": target})),
        (
            Kind::ClientTrafficPolicy,
            json!({"targetRefs": target, "proxyProtocol": {}, "headers": {"strictTransportSecurity": {"maxAge": "1h"}},
                "http1": {"http10": {}}}),
        ),
        (Kind::BackendTrafficPolicy, json!({"targetRefs": target})),
        (
            Kind::BackendTrafficPolicy,
            json!({"targetRefs": target, "circuitBreaker": {}, "retry": {"budget": {}},
                "loadBalancer": {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP"}, "zoneAware": {"preferLocal": {"force": {}}}},
                "healthCheck": {"active": {"type": "TCP", "tcp": {"send": {"text": "x"}}}, "passive": {}},
                "compressor": [{"type": "Gzip"}],
                "responseOverride": [{"match": {"statusCodes": [{"value": 404}]}, "response": {"body": {"inline": "x"}}}]}),
        ),
        (Kind::HTTPRouteFilter, json!({})),
        (Kind::HTTPRouteFilter, json!({"directResponse": {"body": {"inline": "x"}}})),
        (Kind::ClusterService, json!({"source": "blue", "namespace": "shop", "service": "web"})),
    ];
    let mut filled_in = 0;
    for (kind, spec) in cases {
        let mut metadata = json!({"name": "a"});
        if kind.scope() == tidegate_objects::Scope::Namespaced {
            metadata["namespace"] = "default".into();
        }
        let plain = json!({"metadata": metadata, "spec": spec});
        let mut filled = plain.clone();
        judge::fill(&schema(kind), &mut filled);
        filled_in += usize::from(plain != filled);
        let read =
            |object: &Value| match tidegate_decode::value("test", kind, "v1alpha1", object.clone()).outcome {
                Outcome::Object { object, .. } => object,
                other => panic!("{kind}: {other:?}"),
            };
        assert_eq!(read(&plain), read(&filled), "{kind}: {plain} and {filled}");
        assert!(judge::object(&schema(kind), &filled).is_empty());
    }
    assert!(filled_in >= 8, "{filled_in} cases have defaults");
}
