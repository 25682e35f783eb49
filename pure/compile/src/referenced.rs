//! Which Secrets and ConfigMaps the objects name: a source need fetch no others.

use std::collections::BTreeSet;

use tidegate_objects::gateway::{CONTROLLER_NAME, DEFAULT_CLASS, Gateway, Listener, TlsMode};
use tidegate_objects::policy::ResponseBody;
use tidegate_objects::snapshot::same;
use tidegate_objects::{Key, Kind, ObjectRef, Snapshot};

use crate::grants::Grants;
use crate::ingress;

/// The Secrets and ConfigMaps that Gateways and Ingresses of ours and policies name, whether they exist or not. What lies in another
/// namespace counts where a ReferenceGrant allows it, as it is not looked at otherwise.
///
/// `nginx_class` is the class of ingress-nginx that is served too; empty: none.
pub fn referenced(snapshot: &Snapshot, nginx_class: &str) -> BTreeSet<ObjectRef> {
    let mut found = Found { grants: Grants::new(snapshot), objects: BTreeSet::new() };
    for (key, gateway) in &snapshot.gateways {
        if is_ours(snapshot, key, &gateway.spec) {
            found.gateway(key, &gateway.spec);
        }
    }
    for (key, set) in &snapshot.listener_sets {
        let parent = &set.spec.parent_ref;
        let gateway = key.sibling(parent.namespace.as_deref().unwrap_or(&key.namespace), &parent.name);
        if snapshot.gateways.get(&gateway).is_some_and(|to| is_ours(snapshot, &gateway, &to.spec)) {
            found.listeners((Kind::ListenerSet, key), &set.spec.listeners);
        }
    }
    for (key, policy) in &snapshot.backend_tls_policies {
        for to in &policy.spec.validation.ca_certificate_refs {
            found.add((Kind::BackendTLSPolicy, key), &to.group, &to.kind, None, &to.name);
        }
    }
    for (key, filter) in &snapshot.http_route_filters {
        let body = filter.spec.direct_response.as_ref().and_then(|response| response.body.as_ref());
        found.body((Kind::HTTPRouteFilter, key), body);
    }
    for (key, policy) in &snapshot.backend_traffic_policies {
        for response in policy.spec.response_override.iter().filter_map(|asked| asked.response.as_ref()) {
            found.body((Kind::BackendTrafficPolicy, key), response.body.as_ref());
        }
    }
    for ingress in ingress::served(snapshot, nginx_class) {
        let key = ingress.key();
        for tls in &ingress.spec.tls {
            let name = tls.secret_name.as_deref().filter(|name| !name.is_empty());
            name.into_iter().for_each(|name| found.add((Kind::Ingress, key), "", "Secret", None, name));
        }
    }
    found.objects
}

/// Whether two Snapshots name the same, as far as a look at pointers tells: where no object that could name something
/// differs, there is no need to ask [`referenced`] again.
pub fn same_references(a: &Snapshot, b: &Snapshot) -> bool {
    same(&a.gateway_classes, &b.gateway_classes)
        && same(&a.gateways, &b.gateways)
        && same(&a.listener_sets, &b.listener_sets)
        && same(&a.reference_grants, &b.reference_grants)
        && same(&a.backend_tls_policies, &b.backend_tls_policies)
        && same(&a.http_route_filters, &b.http_route_filters)
        && same(&a.backend_traffic_policies, &b.backend_traffic_policies)
        && same(&a.ingress_classes, &b.ingress_classes)
        && same(&a.ingresses, &b.ingresses)
}

/// The class `tidegate` needs no object.
fn is_ours(snapshot: &Snapshot, key: &Key, gateway: &Gateway) -> bool {
    let class = gateway.gateway_class_name.as_str();
    match snapshot.gateway_classes.get(&key.sibling("", class)) {
        Some(class) => class.spec.controller_name == CONTROLLER_NAME,
        None => class == DEFAULT_CLASS,
    }
}

struct Found<'a> {
    grants: Grants<'a>,
    objects: BTreeSet<ObjectRef>,
}

