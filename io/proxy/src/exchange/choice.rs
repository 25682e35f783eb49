//! Where a request goes: its share, its backend, and the session that its client may have with one of the endpoints.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_model::traffic::{Backend, SessionPersistence, Target, WeightedBackend};
use tidegate_traffic::rewrite::Rewritten;
use tidegate_traffic::{Refusal, balance, session};

use crate::outgoing::{RequestPlan, TraceLines};
use crate::upstream::{Lease, Service, since_start};
use crate::worker::Worker;

use super::Exchange;
use super::forward::Asked;
use super::shape::Web;
use super::story::Story;
use super::times::ResponseTimes;

/// Where a request goes.
pub struct Choice<'t> {
    pub share: &'t WeightedBackend,
    pub backend: &'t Arc<Backend>,
    pub service: Rc<Service>,
    session: Option<Box<Session<'t>>>,
}

impl<'t> Choice<'t> {
    /// The backend that the client's session belongs to, or else one by weight.
    pub fn of(
        exchange: &Exchange<'_>,
        asked: &Asked<'_, 't>,
        backends: &'t [WeightedBackend],
        story: &mut Story<'t>,
    ) -> Result<Choice<'t>, Refusal> {
        let worker = &exchange.caller.worker;
        let settings = asked.matched.rule.session.as_ref();
        let session = settings.map(|settings| Box::new(Session::of(settings, exchange, backends)));
        let (share, backend) = match session.as_ref().and_then(|session| session.place) {
            Some((share, backend, _)) => (share, backend),
            None => balance::backend(backends, worker.random())?,
        };
        story.backend = Some(backend);
        story.answer_by(&share.responses);
        let now = since_start(story.started);
        let service = worker.pool.service(backend, &worker.shared.backends, worker.random(), now);
        Ok(Choice { share, backend, service, session })
    }

    /// What goes upstream of the request's head.
    pub fn plan<'p>(
        &'p self,
        asked: &'p Asked<'_, 't>,
        told: &'p [u8],
        trace: TraceLines,
        local_host: &'p str,
        web: Option<&'p Web>,
    ) -> RequestPlan<'p> {
        let (rule, share) = (&*asked.matched.rule.filters, &*self.share.filters);
        RequestPlan {
            changes: [&rule.request_headers, &share.request_headers],
            rewritten: Rewritten::of(rule.rewrite.as_ref(), share.rewrite.as_ref()),
            matched: &asked.matched.matched.path,
            scheme: if self.backend.tls.is_some() { "https" } else { "http" },
            told,
            trace,
            host_fallback: local_host,
            content_type: web.map(Web::request_type),
        }
    }

    /// Keeps a connection that has served its request.
    pub fn keep(&self, worker: &Worker, endpoint: SocketAddr, lease: Lease) {
        self.service.put(worker, endpoint, lease);
    }

    /// How long its response may take.
    pub fn response_times(&self, asked: &Asked<'_, '_>, worker: &Worker) -> ResponseTimes {
        ResponseTimes::of(asked.matched.rule, &self.backend.policy, &worker.limits)
    }

    /// The endpoint that the client's session belongs to.
    pub fn kept_endpoint(&self) -> Option<SocketAddr> {
        self.session.as_ref().and_then(|session| session.place).map(|(_, _, address)| address)
    }

    /// The line by which the client brings its session back, where the rule keeps sessions.
    pub fn write_session(
        &self,
        exchange: Exchange<'_>,
        asked: &Asked<'_, '_>,
        endpoint: SocketAddr,
        out: &mut Vec<u8>,
    ) {
        if let (Some(session), Some(settings)) = (&self.session, &asked.matched.rule.session) {
            let key = &exchange.caller.worker.shared.backends.session_key;
            let secure = asked.believed.origin.scheme == "https";
            session::write_line(settings, key, session.held.as_ref(), endpoint, unix_secs(), secure, out);
        }
    }
}

/// A client that stays with its endpoint.
struct Session<'t> {
    held: Option<session::Held>,
    /// Where it belongs, if that endpoint is still there.
    place: Option<(&'t WeightedBackend, &'t Arc<Backend>, SocketAddr)>,
}

impl<'t> Session<'t> {
    fn of(
        settings: &SessionPersistence,
        exchange: &Exchange<'_>,
        backends: &'t [WeightedBackend],
    ) -> Session<'t> {
        let key = &exchange.caller.worker.shared.backends.session_key;
        let held = session::held(settings, key, exchange.head, unix_secs());
        let place = held.as_ref().and_then(|held| {
            backends.iter().find_map(|share| {
                let Target::Backend(backend) = &share.target else { return None };
                let endpoints = backend.endpoints.load();
                let address = endpoints.addresses().find(|&address| key.tag(address) == held.endpoint)?;
                Some((share, backend, address))
            })
        });
        Session { held, place }
    }
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
