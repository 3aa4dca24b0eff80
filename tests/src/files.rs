//! The files that the operator gets: `rack.yaml` for the coordinator, `ssh_config` for everybody's ssh.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::kube::{Istio, Metallb, PODS, Release};
use crate::layout::{Layout, RESOLVER_ADDRESS};
use crate::spec::{BASTION, Kind, Login, Spec};

/// The user that the rack's file tells to log in as.
pub(crate) fn user(spec: &Spec) -> &'static str {
    if spec.login == Login::Root { "root" } else { "ops" }
}

/// MetalLB's manifest in the rack's folder.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Its name there.
    pub(crate) file: String,
    version: &'static str,
    sha256: String,
}

impl Manifest {
    pub(crate) fn new(metallb: Metallb, text: &str) -> Self {
        let version = metallb.version();
        let digest = Sha256::digest(text);
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { file: format!("metallb-{version}.yaml"), version, sha256 }
    }
}

/// Istio's release archive in the rack's folder, and what is set besides.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) istio: Istio,
    /// The archive's name there.
    pub(crate) archive: String,
    pub(crate) sha256: String,
}

impl Mesh {
    /// The name of the IstioOperator.
    pub(crate) const SETTINGS: &str = "istio.yaml";
    /// The name of the same as values of Helm, which the rack's file does not tell.
    pub(crate) const VALUES: &str = "istio-values.yaml";
}

/// The rack's file; a rack with a manifest is one of a cluster.
pub(crate) fn rack_yaml(
    spec: &Spec,
    layout: &Layout,
    dir: &Path,
    manifest: Option<&Manifest>,
    mesh: Option<&Mesh>,
) -> String {
    let mut yaml = format!(
        "# A rack of the lab: made by `cargo lab up`, gone with `cargo lab down`.\n\
         apiVersion: rackwright.dev/v1\nkind: Rack\nssh:\n  user: {}\n",
        user(spec)
    );
    if spec.login != Login::Root {
        yaml.push_str("  become: sudo\n");
    }
    let _ = writeln!(yaml, "  identity: {}", dir.join("id_ed25519").display());
    let _ = writeln!(yaml, "  known_hosts: {}", dir.join("known_hosts").display());
    if spec.login == Login::SudoPassword {
        let _ = writeln!(yaml, "  becomePassword: {{file: {}}}", dir.join("sudo-password").display());
    }
    if let Some(bastion) = layout.host(BASTION) {
        let _ = writeln!(yaml, "  jump: [{{address: {}}}]", bastion.address());
    }
    yaml.push_str("nodes:\n");
    for name in &spec.hosts {
        let address = layout.host(name).map_or_else(String::new, |station| station.address().to_string());
        let is_control_plane = spec.control_plane_hosts().contains(name);
        let roles = if is_control_plane { ", roles: [control-plane]" } else { "" };
        let _ = writeln!(yaml, "  - {{name: {name}, address: {address}{roles}}}");
    }
    match (spec.kind, manifest) {
        (Kind::Kube(release), Some(manifest)) => yaml.push_str(&wanted_of_cluster(release, manifest)),
        _ => yaml.push_str(WANTED),
    }
    yaml + &mesh.map(wanted_of_mesh).unwrap_or_default()
}

/// Goes on in `kubernetes`.
fn wanted_of_mesh(mesh: &Mesh) -> String {
    let Mesh { istio, archive, sha256 } = mesh;
    let method = if *istio == Istio::V1_23 { "    method: operator\n" } else { "" };
    format!(
        "  istio:
    version: {version}
{method}    profile: default
    archive:
      path: {archive}
      sha256: {sha256}
    file: {settings}
",
        version = istio.version(),
        settings = Mesh::SETTINGS,
    )
}

/// What a rack of the lab with a cluster wants: from a cluster as kubeadm leaves it to a Service `web` that is
/// reached from outside.
fn wanted_of_cluster(release: Release, manifest: &Manifest) -> String {
    let Manifest { file, version, sha256 } = manifest;
    let (kubernetes, mode) = (release.version(), release.proxy_mode());
    format!(
        "\
hosts:
  modules: [overlay]
  sysctls: {{net.ipv4.ip_forward: 1}}
  swap: off
network: {{podCIDRs: [{PODS}], serviceCIDRs: [10.96.0.0/12]}}
kubernetes:
  version: {kubernetes}
  proxy: {{mode: {mode}}}
  dns: {{forward: [{RESOLVER_ADDRESS}]}}
  metallb:
    version: {version}
    manifest:
      path: {file}
      sha256: {sha256}
    pools: [{{name: first, addresses: [192.0.2.200-192.0.2.219]}}]
    advertisements: [{{pools: [first]}}]
  services: [{{name: web}}]
"
    )
}

