//! Some labels of an object that is somebody else's, or of its pod template; all others are left alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Family;
use crate::step::Decision;

/// Which labels of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelPlace {
    /// Its own: `metadata.labels`.
    Object,
    /// Those of the pods that it makes: `spec.template.metadata.labels`. A change of them replaces its pods.
    PodTemplate,
}

/// Wants an object to have these labels with these values, or not to have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsStep {
    /// The part of the cluster that it is about.
    pub family: Family,
    /// `apiVersion`: `v1`, `apps/v1`.
    pub api_version: String,
    /// `kind`: `Namespace`.
    pub kind: String,
    /// `metadata.namespace`; `None` for objects of the whole cluster.
    #[serde(default)]
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// Which labels.
    pub place: LabelPlace,
    /// The labels, by key; `None` for one that shall not be there.
    pub want: BTreeMap<String, Option<String>>,
    /// Only on the object of this `metadata.uid`: what is undone is undone where it was done. One that was made anew
    /// under the same name is as its maker wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// What there is of these labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsSeen {
    /// `metadata.uid`; `None` where there is no object.
    pub uid: Option<String>,
    /// The labels that a step speaks of, as they are.
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
}

impl LabelsSeen {
    /// What an object of this uid has of the labels that `step` speaks of.
    pub fn of(step: &LabelsStep, uid: Option<&str>, labels: &BTreeMap<String, String>) -> Self {
        let one = |key: &String| (key.clone(), labels.get(key).cloned());
        Self { uid: uid.map(str::to_owned), labels: step.want.keys().map(one).collect() }
    }
}

impl LabelsStep {
    pub(super) fn key(&self) -> String {
        let place = self.namespace.as_deref().unwrap_or("-");
        format!("{}/labels/{}/{place}/{}", self.family.as_str(), self.kind, self.name)
    }

    /// `Namespace shop`, `Deployment shop/web`.
    pub fn object(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    pub(super) fn title(&self) -> String {
        match self.place {
            LabelPlace::Object => format!("label {}", self.object()),
            LabelPlace::PodTemplate => format!("label the pods of {}", self.object()),
        }
    }

    pub(super) fn decide(&self, seen: &LabelsSeen) -> Decision {
        if self.only.is_some() && self.only != seen.uid {
            return Decision::Keep;
        }
        if seen.uid.is_none() {
            return Decision::Refuse { why: format!("there is no {}", self.object()) };
        }
        if self.want == seen.labels {
            return Decision::Keep;
        }
        let restarts = match self.place {
            LabelPlace::Object => "",
            LabelPlace::PodTemplate => "; its pods restart",
        };
        let changed = |of: &BTreeMap<String, Option<String>>| -> String {
            let differs = |key: &&String| self.want.get(*key) != seen.labels.get(*key);
            words(self.want.keys().filter(differs).map(|key| (key, of.get(key).and_then(Option::as_deref))))
        };
        Decision::change(changed(&seen.labels), format!("{}{restarts}", changed(&self.want)))
    }

    pub(super) fn inverse(&self, before: &LabelsSeen) -> Option<Self> {
        let uid = before.uid.clone()?;
        Some(Self { want: before.labels.clone(), only: Some(uid), ..self.clone() })
    }
}

/// `istio-injection=enabled, no istio.io/rev`.
fn words<'a>(labels: impl Iterator<Item = (&'a String, Option<&'a str>)>) -> String {
    let one = |(key, value): (&String, Option<&str>)| match value {
        Some(value) => format!("{key}={value}"),
        None => format!("no {key}"),
    };
    labels.map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(want: &[(&str, Option<&str>)]) -> LabelsStep {
        LabelsStep {
            family: Family::Mesh,
            api_version: "v1".into(),
            kind: "Namespace".into(),
            namespace: None,
            name: "shop".into(),
            place: LabelPlace::Object,
            want: want.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect(),
            only: None,
        }
    }

    fn seen(step: &LabelsStep, uid: &str, labels: &[(&str, &str)]) -> LabelsSeen {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LabelsSeen::of(step, Some(uid), &labels)
    }

    #[test]
    fn what_was_there_before_comes_back_and_other_labels_stay() {
        let step = step(&[("istio-injection", None), ("istio.io/rev", Some("canary"))]);
        let before = seen(&step, "1", &[("istio-injection", "enabled"), ("team", "a")]);
        let Decision::Change { from, to } = step.decide(&before) else { panic!() };
        assert_eq!(from, "istio-injection=enabled, no istio.io/rev");
        assert_eq!(to, "no istio-injection, istio.io/rev=canary");
        let after = seen(&step, "1", &[("istio.io/rev", "canary"), ("team", "a")]);
        assert_eq!(step.decide(&after), Decision::Keep);
        let undo = step.inverse(&before).unwrap();
        assert!(matches!(undo.decide(&after), Decision::Change { .. }));
        assert_eq!(undo.decide(&before), Decision::Keep);
        assert_eq!(undo.key(), "mesh/labels/Namespace/-/shop");
    }

    #[test]
    fn an_object_made_anew_is_not_undone() {
        let step = step(&[("istio-injection", Some("enabled"))]);
        let undo = step.inverse(&seen(&step, "1", &[])).unwrap();
        assert_eq!(undo.decide(&seen(&step, "2", &[("istio-injection", "enabled")])), Decision::Keep);
        assert_eq!(undo.decide(&LabelsSeen::default()), Decision::Keep);
        assert!(matches!(step.decide(&LabelsSeen::default()), Decision::Refuse { .. }));
    }
}
