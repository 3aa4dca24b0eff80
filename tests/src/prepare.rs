//! Prepares a host before its first boot: directory, identity, users, defects, scripts.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cgroup;
use crate::defect::Defect;
use crate::error::{Doing, Result};
use crate::host::{Host, extent};
use crate::keys;
use crate::kube::{self, Parts};
use crate::layout::{Layout, Station};
use crate::netns::station_script;
use crate::spec::{Kind, Login, Spec};
use crate::tree::Tree;
use crate::vm;

/// What all hosts of a rack share.
pub(crate) struct Shared<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) layout: &'a Layout,
    pub(crate) base: &'a Path,
    /// What hosts of a cluster have besides.
    pub(crate) parts: Option<&'a Parts>,
    /// A cluster of the same shape that they are to be copies of.
    pub(crate) template: Option<&'a Path>,
    /// What virtual machines boot from, and the tree that it was made of.
    pub(crate) image: Option<&'a vm::Image>,
    /// The operator's public key.
    pub(crate) authorized: &'a str,
}

/// Makes everything that the host's launcher needs.
pub(crate) fn prepare(shared: &Shared<'_>, host: &Host, station: &Station) -> Result<()> {
    for part in ["upper", "work", "root"] {
        let path = host.dir.join(part);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .doing(|| format!("create {}", path.display()))?;
    }
    if let (Some(parts), false) = (shared.parts, host.is_vm()) {
        kube::give(parts, shared.template, host)?;
    }
    let base = shared.image.filter(|_| host.is_vm()).map_or(shared.base, |image| &image.tree);
    let tree = Tree::new(base, host.dir.join("upper"));
    identity(shared, host, &tree)?;
    access(shared, &tree)?;
    for defect in shared.spec.defects_of(&host.name) {
        for edit in defect.edits() {
            tree.append(edit.path, edit.append)?;
        }
    }
    if let (Some(image), true) = (shared.image, host.is_vm()) {
        tree.put("etc/lab-network", &vm::network_file(station), 0o644)?;
        let template = shared.template.map(|template| template.join(&host.name).join("disk.raw"));
        vm::give(&template.unwrap_or_else(|| image.disk()), host)?;
    }
    scripts(shared, host, station)
}

/// Hostname, machine-id and SSH host key: each host has its own, unless a clone is ordered.
fn identity(shared: &Shared<'_>, host: &Host, tree: &Tree<'_>) -> Result<()> {
    let name = &host.name;
    tree.put("etc/hostname", &format!("{name}\n"), 0o644)?;
    tree.put("etc/hosts", &hosts_file(shared, name), 0o644)?;
    tree.put("etc/machine-id", &format!("{}\n", machine_id(shared.spec, name)), 0o444)?;
    let key = host.dir.join("ssh_host_ed25519_key");
    keys::generate(&key, name)?;
    let secret = fs::read_to_string(&key).doing(|| format!("read {}", key.display()))?;
    tree.put("etc/ssh/ssh_host_ed25519_key", &secret, 0o600)?;
    tree.put("etc/ssh/ssh_host_ed25519_key.pub", &format!("{}\n", keys::public(&key)?), 0o644)
}

/// With several control planes all their addresses have one name, a control plane's own first: whoever asks tries
/// one after the other.
fn hosts_file(shared: &Shared<'_>, name: &str) -> String {
    let mut text = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n::1\tlocalhost\n");
    let mut control_planes: Vec<&str> = match shared.spec.control_plane_hosts() {
        [_] => Vec::new(),
        several => several.iter().map(String::as_str).collect(),
    };
    control_planes.sort_by_key(|host| *host != name);
    for station in control_planes.iter().filter_map(|host| shared.layout.host(host)) {
        let _ = writeln!(text, "{}\t{}", station.address(), kube::ENDPOINT);
    }
    text
}

/// Derived from rack and host, so that it is unique and the same each time the rack is made.
fn machine_id(spec: &Spec, host: &str) -> String {
    use sha2::{Digest, Sha256};
    let cloned = spec.defects_of(host).any(|defect| defect == Defect::DuplicateMachineId);
    let original = || spec.hosts.iter().find(|other| *other != host);
    let owner = if cloned { original().map_or(host, String::as_str) } else { host };
    let digest = Sha256::digest(format!("{}/{owner}", spec.name));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The operator's key opens `ops` and `root`; what sudo asks of `ops` depends on the rack.
fn access(shared: &Shared<'_>, tree: &Tree<'_>) -> Result<()> {
    let line = format!("{}\n", shared.authorized);
    tree.put("root/.ssh/authorized_keys", &line, 0o600)?;
    tree.put("home/ops/.ssh/authorized_keys", &line, 0o600)?;
    if shared.spec.login != Login::SudoPassword {
        tree.put("etc/sudoers.d/ops", "ops ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)?;
    }
    Ok(())
}

fn scripts(shared: &Shared<'_>, host: &Host, station: &Station) -> Result<()> {
    let groups = cgroup::create(&host.id, extent(host.kind))?;
    let groups: Vec<String> = groups.iter().map(|group| group.display().to_string()).collect();
    let mut environment = format!(
        "NAME='{}'\nID='{}'\nBASE='{}'\nHOST_GROUPS='{}'\n",
        host.name,
        host.id,
        lower_directories(shared),
        groups.join(" ")
    );
    let mut network = station_script(shared.layout, station);
    if let (Some(image), true) = (shared.image, host.is_vm()) {
        environment += &vm::environment(shared.layout, station, image, shared.parts.is_some());
        network = vm::ports_script(shared.layout, station);
    }
    let boot = match host.kind {
        Kind::Systemd => include_str!("systemd.sh"),
        Kind::Light => include_str!("light.sh"),
        Kind::Kube(_) => include_str!("kube/boot.sh"),
        Kind::Vm => vm::BOOT,
    };
    for (file, text) in [
        ("host.env", environment.as_str()),
        ("network.sh", &network),
        ("launch.sh", include_str!("launch.sh")),
        ("boot.sh", boot),
    ] {
        let path = host.dir.join(file);
        fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The layers below a host's own, as overlayfs wants them: the uppermost first (overlayfs.rst).
fn lower_directories(shared: &Shared<'_>) -> String {
    let layers = shared.parts.iter().flat_map(|parts| &parts.layers).map(PathBuf::as_path);
    layers.chain([shared.base]).map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_ids_differ_unless_a_clone_is_ordered() {
        let spec = Spec::new("lab".parse().unwrap(), 3).defect("w2", Defect::DuplicateMachineId);
        assert_eq!(machine_id(&spec, "cp1").len(), 32);
        assert_ne!(machine_id(&spec, "cp1"), machine_id(&spec, "w1"));
        assert_eq!(machine_id(&spec, "w2"), machine_id(&spec, "cp1"));
    }
}