/// What the lab's rack wants; pool and sysctls are those that the defects spoil.
const WANTED: &str = "\
hosts:
  modules: [overlay]
  sysctls: {net.ipv4.ip_forward: 1}
  swap: off
kubernetes:
  proxy: {mode: ipvs, scheduler: rr, strictARP: true}
  dns: {forward: [192.0.2.53]}
  metallb:
    version: 0.13.10
    pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}]
    advertisements: [{pools: [first]}]
";

/// A configuration for `ssh -F`: hosts by name, with the rack's keys only.
pub(crate) fn ssh_config(spec: &Spec, layout: &Layout, dir: &Path) -> String {
    let mut config = String::new();
    for (name, station) in &layout.hosts {
        let _ = writeln!(config, "Host {name}\n  HostName {}", station.address());
        if spec.bastion && name != BASTION {
            let _ = writeln!(config, "  ProxyJump {BASTION}");
        }
    }
    let _ = writeln!(
        config,
        "Host *\n  User {}\n  IdentityFile {dir}/id_ed25519\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         UserKnownHostsFile {dir}/known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  \
         ConnectTimeout 10",
        user(spec),
        dir = dir.display()
    );
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::lay_out;

    fn rendered(spec: &Spec) -> String {
        let layout = lay_out(spec);
        let dir = Path::new("/rack");
        format!(
            "{}---\n{}",
            rack_yaml(spec, &layout, dir, manifest_of(spec).as_ref(), mesh_of(spec).as_ref()),
            ssh_config(spec, &layout, dir)
        )
    }

    #[test]
    fn the_coordinator_accepts_every_shape() {
        for login in [Login::Sudo, Login::SudoPassword, Login::Root] {
            for (bastion, count) in [(false, 1), (true, 3), (false, 300)] {
                let mut spec = Spec::new("lab".parse().unwrap(), count).login(login);
                spec.bastion = bastion;
                assert_accepted(&spec);
            }
        }
        for release in [Release::V1_30, Release::V1_37] {
            for metallb in [Metallb::V0_13, Metallb::V0_16] {
                let spec = Spec::new("lab".parse().unwrap(), 4).kube(release).metallb(metallb);
                assert_accepted(&spec.clone().control_planes(3));
                assert_accepted(&spec.clone().istio(Istio::V1_29).overlay());
                assert_accepted(&spec.istio(Istio::V1_23));
            }
        }
    }

    fn assert_accepted(spec: &Spec) {
        let (manifest, mesh) = (manifest_of(spec), mesh_of(spec));
        let text = rack_yaml(spec, &lay_out(spec), Path::new("/rack"), manifest.as_ref(), mesh.as_ref());
        let (_, mut warnings) = rackwright::rack::parse("rack.yaml", &text).unwrap();
        // No Istio of the lab was made for the newest Kubernetes.
        warnings.retain(|warning| warning.path != "kubernetes.istio.version");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    fn manifest_of(spec: &Spec) -> Option<Manifest> {
        matches!(spec.kind, Kind::Kube(_)).then(|| Manifest::new(spec.cluster.metallb, "kind: Namespace"))
    }

    fn mesh_of(spec: &Spec) -> Option<Mesh> {
        let mesh = |istio| Mesh { istio, archive: "istio.tar.gz".to_owned(), sha256: "0".repeat(64) };
        spec.cluster.istio.map(mesh)
    }

    #[test]
    fn files_of_a_rack_with_a_mesh() {
        let spec = Spec::new("lab".parse().unwrap(), 2).kube(Release::V1_37).istio(Istio::V1_29);
        insta::assert_snapshot!(rendered(&spec));
    }

    #[test]
    fn files_of_a_rack_with_a_cluster() {
        let spec = Spec::new("lab".parse().unwrap(), 3).kube(Release::V1_37).control_planes(2);
        insta::assert_snapshot!(rendered(&spec));
    }

    #[test]
    fn files_of_a_plain_rack() {
        insta::assert_snapshot!(rendered(&Spec::new("lab".parse().unwrap(), 2)));
    }

    #[test]
    fn files_of_a_rack_behind_a_bastion() {
        insta::assert_snapshot!(rendered(&Spec::new("lab".parse().unwrap(), 1).bastion().login(Login::Root)));
    }
}
