//! Services that are made for Gateways: when they are to be made, changed or left alone.

use serde_json::{Map, Value, json};

use super::decide::stands;

/// The label that says who made an object; of ours, [`super::MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that says for which Gateway.
const GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";

/// What becomes of an object that is made for a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Making {
    /// It stands as it should.
    Stands,
    /// This is to be applied.
    Apply(Value),
    /// An object of that name stands there and is not ours; a sentence.
    Strange(String),
}

/// Whether this object was made by us for a Gateway.
pub fn is_made(object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    labels[MANAGED_BY] == super::MANAGER && labels[GATEWAY].is_string()
}

/// What is to be done, given the object that stands there, if one does, and `uid` of the Gateway.
pub fn make(standing: Option<&Value>, wanted: &Value, gateway: &str, uid: &str) -> Making {
    let mut whole = wanted.clone();
    whole["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": gateway, "uid": uid,
    }]);
    match standing {
        Some(object) if !is_made(object) => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let message =
                format!("the Service {name} was not made by Tidegate, so it is left as it is; rename it");
            Making::Strange(message)
        }
        Some(object) if stands(object, &whole) => Making::Stands,
        _ => Making::Apply(whole),
    }
}

/// Of an object that stands, what we say of such objects, so that [`super::digest`] finds it equal to what is wanted.
pub(super) fn essence(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let ports = object["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ports = ports.iter().map(|port| {
        let fields = ["name", "port", "protocol"].map(|field| (field.to_owned(), port[field].clone()));
        Value::Object(Map::from_iter(fields))
    });
    json!({"labels": metadata["labels"], "annotations": metadata["annotations"], "ports": ports.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(labels: Value) -> Value {
        json!({"metadata": {"name": "tidegate-a", "labels": labels, "annotations": {}},
               "spec": {"clusterIP": "None", "ports": [{"name": "tcp-80", "port": 80, "protocol": "TCP"}]}})
    }

    fn ours() -> Value {
        json!({MANAGED_BY: "tidegate", GATEWAY: "a", "team": "x"})
    }

    /// It is made with its owner, stands when everything wanted stands whatever a server has added, and a stranger's object of
    /// that name is left alone.
    #[test]
    fn makes() {
        let wanted = service(ours());
        let Making::Apply(first) = make(None, &wanted, "a", "u1") else { panic!("it is made") };
        assert_eq!(first["metadata"]["ownerReferences"][0]["uid"], "u1");
        let mut standing = first.clone();
        standing["spec"]["type"] = json!("ClusterIP");
        standing["spec"]["ports"][0]["targetPort"] = json!(80);
        standing["metadata"]["uid"] = json!("s");
        assert_eq!(make(Some(&standing), &wanted, "a", "u1"), Making::Stands);
        assert_eq!(super::super::digest(&essence(&standing)), super::super::digest(&essence(&wanted)));
        // The Gateway is another one of the same name.
        assert!(matches!(make(Some(&standing), &wanted, "a", "u2"), Making::Apply(_)));
        let strange = service(json!({"team": "x"}));
        assert!(matches!(make(Some(&strange), &wanted, "a", "u1"), Making::Strange(_)));
    }
}
