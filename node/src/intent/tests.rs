//! What an update changes, and that deltas end where a whole compile ends.

use std::net::Ipv4Addr;

use super::*;

const ROUTES: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: main, namespace: shop}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: main}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";

const POLICY: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: VRRPAdvertisement
metadata: {name: vips}
spec: {addresses: [192.0.2.20]}
---
apiVersion: cilium.io/v2
kind: CiliumEgressGatewayPolicy
metadata: {name: legacy}
spec:
  selectors: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: batch}}}]
  destinationCIDRs: [198.51.100.0/24]
  egressGateway: {nodeSelector: {}, egressIP: 192.0.2.20}
";

fn slice(ports: &[u16]) -> String {
    let one = |port: &u16| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-{port}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\nports: [{{port: {port}}}]\nendpoints: [{{addresses: [10.0.0.1]}}]\n"
        )
    };
    ports.iter().map(one).collect::<Vec<_>>().join("---\n")
}

fn pod(app: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: shop, labels: {{app: {app}}}}}\n\
         status: {{podIP: 10.244.0.9, podIPs: [{{ip: 10.244.0.9}}]}}\n"
    )
}

fn namespace(team: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{team: {team}}}}}\n")
}

/// A daemon's intent and its table of pods.
#[derive(Default)]
struct Decider {
    intent: Intent,
    table: Table,
}

impl Decider {
    /// Takes over a source that holds these documents.
    fn update(&mut self, texts: &[&str]) -> Changed {
        let machine = Machine { node: "gw1".into(), ..Machine::default() };
        self.intent.update(&[source(texts)], &machine, &mut self.table)
    }

    /// Endpoints of the only backend.
    fn endpoints(&self) -> Vec<u16> {
        let cell = self.intent.model.traffic.endpoints.values().next().unwrap();
        cell.load().addresses().map(|address| address.port()).collect()
    }

    /// The policy that decides over the pod, if one does.
    fn policy(&self) -> Option<String> {
        let decision = self.table.decide(Ipv4Addr::new(10, 244, 0, 9), Ipv4Addr::new(198, 51, 100, 7));
        decision.policy.map(|policy| policy.to_string())
    }
}

fn source(texts: &[&str]) -> Arc<SourceState> {
    let objects = texts.iter().flat_map(|text| tidegate_decode::decode("files", text).unwrap());
    let object = |document: tidegate_decode::Document| match document.outcome {
        tidegate_decode::Outcome::Object { object, .. } => object,
        other => panic!("{other:?}"),
    };
    let mut snapshot = Snapshot::default();
    objects.map(object).for_each(|object| snapshot.insert(object));
    Arc::new(SourceState { objects: snapshot, ..SourceState::default() })
}

const NOTHING: Changed = Changed { model: false, endpoints: false, pods: false };
const MODEL: Changed = Changed { model: true, endpoints: true, pods: false };
const ENDPOINTS: Changed = Changed { model: false, endpoints: true, pods: false };
const PODS: Changed = Changed { model: false, endpoints: false, pods: true };

/// An endpoint that comes or goes changes no Model, and the routes that are live see it.
#[test]
fn endpoints_are_a_delta() {
    let mut decider = Decider::default();
    assert!(decider.update(&[ROUTES, &slice(&[9001])]).model);
    let live = decider.intent.model.traffic.clone();
    assert_eq!(decider.update(&[ROUTES, &slice(&[9001, 9002])]), ENDPOINTS);
    assert_eq!(decider.endpoints(), [9001, 9002]);
    assert!(Arc::ptr_eq(&live, &decider.intent.model.traffic));
    assert_eq!(decider.update(&[ROUTES]), ENDPOINTS);
    assert_eq!(decider.endpoints(), [0; 0]);
}

/// A change of intent is a new Model, and says nothing of pods where no policy is concerned; live routes of the Model
/// before share the endpoints with it.
#[test]
fn routes_are_a_new_model() {
    let mut decider = Decider::default();
    decider.update(&[ROUTES, &slice(&[9001])]);
    let before = decider.intent.model.traffic.clone();
    let other = ROUTES
        .replace("name: web, namespace: shop}\nspec: {parent", "name: new, namespace: shop}\nspec: {parent");
    assert_eq!(decider.update(&[&other, &slice(&[9001])]), MODEL);
    assert_eq!(decider.update(&[&other, &slice(&[9002])]), ENDPOINTS);
    let seen = before.endpoints.values().next().unwrap().load().usable.clone();
    assert_eq!(seen.iter().map(|endpoint| endpoint.address.port()).collect::<Vec<_>>(), [9002]);
}

