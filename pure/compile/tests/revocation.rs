//! Every kind of reference across namespaces that is followed: with a grant it works; without one, or with one for
//! somebody or something else, it is refused and told so; and what was granted once is not remembered.

mod common;

use common::{machine, snapshot};
use serde_json::Value;
use tidegate_compile::status::{Facts, Opened, statuses};
use tidegate_compile::{Compiled, compile, referenced};
use tidegate_model::Model;
use tidegate_objects::Snapshot;

const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A kind of reference: an object in namespace `shop` that names one in namespace `bank`.
struct Reference {
    /// What is tested, for messages.
    about: &'static str,
    /// Kind of the object that refers, whose name is `asks`.
    from: &'static str,
    /// Kind and name of the object that is referred to.
    to: (&'static str, &'static str),
    /// The object, and what else it takes.
    text: &'static str,
    /// Whether the reference is followed in the Model.
    works: fn(&Model) -> bool,
}

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: tidegate
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: tcp, port: 5432, protocol: TCP}
  - {name: udp, port: 53, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: bank}
spec: {ports: [{name: a, port: 80}, {name: b, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: shop}
spec: {ports: [{port: 80}]}
---
";

/// Whether some route leads to the other namespace.
fn leads_there(model: &Model) -> bool {
    model.traffic.endpoints.keys().any(|id| &*id.service.namespace == "bank")
}

/// Whether somebody listens at this port.
fn is_open(model: &Model, port: u16) -> bool {
    model.traffic.entrances.iter().any(|entrance| entrance.address.port() == port)
}

/// What is in the Model, as a text.
fn model_says(model: &Model, word: &str) -> bool {
    serde_json::to_string(&model.traffic.entrances).expect("plain data").contains(word)
}

const REFERENCES: [Reference; 12] = [
    Reference {
        about: "HTTPRoute backendRefs",
        from: "HTTPRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, namespace: bank, port: 80}]}]}",
        works: leads_there,
    },
    Reference {
        about: "GRPCRoute backendRefs",
        from: "GRPCRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, namespace: bank, port: 80}]}]}",
        works: leads_there,
    },
    Reference {
        about: "TLSRoute backendRefs",
        from: "TLSRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge}], hostnames: [a.example], rules: [{backendRefs: [{name: web, namespace: bank, port: 80}]}]}",
        works: leads_there,
    },
    Reference {
        about: "TCPRoute backendRefs",
        from: "TCPRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge, sectionName: tcp}], rules: [{backendRefs: [{name: web, namespace: bank, port: 80}]}]}",
        works: leads_there,
    },
    Reference {
        about: "UDPRoute backendRefs",
        from: "UDPRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, namespace: bank, port: 53}]}]}",
        works: leads_there,
    },
    Reference {
        about: "the mirror of an HTTPRoute",
        from: "HTTPRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge}], rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, namespace: bank, port: 80}}}], backendRefs: [{name: own, port: 80}]}]}",
        works: leads_there,
    },
    Reference {
        about: "the mirror of a GRPCRoute",
        from: "GRPCRoute",
        to: ("Service", "web"),
        text: "{parentRefs: [{name: edge}], rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, namespace: bank, port: 80}}}], backendRefs: [{name: own, port: 80}]}]}",
        works: leads_there,
    },
    Reference {
        about: "Gateway certificateRefs",
        from: "Gateway",
        to: ("Secret", "bank"),
        text: "{gatewayClassName: tidegate, listeners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: bank, namespace: bank}]}}]}",
        works: |model| is_open(model, 8443),
    },
    Reference {
        about: "ListenerSet certificateRefs",
        from: "ListenerSet",
        to: ("Secret", "bank"),
        text: "{parentRef: {name: edge}, listeners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: bank, namespace: bank}]}}]}",
        works: |model| is_open(model, 8443),
    },
    Reference {
        about: "what a Gateway shows to backends",
        from: "Gateway",
        to: ("Secret", "bank"),
        text: "{gatewayClassName: tidegate, tls: {backend: {clientCertificateRef: {name: bank, namespace: bank}}}, listeners: [{name: http, port: 8080, protocol: HTTP}]}",
        // A Model says nothing of it where no route leads to a backend with TLS; what is read of a cluster does.
        works: |_| true,
    },
    Reference {
        about: "a ConfigMap of authorities",
        from: "Gateway",
        to: ("ConfigMap", "authority"),
        text: "{gatewayClassName: tidegate, tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: authority, namespace: bank}]}}}}, listeners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: own}]}}]}",
        works: |model| model_says(model, "\"optional\":false"),
    },
    Reference {
        about: "a Secret of authorities",
        from: "Gateway",
        to: ("Secret", "authority"),
        text: "{gatewayClassName: tidegate, tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: Secret, name: authority, namespace: bank}]}}}}, listeners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: own}]}}]}",
        works: |model| model_says(model, "\"optional\":false"),
    },
];

/// The documents of other cases that hold these objects, under other names.
fn material() -> String {
    let certificate =
        document(include_str!("../testdata/backend-client-certificate/in.yaml"), "\nkind: Secret\n");
    let authority = document(include_str!("../testdata/frontend-validation/in.yaml"), "\nkind: ConfigMap\n");
    let named = |text: &str, name: &str, namespace: &str| {
        let start = text.find("metadata: {").expect("a name");
        let end = start + text[start..].find('\n').expect("a line");
        format!("{}metadata: {{name: {name}, namespace: {namespace}}}{}", &text[..start], &text[end..])
    };
    let secret = named(&authority, "authority", "bank").replace("kind: ConfigMap", "\nkind: Secret\n");
    [
        named(&certificate, "bank", "bank"),
        named(&certificate, "own", "shop"),
        named(&authority, "authority", "bank"),
        secret.replace("\ndata:", "\nstringData:"),
    ]
    .join("---\n")
}

/// The first document of a text in which these words stand.
fn document(text: &str, words: &str) -> String {
    let found = text.split("\n---\n").find(|document| document.contains(words));
    format!("{}\n", found.expect("it is there").trim_end())
}

fn grant(from: &str, namespace: &str, kind: &str, name: Option<&str>, in_namespace: &str) -> String {
    let name = name.map(|name| format!(", name: {name}")).unwrap_or_default();
    format!(
        "---\napiVersion: {GATEWAY_API}/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: {in_namespace}}}\nspec: {{from: [{{group: {GATEWAY_API}, kind: {from}, namespace: {namespace}}}], to: [{{group: '', kind: {kind}{name}}}]}}\n"
    )
}

impl Reference {
    fn snapshot(&self, grant: &str) -> Snapshot {
        let version = "v1";
        let kind = self.from;
        snapshot(&format!(
            "{GATEWAY}{}---\napiVersion: {GATEWAY_API}/{version}\nkind: {kind}\nmetadata: {{name: asks, namespace: shop}}\nspec: {}\n{grant}",
            material(),
            self.text
        ))
    }

    /// Whether the object is told that it may not refer so, in a condition `ResolvedRefs: False`.
    fn is_refused(&self, snapshot: &Snapshot, compiled: &Compiled) -> bool {
        let machine = machine("");
        let facts = Facts {
            snapshot,
            verdicts: &compiled.verdicts,
            standing: &compiled.standing,
            notice: None,
            machine: &machine,
            sockets: &|_, _| Opened::Yes,
        };
        let told = statuses(&facts).into_iter().find(|of| of.kind == self.from && of.name == "asks");
        let status = serde_json::to_value(told.expect("it has a status").status).expect("plain data");
        let mut conditions = Vec::new();
        gather(&status, &mut conditions);
        let of_type = |condition: &&Value| condition["type"] == "ResolvedRefs";
        assert!(conditions.iter().any(of_type), "{}: {status:#}", self.about);
        let refused =
            |condition: &&Value| condition["status"] == "False" && condition["reason"] == "RefNotPermitted";
        conditions.iter().copied().filter(of_type).any(|condition| refused(&condition))
    }

    /// Whether the object is read of a cluster; only Secrets and ConfigMaps are asked for by name.
    fn is_read(&self, snapshot: &Snapshot) -> bool {
        let (kind, name) = self.to;
        kind == "Service"
            || referenced(snapshot, "").iter().any(|object| {
                object.kind.name() == kind && &*object.key.namespace == "bank" && &*object.key.name == name
            })
    }
}

fn gather<'v>(value: &'v Value, conditions: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            conditions.extend(fields.get("conditions").and_then(Value::as_array).into_iter().flatten());
            fields.values().for_each(|value| gather(value, conditions));
        }
        Value::Array(items) => items.iter().for_each(|value| gather(value, conditions)),
        _ => {}
    }
}

