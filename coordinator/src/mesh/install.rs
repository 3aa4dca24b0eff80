//! One installation as it is wanted, and the commands that make and unmake it, as data.

use rackwright_proto::tool::ToolRun;
use serde_json::Value;

use super::profile::Expected;
use super::release::Release;
use super::settings::Settings;
use crate::rack::model::kubernetes::{Istio, IstioMethod};

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
        Self {
            release: Release::of(&istio.version),
            method: istio.method,
            profile: istio.profile.map_or("default", super::profile::name).to_owned(),
            revision: istio.revision.as_ref().map(ToString::to_string),
            namespace: "istio-system".into(),
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
        String::new()
    }

    /// What installs it, or changes what is there to it; `seconds` bounds each wait for workloads.
    pub fn acts(&self, seconds: u32) -> Vec<Act> {
        let _ = seconds;
        Vec::new()
    }

    /// What removes it. `last` says that no other control plane of Istio stays: then what all share goes, too.
    pub fn removal(&self, last: bool, seconds: u32) -> Vec<Act> {
        let _ = (last, seconds);
        Vec::new()
    }

    /// What makes its revision the one that `istio-injection: enabled` means; `None` where it is so by itself.
    pub fn default_tag(&self, seconds: u32) -> Option<Act> {
        let _ = seconds;
        None
    }
}
