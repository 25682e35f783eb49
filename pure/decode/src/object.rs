//! One value to one [`Object`]: its kind, its metadata, its fields.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tidegate_objects::{
    Kind, Metadata, Object, ObjectRef, Resource, backend_tls, egress, gateway, ingress, metallb,
    multicluster, ours, policy, route,
};

use crate::identity::{Named, meant, named};
use crate::path::Path;
use crate::problem::{Fault, Problem};
use crate::read::{self, shown, unknown_field};
use crate::yaml::Raw;
use crate::{Document, Lines, Outcome, core, metadata, secret};

/// Fields that every object may have beside its own; `status` is what others report and is never looked at for mistakes.
const COMMON: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// How many addresses a Gateway's status may list (Gateway API), and as many of an Ingress's are read.
const STATUS_ADDRESSES_MAX: usize = 16;

/// Decodes one object of a text.
pub(crate) fn decode(source: &str, raw: Raw) -> Document {
    let Raw { lines, value, list } = raw;
    let line = lines.first();
    let refused = |object: String, reference, fault: Fault| Document {
        line,
        outcome: Outcome::Refused { reference, problem: fault.into_problem(&object, &lines) },
        warnings: Vec::new(),
    };
    let mut fields = match value {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => {
            let message = format!("expected an object with `apiVersion` and `kind`, found {}", shown(&other));
            return refused(String::new(), None, Fault::at("", message));
        }
        Err(fault) => return refused(String::new(), None, secret::without_value(fault)),
    };
    if let Some((version, kind)) = list {
        let given =
            [("apiVersion", version), ("kind", kind)].into_iter().filter(|(_, text)| !text.is_empty());
        for (name, text) in given {
            fields.entry(name).or_insert(Value::String(text));
        }
    }
    let label = label(&fields);
    let kind_name = fields.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    let guess = |kind: Option<Kind>, meta: Option<&Value>| metadata::guess(source, kind?, meta);
    let kind = match kind_of(&fields) {
        Ok(Named::Known(kind)) => kind,
        Ok(Named::Foreign(why)) => {
            let problem = Problem { line, object: label, field: String::new(), message: why };
            let outcome = Outcome::Ignored { kind: kind_name, problem };
            return Document { line, outcome, warnings: Vec::new() };
        }
        Ok(Named::Wrong(fault)) | Err(fault) => {
            return refused(label, guess(meant(&kind_name), fields.get("metadata")), fault);
        }
    };
    let mut warnings = Vec::new();
    let meta_value = fields.remove("metadata");
    let meta = match metadata::read(source, kind, meta_value.as_ref(), &mut warnings) {
        Ok(meta) => meta,
        Err(fault) => return refused(label, guess(Some(kind), meta_value.as_ref()), fault),
    };
    let reference = ObjectRef { kind, key: meta.key.clone() };
    let object = reference.to_string();
    if kind == Kind::EndpointSlice {
        fields.remove("status");
    }
    match typed(kind, meta, Value::Object(fields), &mut warnings) {
        Ok(decoded) => Document {
            line,
            warnings: warnings.into_iter().map(|fault| fault.into_problem(&object, &lines)).collect(),
            outcome: Outcome::Object {
                object: decoded,
                lines: if kind.states_intent() { lines } else { Lines::only(line) },
            },
        },
        Err(fault) => refused(object, Some(reference), fault),
    }
}

fn kind_of(fields: &Map<String, Value>) -> Result<Named, Fault> {
    let text = |name: &str, example: &str| match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.as_str()),
        Some(other) => {
            Err(Fault::at(name, format!("expected text such as `{example}`, found {}", shown(other))))
        }
        None => Err(Fault::at(name, format!("`{name}` is missing; every object names it, as `{example}`"))),
    };
    let kind = text("kind", "HTTPRoute")?;
    Ok(named(text("apiVersion", "gateway.networking.k8s.io/v1")?, kind))
}