/// Each kind of reference is followed with a grant, by name or for all of a kind; refused without, and with every grant
/// that is for another kind, namespace or name; and refused by the next compile when the grant goes, whatever stood before.
#[test]
fn every_reference_needs_its_grant() {
    for reference in &REFERENCES {
        let Reference { about, from, to: (kind, name), works, .. } = *reference;
        let granted =
            [grant(from, "shop", kind, Some(name), "bank"), grant(from, "shop", kind, None, "bank")];
        let other_from = if from == "Gateway" { "HTTPRoute" } else { "Gateway" };
        let other_kind = if kind == "Secret" { "ConfigMap" } else { "Secret" };
        let refused = [
            String::new(),
            grant(other_from, "shop", kind, None, "bank"),
            grant(from, "other", kind, None, "bank"),
            grant(from, "bank", kind, None, "bank"),
            grant(from, "shop", other_kind, None, "bank"),
            grant(from, "shop", kind, Some("another"), "bank"),
            grant(from, "shop", kind, Some(name), "shop"),
            grant(from, "shop", kind, Some(name), "other"),
            grant(from, "shop", kind, Some(name), "bank").replace(GATEWAY_API, "example.com").replacen(
                "example.com",
                GATEWAY_API,
                1,
            ),
        ];
        let mut before = Model::default();
        for grant in &granted {
            for refusal in &refused {
                let snapshot = reference.snapshot(grant);
                let compiled = compile(&snapshot, &machine(""), &before);
                assert!(!reference.is_refused(&snapshot, &compiled), "{about}: refused with {grant}");
                assert!(
                    works(&compiled.model),
                    "{about}: not followed with {grant}: {:#?}",
                    compiled.verdicts
                );
                assert!(reference.is_read(&snapshot), "{about}: not read with {grant}");
                // Revoked: what was compiled before is what the next compile starts from.
                let snapshot = reference.snapshot(refusal);
                let after = compile(&snapshot, &machine(""), &compiled.model);
                assert!(reference.is_refused(&snapshot, &after), "{about}: followed with {refusal}");
                if reference.about != "what a Gateway shows to backends" {
                    assert!(!works(&after.model), "{about}: in the Model with {refusal}");
                }
                assert!(kind == "Service" || !reference.is_read(&snapshot), "{about}: read with {refusal}");
                before = after.model;
            }
        }
    }
}

