//! On which nodes a DaemonSet puts its pods, as its controller decides (`NodeShouldRunDaemonPod` of
//! pkg/controller/daemon).

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration};

/// Taints that the controller lets the pods of every DaemonSet tolerate.
const ALWAYS: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    // Of those in the host's own network only; kube-proxy is.
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// Whether a DaemonSet puts a pod on a node, or leaves the one that is there. `pods` may be of others, too.
pub fn takes(set: &DaemonSet, pods: &[Pod], node: &Node) -> bool {
    let Some(spec) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return true };
    let stays = || pods.iter().any(|pod| is_of(set, pod) && is_on(pod, node));
    wants(spec, node) && (tolerates(spec, node) || stays())
}

/// Whether a pod is one of a DaemonSet's own, and not of another that bears the same labels.
pub fn is_of(set: &DaemonSet, pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    { owners }.any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
}

/// Whether a pod is on a node, and not on its way out.
pub fn is_on(pod: &Pod, node: &Node) -> bool {
    let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    pod.metadata.deletion_timestamp.is_none() && here.is_some() && here == node.metadata.name.as_ref()
}

fn wants(spec: &PodSpec, node: &Node) -> bool {
    let named = spec.node_name.as_ref().is_none_or(|name| Some(name) == node.metadata.name.as_ref());
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(node, key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    named && selected && required.is_none_or(|required| selects(required, node))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.as_ref()?.get(key)
}

/// One term is enough; of a term all must hold, and one that says nothing selects nothing.
fn selects(selector: &NodeSelector, node: &Node) -> bool {
    let name = node.metadata.name.as_deref();
    let holds = |term: &NodeSelectorTerm| {
        let labels = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let value = |key: &str| label(node, key).map(String::as_str);
        let field = |key: &str| name.filter(|_| key == "metadata.name");
        (!labels.is_empty() || !fields.is_empty())
            && labels.iter().all(|r| is_met(&r.operator, r.values.as_deref(), value(&r.key)))
            && fields.iter().all(|r| is_met(&r.operator, r.values.as_deref(), field(&r.key)))
    };
    selector.node_selector_terms.iter().any(holds)
}

fn is_met(operator: &str, values: Option<&[String]>, there: Option<&str>) -> bool {
    let values = values.unwrap_or_default();
    let among = there.is_some_and(|there| values.iter().any(|value| value == there));
    let number = |text: &str| text.parse::<i64>().ok();
    let than = || Some((number(there?)?, number(values.first()?)?));
    match operator {
        "In" => among,
        "NotIn" => !among,
        "Exists" => there.is_some(),
        "DoesNotExist" => there.is_none(),
        "Gt" => than().is_some_and(|(there, value)| there > value),
        "Lt" => than().is_some_and(|(there, value)| there < value),
        _ => false,
    }
}

fn tolerates(spec: &PodSpec, node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let holds = |taint: &&Taint| taint.effect != "PreferNoSchedule";
    let always = |taint: &Taint| ALWAYS.contains(&(taint.key.as_str(), taint.effect.as_str()));
    taints.iter().filter(holds).all(|taint| always(taint) || tolerations.iter().any(|t| meets(t, taint)))
}

/// An empty key with `Exists` is every key, an empty effect every effect.
fn meets(toleration: &Toleration, taint: &Taint) -> bool {
    let is =
        |own: &Option<String>, other: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == other);
    let value = |of: &Option<String>| of.clone().unwrap_or_default();
    is(&toleration.effect, &taint.effect)
        && is(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            _ => toleration.key.is_some() && value(&toleration.value) == value(&taint.value),
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, labels: Value, taints: Value) -> Node {
        let metadata = json!({"name": name, "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"taints": taints}})).unwrap()
    }

    fn set(pods: Value) -> DaemonSet {
        let mut spec = json!({"selector": {}, "template": {"spec": {"containers": []}}});
        for (key, value) in pods.as_object().unwrap() {
            spec["template"]["spec"][key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "kube-proxy", "uid": "ours"}, "spec": spec}))
            .unwrap()
    }

    fn pod(owner: &str, node: &str) -> Pod {
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": owner});
        let spec = json!({"nodeName": node, "containers": []});
        serde_json::from_value(json!({"metadata": {"ownerReferences": [owner]}, "spec": spec})).unwrap()
    }

    fn affinity(terms: Value) -> Value {
        let required = json!({"nodeSelectorTerms": terms});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
    }

    #[test]
    fn selector_and_affinity_decide() {
        let w1 = node("w1", json!({"room": "a", "units": "12"}), json!([]));
        let on = |spec: Value| takes(&set(spec), &[], &w1);
        let expression = |key: &str, operator: &str, values: Value| {
            affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        assert!(on(json!({})));
        assert!(on(json!({"nodeSelector": {"room": "a"}})) && !on(json!({"nodeSelector": {"room": "b"}})));
        assert!(!on(json!({"nodeName": "w2"})));
        assert!(on(expression("room", "In", json!(["b", "a"]))));
        assert!(!on(expression("room", "NotIn", json!(["a"]))));
        // What a label is not, it is not any of.
        assert!(on(expression("rack", "NotIn", json!(["a"]))));
        assert!(on(expression("room", "Exists", json!([]))) && !on(expression("rack", "Exists", json!([]))));
        assert!(on(expression("units", "Gt", json!(["9"]))) && !on(expression("room", "Lt", json!(["9"]))));
        let field = json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["w1"]}]});
        assert!(!on(affinity(json!([field]))));
        assert!(on(affinity(json!([field, {"matchExpressions": [{"key": "room", "operator": "Exists"}]}]))));
        assert!(!on(affinity(json!([{}]))) && !on(affinity(json!([]))));
    }

    #[test]
    fn taints_keep_a_pod_away_that_is_not_there_yet() {
        let taint = |effect: &str| json!([{"key": "gpu", "value": "yes", "effect": effect}]);
        let tainted = node("w1", json!({}), taint("NoSchedule"));
        let with = |tolerations: Value| set(json!({"tolerations": tolerations}));
        assert!(!takes(&with(json!([])), &[], &tainted));
        assert!(takes(&with(json!([])), &[pod("ours", "w1")], &tainted));
        assert!(!takes(&with(json!([])), &[pod("theirs", "w1"), pod("ours", "w2")], &tainted));
        assert!(takes(&with(json!([])), &[], &node("w1", json!({}), taint("PreferNoSchedule"))));
        // kubeadm's kube-proxy tolerates everything.
        assert!(takes(&with(json!([{"operator": "Exists"}])), &[], &tainted));
        assert!(takes(&with(json!([{"key": "gpu", "value": "yes"}])), &[], &tainted));
        assert!(!takes(&with(json!([{"key": "gpu", "value": "no"}])), &[], &tainted));
        assert!(!takes(&with(json!([{"operator": "Exists", "effect": "NoExecute"}])), &[], &tainted));
        let cordoned = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        assert!(takes(&with(json!([])), &[], &node("w1", json!({}), cordoned)));
    }
}
