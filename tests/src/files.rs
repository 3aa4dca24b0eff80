//! The files that the operator gets: `rack.yaml` for the coordinator, `ssh_config` for everybody's ssh.

use std::fmt::Write as _;
use std::path::Path;

use crate::layout::Layout;
use crate::spec::{BASTION, Login, Spec};

/// The user that the rack's file tells to log in as.
pub(crate) fn user(spec: &Spec) -> &'static str {
    if spec.login == Login::Root { "root" } else { "ops" }
}

/// The rack's file.
pub(crate) fn rack_yaml(spec: &Spec, layout: &Layout, dir: &Path) -> String {
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
    for (index, name) in spec.hosts.iter().enumerate() {
        let address = layout.host(name).map_or_else(String::new, |station| station.address().to_string());
        let roles = if index == 0 { ", roles: [control-plane]" } else { "" };
        let _ = writeln!(yaml, "  - {{name: {name}, address: {address}{roles}}}");
    }
    yaml.push_str(WANTED);
    yaml
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
  istio: {version: 1.17.5, method: istioctl, profile: default}
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
        format!("{}---\n{}", rack_yaml(spec, &layout, dir), ssh_config(spec, &layout, dir))
    }

    #[test]
    fn the_coordinator_accepts_every_shape() {
        for login in [Login::Sudo, Login::SudoPassword, Login::Root] {
            for (bastion, count) in [(false, 1), (true, 3), (false, 300)] {
                let mut spec = Spec::new("lab".parse().unwrap(), count).login(login);
                spec.bastion = bastion;
                let text = rack_yaml(&spec, &lay_out(&spec), Path::new("/rack"));
                let (_, warnings) = rackwright::rack::parse("rack.yaml", &text).unwrap();
                assert!(warnings.is_empty(), "{warnings:?}");
            }
        }
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
