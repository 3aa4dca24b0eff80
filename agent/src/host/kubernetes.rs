//! Files that Kubernetes keeps on the node.

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::secret::{Kubeconfig, Secret};

use super::Host;
use super::read::SMALL;

/// Where distributions keep the kubeconfig of the cluster's administrator: kubeadm, k3s, RKE2, k0s. kubeadm's
/// `super-admin.conf` is left alone: it answers to no RBAC.
const KUBECONFIGS: [&str; 4] = [
    "/etc/kubernetes/admin.conf",
    "/etc/rancher/k3s/k3s.yaml",
    "/etc/rancher/rke2/rke2.yaml",
    "/var/lib/k0s/pki/admin.conf",
];

impl Host {
    /// The first kubeconfig of an administrator that is there, at most 256 KiB; none on a node without.
    pub fn kubeconfig(&self) -> Result<Option<Kubeconfig>, Fault> {
        for path in KUBECONFIGS {
            let read = self.read_text(path, SMALL).map_err(|e| {
                Fault::new(
                    FaultKind::Host,
                    format!("read the administrator's kubeconfig {path}"),
                    e.to_string(),
                )
                .next("let the agent run as root: set `ssh.become: sudo` in the rack, or `ssh.user: root`")
            })?;
            if let Some(text) = read {
                return Ok(Some(Kubeconfig { path: path.into(), text: Secret::new(text) }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put(tree: &tempfile::TempDir, path: &str, text: &str) {
        let path = tree.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_first_kubeconfig_that_is_there_is_read() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::at(tree.path());
        put(&tree, "/etc/kubernetes/super-admin.conf", "never");
        assert_eq!(host.kubeconfig().unwrap(), None);
        for path in KUBECONFIGS.iter().rev() {
            put(&tree, path, path);
            let read = host.kubeconfig().unwrap().unwrap();
            assert_eq!((read.path.as_str(), read.text.expose()), (*path, *path));
        }
    }

    #[test]
    fn a_kubeconfig_that_is_too_long_is_a_fault_that_shows_nothing_of_it() {
        let tree = tempfile::tempdir().unwrap();
        put(&tree, KUBECONFIGS[0], &"hunter2".repeat(50_000));
        let fault = Host::at(tree.path()).kubeconfig().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "read the administrator's kubeconfig /etc/kubernetes/admin.conf: longer than 262144 bytes"
        );
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
}
