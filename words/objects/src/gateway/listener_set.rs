//! ListenerSet: more listeners for a Gateway, in objects of their own.

use serde::{Deserialize, Serialize};

use super::Listener;

/// ListenerSet `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSet {
    /// The Gateway that serves these listeners too, if its `allowedListeners` lets it.
    pub parent_ref: ParentGatewayRef,
    /// What is listened for, 1 to 64. Where one is in conflict with one of the Gateway, the Gateway's wins.
    pub listeners: Vec<Listener>,
}

/// The Gateway that a ListenerSet attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentGatewayRef {
    /// API group; absent: Gateway API's.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind; absent: Gateway.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent: the ListenerSet's.
    #[serde(default)]
    pub namespace: Option<String>,
}
