//! One installation as it is wanted, and the commands that make and unmake it, as data.
//!
//! All of it was run against an API server, twice, to see that it can be repeated: istioctl 1.17.5, 1.23.2 and 1.29.1,
//! the operator 1.23.2, helm 3.22 with the charts of all three.

mod helm;
mod istioctl;
mod operator;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rackwright_proto::tool::ToolRun;
use serde_json::{Value, json};

use super::profile::{Expected, NAMESPACE};
use super::release::Release;
use super::settings::Settings;
use crate::rack::model::kubernetes::{Istio, IstioMethod};
pub use operator::NAMESPACE as OPERATOR_NAMESPACE;
pub(super) use operator::name as object_name;

/// One installation of Istio as the rack and the operator's file want it.
#[derive(Debug, Clone, PartialEq)]
pub struct Install {
    /// The release.
    pub release: Release,
    /// How it is installed.
    pub method: IstioMethod,
    /// Istio's name of the profile: the rack's, else that of the file, else `default`.
    pub profile: String,
    /// The revision; `None` is the default one.
    pub revision: Option<String>,
    /// The namespace of the control plane: `istio-system`, unless the file says another.
    pub namespace: String,
    /// The operator's file.
    pub settings: Settings,
}

/// One thing to do. Acts are done in order; each is safe to repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
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
    Await(Vec<Expected>),
}

impl Install {
    /// What the rack and the operator's file come to.
    pub fn of(istio: &Istio, settings: Settings) -> Self {
        let in_file = match &settings {
            Settings::Operator(file) => file.spec.as_ref().and_then(|spec| spec.profile.clone()),
            _ => None,
        };
        let profile = istio.profile.map(|profile| super::profile::name(profile).to_owned());
        Self {
            release: Release::of(&istio.version),
            method: istio.method,
            profile: profile.or(in_file).unwrap_or_else(|| "default".into()),
            revision: istio.revision.as_ref().map(ToString::to_string),
            namespace: settings.namespace().unwrap_or(NAMESPACE).to_owned(),
            settings,
        }
    }

    /// The revision as Istio's label `istio.io/rev` has it: `default` where there is none.
    pub fn rev(&self) -> &str {
        self.revision.as_deref().unwrap_or("default")
    }

    /// The name of the control plane's Deployment and Service: `istiod`, or `istiod-REVISION`.
    pub fn istiod(&self) -> String {
        match &self.revision {
            Some(revision) => format!("istiod-{revision}"),
            None => "istiod".into(),
        }
    }

    /// Everything that makes this installation what it is, as one text that is the same whenever it is the same: what
    /// its digest is taken of.
    pub fn canonical(&self) -> String {
        let settings = match &self.settings {
            Settings::None => Value::Null,
            Settings::Operator(file) => json!(file),
            Settings::Helm(values) => json!(values),
        };
        let method = json!(self.method);
        let (release, revision) = (self.release.to_string(), self.rev());
        json!({
            "release": release, "method": method, "profile": self.profile, "revision": revision,
            "namespace": self.namespace, "settings": settings,
        })
        .to_string()
    }

    /// What installs it, or changes what is there to it; `seconds` bounds each wait for workloads.
    pub fn acts(&self, seconds: u32) -> Vec<Act> {
        match self.method {
            IstioMethod::Istioctl => vec![istioctl::install(self, seconds)],
            IstioMethod::Operator => operator::install(self, seconds),
            IstioMethod::Helm => helm::install(self, seconds),
        }
    }

    /// What removes it. `last` says that no other control plane of Istio stays: then what all share goes, too, and with
    /// the kinds every object of them; but Helm leaves the kinds. istioctl comes back before the API has done with it.
    pub fn removal(&self, last: bool, seconds: u32) -> Vec<Act> {
        match self.method {
            IstioMethod::Istioctl => vec![istioctl::uninstall(self, last, seconds)],
            IstioMethod::Operator => operator::uninstall(self, last, seconds),
            IstioMethod::Helm => helm::uninstall(self, last, seconds),
        }
    }

    /// What makes its revision the one that `istio-injection: enabled` means; `None` where it is so by itself.
    pub fn default_tag(&self, seconds: u32) -> Option<Act> {
        self.revision.as_deref().map(|revision| istioctl::tag(self, "default", revision, seconds))
    }

    /// A run of a program of its release archive, with files beside it.
    fn run(&self, program: &str, args: Vec<String>, files: BTreeMap<String, String>, seconds: u32) -> Act {
        Act::Run(Box::new(ToolRun {
            tool: "istio".into(),
            version: self.release.to_string(),
            program: program.into(),
            args,
            files,
            seconds: seconds.min(ToolRun::LONGEST),
        }))
    }
}

/// What a run may take beyond its waits for workloads: rendering, applying, a slow API server.
const BESIDE_WAITS: u32 = 120;

/// Owned arguments.
fn args<const N: usize>(args: [&str; N]) -> Vec<String> {
    args.into_iter().map(str::to_owned).collect()
}
