//! EndpointSlices straight from the bytes of an API server: they come by the ten thousand and change all the time, and a value
//! of JSON for each field would cost several times of what is kept.
//!
//! Only what is as it should be is read here: of anything else there is none, and the way over [`value`](crate::value) says
//! what is wrong with it. Where both give something they give the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use tidegate_objects::core::{Endpoint, EndpointPort, EndpointSlice, Protocol};
use tidegate_objects::{Key, Kind, Metadata, Object, Resource};

use crate::core::{SERVICE_NAME, special};
use crate::metadata::{is_label, is_subdomain};
use crate::{Document, Lines, Outcome};

/// An event of a watch of EndpointSlices.
#[derive(Debug, PartialEq)]
pub struct SliceEvent {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub what: String,
    /// The version of the object.
    pub version: String,
    /// The object.
    pub document: Document,
}

/// A page of a list of EndpointSlices.
#[derive(Debug, PartialEq)]
pub struct SlicePage {
    /// The version of the list.
    pub version: String,
    /// What asks for the next page; empty: there is none.
    pub token: String,
    /// The objects.
    pub documents: Vec<Document>,
}

/// Reads a line of a watch; none where it is not plainly an EndpointSlice without a mistake.
pub fn slice_event(source: &str, line: &[u8]) -> Option<SliceEvent> {
    let Event { what, object } = serde_json::from_slice(line).ok()?;
    let version = object.metadata.version.to_string();
    let what = matches!(&*what, "ADDED" | "MODIFIED" | "DELETED").then(|| what.to_string())?;
    Some(SliceEvent { what, version, document: document(&source.into(), object)? })
}

/// Reads a page of a list; none where something in it is not plainly an EndpointSlice without a mistake.
pub fn slice_page(source: &str, page: &[u8]) -> Option<SlicePage> {
    let Page { metadata, items } = serde_json::from_slice(page).ok()?;
    let source: Arc<str> = source.into();
    let documents = items.unwrap_or_default().into_iter().map(|slice| document(&source, slice));
    let documents = documents.collect::<Option<_>>()?;
    Some(SlicePage { version: metadata.version.to_string(), token: metadata.token.to_string(), documents })
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    what: Cow<'a, str>,
    #[serde(borrow)]
    object: Slice<'a>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    metadata: PageMetadata<'a>,
    #[serde(borrow)]
    items: Option<Vec<Slice<'a>>>,
}

#[derive(Deserialize)]
struct PageMetadata<'a> {
    #[serde(rename = "resourceVersion", borrow, default)]
    version: Cow<'a, str>,
    #[serde(rename = "continue", borrow, default)]
    token: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice<'a> {
    #[serde(borrow)]
    api_version: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow)]
    address_type: Cow<'a, str>,
    #[serde(borrow)]
    ports: Option<Vec<Port<'a>>>,
    #[serde(borrow)]
    endpoints: Option<Vec<Member<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(rename = "resourceVersion", borrow, default)]
    version: Cow<'a, str>,
    labels: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    generation: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port<'a> {
    name: Option<String>,
    port: Option<u16>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member<'a> {
    #[serde(borrow)]
    addresses: Vec<Text<'a>>,
    conditions: Option<Conditions>,
    node_name: Option<String>,
    #[serde(borrow)]
    zone: Option<Text<'a>>,
    #[serde(borrow)]
    hints: Option<Hints<'a>>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints<'a> {
    #[serde(borrow)]
    for_zones: Option<Vec<ForZone<'a>>>,
}