/// The same objects again are no change, however often and as whichever pointers they come.
#[test]
fn the_same_again_is_nothing() {
    let mut decider = Decider::default();
    let (slice, pod, namespace) = (slice(&[9001]), pod("batch"), namespace("blue"));
    let texts = [ROUTES, POLICY, slice.as_str(), pod.as_str(), namespace.as_str()];
    assert_eq!(decider.update(&texts), Changed { model: true, endpoints: true, pods: true });
    assert_eq!(decider.update(&texts), NOTHING);
}

/// A pod is a delta; what selects it follows its labels, its namespace's labels, and the policies.
#[test]
fn pods_follow_labels_and_policies() {
    let (blue, red) = (namespace("blue"), namespace("red"));
    let selected = Some("CiliumEgressGatewayPolicy legacy".to_owned());
    let mut decider = Decider::default();
    decider.update(&[POLICY, &blue]);
    assert_eq!(decider.update(&[POLICY, &blue, &pod("batch")]), PODS);
    assert_eq!(decider.policy(), selected);
    assert_eq!(decider.update(&[POLICY, &blue, &pod("web")]), PODS);
    assert_eq!(decider.policy(), None);
    decider.update(&[POLICY, &blue, &pod("batch")]);
    assert!(decider.update(&[POLICY, &red, &pod("batch")]).pods, "the namespace is another team's now");
    assert_eq!(decider.policy(), None);
    assert!(decider.update(&[POLICY, &blue, &pod("batch")]).pods);
    assert_eq!(decider.policy(), selected);
    assert_eq!(decider.update(&[&blue, &pod("batch")]), Changed { model: true, endpoints: true, pods: true });
    assert_eq!(decider.policy(), None, "its policy is gone");
    assert!(decider.update(&[POLICY, &blue, &pod("batch")]).pods);
    assert_eq!(decider.policy(), selected, "its policy is back");
    assert_eq!(decider.update(&[POLICY, &blue]), PODS);
    let class = decider.table.kernel().pod_class;
    assert!(class.is_empty(), "a pod that is gone is forgotten: {class:?}");
}

/// News is a source, a number of sources or a machine that differs from what was decided last.
#[test]
fn news() {
    let machine = Machine { node: "gw1".into(), ..Machine::default() };
    let (one, two) = (source(&[ROUTES]), source(&[ROUTES]));
    let mut decider = Decider::default();
    assert!(decider.intent.is_news(&[], &machine), "nothing was decided yet");
    decider.intent.update(std::slice::from_ref(&one), &machine, &mut decider.table);
    assert!(!decider.intent.is_news(std::slice::from_ref(&one), &machine));
    assert!(decider.intent.is_news(&[one.clone(), two.clone()], &machine));
    assert!(decider.intent.is_news(&[two], &machine));
    assert!(decider.intent.is_news(&[one], &Machine { node: "gw2".into(), ..Machine::default() }));
}

/// Whatever the order of changes, what is decided in steps is what would be decided from the last state at once.
#[test]
fn steps_end_where_one_step_ends() {
    let (blue, red) = (namespace("blue"), namespace("red"));
    let (batch, web) = (pod("batch"), pod("web"));
    let (one, both) = (slice(&[9001]), slice(&[9001, 9002]));
    let choices: [&[&str]; 4] = [&[&blue, &red, ""], &[&batch, &web, ""], &[&one, &both, ""], &[POLICY, ""]];
    // A plain linear congruence visits the states in an order without a pattern; the step is printed on failure.
    let (mut seed, mut stepwise) = (7_u32, Decider::default());
    for step in 0..200 {
        let mut texts = vec![ROUTES];
        for choice in choices {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            texts.push(choice[(seed >> 16) as usize % choice.len()]);
        }
        stepwise.update(&texts);
        let mut at_once = Decider::default();
        at_once.update(&texts);
        assert_eq!(stepwise.policy(), at_once.policy(), "step {step}");
        assert_eq!(stepwise.endpoints(), at_once.endpoints(), "step {step}");
        assert_eq!(stepwise.table.kernel().pods, at_once.table.kernel().pods, "step {step}");
        assert_eq!(stepwise.intent.verdicts, at_once.intent.verdicts, "step {step}");
    }
}
