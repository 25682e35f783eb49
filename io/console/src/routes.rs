//! The paths of the admin address, and what each answers.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::view::{Confirm, Confirmed, DrainWish, EgressQuery, HttpQuery, View};

/// Bytes of what is asked for.
const WISH_BYTES_MAX: usize = 4 * 1024;

/// What every handler may use.
pub(crate) struct Shared<V> {
    pub(crate) view: V,
    pub(crate) registry: Registry,
}

/// All paths.
pub(crate) fn router<V: View>(shared: Arc<Shared<V>>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<V>))
        .route("/metrics", get(metrics::<V>))
        .route("/api/v1/status", get(status::<V>))
        .route("/api/v1/statuses", get(statuses::<V>))
        .route("/api/v1/explain/http", get(explain_http::<V>))
        .route("/api/v1/explain/egress", get(explain_egress::<V>))
        .route("/api/v1/explain/route", get(explain_route::<V>))
        .route("/api/v1/drain/endpoint", post(drain_endpoint::<V>))
        .route("/api/v1/confirm", post(confirm::<V>))
        .layer(DefaultBodyLimit::max(WISH_BYTES_MAX))
        .layer(middleware::from_fn(refuse_foreign_hosts))
        .with_state(shared)
}

async fn ready<V: View>(State(shared): State<Arc<Shared<V>>>) -> Response {
    if shared.view.ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the first snapshot is not applied yet\n")
            .into_response()
    }
}

async fn metrics<V: View>(State(shared): State<Arc<Shared<V>>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status<V: View>(State(shared): State<Arc<Shared<V>>>) -> Response {
    Json(shared.view.status().await).into_response()
}

async fn statuses<V: View>(State(shared): State<Arc<Shared<V>>>) -> Response {
    Json(shared.view.statuses()).into_response()
}

async fn explain_http<V: View>(
    State(shared): State<Arc<Shared<V>>>,
    Query(query): Query<HttpQuery>,
) -> Response {
    Json(shared.view.explain_http(&query)).into_response()
}

async fn explain_egress<V: View>(
    State(shared): State<Arc<Shared<V>>>,
    Query(query): Query<EgressQuery>,
) -> Response {
    Json(shared.view.explain_egress(&query)).into_response()
}

/// A page elsewhere cannot ask for this: the body must be said to be JSON, for which a browser asks leave first, and gets
/// none.
async fn drain_endpoint<V: View>(
    State(shared): State<Arc<Shared<V>>>,
    Json(wish): Json<DrainWish>,
) -> Response {
    match shared.view.drain_endpoint(&wish) {
        Ok(drained) => Json(drained).into_response(),
        Err(reason) => (StatusCode::CONFLICT, reason).into_response(),
    }
}

#[derive(Deserialize)]
struct Prefix {
    prefix: String,
}

async fn explain_route<V: View>(
    State(shared): State<Arc<Shared<V>>>,
    Query(query): Query<Prefix>,
) -> Response {
    Json(shared.view.explain_route(&query.prefix).await).into_response()
}

/// Takes nothing but JSON that says so: a page elsewhere cannot send that without asking first (a preflight of CORS), which is
/// not answered.
async fn confirm<V: View>(State(shared): State<Arc<Shared<V>>>, Json(asked): Json<Confirm>) -> Response {
    match shared.view.confirm(&asked.source) {
        Ok(held) => Json(Confirmed { held }).into_response(),
        Err(why) => (StatusCode::NOT_FOUND, why).into_response(),
    }
}

/// A page elsewhere can point its own name at 127.0.0.1 and read what is here (DNS rebinding), so a request must name
/// this address the way a person would.
async fn refuse_foreign_hosts(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    let host = hosts.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if names_this_machine(host) && hosts.next().is_none() {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "the admin address answers to an IP address or localhost only\n")
            .into_response()
    }
}

fn names_this_machine(host: &str) -> bool {
    host.parse::<std::net::SocketAddr>().is_ok()
        || host.parse::<std::net::IpAddr>().is_ok()
        || host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only addresses and `localhost` name this machine.
    #[test]
    fn hosts() {
        for (host, ours) in [
            ("127.0.0.1:9440", true),
            ("127.0.0.1", true),
            ("[::1]:9440", true),
            ("localhost:9440", true),
            ("LOCALHOST", true),
            ("rebind.example:9440", false),
            ("localhost.example", false),
            ("", false),
        ] {
            assert_eq!(names_this_machine(host), ours, "{host}");
        }
    }
}
