//! One text inside of a ConfigMap: kube-proxy's `config.conf`, CoreDNS' `Corefile`.

use serde::{Deserialize, Serialize};

use super::Family;
use crate::step::Decision;

/// Wants one entry of a ConfigMap to be exactly this text. All else in the ConfigMap is left alone: other entries,
/// labels, and annotations such as kubeadm's hash of its component configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextStep {
    /// The part of the cluster that it is about.
    pub family: Family,
    /// The ConfigMap's namespace.
    pub namespace: String,
    /// The ConfigMap's name.
    pub name: String,
    /// The key in its `data`.
    pub entry: String,
    /// The whole text.
    pub want: String,
}

/// What a ConfigMap holds there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextSeen {
    /// The text; `None` when the ConfigMap or its entry is missing.
    pub text: Option<String>,
    /// The ConfigMap's `metadata.resourceVersion`: what a replacement is bound to.
    #[serde(default)]
    pub resource_version: Option<String>,
}

impl TextStep {
    pub(super) fn key(&self) -> String {
        let what = match self.family {
            Family::Dns => "corefile",
            Family::Proxy | Family::Balancer | Family::Mesh => "config",
        };
        format!("{}/{what}", self.family.as_str())
    }

    pub(super) fn title(&self) -> String {
        format!("edit {} of ConfigMap {}/{}", self.entry, self.namespace, self.name)
    }

    pub(super) fn decide(&self, seen: &TextSeen) -> Decision {
        match &seen.text {
            None => Decision::Refuse {
                why: format!("ConfigMap {}/{} has no {}", self.namespace, self.name, self.entry),
            },
            Some(text) if *text == self.want => Decision::Keep,
            Some(text) => {
                let (from, to) = first_difference(text, &self.want);
                Decision::change(from, to)
            }
        }
    }

    pub(super) fn inverse(&self, before: &TextSeen) -> Option<Self> {
        before.text.clone().map(|want| Self { want, ..self.clone() })
    }
}

/// The first line that differs, on both sides: enough for one line of a preview, which has the diff besides.
fn first_difference(from: &str, to: &str) -> (String, String) {
    let (mut left, mut right) = (from.lines(), to.lines());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return ("other line ends".into(), "as before".into()),
            (a, b) if a == b => {}
            (a, b) => return (a.unwrap_or("").trim().to_owned(), b.unwrap_or("").trim().to_owned()),
        }
    }
}