/// The table has every kind that may refer to something elsewhere by a grant: who adds one adds a row.
#[test]
fn the_table_is_whole() {
    let sources = [
        (include_str!("../src/backend.rs"), 1),
        (include_str!("../src/certificate.rs"), 2),
        (include_str!("../src/referenced.rs"), 1),
    ];
    for (source, asked) in sources {
        assert_eq!(
            source.matches("grants.allow(").count(),
            asked,
            "a new reference needs a row in REFERENCES"
        );
    }
}

/// Namespaces that a Gateway lets in are no grants, but the same holds: who loses the label is refused by the next compile,
/// as a ListenerSet or as a route.
#[test]
fn who_is_let_in_no_more() {
    let text = |label: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: team, labels: {{let-in: '{label}'}}}}\n---\n\
             apiVersion: {GATEWAY_API}/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
             spec:\n  gatewayClassName: tidegate\n  allowedListeners: {{namespaces: {{from: Selector, selector: {{matchLabels: {{let-in: 'yes'}}}}}}}}\n\
             \x20 listeners: [{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: Selector, selector: {{matchLabels: {{let-in: 'yes'}}}}}}}}}}]\n---\n\
             apiVersion: {GATEWAY_API}/v1\nkind: ListenerSet\nmetadata: {{name: more, namespace: team}}\n\
             spec: {{parentRef: {{name: edge, namespace: shop}}, listeners: [{{name: more, port: 81, protocol: HTTP}}]}}\n---\n\
             apiVersion: {GATEWAY_API}/v1\nkind: HTTPRoute\nmetadata: {{name: all, namespace: team}}\n\
             spec: {{parentRefs: [{{name: edge, namespace: shop}}], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: team}}\nspec: {{ports: [{{port: 80}}]}}\n"
        )
    };
    let mut before = Model::default();
    for label in ["yes", "no", "yes", ""] {
        let model = compile(&snapshot(&text(label)), &machine(""), &before).model;
        let is_in = label == "yes";
        assert_eq!(is_open(&model, 81), is_in, "{label}");
        assert_eq!(!model.traffic.endpoints.is_empty(), is_in, "{label}");
        before = model;
    }
}