#[derive(Deserialize)]
struct ForZone<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// Text that stays where it was read, in places where serde would copy it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The object, and the names of zones, which slices repeat for each endpoint.
fn document(source: &Arc<str>, slice: Slice<'_>) -> Option<Document> {
    let named = |found: &Option<Text<'_>>, wanted: &str| found.as_ref().is_none_or(|text| text.0 == wanted);
    if !named(&slice.kind, "EndpointSlice") || !named(&slice.api_version, "discovery.k8s.io/v1") {
        return None;
    }
    let is_ipv4 = match &*slice.address_type {
        "IPv4" => true,
        "IPv6" => false,
        _ => return None,
    };
    let metadata = metadata(source, slice.metadata)?;
    let service = metadata.labels.get(SERVICE_NAME).filter(|name| !name.is_empty()).cloned();
    let ports = slice.ports.unwrap_or_default().into_iter().map(port).collect::<Option<_>>()?;
    let mut zones = Vec::new();
    let members = slice.endpoints.unwrap_or_default().into_iter();
    let endpoints = members.map(|member| endpoint(member, is_ipv4, &mut zones)).collect::<Option<_>>()?;
    let object = Object::from(Resource { metadata, spec: EndpointSlice { service, ports, endpoints } });
    let line = Lines::default().first();
    Some(Document {
        line,
        outcome: Outcome::Object { object, lines: Lines::only(line) },
        warnings: Vec::new(),
    })
}

fn metadata(source: &Arc<str>, meta: Meta<'_>) -> Option<Metadata> {
    if !is_subdomain(&meta.name) || !is_label(&meta.namespace) {
        return None;
    }
    debug_assert!(!Kind::EndpointSlice.states_intent(), "annotations are kept of what states an intent");
    Some(Metadata {
        key: Key { source: source.clone(), namespace: meta.namespace.into(), name: meta.name.into() },
        labels: meta.labels.unwrap_or_default(),
        annotations: BTreeMap::new(),
        created_secs: meta.creation_timestamp.map_or(i64::MAX, |time| time.0.as_second()),
        generation: meta.generation.unwrap_or(0),
    })
}

fn port(found: Port<'_>) -> Option<EndpointPort> {
    let protocol = match found.protocol.as_ref().map(|text| &*text.0) {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) => return None,
    };
    (found.port != Some(0)).then(|| EndpointPort {
        name: found.name.unwrap_or_default(),
        port: found.port,
        protocol,
    })
}

