//! What the gateway answers itself: refusals, redirects, fixed responses, preflights.

use tidegate_model::traffic::{Cors, PathMatch, Redirect, Replacement, Respond};
use tidegate_traffic::Matched;
use tidegate_traffic::client::Believed;
use tidegate_traffic::cors::{self, Preflight};
use tidegate_traffic::headers::appended;
use tidegate_traffic::redirect;

use std::sync::Arc;

use crate::body::{Flow, Framing, Trail};
use crate::connection::After;
use crate::framing::request::RequestHead;
use crate::outgoing::{Persistence, TRANSPORT_SECURITY};
use crate::reply::Reply;

use super::Exchange;
use super::shape;
use super::story::Story;

/// Answers in place of a backend; a gRPC call in gRPC's way, others as a policy says in the place of this answer.
pub async fn refuse(
    exchange: Exchange<'_>,
    reply: &Reply,
    believed: &Believed<'_>,
    story: &mut Story<'_>,
) -> After {
    story.reason = reply.reason;
    let replaced = match story.responses.and_then(|responses| responses.override_of(reply.status)) {
        Some(with) if called(exchange.head).is_none() => Some(replace(exchange, reply, with, believed)),
        _ => None,
    };
    send(exchange, replaced.as_ref().unwrap_or(reply), story).await
}

fn replace(exchange: Exchange<'_>, reply: &Reply, with: &Replacement, believed: &Believed<'_>) -> Reply {
    match with {
        Replacement::Page(page) => reply.replaced(page),
        Replacement::Redirect(redirect) => {
            let mut lines = reply.lines.clone();
            location(exchange, &PathMatch::Exact(String::new()), redirect, believed, &mut lines);
            reply.redirected(redirect.status, lines)
        }
    }
}

/// The content type in which a call is answered, of gRPC or gRPC-Web; none: the request is no call.
fn called(head: &RequestHead) -> Option<Vec<u8>> {
    if head.is_grpc() {
        return Some(b"application/grpc".to_vec());
    }
    head.grpc_web().map(|spoken| shape::answer_type(spoken, head).0)
}

/// Sends an answer. A body that the client still sends is not waited for.
pub async fn send(exchange: Exchange<'_>, reply: &Reply, story: &mut Story<'_>) -> After {
    let Exchange { caller, client, watch, head } = exchange;
    let worker = &caller.worker;
    let keep = head.is_bodiless() && exchange.may_keep();
    let persistence = Persistence::of(keep, head.http_1_0);
    let called = if reply.reason.is_empty() { None } else { called(head) };
    story.status = reply.status;
    let secured = story.transport_security.filter(|_| !reply.says(TRANSPORT_SECURITY));
    let secured = secured.map(|value| reply.with_line(TRANSPORT_SECURITY, value));
    let reply = secured.as_ref().unwrap_or(reply);
    let (taken, given) = Default::default();
    let stall = worker.limits.body_stall;
    let flow = Flow::at_any_pace(watch, stall, worker, &taken, &given);
    watch.cap(u64::MAX);
    watch.set(stall);
    let written = watch.within(async {
        let mut sink = client.respond(&worker.buffers, Framing::AsIs, |out| match &called {
            Some(content_type) => reply.write_grpc(content_type, persistence, out),
            None => reply.write_head(persistence, out),
        });
        if called.is_none() && head.method() != "HEAD" {
            let mut content = worker.buffers.text();
            reply.write_content(&mut content);
            sink.hold(&content);
        }
        sink.end(Trail::Raw(b""), &flow).await
    });
    let written = written.await;
    story.sent += given.get();
    match written {
        Ok(Ok(())) if keep => After::KeepAlive,
        Ok(Ok(())) if head.is_bodiless() => exchange.ending(),
        Ok(Ok(())) => After::Linger,
        _ => {
            client.abort();
            After::Close
        }
    }
}

/// The answer to a browser's question.
pub fn preflight(preflight: &Preflight<'_>, cors: &Cors) -> Reply {
    let mut lines = Vec::new();
    preflight.write_answer(cors, &mut lines);
    Reply::bare(cors::PREFLIGHT_STATUS, lines)
}

/// Sends the client elsewhere.
pub fn redirect(
    exchange: Exchange<'_>,
    matched: &Matched<'_>,
    redirect: &Redirect,
    believed: &Believed<'_>,
) -> Reply {
    let mut lines = Vec::new();
    location(exchange, &matched.matched.path, redirect, believed, &mut lines);
    further_lines(exchange, matched, &mut lines);
    Reply::of_route(redirect.status, None, Arc::new([]), lines)
}

/// Writes where a redirect leads.
pub fn location(
    exchange: Exchange<'_>,
    matched: &PathMatch,
    redirect: &Redirect,
    believed: &Believed<'_>,
    lines: &mut Vec<u8>,
) {
    let head = exchange.head;
    let local;
    let host = match head.authority() {
        "" => {
            local = exchange.caller.local(exchange.client.wire()).to_string();
            &local
        }
        _ => believed.origin.host,
    };
    let asked = redirect::Asked {
        scheme: believed.origin.scheme,
        host,
        port: believed.origin.port,
        path: head.path(),
        query: head.query(),
    };
    lines.extend_from_slice(b"location: ");
    redirect::write_location(redirect, matched, &asked, lines);
    lines.extend_from_slice(b"\r\n");
}

/// What the route says itself.
pub fn respond(exchange: Exchange<'_>, matched: &Matched<'_>, respond: &Respond) -> Reply {
    let mut lines = Vec::new();
    further_lines(exchange, matched, &mut lines);
    Reply::of_route(respond.status, respond.content_type.clone(), respond.body.clone(), lines)
}

/// What the rule's filters add to any response.
fn further_lines(exchange: Exchange<'_>, matched: &Matched<'_>, lines: &mut Vec<u8>) {
    let filters = &matched.rule.filters;
    for (name, value) in appended(&filters.response_headers) {
        for part in [name, ": ", value, "\r\n"] {
            lines.extend_from_slice(part.as_bytes());
        }
    }
    if let Some(cors) = &filters.cors {
        cors::write_response_lines(cors, cors::origin(exchange.head), lines);
    }
}
