//! Istio in a cluster, installed as an operator would by hand: what tests of the mesh begin with.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::{Cluster, ClusterDefect, Istio};
use crate::error::{Doing, Result};
use crate::run::{await_until, must_with};
use crate::spec::Spec;

/// Its own waiting included.
const INSTALL_LIMIT: Duration = Duration::from_secs(400);
const UNPACK_LIMIT: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(120);
/// Where archives are unpacked on a host, out of the way of what is installed there.
const PLACE: &str = "/opt/rackwright-lab";
const KUBECONFIG: &str = "--kubeconfig=/etc/kubernetes/admin.conf";
/// The namespace of the mesh.
pub(super) const ISTIO_SYSTEM: &str = "--namespace=istio-system";

/// An IstioOperator that fits hosts of the lab and upstream's Envoy, which has no filters of Istio's own.
const SETTINGS: &str = include_str!("istio.yaml");
/// The lines of it without which upstream's Envoy rejects its configuration.
const NEEDED: [&str; 2] = ["telemetry:", "PILOT_ENABLE_METADATA_EXCHANGE"];

/// What the rack's file sets of Istio.
pub(crate) fn settings_for(spec: &Spec) -> String {
    let rejected = spec.cluster.defects.iter().any(|(_, defect)| *defect == ClusterDefect::GatewayRejects);
    let needed = |line: &str| NEEDED.iter().any(|needed| line.contains(needed));
    let lines = SETTINGS.lines().filter(|line| !rejected || !needed(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The same as values of Helm, for the charts `base` and `istiod`; the gateway's own takes none of them.
pub(crate) fn values_for(spec: &Spec) -> String {
    let settings = settings_for(spec);
    let values = settings.lines().skip_while(|line| *line != "  values:").skip(1);
    let values = values.filter_map(|line| line.strip_prefix("    ")).take_while(|line| *line != "gateways:");
    values.map(|line| format!("{line}\n")).collect()
}

impl Cluster {
    /// `istioctl` of a version in the host of the first control plane, with the rights of its administrator. Its
    /// archive is unpacked there, out of the PATH.
    pub fn istioctl(&self, istio: Istio) -> Result<Command> {
        let host = &self.control_planes()[0];
        let program = format!("{PLACE}/istio-{}/bin/istioctl", istio.version());
        if !host.sh(&format!("test -x {program}"))?.success() {
            let archive = istio.archive()?.path;
            let bytes = fs::read(&archive).doing(|| format!("read {}", archive.display()))?;
            let mut unpack = host.command("sh")?;
            unpack.args(["-euc", &format!("mkdir -p {PLACE} && tar -C {PLACE} -xz")]);
            must_with(unpack, Some(&bytes), &format!("unpack {} on cp1", archive.display()), UNPACK_LIMIT)?;
        }
        let mut istioctl = host.command(&program)?;
        istioctl.arg(KUBECONFIG);
        Ok(istioctl)
    }

    /// Installs Istio by `istioctl install` with the settings that the rack's file tells; returns when istiod and
    /// the gateway are ready. The gateway's Service gets an address once there is a MetalLB with a pool.
    pub fn install_istio(&self, istio: Istio) -> Result<()> {
        let mut install = self.istioctl(istio)?;
        install.args(["install", "--skip-confirmation", "--filename=-"]);
        let settings = settings_for(self.lab().spec());
        must_with(install, Some(settings.as_bytes()), "run `istioctl install`", INSTALL_LIMIT).map(drop)
    }

    /// A web server with a sidecar that says its node's name, as [`mesh_web`] has it. Returns when it is ready.
    pub fn deploy_mesh_web(&self, namespace: &str, name: &str) -> Result<()> {
        let objects = mesh_web(namespace, name);
        // istiod's webhooks refuse connections for a moment after their Service has an endpoint.
        await_until("Istio's webhooks let the objects in", LIMIT, || {
            self.apply(&objects).map_err(|error| error.to_string())
        })?;
        let workload = format!("deployment/{name}");
        let namespace = format!("--namespace={namespace}");
        self.kube(&["rollout", "status", &namespace, &workload, "--timeout=120s"], None).map(drop)
    }

    /// All of a shop that can be there before Istio is: a web server without a sidecar in a namespace of its own, and
    /// an Ingress of Istio's class that leads to it under `shop.lab.test`. Returns when it is ready.
    pub fn deploy_shop(&self) -> Result<()> {
        self.apply(include_str!("shop.yaml"))?;
        let wait = ["rollout", "status", "--namespace=shop", "deployment/shop", "--timeout=120s"];
        self.kube(&wait, None).map(drop)
    }

    /// The address that the mesh's ingress gateway was given, once it was.
    pub fn gateway_address(&self) -> Result<String> {
        self.address_in("istio-system", "istio-ingressgateway")
    }
}

/// A namespace whose pods get a sidecar, a Deployment and a Service in it, and a Gateway and a VirtualService that
/// lead there from the ingress gateway at port 80 under the host `NAME.lab.test`.
pub fn mesh_web(namespace: &str, name: &str) -> String {
    include_str!("mesh.yaml").replace("NAMESPACE", namespace).replace("NAME", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_envoy_rejects_lack_nothing_else() {
        let spec = || Spec::new("lab".parse().unwrap(), 1);
        let (all, fewer) = (
            settings_for(&spec()),
            settings_for(&spec().cluster_defect("cp1", ClusterDefect::GatewayRejects)),
        );
        assert_eq!(all.lines().count(), fewer.lines().count() + 2);
        assert!(!fewer.contains("METADATA_EXCHANGE") && fewer.contains("autoscaleEnabled"));
    }

    #[test]
    fn values_are_those_of_the_settings() {
        let values = values_for(&Spec::new("lab".parse().unwrap(), 1));
        assert!(values.starts_with("telemetry: {enabled: false}\n"), "{values}");
        assert!(values.contains("\npilot:\n  autoscaleEnabled: false\n"), "{values}");
        assert!(!values.contains("gateway"), "{values}");
    }
}
