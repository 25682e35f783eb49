//! The rules of an HTTPRoute or GRPCRoute: what they do with the requests that match.
//!
//! How each kind writes its matches is in [`http_rule`](crate::http_rule) and [`grpc_rule`](crate::grpc_rule).

mod matches;
mod session;
mod time;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_model::Seldom;
use tidegate_model::traffic::{Action, HttpRule, RequestMatch, Target, Transport, WeightedBackend};
use tidegate_objects::route::{
    BackendObjectRef, HttpRouteFilter, HttpRouteRetry, HttpRouteTimeouts, SessionPersistence,
};
use tidegate_objects::{Key, Kind};

pub(crate) use matches::{BadMatch, is_token, regex, values};

use crate::backend::{Backends, Context, From};
use crate::filter::{self, Site};
use crate::report::Report;
use crate::verdicts::Verdicts;

/// Gateway API's bound on a weight.
const WEIGHT_MAX: u32 = 1_000_000;

/// A rule as written, whatever kind of route it stands in.
#[derive(Default)]
pub(crate) struct Written<'s> {
    pub name: Option<&'s str>,
    /// Empty: everything.
    pub matches: Vec<Result<RequestMatch, BadMatch>>,
    pub filters: Cow<'s, [HttpRouteFilter]>,
    pub backends: Vec<Share<'s>>,
    pub timeouts: Option<&'s HttpRouteTimeouts>,
    pub retry: Option<&'s HttpRouteRetry>,
    pub session: Option<&'s SessionPersistence>,
}

/// A backend as written.
pub(crate) struct Share<'s> {
    pub weight: u32,
    pub to: BackendObjectRef,
    pub filters: Cow<'s, [HttpRouteFilter]>,
}

/// Builds rules, and says of each what cannot be served as written.
pub(crate) struct Builder<'b, 'a> {
    pub kind: Kind,
    pub key: &'b Key,
    pub context: &'b Context<'b>,
    /// What a rule without matches matches.
    pub everything: RequestMatch,
    pub backends: &'b mut Backends<'a>,
    pub verdicts: &'b mut Verdicts,
}

impl Builder<'_, '_> {
    pub fn build<'s>(mut self, written: impl Iterator<Item = Written<'s>>) -> Vec<Arc<HttpRule>> {
        let (mut rules, mut names, mut count) = (Vec::new(), BTreeSet::new(), 0);
        for (index, mut rule) in written.enumerate() {
            count += 1;
            if rule.name.is_some_and(|name| !names.insert(name)) {
                let message =
                    format!("several rules are named {:?}; only the first is", rule.name.unwrap_or_default());
                let field = format!("spec.rules[{index}].name");
                self.verdicts.part(self.kind, self.key, "UnsupportedValue", field, message);
                rule.name = None;
            }
            rules.extend(self.rule(index, &rule).map(Arc::new));
        }
        if count == 0 {
            let message =
                "the route has no rules, so every request is answered with 500; add a rule with a backend"
                    .to_owned();
            self.verdicts.part(self.kind, self.key, "PartiallyInvalid", "spec.rules", message);
            let action = Action::Refuse { status: 500, reason: "no backend" };
            return vec![Arc::new(HttpRule::plain(0, vec![self.everything], action))];
        }
        if rules.is_empty() {
            let message = "no rule can be served".to_owned();
            self.verdicts.whole(self.kind, self.key, "UnsupportedValue", "spec.rules", message);
        }
        rules
    }

    /// The rule; none when no match of it can be served.
    fn rule(&mut self, index: usize, written: &Written<'_>) -> Option<HttpRule> {
        let mut report = Report::new(self.kind, self.key, &format!("spec.rules[{index}]"), self.verdicts);
        let matches = matches::sound(&written.matches, &self.everything, &mut report)?;
        let from = From { kind: self.kind, key: self.key, rule: written.name };
        let mut building = Rule { from, context: self.context, backends: self.backends, report };
        Some(building.build(index, written, matches))
    }
}

struct Rule<'b, 'a> {
    from: From<'b>,
    context: &'b Context<'b>,
    backends: &'b mut Backends<'a>,
    report: Report<'b>,
}

impl Rule<'_, '_> {
    fn build(&mut self, index: usize, written: &Written<'_>, matches: Vec<RequestMatch>) -> HttpRule {
        let site = Site {
            from: self.from,
            context: self.context,
            matches: &matches,
            of_backend: false,
            has_backends: !written.backends.is_empty(),
        };
        let applied = filter::read(&written.filters, site, self.backends, &mut self.report);
        // Told about even where a filter refuses the rule, so that one look shows all there is to mend.
        let action = match applied.answer {
            Some(answer) => {
                self.note_unused_backends(&answer, written);
                answer
            }
            None if written.backends.is_empty() && applied.refused => Action::Forward(Vec::new()),
            None => self.forward(&written.backends, site),
        };
        let action = match applied.refused {
            true => Action::Refuse { status: 500, reason: "a filter of this rule cannot be served" },
            false => action,
        };
        let id = session::Id { kind: self.from.kind, route: self.from.key, index, rule: written.name };
        HttpRule {
            index,
            name: written.name.map(str::to_owned),
            filters: applied.filters.into(),
            guard: Seldom::default(),
            timeouts: time::limits(written.timeouts, &mut self.report).into(),
            retry: written.retry.map(|retry| Arc::new(time::retry(retry, &mut self.report.at("retry")))),
            session: written
                .session
                .and_then(|asked| session::read(asked, &id, &matches, &mut self.report))
                .map(Arc::new),
            responses: self.backends.responses(&self.from, None, self.context),
            action,
            matches,
        }
    }

    fn note_unused_backends(&mut self, answer: &Action, written: &Written<'_>) {
        if matches!(answer, Action::Respond(_)) && !written.backends.is_empty() {
            let message = "a filter of this rule answers itself, so nothing goes to its backends".to_owned();
            self.report.warn("NoEffect", "backendRefs", message);
        }
    }

    fn forward(&mut self, shares: &[Share<'_>], site: Site<'_>) -> Action {
        if shares.is_empty() {
            let message = "the rule has no backend, so it answers 500; add one".to_owned();
            self.report.part("PartiallyInvalid", "backendRefs", message);
            return Action::Refuse { status: 500, reason: "no backend" };
        }
        let shares = shares.iter().enumerate();
        Action::Forward(shares.map(|(index, share)| self.share(index, share, site)).collect())
    }

    fn share(&mut self, index: usize, share: &Share<'_>, site: Site<'_>) -> WeightedBackend {
        let mut report = self.report.at(&format!("backendRefs[{index}]"));
        let weight = share.weight.min(WEIGHT_MAX);
        if weight != share.weight {
            let message = format!("{} is above {WEIGHT_MAX}, which counts", share.weight);
            report.part("UnsupportedValue", "weight", message);
        }
        let site = Site { of_backend: true, ..site };
        let applied = filter::read(&share.filters, site, self.backends, &mut report);
        let target = match self.backends.resolve(&self.from, &share.to, Transport::Tcp, self.context) {
            _ if applied.refused => Target::Broken("a filter of this backend cannot be served"),
            Ok(target) => {
                if let Target::Broken(short) = target {
                    let message =
                        format!("{short}, so this share is answered with 500; see the policy's verdict");
                    report.warn("PolicyInvalid", "", message);
                }
                target
            }
            Err(broken) => {
                report.part(broken.reason, broken.field, broken.message);
                Target::Broken(broken.short)
            }
        };
        let responses = self.backends.responses(&self.from, Some(&target), self.context);
        WeightedBackend { weight, filters: applied.filters.into(), target, responses }
    }
}
