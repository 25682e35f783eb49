//! One request: routed, answered here or by an endpoint, told. Which version of HTTP stands on either side is the business
//! of [`Client`], [`Upstream`](crate::upstream::Upstream), and the bodies between them.
//!
//! ```text
//!  Exchange ─► decide ─┬► answer     what the gateway says itself
//!                      └► forward ┬► express                what most requests are, with one wait
//!                                 ├► attempt ─► attempt …   all others, each with an endpoint and an Upstream
//!                                 └► mirror                 copies, which nobody waits for
//! ```

pub mod answer;
pub mod attempt;
pub mod choice;
pub mod client;
pub mod copy;
pub mod express;
pub mod forward;
pub mod mirror;
pub mod overload;
pub mod recording;
pub mod shape;
pub mod story;
pub mod times;

use std::net::IpAddr;
use std::time::Instant;

use tidegate_model::traffic::ClientPolicy;
use tidegate_traffic::client::{Believed, Origin};
use tidegate_traffic::cors::Preflight;
use tidegate_traffic::{Decision, Matched, Outcome, Refusal, RequestView};

use crate::body::Source;
use crate::connection::After;
use crate::framing::request::RequestHead;
use crate::reply::Reply;
use crate::table::Table;
use crate::timer::Watch;

use client::{Caller, Client};
use overload::Step;
use story::Story;

/// A request whose head has arrived, and everything it needs.
#[derive(Clone, Copy)]
pub struct Exchange<'x> {
    pub caller: &'x Caller,
    pub client: Client<'x>,
    pub watch: &'x Watch,
    pub head: &'x RequestHead,
}

impl Exchange<'_> {
    /// Whether the connection may go on after this request.
    pub fn may_keep(&self) -> bool {
        self.head.persistent
            && !self.caller.is_closing()
            && self.caller.worker.shared.overload.step() == Step::Calm
    }

    /// What becomes of a connection that does not go on after this request. A client that does not know may have sent the next
    /// one; what comes then must not cut off the answer to this one (RFC 9112 section 9.6).
    pub fn ending(&self) -> After {
        if self.head.persistent { After::Linger } else { After::Close }
    }
}

/// Serves one request; `source` is its body.
pub async fn serve(exchange: Exchange<'_>, source: Source<'_>) -> After {
    let table = exchange.caller.door.table();
    let mut story = Story::new(&exchange, &table, Instant::now());
    let after = run(exchange, source, &table, &mut story).await;
    exchange.watch.cap(u64::MAX);
    story.tell(&exchange);
    after
}

async fn run<'t>(
    exchange: Exchange<'_>,
    source: Source<'_>,
    table: &'t Table,
    story: &mut Story<'t>,
) -> After {
    let Exchange { caller, head, .. } = exchange;
    let seen = seen(&exchange);
    let view = RequestView {
        host: head.authority(),
        method: head.method(),
        path: head.path(),
        query: head.query(),
        server_name: caller.tls.as_ref().map(|tls| tls.server_name.as_str()),
        origin: seen,
        headers: head,
    };
    let decision = table.router.route(&view);
    let listener = decision.listener();
    let policy = listener.map_or(&*table.entrance.client, |listener| &*listener.client);
    story.listener = table.entry_of(&decision);
    caller.count(policy.limits.requests_per_connection);
    let believed = Believed::of(seen, &policy.trust, head);
    story.client = believed.origin.client;
    story.go_by(policy, &exchange, believed.origin.scheme == "https");
    if let Some(listener) = listener {
        story.answer_by(&listener.responses);
    }
    let step = caller.worker.shared.overload.step();
    if step == Step::RefuseRequests || (step == Step::RefuseStreams && head.http_2) {
        caller.worker.metrics.overload_refusals.inc();
        return answer::refuse(exchange, &Reply::overloaded(), &believed, story).await;
    }
    if let Some(reply) = over_limits(head, body_bytes_max(policy, None)) {
        return answer::refuse(exchange, &reply, &believed, story).await;
    }
    if let Decision::Matched(matched) = decision {
        story.matched = Some(matched);
        story.answer_by(&matched.rule.responses);
        if let Some(reply) = kept_out(head, &matched, story.client) {
            return answer::refuse(exchange, &reply, &believed, story).await;
        }
        if let Some(cors) = &matched.rule.filters.cors
            && let Some(preflight) = Preflight::of(head.method(), head)
        {
            return answer::send(exchange, &answer::preflight(&preflight, cors), story).await;
        }
    }
    match decision.outcome() {
        Outcome::Forward(..) if head.max_forwards() == Some(0) => {
            answer::refuse(exchange, &Reply::last_hop(head.method()), &believed, story).await
        }
        Outcome::Forward(matched, backends) => {
            let asked = forward::Asked { matched, believed: &believed, policy };
            forward::forward(exchange, &asked, backends, source, story).await
        }
        Outcome::Redirect(matched, redirect) => {
            answer::send(exchange, &answer::redirect(exchange, &matched, redirect, &believed), story).await
        }
        Outcome::Respond(matched, respond) => {
            answer::send(exchange, &answer::respond(exchange, &matched, respond), story).await
        }
        Outcome::Refuse(refusal) => answer::refuse(exchange, &refusal.into(), &believed, story).await,
    }
}

/// Where a request comes from, as the gateway sees it.
fn seen<'x>(exchange: &Exchange<'x>) -> Origin<'x> {
    let Exchange { caller, client, head, .. } = *exchange;
    let port = caller.local(client.wire()).port();
    Origin { client: caller.client.ip(), scheme: caller.scheme(), host: head.authority(), port }
}

/// Who may not come to the rule, or brings more than it takes.
fn kept_out(head: &RequestHead, matched: &Matched<'_>, client: IpAddr) -> Option<Reply> {
    let guard = &matched.rule.guard;
    if guard.is_usual() {
        return None;
    }
    match guard.admits(client) {
        true => over_limits(head, guard.body_bytes),
        false => Some(Refusal::CLIENT_NOT_ALLOWED.into()),
    }
}

/// How long a request's body may be: the smaller of what its listener and its rule say.
fn body_bytes_max(policy: &ClientPolicy, matched: Option<&Matched<'_>>) -> Option<u64> {
    let of_rule = matched.and_then(|matched| matched.rule.guard.body_bytes);
    [policy.limits.body_bytes, of_rule].into_iter().flatten().min()
}

/// What is not taken; the limits of the head were settled before its listener was known.
fn over_limits(head: &RequestHead, body_bytes_max: Option<u64>) -> Option<Reply> {
    let max = body_bytes_max?;
    matches!(head.body, crate::framing::BodyLength::Length(length) if length > max)
        .then(Reply::body_too_large)
}