impl Found<'_> {
    fn gateway(&mut self, key: &Key, gateway: &Gateway) {
        let owner = (Kind::Gateway, key);
        self.listeners(owner, &gateway.listeners);
        let Some(tls) = &gateway.tls else { return };
        if let Some(to) = tls.backend.as_ref().and_then(|backend| backend.client_certificate_ref.as_ref()) {
            self.add(owner, &to.group, &to.kind, to.namespace.as_deref(), &to.name);
        }
        let Some(frontend) = &tls.frontend else { return };
        let each = std::iter::once(&frontend.default).chain(frontend.per_port.iter().map(|port| &port.tls));
        for to in
            each.filter_map(|config| config.validation.as_ref()).flat_map(|asked| &asked.ca_certificate_refs)
        {
            self.add(owner, &to.group, &to.kind, to.namespace.as_deref(), &to.name);
        }
    }

    fn listeners(&mut self, owner: (Kind, &Key), listeners: &[Listener]) {
        let ended = listeners.iter().filter_map(|listener| listener.tls.as_ref());
        for to in ended.filter(|tls| tls.mode != TlsMode::Passthrough).flat_map(|tls| &tls.certificate_refs) {
            self.add(owner, &to.group, &to.kind, to.namespace.as_deref(), &to.name);
        }
    }

    fn body(&mut self, owner: (Kind, &Key), body: Option<&ResponseBody>) {
        if let Some(to) = body.and_then(|body| body.value_ref.as_ref()) {
            self.add(owner, &to.group, &to.kind, None, &to.name);
        }
    }

    fn add(&mut self, owner: (Kind, &Key), group: &str, kind: &str, namespace: Option<&str>, name: &str) {
        let Some(kind @ (Kind::Secret | Kind::ConfigMap)) = Kind::find(group, kind) else { return };
        let key = owner.1.sibling(namespace.unwrap_or(&owner.1.namespace), name);
        if self.grants.allow(owner, (kind, &key)) {
            self.objects.insert(ObjectRef { kind, key });
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_decode::{Outcome, decode};

    use super::*;

    const OBJECTS: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: mine}
spec: {controllerName: tidegate.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: main, namespace: shop}
spec:
  gatewayClassName: mine
  tls:
    backend: {clientCertificateRef: {name: client}}
    frontend:
      default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: roots}]}}
  listeners:
  - {name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: web}, {name: far, namespace: vault}]}}
  - {name: b, port: 444, protocol: TLS, tls: {mode: Passthrough, certificateRefs: [{name: unused}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other, namespace: shop}
spec:
  gatewayClassName: nginx
  listeners: [{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: foreign}]}}]
---
apiVersion: tidegate.dev/v1alpha1
kind: HTTPRouteFilter
metadata: {name: sorry, namespace: shop}
spec: {directResponse: {statusCode: 503, body: {type: ValueRef, valueRef: {group: '', kind: ConfigMap, name: page}}}}
";

    const GRANT: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: shop, namespace: vault}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: '', kind: Secret}]
";

    fn named(text: &str) -> Vec<String> {
        let mut snapshot = Snapshot::default();
        for document in decode("a", text).expect("YAML") {
            match document.outcome {
                Outcome::Object { object, .. } => snapshot.insert(object),
                other => panic!("{other:?}"),
            }
        }
        referenced(&snapshot, "").iter().map(ToString::to_string).collect()
    }

    /// What our Gateways and policies name is found, and nothing of others' Gateways; what lies elsewhere with a grant only.
    #[test]
    fn named_ones_only() {
        let near = ["Secret shop/client", "Secret shop/web", "ConfigMap shop/page", "ConfigMap shop/roots"];
        assert_eq!(named(OBJECTS), near);
        let granted = named(&format!("{OBJECTS}---{GRANT}"));
        assert_eq!(granted.len(), 5, "{granted:?}");
        assert!(granted.contains(&"Secret vault/far".to_owned()));
    }
}
