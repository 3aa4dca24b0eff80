//! Istio and Helm: their versions, what they are built of, and the images that a cluster's hosts have of them.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::release::Component;
use super::{build, envoy};
use crate::error::Result;

/// A version of Istio that the lab has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Istio {
    /// 1.17.5: its archive only, no images.
    #[value(name = "1.17")]
    #[serde(rename = "1.17")]
    V1_17,
    /// 1.23.2, the last version with an operator in the cluster.
    #[value(name = "1.23")]
    #[serde(rename = "1.23")]
    V1_23,
    /// 1.29.1
    #[value(name = "1.29")]
    #[serde(rename = "1.29")]
    V1_29,
}

/// The user that Istio's images run as; kubelet refuses names where `runAsNonRoot` is asked for.
const USER: &str = "1337:1337";
/// What pilot-agent writes Envoy's configuration from.
const BOOTSTRAP: &str = "var/lib/istio/envoy/envoy_bootstrap_tmpl.json";
const MODULE: &str = "istio.io/istio";
/// Charts and profiles, and what else lies in a release.
const MANIFESTS: [(&str, &str); 3] = [(MODULE, "manifests"), (MODULE, "LICENSE"), (MODULE, "README.md")];
const WITH_BOOTSTRAP: &[(&str, &str)] =
    &[MANIFESTS[0], MANIFESTS[1], MANIFESTS[2], (MODULE, "tools/packaging/common/envoy_bootstrap.json")];

/// Without a hub and a tag of their own, programs of Istio ask for images `unknown`.
const ISTIO_1_17: Component = Component {
    link: &[
        ("istio.io/pkg/version.buildVersion", "1.17.5"),
        ("istio.io/pkg/version.buildTag", "1.17.5"),
        ("istio.io/pkg/version.buildHub", "docker.io/istio"),
        ("istio.io/pkg/version.buildGitRevision", "681b4f65a752"),
        ("istio.io/pkg/version.buildStatus", "Clean"),
    ],
    files: &MANIFESTS,
    ..Component::named("istio-1.17.5")
};
const ISTIO_1_23: Component = Component {
    link: &[
        ("istio.io/istio/pkg/version.buildVersion", "1.23.2"),
        ("istio.io/istio/pkg/version.buildTag", "1.23.2"),
        ("istio.io/istio/pkg/version.buildHub", "docker.io/istio"),
        ("istio.io/istio/pkg/version.buildGitRevision", "da0b3f29e9f9"),
        ("istio.io/istio/pkg/version.buildStatus", "Clean"),
    ],
    files: WITH_BOOTSTRAP,
    ..Component::named("istio-1.23.2")
};
const ISTIO_1_29: Component = Component {
    link: &[
        ("istio.io/istio/pkg/version.buildVersion", "1.29.1"),
        ("istio.io/istio/pkg/version.buildTag", "1.29.1"),
        ("istio.io/istio/pkg/version.buildHub", "docker.io/istio"),
        ("istio.io/istio/pkg/version.buildGitRevision", "6991a379e1fc"),
        ("istio.io/istio/pkg/version.buildStatus", "Clean"),
    ],
    files: WITH_BOOTSTRAP,
    ..Component::named("istio-1.29.1")
};

/// The version of Helm, as its publisher writes it.
pub(super) const HELM_VERSION: &str = "v3.22.0";
/// Charts ask it for a Kubernetes; alone it answers with the one of its libraries.
pub(super) const HELM: Component = Component {
    link: &[
        ("helm.sh/helm/v3/internal/version.version", HELM_VERSION),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", "37"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", "37"),
    ],
    files: &[("helm.sh/helm/v3", "LICENSE"), ("helm.sh/helm/v3", "README.md")],
    ..Component::named("helm-3.22.0")
};

impl Istio {
    /// The full version.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_17 => "1.17.5",
            Self::V1_23 => "1.23.2",
            Self::V1_29 => "1.29.1",
        }
    }

    /// Its programs, charts and profiles.
    pub(crate) fn component(self) -> &'static Component {
        match self {
            Self::V1_17 => &ISTIO_1_17,
            Self::V1_23 => &ISTIO_1_23,
            Self::V1_29 => &ISTIO_1_29,
        }
    }

    /// The images that its charts name; `base` is the tree that Envoy's libraries come from.
    pub(super) fn images(self, base: &Path) -> Result<Vec<Image>> {
        let component = self.component();
        let image = |name: &str, program: &str| {
            let name = format!("docker.io/istio/{name}:{}", self.version());
            Image::of(name, component, program, &format!("usr/local/bin/{program}")).of_user(USER)
        };
        let files = build::ensure(component)?.join("files");
        let pilot = || image("pilot", "pilot-discovery");
        let proxy = || -> Result<Image> {
            let proxy = image("proxyv2", "pilot-agent").with_tools(&["iptables", "ip6tables"]);
            let proxy = proxy.with_file(files.join("envoy_bootstrap.json"), BOOTSTRAP);
            let files = envoy::files(base)?.into_iter();
            Ok(files.fold(proxy, |image, (from, to)| image.with_file(from, &to)))
        };
        let operator = || {
            let manifests = files.join("manifests");
            image("operator", "operator").with_file(manifests, "var/lib/istio/manifests")
        };
        Ok(match self {
            Self::V1_17 => Vec::new(),
            Self::V1_23 => vec![pilot(), proxy()?, operator()],
            Self::V1_29 => vec![pilot(), proxy()?],
        })
    }
}
