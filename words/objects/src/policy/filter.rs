//! HTTPRouteFilter: filters that Gateway API has not, named by a route's `ExtensionRef`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;
use crate::route::HeaderModifier;
use crate::schema;

/// HTTPRouteFilter `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteFilter {
    /// Answers instead of a backend.
    pub direct_response: Option<DirectResponse>,
}

/// An answer of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectResponse {
    /// 200 to 599; default 200.
    #[schemars(range(min = 200, max = 599))]
    pub status_code: u16,
    /// `Content-Type`; absent: none.
    pub content_type: Option<String>,
    /// The body; absent: none.
    pub body: Option<ResponseBody>,
    /// Further headers; `remove` takes away what other filters of the rule would add.
    pub header: Option<HeaderModifier>,
}

impl Default for DirectResponse {
    fn default() -> Self {
        DirectResponse { status_code: 200, content_type: None, body: None, header: None }
    }
}

/// A body: `type` says which of the others is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.type == 'ValueRef' || (has(self.inline) && !has(self.valueRef))", "type Inline needs inline, and nothing else"),
    ("self.type == 'Inline' || (has(self.valueRef) && !has(self.inline))", "type ValueRef needs valueRef, and nothing else"),
    ("!has(self.valueRef) || (self.valueRef.group == '' && self.valueRef.kind == 'ConfigMap')", "valueRef must name a ConfigMap (group: \"\", kind: ConfigMap)"),
])))]
pub struct ResponseBody {
    /// Where it stands.
    #[serde(rename = "type")]
    pub body_type: ResponseBodyType,
    /// The body.
    pub inline: Option<String>,
    /// A ConfigMap with the key `response.body`, or with one key only.
    pub value_ref: Option<LocalRef>,
}

/// Where a body stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResponseBodyType {
    /// Here.
    #[default]
    Inline,
    /// In a ConfigMap.
    ValueRef,
}
