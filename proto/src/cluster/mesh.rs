//! Istio: one control plane of one revision with all that its installation brings.
//!
//! A step carries what makes it and what removes it as data: a plan leaves no choice, and what undoes it years later
//! needs neither the rack nor the file that led to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Family;
use crate::name::{ToolName, ToolVersion};
use crate::step::Decision;
use crate::tool::ToolRun;

/// How Istio is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeshMethod {
    /// `istioctl install`.
    Istioctl,
    /// The in-cluster operator; gone since 1.24.
    Operator,
    /// Helm charts.
    Helm,
}

impl MeshMethod {
    /// As the rack writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Istioctl => "istioctl",
            Self::Operator => "operator",
            Self::Helm => "helm",
        }
    }
}

/// An object that an installation consists of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshPart {
    /// Its kind: `Deployment`, `DaemonSet`, `Service`, or one of webhooks.
    pub kind: String,
    /// Its namespace; `None` for objects of the whole cluster.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for MeshPart {
    /// `Deployment istio-system/istiod`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One thing to do. Acts are done in order; each is safe to repeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MeshAct {
    /// Run a tool on a control plane and expect exit code 0.
    Run(Box<ToolRun>),
    /// Apply an object through the API (server-side).
    Apply(Value),
    /// Delete an object through the API and wait until it is gone; nothing when there is none.
    Delete {
        /// Its API version.
        api_version: String,
        /// Its kind.
        kind: String,
        /// Its namespace.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// Wait until these are there and ready.
    Await(Vec<MeshPart>),
}

/// One installation as it is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// How.
    pub method: MeshMethod,
    /// Of which release: `1.29.1`.
    pub version: String,
    /// Istio's name of the profile.
    pub profile: String,
    /// The namespace of the control plane.
    pub namespace: String,
    /// All settings beyond the profile in one text, which is the same whenever they are the same.
    pub settings: String,
    /// What it consists of, once it is whole.
    pub parts: Vec<MeshPart>,
    /// What makes it, or changes what is there to it.
    pub make: Vec<MeshAct>,
    /// What removes it and leaves all that control planes share.
    pub remove: Vec<MeshAct>,
    /// What removes it with all that control planes share.
    pub purge: Vec<MeshAct>,
}

impl Installation {
    /// Whether it wants the same as `other`, whatever that takes.
    pub fn is_as(&self, other: &Self) -> bool {
        (self.method, &self.version, &self.profile, &self.namespace, &self.settings)
            == (other.method, &other.version, &other.profile, &other.namespace, &other.settings)
    }

    /// `1.29.1 by istioctl, profile default`.
    pub fn words(&self) -> String {
        format!("{} by {}, profile {}", self.version, self.method.as_str(), self.profile)
    }

    /// The tools that make and remove it, name and version.
    pub fn tools(&self) -> BTreeSet<(ToolName, ToolVersion)> {
        let acts = self.make.iter().chain(&self.remove).chain(&self.purge);
        let runs = acts.filter_map(|act| match act {
            MeshAct::Run(run) => Some((run.tool.parse().ok()?, run.version.parse().ok()?)),
            _ => None,
        });
        runs.collect()
    }

    /// The namespaces that it is in: its own, those of its parts, and those of what makes it, such as the operator.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        let awaited = self.make.iter().filter_map(|act| match act {
            MeshAct::Await(parts) => Some(parts),
            _ => None,
        });
        let parts = awaited.flatten().chain(&self.parts).filter_map(|part| part.namespace.as_deref());
        parts.chain([self.namespace.as_str()]).collect()
    }

    fn has_control_plane(&self) -> bool {
        self.parts.iter().any(|part| part.kind == "Deployment" && part.name.starts_with("istiod"))
    }
}

/// What is to become of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MeshWant {
    /// It shall be there, whole.
    Installed,
    /// It shall be gone.
    Gone {
        /// With all that control planes share (Istio's kinds among it), once no other control plane is there: before
        /// us there was none of it.
        shared: bool,
    },
    /// It stays as it is: others made it, and nobody knows how to bring it back.
    Left,
}

/// Wants one installation of Istio to be there, or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshStep {
    /// Its revision, as Istio's label `istio.io/rev` has it: `default` where it has none.
    pub revision: String,
    /// What is to become of it.
    pub want: MeshWant,
    /// What it is.
    pub install: Installation,
    /// Whether one that others made is taken over.
    #[serde(default)]
    pub take_over: bool,
}

/// What there is of a revision of Istio.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeshSeen {
    /// Whether its control plane is there.
    #[serde(default)]
    pub there: bool,
    /// The control plane's version, where that can be told.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether we began to install it, once.
    #[serde(default)]
    pub ours: bool,
    /// What we installed there to its end.
    #[serde(default)]
    pub installed: Option<Box<Installation>>,
    /// What others changed since: `ConfigMap istio-system/istio`.
    #[serde(default)]
    pub edited: Vec<String>,
    /// What the wanted installation lacks, in words: `Deployment istio-system/istiod: not there`.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// Objects of the wanted installation that are there, ready or not.
    #[serde(default)]
    pub parts: Vec<MeshPart>,
    /// Who else looks after this revision and would undo what is done, in words.
    #[serde(default)]
    pub owner: Option<String>,
    /// Other revisions whose control planes are there.
    #[serde(default)]
    pub beside: Vec<String>,
    /// Whether the API knows Istio's kinds.
    #[serde(default)]
    pub kinds: bool,
}

/// What we installed, for as long as it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeshRecord {
    /// As it was wanted.
    pub install: Installation,
    /// What it brought, each object in short: what tells later that somebody changed it.
    #[serde(default)]
    pub live: BTreeMap<String, String>,
}

