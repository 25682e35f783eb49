//! References from one object to another, as Gateway API v1.6 spells them. Whether they lead anywhere is not found here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An object of the same namespace (Gateway API `LocalObjectReference`, `LocalParametersReference`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// An object of any namespace (Gateway API `ObjectReference`, `ParametersReference`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespacedRef {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; absent: that of the object that refers. Another one needs a ReferenceGrant there.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// A Secret, or what else holds a certificate (Gateway API `SecretObjectReference`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// API group; empty, the default, for core.
    #[serde(default)]
    pub group: String,
    /// Kind; absent: `Secret`.
    #[serde(default = "secret")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; absent: that of the object that refers. Another one needs a ReferenceGrant there.
    #[serde(default)]
    pub namespace: Option<String>,
}

fn secret() -> String {
    "Secret".into()
}

/// What a policy attaches to, in its own namespace (GEP-713, `LocalPolicyTargetReferenceWithSectionName`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// A part of it: a listener of a Gateway, a rule of a route, a port name of a Service; absent: all of it.
    #[serde(default)]
    pub section_name: Option<String>,
}
