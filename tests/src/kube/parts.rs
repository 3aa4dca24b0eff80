//! All that hosts of a cluster share.

use std::path::{Path, PathBuf};

use super::release::Release;
use super::shape::ClusterShape;
use super::{build, store, template};
use crate::base;
use crate::error::Result;
use crate::host::Host;

/// Directories of the lab's cache that make a host one of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// Debian with containerd.
    pub(crate) base: PathBuf,
    /// Layers above it: kubelet, kubeadm, kubectl, the plugins of the network.
    pub(crate) layers: Vec<PathBuf>,
    /// containerd's data, images included.
    pub(crate) store: PathBuf,
    /// The name server of the lab.
    pub(crate) resolver: PathBuf,
    /// MetalLB's own manifest.
    pub(crate) manifest: PathBuf,
}

/// What a new host gets of them.
pub(crate) fn give(parts: &Parts, template: Option<&Path>, host: &Host) -> Result<()> {
    match template {
        Some(template) => template::give(template, host),
        None => store::give(&parts.store, &host.dir().join("containerd")),
    }
}

impl Parts {
    /// Builds what was never built here. The quick parts first: what is missing on the machine is told early.
    pub(crate) fn ensure(release: Release, shape: &ClusterShape) -> Result<Self> {
        let base = base::ensure_kube()?;
        let tools = release.tools().iter().map(|tool| build::ensure(tool)).collect::<Result<Vec<_>>>()?;
        let resolver = build::ensure(release.coredns())?.join("bin/coredns");
        let kubernetes = build::ensure(release.kubernetes())?;
        let manifest = super::Cluster::metallb_manifest(shape.metallb)?;
        shape.istio.map(|istio| istio.archive()).transpose()?;
        let store = store::ensure(release, shape.metallb, shape.istio, &base)?;
        let layers = [kubernetes].iter().chain(&tools).map(|component| component.join("host")).collect();
        Ok(Self { base, layers, store, resolver, manifest })
    }
}
