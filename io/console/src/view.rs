//! What the console asks of the program it shows.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_model::observed::Status;
use tidegate_model::{DrainedEndpoint, DrainedEndpoints, StatusOf};

/// The program, seen from the console. Every call is cheap, and none but [`drain_endpoint`](View::drain_endpoint) changes
/// anything.
pub trait View: Send + Sync + 'static {
    /// What this node serves now.
    fn status(&self) -> impl Future<Output = Status> + Send;

    /// What Gateway API's objects are told, as a status writer would apply it.
    fn statuses(&self) -> Statuses;

    /// Whether the first Snapshot is applied to proxy and kernel.
    fn ready(&self) -> bool;

    /// Who would serve a request; `found` is false with the first reason why nobody would.
    fn explain_http(&self, query: &HttpQuery) -> Explained;

    /// With which address a connection would leave.
    fn explain_egress(&self, query: &EgressQuery) -> Explained;

    /// Drains an endpoint by hand, or takes it back; what is drained then.
    ///
    /// # Errors
    /// Why not, as a sentence.
    fn drain_endpoint(&self, wish: &DrainWish) -> Result<Drained, String>;

    /// Every path to a prefix, the best one, and why each other lost.
    fn explain_route(&self, prefix: &str) -> impl Future<Output = Explained> + Send;

    /// Has what a source holds back believed at once; what that is, a sentence for each.
    ///
    /// # Errors
    /// There is no source of that name; for people.
    fn confirm(&self, source: &str) -> Result<Vec<String>, String>;
}

/// What a status writer applies, times aside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statuses {
    /// The status of every object of Gateway API that is ours.
    pub statuses: Vec<StatusOf>,
    /// Objects that belong to our Gateways, whole: what is missing is to be made, what is too much to be deleted.
    pub infrastructure: Vec<Value>,
}

/// What `tidegate drain --endpoint` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainWish {
    /// The endpoint, or an address with all of its ports.
    pub endpoint: DrainedEndpoint,
    /// Take it back.
    #[serde(default)]
    pub undo: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// Endpoints that routes lead to now and that the wish is about.
    pub endpoints: Vec<DrainedFrom>,
    /// All that are drained by hand, as they were named.
    pub drained: DrainedEndpoints,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainedFrom {
    /// `namespace/name:port`.
    pub service: String,
    /// Where.
    pub address: SocketAddr,
    /// Requests, connections and UDP sessions under way to it.
    pub under_way: u32,
}

/// An answer of `explain`: lines for people, the same as data, and whether the question has a positive answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Whether somebody serves it, or it leaves; decides the exit status.
    pub found: bool,
    /// Label and text, in the order in which the packet meets them.
    pub lines: Vec<(String, String)>,
    /// The same as data.
    pub data: Value,
}

/// A request as `tidegate explain http` describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpQuery {
    /// The URL; its host and port choose listener and route.
    pub url: String,
    /// Its method.
    #[serde(default = "get")]
    pub method: String,
    /// Headers, `Name: value`, one on each line.
    #[serde(default)]
    pub headers: String,
    /// The client.
    #[serde(default)]
    pub from: Option<IpAddr>,
}

fn get() -> String {
    "GET".into()
}

/// Which source's held changes are to be believed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confirm {
    /// Its name.
    pub source: String,
}

/// The answer to [`Confirm`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// What was held and is believed now; none: nothing was held.
    pub held: Vec<String>,
}

/// A connection as `tidegate explain egress` describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EgressQuery {
    /// `namespace/pod`, or an address.
    pub from: String,
    /// An address, with a port or without.
    pub to: String,
}
