//! A whole object of the API, made and changed by server-side apply.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Family;
pub use super::shape::cut;
use super::shape::with_owned;
use crate::step::Decision;

/// Our name in `metadata.managedFields` (server-side apply).
pub const FIELD_MANAGER: &str = "rackwright";

/// Wants an object to have these fields, or not to exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStep {
    /// The part of the cluster that it is about.
    pub family: Family,
    /// `apiVersion`: `metallb.io/v1beta1`.
    pub api_version: String,
    /// `kind`: `IPAddressPool`.
    pub kind: String,
    /// `metadata.namespace`; `None` for objects of the whole cluster.
    #[serde(default)]
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// The object with all fields that are wanted, `apiVersion`, `kind` and `metadata` among them; `None` for an
    /// object that shall not exist.
    pub want: Option<Value>,
}

/// What there is of an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectSeen {
    /// The wanted fields as they are, cut to the shape of what is wanted (see [`cut`]), and fields that are ours and no
    /// longer wanted; `None` when there is no object.
    pub fields: Option<Value>,
    /// `metadata.uid`, so that an object of the same name made later by somebody else is told apart.
    #[serde(default)]
    pub uid: Option<String>,
    /// Whether some of its fields are ours by server-side apply.
    #[serde(default)]
    pub ours: bool,
}

impl ObjectSeen {
    /// What there is of `live`: cut to the shape of `want`, or only that it is there where nothing is wanted.
    pub fn of(want: Option<&Value>, live: Option<&Value>) -> Self {
        let Some(live) = live else { return Self::default() };
        let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
        let ours: Vec<&Value> =
            managers.into_iter().flatten().filter(|m| m["manager"] == FIELD_MANAGER).collect();
        let applied = ours.iter().filter(|m| m["operation"] == "Apply");
        Self {
            fields: Some(want.map_or(Value::Null, |want| {
                applied.fold(cut(want, live), |cut, m| with_owned(cut, &m["fieldsV1"], live))
            })),
            uid: live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned),
            ours: !ours.is_empty(),
        }
    }
}

impl ObjectStep {
    pub(super) fn key(&self) -> String {
        format!("{}/{}/{}/{}", self.family.as_str(), self.kind, self.place(), self.name)
    }

    fn place(&self) -> &str {
        self.namespace.as_deref().unwrap_or("-")
    }

    pub(super) fn title(&self) -> String {
        let verb = if self.want.is_some() { "apply" } else { "delete" };
        match &self.namespace {
            Some(namespace) => format!("{verb} {} {namespace}/{}", self.kind, self.name),
            None => format!("{verb} {} {}", self.kind, self.name),
        }
    }

    pub(super) fn decide(&self, seen: &ObjectSeen) -> Decision {
        match (&self.want, &seen.fields) {
            (None, None) => Decision::Keep,
            (None, Some(_)) => Decision::change("there", "gone"),
            (Some(_), None) => Decision::change("not there", "there"),
            (Some(want), Some(fields)) if want == fields => Decision::Keep,
            (Some(_), Some(_)) => Decision::change("other fields", "as wanted"),
        }
    }

    pub(super) fn inverse(&self, before: &ObjectSeen) -> Option<Self> {
        Some(Self { want: before.fields.clone(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(spec: Value) -> ObjectStep {
        ObjectStep {
            family: Family::Balancer,
            api_version: "metallb.io/v1beta1".into(),
            kind: "IPAddressPool".into(),
            namespace: Some("metallb-system".into()),
            name: "first".into(),
            want: Some(json!({"spec": spec})),
        }
    }

    #[test]
    fn what_we_applied_and_no_longer_want_is_taken_away_and_can_come_back() {
        let live = json!({
            "metadata": {"uid": "1", "managedFields": [
                {"manager": "rackwright", "operation": "Apply", "fieldsV1": {"f:spec": {"f:addresses": {}, "f:serviceAllocation": {"f:namespaces": {}}}}},
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:other": {}}}},
            ]},
            "spec": {"addresses": ["a"], "serviceAllocation": {"namespaces": ["shop"]}, "other": true},
        });
        let step = pool(json!({"addresses": ["a"]}));
        let seen = ObjectSeen::of(step.want.as_ref(), Some(&live));
        let before = json!({"spec": {"addresses": ["a"], "serviceAllocation": {"namespaces": ["shop"]}}});
        assert_eq!((seen.fields.as_ref(), seen.ours), (Some(&before), true));
        assert!(matches!(step.decide(&seen), Decision::Change { .. }));
        assert_eq!(step.inverse(&seen).unwrap().want, Some(before));
        let all = pool(json!({"addresses": ["a"], "serviceAllocation": {"namespaces": ["shop"]}}));
        assert_eq!(all.decide(&ObjectSeen::of(all.want.as_ref(), Some(&live))), Decision::Keep);
    }
}
