//! What schemas say beyond types: forms of text, and rules that several fields share. Only the definitions of our own kinds
//! (`pure/definitions`) are made of them; nothing here is ever held or read.
//!
//! A schema refuses what `pure/decode` refuses and what `pure/compile` finds wrong with an object by itself. What this
//! version does not serve yet is let in: the object's verdict tells of it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Rules of the Common Expression Language for one part of an object: the rule, and the sentence for who breaks it.
pub(crate) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// The rule that each of these kinds of Gateway API, or Service, may be a policy's target.
pub(crate) fn targets(kinds: &[&str]) -> Value {
    let list = |kinds: &[&str]| kinds.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
    let routing: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "Service").collect();
    let mut rule = format!("(t.group == 'gateway.networking.k8s.io' && t.kind in [{}])", list(&routing));
    if kinds.contains(&"Service") {
        rule.push_str(" || (t.group == '' && t.kind == 'Service')");
    }
    let message = format!("a policy of this kind is attached to {}", kinds.join(", "));
    json!([{"rule": format!("self.all(t, {rule})"), "message": message}])
}

macro_rules! forms {
    ($($(#[$doc:meta])+ $name:ident $schema:tt)+) => {$(
        $(#[$doc])+
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

forms! {
    /// A duration of Gateway API (GEP-2257).
    Time {"type": "string", "maxLength": 32, "pattern": GEP_2257}
    /// One that is not zero.
    TimeAboveZero {"type": "string", "maxLength": 32, "pattern": GEP_2257,
        "x-kubernetes-validations": rules(&[("duration(self) > duration('0s')", "must be above 0")])}
    /// A duration as Go writes it.
    GoTime {"type": "string", "maxLength": 32, "pattern": GO}
    /// How often adverts go out (RFC 9568 section 5.2.7, in whole centiseconds; 40 s are what fits its 12 bits).
    AdvertInterval {"type": "string", "maxLength": 32, "pattern": GO, "x-kubernetes-validations": rules(&[(
        "duration(self) >= duration('10ms') && duration(self) <= duration('40s') && duration(self).getMilliseconds() % 10 == 0",
        "must be a multiple of 10ms from 10ms to 40s")])}
    /// An address of either family.
    Address {"type": "string", "maxLength": 45,
        "x-kubernetes-validations": rules(&[("isIP(self)", "must be an IP address such as 192.0.2.1")])}
    /// An IPv4 address.
    AddressV4 {"type": "string", "maxLength": 15, "x-kubernetes-validations": rules(&[(
        "isIP(self) && ip(self).family() == 4", "must be an IPv4 address such as 192.0.2.1")])}
    /// A prefix of either family.
    Prefix {"type": "string", "maxLength": 49,
        "x-kubernetes-validations": rules(&[("isCIDR(self)", "must be a prefix such as 192.0.2.0/24")])}
    /// An amount of bytes, one at least.
    BytesAboveZero {"x-kubernetes-int-or-string": true, "pattern": QUANTITY, "x-kubernetes-validations":
        rules(&[("quantity(string(self)).isGreaterThan(quantity('0'))", "must be above 0")])}
    /// The head of a request, in bytes.
    HeadBytes {"x-kubernetes-int-or-string": true, "pattern": QUANTITY, "x-kubernetes-validations": rules(&[(
        "quantity(string(self)).isGreaterThan(quantity('0')) && quantity(string(self)).compareTo(quantity('64Ki')) <= 0",
        "must be from 1 to 65536 (64Ki)")])}
    /// A window of HTTP/2 (RFC 9113 section 6.5.2), in bytes.
    Window {"x-kubernetes-int-or-string": true, "pattern": QUANTITY, "x-kubernetes-validations": rules(&[(
        "quantity(string(self)).compareTo(quantity('65535')) >= 0 && quantity(string(self)).compareTo(quantity('2147483647')) <= 0",
        "must be from 65535 to 2147483647")])}
    /// The shortest body worth compressing, in bytes: 30 or more. (No rule says so: what one costs for a text without a bound
    /// counts once for each item of the list that it stands in, which an API server does not take.)
    CompressedBytes {"x-kubernetes-int-or-string": true, "minimum": 30,
        "pattern": "^([3-9][0-9]|[1-9][0-9]{2,}|[1-9][0-9]*(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))$"}
    /// A VRRP priority of a router that does not own the address (RFC 9568 section 5.2.4).
    Priority {"type": "integer", "minimum": 1, "maximum": 254}
    /// A community.
    Community {"type": "string", "pattern": "^[0-9]+:[0-9]+(:[0-9]+)?$"}
    /// The name of a source.
    SourceName {"type": "string", "minLength": 1, "maxLength": 253}
    /// The name of a namespace (RFC 1123, label).
    NamespaceName {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
    /// The name of a Service (RFC 1035, label).
    ServiceName {"type": "string", "maxLength": 63, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}
    /// A status of HTTP.
    Status {"type": "integer", "minimum": 100, "maximum": 599}
    /// A name of a header, a cookie or a method (RFC 9110 section 5.6.2).
    Token {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"}
}

const GEP_2257: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
const GO: &str = "^(0|([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+)$";
const QUANTITY: &str = "^[0-9]+(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";