fn endpoint(found: Member<'_>, is_ipv4: bool, zones: &mut Vec<Arc<str>>) -> Option<Endpoint> {
    let address: IpAddr = found.addresses.first()?.0.parse().ok()?;
    if address.is_ipv4() != is_ipv4 || special(address).is_some() {
        return None;
    }
    let mut zone = |name: &str| -> Arc<str> {
        if let Some(known) = zones.iter().find(|zone| ***zone == *name) {
            return known.clone();
        }
        let fresh: Arc<str> = name.into();
        zones.push(fresh.clone());
        fresh
    };
    let conditions = found.conditions.unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let hints = found.hints.and_then(|hints| hints.for_zones).unwrap_or_default();
    Some(Endpoint {
        address,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node_name: found.node_name,
        for_zones: hints.iter().map(|hint| zone(&hint.name)).collect(),
        zone: found.zone.map(|name| zone(&name.0)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Forms of an EndpointSlice: as they come, unusual ones, and wrong ones.
    fn forms() -> Vec<Value> {
        let whole = json!({
            "metadata": {
                "name": "web-x", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": {"a": "b"},
                "labels": {"kubernetes.io/service-name": "web", "x": "ü\n"}, "managedFields": [{"manager": "m"}],
            },
            "addressType": "IPv4",
            "ports": [{"name": "a", "port": 53, "protocol": "UDP", "appProtocol": "x"}, {"name": "", "port": null}, {}],
            "endpoints": [
                {
                    "addresses": ["10.0.0.1", "10.0.0.9"], "conditions": {"ready": false, "serving": true, "terminating": true},
                    "nodeName": "n1", "zone": "z", "hints": {"forZones": [{"name": "z"}, {"name": "y"}]}, "targetRef": {"kind": "Pod"},
                },
                {"addresses": ["10.0.0.2"], "conditions": {"ready": null}, "zone": "z", "hints": {}, "deprecatedTopology": {}},
                {"addresses": ["10.0.0.3"], "conditions": null, "nodeName": null},
            ],
        });
        let changes: [(&str, Value); 20] = [
            ("/metadata/name", json!("Web")),
            ("/metadata/name", json!(null)),
            ("/metadata/namespace", json!("a.b")),
            ("/metadata/namespace", json!("")),
            ("/metadata/labels", json!(null)),
            ("/metadata/labels", json!({"kubernetes.io/service-name": ""})),
            ("/metadata/labels", json!({"a": 1})),
            ("/metadata/creationTimestamp", json!("yesterday")),
            ("/metadata/creationTimestamp", json!(null)),
            ("/metadata/generation", json!("3")),
            ("/addressType", json!("FQDN")),
            ("/addressType", json!("IPv6")),
            ("/ports", json!(null)),
            ("/ports/0/port", json!(70_000)),
            ("/ports/0/port", json!(0)),
            ("/ports/0/protocol", json!("tcp")),
            ("/endpoints", json!([])),
            ("/endpoints/0/addresses", json!([])),
            ("/endpoints/0/addresses/0", json!("169.254.0.1")),
            ("/endpoints/1/conditions/ready", json!("yes")),
        ];
        let mut forms: Vec<Value> = changes
            .iter()
            .map(|(path, value)| {
                let mut form = whole.clone();
                *form.pointer_mut(path).expect("a field") = value.clone();
                form
            })
            .collect();
        forms.push(whole);
        forms
    }

    fn slow(form: &Value) -> Document {
        crate::value("a", Kind::EndpointSlice, "v1", form.clone())
    }

    /// Whatever is read here is read on the usual way as the same, and whatever is refused there is not read here.
    #[test]
    fn same_as_the_usual_way() {
        let mut read = 0;
        for form in forms() {
            let line = json!({"type": "MODIFIED", "object": form}).to_string();
            let Some(event) = slice_event("a", line.as_bytes()) else { continue };
            read += 1;
            assert_eq!(event.document, slow(&form), "{form}");
            assert!(matches!(event.document.outcome, Outcome::Object { .. }), "{form}");
            assert_eq!((&*event.what, &*event.version), ("MODIFIED", "7"));
        }
        assert_eq!(read, 6, "of {}", forms().len());
    }

    /// A page is read whole or not at all.
    #[test]
    fn pages() {
        let good: Vec<Value> = forms()
            .into_iter()
            .filter(|form| {
                slice_event("a", json!({"type": "ADDED", "object": form}).to_string().as_bytes()).is_some()
            })
            .collect();
        let page = |items: &[Value]| {
            json!({"kind": "EndpointSliceList", "metadata": {"resourceVersion": "9", "continue": "t"}, "items": items}).to_string()
        };
        let read = slice_page("a", page(&good).as_bytes()).expect("a page");
        assert_eq!((&*read.version, &*read.token), ("9", "t"));
        assert_eq!(read.documents, good.iter().map(slow).collect::<Vec<_>>());
        assert_eq!(slice_page("a", page(&forms()).as_bytes()), None);
        let nothing =
            slice_page("a", br#"{"metadata":{"resourceVersion":"9"},"items":null}"#).expect("a page");
        assert_eq!((nothing.documents.len(), &*nothing.token), (0, ""));
    }

    /// What is no event of a slice is left to others.
    #[test]
    fn others() {
        let slice = forms().pop().expect("one");
        let mut other = slice.clone();
        other["kind"] = json!("Endpoints");
        for line in [
            json!({"type": "BOOKMARK", "object": {"kind": "EndpointSlice", "metadata": {"resourceVersion": "8"}}}),
            json!({"type": "BOOKMARK", "object": slice}),
            json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}}),
            json!({"type": "ADDED", "object": other}),
        ] {
            assert_eq!(slice_event("a", line.to_string().as_bytes()), None, "{line}");
        }
        assert_eq!(slice_event("a", b"{"), None);
    }
}
