//! GatewayClasses: accepted or not, and what of Gateway API is served.

use tidegate_model::StatusOf;
use tidegate_model::status::{ClassStatus, Feature, StatusBody};
use tidegate_objects::Kind;
use tidegate_objects::gateway::CONTROLLER_NAME;

use super::Facts;
use super::condition::Conditions;
use super::problems::Problems;

/// Every feature of Gateway API v1.6 that is served, by the names of its `pkg/features`, sorted. One that is not served
/// wholly does not stand here.
pub const SUPPORTED_FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let classes = facts.snapshot.gateway_classes.values();
    let ours = classes.filter(|class| class.spec.controller_name == CONTROLLER_NAME);
    let each = ours.map(|class| {
        let problems = Problems::of(facts.verdicts, Kind::GatewayClass, class.key());
        let refused = problems.with(&["InvalidParameters"]);
        let accepted = Conditions(class.metadata.generation).unless("Accepted", refused.as_ref());
        let supported_features = SUPPORTED_FEATURES.iter().map(|name| Feature { name }).collect();
        let status = ClassStatus { conditions: vec![accepted], supported_features };
        StatusOf::new(Kind::GatewayClass, class.key(), StatusBody::Class(status))
    });
    each.collect()
}