/// An object's kind, namespace and name, as far as they can be told before anything is checked.
fn label(fields: &Map<String, Value>) -> String {
    let meta = |name: &str| fields.get("metadata").and_then(|meta| meta.get(name)).and_then(Value::as_str);
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or("");
    let text = match (meta("namespace"), meta("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (_, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    };
    read::shortened(text.trim())
}

/// Reads the fields of a kind; `value` is the object without `metadata`.
fn typed(kind: Kind, meta: Metadata, value: Value, unknown: &mut Vec<Fault>) -> Result<Object, Fault> {
    if kind != Kind::EndpointSlice {
        note_top_level(kind, &value, unknown);
    }
    match kind {
        Kind::Namespace => core::namespace(meta, &value, unknown),
        Kind::Node => core::node(meta, &value, unknown),
        Kind::ServiceCIDR => with_spec::<tidegate_objects::core::ServiceCidr>(kind, meta, &value, unknown),
        Kind::Service => {
            required_spec(kind, &value)?;
            core::service(meta, &value, unknown)
        }
        Kind::Pod => core::pod(meta, &value, unknown),
        Kind::EndpointSlice => core::endpoint_slice(meta, &value, unknown),
        Kind::Secret => secret::secret(meta, &value),
        Kind::ConfigMap => secret::config_map(meta, &value),
        Kind::GatewayClass => with_spec::<gateway::GatewayClass>(kind, meta, &value, unknown),
        Kind::Gateway => a_gateway(meta, &value, unknown),
        Kind::HTTPRoute => with_spec::<route::HttpRoute>(kind, meta, &value, unknown),
        Kind::ListenerSet => with_spec::<gateway::ListenerSet>(kind, meta, &value, unknown),
        Kind::GRPCRoute => with_spec::<route::GrpcRoute>(kind, meta, &value, unknown),
        Kind::TLSRoute => with_spec::<route::TlsRoute>(kind, meta, &value, unknown),
        Kind::TCPRoute => with_spec::<route::TcpRoute>(kind, meta, &value, unknown),
        Kind::UDPRoute => with_spec::<route::UdpRoute>(kind, meta, &value, unknown),
        Kind::BackendTLSPolicy => with_spec::<backend_tls::BackendTlsPolicy>(kind, meta, &value, unknown),
        Kind::ReferenceGrant => with_spec::<gateway::ReferenceGrant>(kind, meta, &value, unknown),
        Kind::IngressClass => with_spec::<ingress::IngressClass>(kind, meta, &value, unknown),
        Kind::Ingress => an_ingress(meta, &value, unknown),
        Kind::IPAddressPool => with_spec::<metallb::IpAddressPool>(kind, meta, &value, unknown),
        Kind::BGPPeer => with_spec::<metallb::BgpPeer>(kind, meta, &value, unknown),
        Kind::BGPAdvertisement => with_spec::<metallb::BgpAdvertisement>(kind, meta, &value, unknown),
        Kind::GatewayNode => with_spec::<ours::GatewayNode>(kind, meta, &value, unknown),
        Kind::VRRPAdvertisement => with_spec::<ours::VrrpAdvertisement>(kind, meta, &value, unknown),
        Kind::RouteImport => with_spec::<ours::RouteImport>(kind, meta, &value, unknown),
        Kind::RouteAdvertisement => with_spec::<ours::RouteAdvertisement>(kind, meta, &value, unknown),
        Kind::ClientTrafficPolicy => with_spec::<policy::ClientTrafficPolicy>(kind, meta, &value, unknown),
        Kind::BackendTrafficPolicy => with_spec::<policy::BackendTrafficPolicy>(kind, meta, &value, unknown),
        Kind::HTTPRouteFilter => with_spec::<policy::RouteFilter>(kind, meta, &value, unknown),
        Kind::ClusterService => with_spec::<ours::ClusterService>(kind, meta, &value, unknown),
        Kind::ServiceImport => with_spec::<multicluster::ServiceImport>(kind, meta, &value, unknown),
        Kind::ServiceExport => with_spec::<multicluster::ServiceExport>(kind, meta, &value, unknown),
        Kind::CiliumEgressGatewayPolicy => {
            with_spec::<egress::CiliumEgressGatewayPolicy>(kind, meta, &value, unknown)
        }
    }
}

fn note_top_level(kind: Kind, value: &Value, unknown: &mut Vec<Fault>) {
    let known = || secret::top_level(kind).iter().chain(&COMMON).copied();
    let names = value.as_object().into_iter().flat_map(Map::keys);
    let names = names.filter(|name| !known().any(|known| known == name.as_str()));
    // Bounded like the unknown fields inside.
    for name in names.take(100) {
        let free = known().filter(|known| value.get(known).is_none());
        unknown.push(Fault::new(Path::default().key(name), unknown_field(name, free)));
    }
}

fn with_spec<T>(
    kind: Kind,
    metadata: Metadata,
    value: &Value,
    unknown: &mut Vec<Fault>,
) -> Result<Object, Fault>
where
    T: DeserializeOwned,
    Object: From<Resource<T>>,
{
    let spec = spec(kind, value, unknown)?;
    Ok(Resource::<T> { metadata, spec }.into())
}

/// A Gateway: its spec, and the addresses in its status.
fn a_gateway(metadata: Metadata, value: &Value, unknown: &mut Vec<Fault>) -> Result<Object, Fault> {
    let mut spec: gateway::Gateway = spec(Kind::Gateway, value, unknown)?;
    let listed = value.pointer("/status/addresses").and_then(Value::as_array);
    let texts = listed.into_iter().flatten().filter_map(|address| address.get("value")?.as_str());
    spec.listened_on = texts.filter_map(|text| text.parse().ok()).take(STATUS_ADDRESSES_MAX).collect();
    Ok(Resource { metadata, spec }.into())
}

/// An Ingress: its spec, and the addresses in its status.
fn an_ingress(metadata: Metadata, value: &Value, unknown: &mut Vec<Fault>) -> Result<Object, Fault> {
    let mut spec: ingress::Ingress = spec(Kind::Ingress, value, unknown)?;
    let listed = value.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let texts = listed.into_iter().flatten().filter_map(|address| address.get("ip")?.as_str());
    spec.listened_on = texts.filter_map(|text| text.parse().ok()).take(STATUS_ADDRESSES_MAX).collect();
    Ok(Resource { metadata, spec }.into())
}

fn spec<T: DeserializeOwned>(kind: Kind, value: &Value, unknown: &mut Vec<Fault>) -> Result<T, Fault> {
    let empty = Value::Object(Map::new());
    // MetalLB's BGPAdvertisement without a spec announces every pool, and is usual; so are exports without one, and imports
    // that a controller is still to fill in.
    let spec = match value.get("spec") {
        None if matches!(kind, Kind::BGPAdvertisement | Kind::ServiceImport | Kind::ServiceExport) => &empty,
        _ => required_spec(kind, value)?,
    };
    read::read(spec, &Path::default().key("spec"), unknown)
}

fn required_spec(kind: Kind, value: &Value) -> Result<&Value, Fault> {
    value
        .get("spec")
        .ok_or_else(|| Fault::at("spec", format!("`spec` is missing; it holds what the {kind} asks for")))
}
