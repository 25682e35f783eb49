//! What the gateway answers itself: refusals, redirects, fixed responses, preflights.

use tidegate_model::traffic::{Cors, Redirect, Respond};
use tidegate_traffic::Matched;
use tidegate_traffic::client::Believed;
use tidegate_traffic::cors::{self, Preflight};
use tidegate_traffic::headers::appended;
use tidegate_traffic::redirect;

use std::sync::Arc;

use crate::body::{Flow, Framing, Trail};
use crate::connection::After;
use crate::outgoing::Persistence;
use crate::reply::Reply;

use super::Exchange;
use super::story::Story;

/// Answers in place of a backend; a gRPC call in gRPC's way.
pub async fn refuse(exchange: Exchange<'_>, reply: &Reply, story: &mut Story<'_>) -> After {
    story.reason = reply.reason;
    send(exchange, reply, story).await
}

/// Sends an answer. A body that the client still sends is not waited for.
pub async fn send(exchange: Exchange<'_>, reply: &Reply, story: &mut Story<'_>) -> After {
    let Exchange { caller, client, watch, head } = exchange;
    let worker = &caller.worker;
    let keep = head.is_bodiless() && exchange.may_keep();
    let persistence = Persistence::of(keep, head.http_1_0);
    let grpc = !reply.reason.is_empty() && head.is_grpc();
    story.status = reply.status;
    let (taken, given) = Default::default();
    let stall = worker.limits.body_stall;
    let flow = Flow {
        watch,
        stall,
        buffers: &worker.buffers,
        taken: &taken,
        given: &given,
        sender: None,
        receiver: None,
    };
    watch.cap(u64::MAX);
    watch.set(stall);
    let written = watch.within(async {
        let mut sink = client.respond(&worker.buffers, Framing::AsIs, |out| {
            if grpc { reply.write_grpc(persistence, out) } else { reply.write_head(persistence, out) }
        });
        if !grpc && head.method() != "HEAD" {
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
        Ok(Ok(())) if head.is_bodiless() => After::Close,
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
    let mut lines = b"location: ".to_vec();
    redirect::write_location(redirect, &matched.matched.path, &asked, &mut lines);
    lines.extend_from_slice(b"\r\n");
    further_lines(exchange, matched, &mut lines);
    Reply::of_route(redirect.status, None, Arc::new([]), lines)
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
