//! What is there by our doing, in short: enough to tell later whether somebody else changed it since.

use std::collections::BTreeMap;

use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::workload::Stamp;
use rackwright_proto::cluster::{ClusterSeen, ClusterStep, MeshRecord, WorkloadSeen};
use rackwright_proto::file::sha256_hex;
use serde_json::Value;

/// How many characters of a configuration's hash a pod template is stamped with.
const STAMP_LENGTH: usize = 16;

/// The stamp of pods that run this configuration.
pub fn stamp(text: &str) -> String {
    sha256_hex(text.as_bytes())[..STAMP_LENGTH].to_owned()
}

/// A text in short.
pub fn text(text: &str) -> Done {
    Done { sha256: sha256_hex(text.as_bytes()), uid: None }
}

/// A workload in short: what its pods were told to run.
pub fn workload(seen: &WorkloadSeen) -> Done {
    text(seen.stamp.as_deref().unwrap_or_default())
}

/// Some labels in short.
pub fn labels(labels: &BTreeMap<String, Option<String>>) -> Done {
    let lines = labels.iter().map(|(key, value)| match value {
        Some(value) => format!("{key}={value}\n"),
        None => format!("{key}\n"),
    });
    text(&lines.collect::<String>())
}

/// An object in short: all that its owner decides. Metadata, status and what controllers fill in say nothing.
pub fn object(live: &Value) -> Done {
    let mut fields = live.clone();
    if let Some(object) = fields.as_object_mut() {
        object.remove("metadata");
        object.remove("status");
        // What a Secret of a manifest holds is put there by a program that runs from it; and a hash of a secret does
        // not belong into receipts.
        if live["kind"] == "Secret" {
            object.remove("data");
        }
    }
    // A Secret of the manifest is a place for what a controller puts in.
    if live["kind"] == "Secret"
        && let Some(object) = fields.as_object_mut()
    {
        object.remove("data");
    }
    without_ca_bundles(&mut fields);
    // Keys are sorted, so equal objects have equal bytes.
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
    Done { sha256: sha256_hex(fields.to_string().as_bytes()), uid }
}

pub(super) fn without_ca_bundles(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("caBundle");
            object.values_mut().for_each(without_ca_bundles);
        }
        Value::Array(list) => list.iter_mut().for_each(without_ca_bundles),
        _ => {}
    }
}

/// An installation of Istio in short.
pub fn mesh(record: &MeshRecord) -> Done {
    let live: String = record.live.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
    text(&live)
}

/// What is there, in short. Of objects only their owner's fields are seen, which tells nothing: see [`object`].
pub fn seen(seen: &ClusterSeen) -> Done {
    match seen {
        ClusterSeen::Text(seen) => text(seen.text.as_deref().unwrap_or_default()),
        ClusterSeen::Workload(seen) => workload(seen),
        ClusterSeen::Object(_) | ClusterSeen::Mesh(_) => text(""),
        ClusterSeen::Labels(seen) => labels(&seen.labels),
    }
}

/// What will be there when a step is done, where that is known before.
pub fn intended(step: &ClusterStep) -> Option<Done> {
    match step {
        ClusterStep::Text(step) => Some(text(&step.want)),
        ClusterStep::Workload(step) => match &step.stamp {
            Stamp::Is(stamp) => Some(text(stamp)),
            Stamp::Any | Stamp::Absent => Some(text("")),
        },
        ClusterStep::Object(_) | ClusterStep::Mesh(_) => None,
        ClusterStep::Labels(step) => Some(labels(&step.want)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_programs_fill_in_is_no_change() {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"uid": "u"}});
        let mut filled = secret.clone();
        filled["data"] = json!({"tls.crt": "YQ=="});
        assert_eq!(object(&secret), object(&filled));
        let hook = json!({"kind": "ValidatingWebhookConfiguration", "webhooks": [{"clientConfig": {}}]});
        let mut filled = hook.clone();
        filled["webhooks"][0]["clientConfig"]["caBundle"] = "YQ==".into();
        assert_eq!(object(&hook), object(&filled));
        let mut changed = hook.clone();
        changed["webhooks"][0]["failurePolicy"] = "Ignore".into();
        assert_ne!(object(&hook), object(&changed));
    }
}