impl MeshStep {
    pub(super) fn key(&self) -> String {
        format!("{}/{}", Family::Mesh.as_str(), self.revision)
    }

    pub(super) fn title(&self) -> String {
        let Installation { version, .. } = &self.install;
        let revision = match self.revision.as_str() {
            "default" => String::new(),
            named => format!(", revision {named}"),
        };
        match self.want {
            MeshWant::Installed => format!("install Istio {version}{revision}"),
            MeshWant::Gone { .. } => format!("uninstall Istio {version}{revision}"),
            MeshWant::Left => format!("leave Istio{revision} as it is"),
        }
    }

    /// What to do, given what was seen. Pure.
    pub fn decide(&self, seen: &MeshSeen) -> Decision {
        let refused = |why: Option<String>| why.map(|why| Decision::Refuse { why });
        match self.want {
            MeshWant::Left => Decision::Keep,
            MeshWant::Gone { .. } => {
                refused(self.owned(seen)).filter(|_| seen.there).unwrap_or_else(|| self.to_be_gone(seen))
            }
            MeshWant::Installed => {
                let why = self.owned(seen).or_else(|| self.foreign(seen)).or_else(|| self.too_far(seen));
                refused(why).unwrap_or_else(|| self.to_be_there(seen))
            }
        }
    }

    fn owned(&self, seen: &MeshSeen) -> Option<String> {
        let owner = seen.owner.as_ref()?;
        Some(format!("{owner} looks after revision {}, too, and would undo what is done", self.revision))
    }

    fn foreign(&self, seen: &MeshSeen) -> Option<String> {
        if let Some(installed) = &seen.installed
            && installed.method != self.install.method
        {
            let (is, wanted) = (installed.method.as_str(), self.install.method.as_str());
            return Some(format!("it was installed by {is}, and {wanted} cannot take it over in place"));
        }
        let version = seen.version.as_deref().unwrap_or("of some version");
        (seen.there && !seen.ours && !self.take_over)
            .then(|| format!("Istio {version} of revision {} is there, and not by us", self.revision))
    }

    /// From one minor version to the next, or back: more was never tried by its makers.
    fn too_far(&self, seen: &MeshSeen) -> Option<String> {
        let now = seen.version.as_ref()?;
        let ((major, from), (same, to)) = (minor(now)?, minor(&self.install.version)?);
        let via = if from < to { from + 1 } else { from - 1 };
        (major != same || from.abs_diff(to) > 1).then(|| {
            let wanted = &self.install.version;
            format!("from {now} to {wanted} goes past a minor version; go to {major}.{via} first")
        })
    }

    fn to_be_gone(&self, seen: &MeshSeen) -> Decision {
        // Gateways are of all revisions: the ones of another stay.
        let parts = if seen.beside.is_empty() { seen.parts.as_slice() } else { &[] };
        match (seen.there, parts) {
            (true, _) => Decision::change(seen.version.as_deref().unwrap_or("there"), "gone"),
            (false, []) => Decision::Keep,
            (false, [first, ..]) => Decision::change(format!("{first} is left"), "gone"),
        }
    }

    fn to_be_there(&self, seen: &MeshSeen) -> Decision {
        let install = &self.install;
        if install.has_control_plane() && !seen.there {
            return Decision::change("not there", install.words());
        }
        let Some(installed) = &seen.installed else {
            let from = if seen.ours { "begun by a run that was cut off" } else { "installed by others" };
            let from = if install.has_control_plane() || seen.ours { from } else { "not there" };
            return Decision::change(from, install.words());
        };
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let mut differ = |is: &str, wanted: &str| {
            if is != wanted {
                from.push(is.to_owned());
                to.push(wanted.to_owned());
            }
        };
        differ(
            seen.version.as_deref().filter(|_| install.has_control_plane()).unwrap_or(&install.version),
            &install.version,
        );
        differ(&format!("profile {}", installed.profile), &format!("profile {}", install.profile));
        if installed.settings != install.settings || installed.namespace != install.namespace {
            differ("other settings", "the rack's settings");
        }
        if !seen.edited.is_empty() {
            differ(&format!("changed by others: {}", seen.edited.join(", ")), "as installed");
        }
        if !seen.lacks.is_empty() {
            differ(&seen.lacks.join(", "), "there and ready");
        }
        match from.is_empty() {
            true => Decision::Keep,
            false => Decision::change(from.join("; "), to.join("; ")),
        }
    }

    pub(super) fn inverse(&self, before: &MeshSeen) -> Option<Self> {
        let undo = |want, install: &Installation| {
            Some(Self { want, install: install.clone(), take_over: false, ..self.clone() })
        };
        match (self.want, &before.installed) {
            (MeshWant::Left, _) => None,
            (_, Some(installed)) => undo(MeshWant::Installed, installed),
            (MeshWant::Gone { .. }, None) => None,
            (MeshWant::Installed, None) if before.there && !before.ours => {
                undo(MeshWant::Left, &self.install)
            }
            (MeshWant::Installed, None) => undo(MeshWant::Gone { shared: !before.kinds }, &self.install),
        }
    }
}

impl MeshSeen {
    pub(super) fn still(&self, now: &Self) -> bool {
        let of = |seen: &Self| {
            let installed = seen.installed.as_ref().map(|i| (i.version.clone(), i.settings.clone()));
            (seen.there, seen.version.clone(), seen.owner.clone(), seen.edited.clone(), installed)
        };
        of(self) == of(now)
    }
}

/// `1.29` of `1.29.1`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
