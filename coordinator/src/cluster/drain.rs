//! What becomes of a node's pods when it is drained. Pure.

use k8s_openapi::api::core::v1::Pod;

/// What a static pod's image in the API bears.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lot {
    /// It stays: a DaemonSet's, which would come back at once; a static pod, which no API ends; one that has ended.
    Stays,
    /// It is evicted, and its controller makes another one elsewhere.
    Goes,
    /// Nobody would make it again: evicting it would be losing it.
    Lost,
}

/// What becomes of a pod when its node is drained.
pub fn lot(pod: &Pod) -> Lot {
    let ended = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
    let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    match owner {
        _ if mirror || matches!(ended, Some("Succeeded" | "Failed")) => Lot::Stays,
        Some(owner) if matches!(owner.kind.as_str(), "DaemonSet" | "Node") => Lot::Stays,
        Some(_) => Lot::Goes,
        // On its way out anyway.
        None if pod.metadata.deletion_timestamp.is_some() => Lot::Goes,
        None => Lot::Lost,
    }
}

/// `default/web-1`.
pub fn name(pod: &Pod) -> String {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", of(&pod.metadata.namespace), of(&pod.metadata.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(fields: serde_json::Value) -> Pod {
        serde_json::from_value(fields).unwrap()
    }

    fn owned(kind: &str) -> Pod {
        let owner = serde_json::json!({
            "apiVersion": "v1", "kind": kind, "name": "x", "uid": "1", "controller": true
        });
        pod(
            serde_json::json!({"metadata": {"namespace": "default", "name": "web", "ownerReferences": [owner]}}),
        )
    }

    #[test]
    fn what_nobody_makes_again_is_not_evicted() {
        assert_eq!(lot(&owned("ReplicaSet")), Lot::Goes);
        assert_eq!(lot(&owned("StatefulSet")), Lot::Goes);
        assert_eq!(lot(&owned("DaemonSet")), Lot::Stays);
        assert_eq!(lot(&owned("Node")), Lot::Stays);
        let bare = serde_json::json!({"metadata": {"name": "by-hand"}});
        assert_eq!(lot(&pod(bare.clone())), Lot::Lost);
        let mut ended = bare.clone();
        ended["status"]["phase"] = "Succeeded".into();
        assert_eq!(lot(&pod(ended)), Lot::Stays);
        let mut mirror = bare.clone();
        mirror["metadata"]["annotations"][MIRROR] = "x".into();
        assert_eq!(lot(&pod(mirror)), Lot::Stays);
        let mut going = bare;
        going["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z".into();
        assert_eq!(lot(&pod(going)), Lot::Goes);
        assert_eq!(name(&owned("Job")), "default/web");
    }
}
