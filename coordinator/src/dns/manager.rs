//! Who else writes the Corefile: distributions and deployers that put back what they find changed.

use std::collections::BTreeMap;
use std::fmt;

/// Who would revert an edit of the Corefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manager {
    /// RKE2's packaged Helm chart `rke2-coredns`.
    Rke2,
    /// k3s's packaged manifest.
    K3s,
    /// k0s's controller.
    K0s,
    /// The addon manager, in mode Reconcile.
    AddonManager,
    /// A Helm release: an upgrade writes the chart's values over it.
    Helm(String),
    /// Argo CD or Flux, with the application or kustomization where it is known.
    GitOps {
        /// The tool.
        tool: &'static str,
        /// What it deploys this by.
        name: String,
    },
}

/// Recognises who writes CoreDNS's ConfigMap by its name, labels and annotations.
pub fn recognise(
    name: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Option<Manager> {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let annotation = |key: &str| annotations.get(key).cloned();
    let release = annotation("meta.helm.sh/release-name");
    if name.starts_with("rke2-coredns") || release.as_deref() == Some("rke2-coredns") {
        return Some(Manager::Rke2);
    }
    // What k3s deploys from its manifests it marks as parts of an add-on's set of objects.
    if label("objectset.rio.cattle.io/hash").is_some()
        || annotation("objectset.rio.cattle.io/owner-name").is_some()
    {
        return Some(Manager::K3s);
    }
    if label("k0s.k0sproject.io/stack").is_some() {
        return Some(Manager::K0s);
    }
    if label("addonmanager.kubernetes.io/mode") == Some("Reconcile") {
        return Some(Manager::AddonManager);
    }
    let argo = annotation("argocd.argoproj.io/tracking-id");
    if let Some(name) = argo.or_else(|| label("argocd.argoproj.io/instance").map(str::to_owned)) {
        let name = name.split(':').next().unwrap_or_default().to_owned();
        return Some(Manager::GitOps { tool: "Argo CD", name });
    }
    let flux = ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"];
    if let Some(name) = flux.iter().find_map(|key| label(key)) {
        return Some(Manager::GitOps { tool: "Flux", name: name.to_owned() });
    }
    release.map(Manager::Helm)
}

impl Manager {
    /// Where upstreams are set then.
    pub fn home(&self) -> String {
        match self {
            Self::Rke2 => "set them in a HelmChartConfig `rke2-coredns` in kube-system (a file in /var/lib/rancher/rke2/server/manifests/), under `servers[].plugins` of its `valuesContent`".into(),
            Self::K3s => "name them in a file of resolv.conf's form and give its path as `resolv-conf:` in /etc/rancher/k3s/config.yaml of every node; zones of your own go into the ConfigMap `coredns-custom` in kube-system".into(),
            Self::K0s => "name them in the resolv.conf that kubelet hands to pods, on every node: k0s has no setting for them".into(),
            Self::AddonManager => "set them where the addon manager has its manifests, on the control plane or at the cluster's provider".into(),
            Self::Helm(release) => format!("set them in the values of the Helm release `{release}`"),
            Self::GitOps { tool, name } => format!("set them in what {tool} deploys as `{name}`"),
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rke2 => f.write_str("RKE2 deploys CoreDNS by its chart rke2-coredns"),
            Self::K3s => f.write_str("k3s deploys CoreDNS by its packaged manifest"),
            Self::K0s => f.write_str("k0s's controller deploys CoreDNS"),
            Self::AddonManager => f.write_str("the addon manager deploys CoreDNS and reconciles it"),
            Self::Helm(release) => write!(f, "the Helm release `{release}` deploys CoreDNS"),
            Self::GitOps { tool, name } => write!(f, "{tool} deploys CoreDNS as `{name}`"),
        }
    }
}
