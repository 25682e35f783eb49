//! Ingress and IngressClass (networking.k8s.io/v1).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The name by which an IngressClass chooses Tidegate.
pub const CONTROLLER_NAME: &str = "tidegate.dev/ingress-controller";

/// The controller name of ingress-nginx, whose class is served where the bootstrap file names it.
pub const NGINX_CONTROLLER_NAME: &str = "k8s.io/ingress-nginx";

/// The class that needs no IngressClass object.
pub const DEFAULT_CLASS: &str = "tidegate";

/// The annotation of an IngressClass that is meant by Ingresses that name no class.
pub const IS_DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// The annotation that named an Ingress's class before `spec.ingressClassName` did.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// IngressClass `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressClass {
    /// Who serves Ingresses of this class.
    pub controller: Option<String>,
    /// Parameters of the implementation; Tidegate has none.
    pub parameters: Option<IngressClassParameters>,
}

/// What an IngressClass refers to for parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressClassParameters {
    /// API group; absent: core.
    pub api_group: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, with scope `Namespace`.
    pub namespace: Option<String>,
    /// `Cluster` or `Namespace`.
    pub scope: Option<String>,
}

/// Ingress `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Its class; absent: the annotation `kubernetes.io/ingress.class`, else the default class.
    pub ingress_class_name: Option<String>,
    /// Who gets what no rule matches.
    pub default_backend: Option<IngressBackend>,
    /// Certificates by host.
    pub tls: Vec<IngressTls>,
    /// What goes where.
    pub rules: Vec<IngressRule>,
    /// `status.loadBalancer.ingress`, IP addresses alone: where it was served when its status was last written. A pool that
    /// may still give one of them gives it again.
    #[serde(skip)]
    pub listened_on: Vec<IpAddr>,
}

/// A certificate for hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// For which hosts; empty: all of the Ingress.
    pub hosts: Vec<String>,
    /// A Secret of type `kubernetes.io/tls` in the namespace of the Ingress.
    pub secret_name: Option<String>,
}

/// The paths of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// The host, or `*.` and one; absent: every host.
    pub host: Option<String>,
    /// Its paths; absent: all go to the default backend.
    pub http: Option<HttpIngressRuleValue>,
}

/// Paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpIngressRuleValue {
    /// One after the other.
    pub paths: Vec<HttpIngressPath>,
}

/// A path and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpIngressPath {
    /// The path; absent or empty: every path.
    #[serde(default)]
    pub path: Option<String>,
    /// How it is compared.
    pub path_type: PathType,
    /// Where it leads.
    pub backend: IngressBackend,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PathType {
    /// The whole path, case and trailing slash included.
    Exact,
    /// Whole elements from the start; a trailing slash makes no difference.
    Prefix,
    /// As the implementation does: here as `Prefix`, or as an expression where the Ingress asks for expressions.
    #[default]
    ImplementationSpecific,
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// To a Service.
    pub service: Option<IngressServiceBackend>,
    /// To another object; no such object is served.
    pub resource: Option<TypedLocalRef>,
}

/// A Service and its port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressServiceBackend {
    /// Name of the Service, in the namespace of the Ingress.
    pub name: String,
    /// Its port.
    pub port: ServiceBackendPort,
}

/// A port of a Service, by name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceBackendPort {
    /// By name.
    pub name: Option<String>,
    /// By number, 1 to 65535.
    pub number: Option<u16>,
}

/// An object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TypedLocalRef {
    /// API group; absent: core.
    pub api_group: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}
