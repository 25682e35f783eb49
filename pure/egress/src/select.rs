//! Which pods a policy selects.

use std::collections::BTreeMap;

use tidegate_model::egress::EgressPolicy;
use tidegate_objects::egress::EgressSelector;
use tidegate_objects::{Key, LabelSelector};

/// In a pod selector, stands for the name of the pod's namespace (Cilium's habit).
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// A label that every namespace has, written or not.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

type Labels = BTreeMap<String, String>;

/// Whether the policy selects this pod of its own source.
pub fn selects(policy: &EgressPolicy, pod: &Key, labels: &Labels, namespace_labels: &Labels) -> bool {
    policy.name.key.source == pod.source
        && policy.selectors.iter().any(|selector| selector_selects(selector, pod, labels, namespace_labels))
}

/// A selector without a namespace and a pod selector selects nothing: an empty thought must never mean all pods. A node
/// selector is ignored, because labels of nodes are not known here; who makes the policies gives one that has it no
/// address, so that all it may mean is dropped.
fn selector_selects(
    selector: &EgressSelector,
    pod: &Key,
    labels: &Labels,
    namespace_labels: &Labels,
) -> bool {
    let stated = selector.namespace_selector.is_some() || selector.pod_selector.is_some();
    let holds = |part: &Option<LabelSelector>, labels: &Labels, implied: &str| {
        part.as_ref().is_none_or(|part| {
            part.selects(|key| {
                labels.get(key).map(String::as_str).or((key == implied).then_some(&*pod.namespace))
            })
        })
    };
    stated
        && holds(&selector.namespace_selector, namespace_labels, NAMESPACE_NAME)
        && holds(&selector.pod_selector, labels, POD_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn matching(pairs: &[(&str, &str)]) -> Option<LabelSelector> {
        Some(LabelSelector { match_labels: labels(pairs), match_expressions: Vec::new() })
    }

    /// Absent selectors select everything, but never all of them at once; implied labels count.
    #[test]
    fn selection() {
        let pod = Key::new("local", "shop", "web-1");
        let (own, namespace) = (labels(&[("app", "web")]), labels(&[("tenant", "a")]));
        let all = || matching(&[]);
        for (namespace_selector, pod_selector, node_selector, expected) in [
            (None, None, None, false),
            (all(), None, None, true),
            (None, all(), None, true),
            (None, all(), matching(&[("rack", "1")]), true),
            (None, None, all(), false),
            (None, matching(&[("app", "web")]), None, true),
            (None, matching(&[("app", "db")]), None, false),
            (matching(&[("tenant", "a")]), matching(&[("app", "web")]), None, true),
            (matching(&[("tenant", "b")]), matching(&[("app", "web")]), None, false),
            (matching(&[("kubernetes.io/metadata.name", "shop")]), None, None, true),
            (matching(&[("kubernetes.io/metadata.name", "bank")]), None, None, false),
            (None, matching(&[("io.kubernetes.pod.namespace", "shop")]), None, true),
            (None, matching(&[("io.kubernetes.pod.namespace", "bank")]), None, false),
        ] {
            let selector = EgressSelector { namespace_selector, pod_selector, node_selector };
            assert_eq!(selector_selects(&selector, &pod, &own, &namespace), expected, "{selector:?}");
        }
    }
}
