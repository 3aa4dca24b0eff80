//! Files that Kubernetes keeps on the node.

use rackwright_proto::examine::KubeletNames;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::secret::{Kubeconfig, Secret};
use rackwright_proto::traces::KubeletDns;

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

/// Where the kubelet's settings are, of kubeadm and of most others.
const KUBELET: &str = "/var/lib/kubelet/config.yaml";
/// Where the kubelet looks for upstreams unless it is told otherwise.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The most name servers that are told; the kubelet itself heeds three.
const NAMESERVERS: usize = 16;

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

    /// Where the kubelet sends pods for names, and what could not be read.
    pub(crate) fn kubelet_names(&self) -> (Option<KubeletNames>, Option<String>) {
        let (dns, trouble) = self.kubelet_dns();
        let text = self.read_text(KUBELET, SMALL).ok().flatten().unwrap_or_default();
        let domain = scalar(&text, "clusterDomain").unwrap_or_default().to_owned();
        (dns.map(|dns| KubeletNames { dns, domain }), trouble)
    }

    /// The kubelet's settings for DNS, and what could not be read. None where it has no settings of its own.
    pub(super) fn kubelet_dns(&self) -> (Option<KubeletDns>, Option<String>) {
        let text = match self.read_text(KUBELET, SMALL) {
            Ok(Some(text)) => text,
            Ok(None) => return (None, None),
            Err(e) => return (None, Some(format!("read {KUBELET}: {e}"))),
        };
        let resolv_conf = scalar(&text, "resolvConf").unwrap_or(RESOLV_CONF).to_owned();
        let cluster_dns = sequence(&text, "clusterDNS").into_iter().map(str::to_owned).collect();
        let mut dns = KubeletDns { cluster_dns, resolv_conf, nameservers: Vec::new() };
        if dns.resolv_conf.is_empty() {
            return (Some(dns), None);
        }
        match self.read_text(&dns.resolv_conf, SMALL) {
            Ok(text) => dns.nameservers = nameservers(&text.unwrap_or_default()),
            Err(e) => return (Some(dns.clone()), Some(format!("read {}: {e}", dns.resolv_conf))),
        }
        (Some(dns), None)
    }
}

/// The value of a key of the outermost mapping of a YAML document, where it stands on the key's own line. The
/// kubelet's settings are written by programs, in the block style that this understands.
fn scalar<'a>(yaml: &'a str, key: &str) -> Option<&'a str> {
    yaml.lines().find_map(|line| value(line, key)).map(unquoted)
}

/// The items of a sequence of plain values below such a key, in block or flow style.
fn sequence<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = yaml.lines().skip_while(|line| value(line, key).is_none());
    let own = lines.next().and_then(|line| value(line, key)).unwrap_or_default();
    if let Some(items) = own.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return items.split(',').map(unquoted).filter(|item| !item.is_empty()).collect();
    }
    let blank = |line: &&str| without_comment(line).is_empty();
    lines
        .filter(|line| !blank(line))
        .map_while(|line| without_comment(line).strip_prefix("- "))
        .map(unquoted)
        .collect()
}

/// What stands behind `key:` at a line's very beginning.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(key)?.strip_prefix(':')?;
    (rest.is_empty() || rest.starts_with([' ', '\r'])).then(|| without_comment(rest))
}

fn without_comment(text: &str) -> &str {
    let text = text.trim();
    if text.starts_with('#') { "" } else { text.split(" #").next().unwrap_or_default().trim_end() }
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// The name servers of a resolver configuration (resolv.conf(5)).
fn nameservers(text: &str) -> Vec<String> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().map(str::to_owned)).flatten()
    };
    text.lines().filter_map(server).take(NAMESERVERS).collect()
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

    #[test]
    fn the_kubelets_dns_is_read() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::at(tree.path());
        assert_eq!(host.kubelet_dns(), (None, None));
        put(&tree, RESOLV_CONF, "search example\nnameserver 127.0.0.53\n");
        put(
            &tree,
            "/run/r.conf",
            "# nameserver 192.0.2.9\nnameserver\t192.0.2.53\nnameserver 2001:db8::53 # b\n",
        );
        let dns = |servers: &[&str], path: &str, upstreams: &[&str]| KubeletDns {
            cluster_dns: servers.iter().map(|s| (*s).to_owned()).collect(),
            resolv_conf: path.into(),
            nameservers: upstreams.iter().map(|s| (*s).to_owned()).collect(),
        };
        for (yaml, expected) in [
            (
                "authentication:\n  x509:\n    clusterDNS: no\nclusterDNS:\n- 10.96.0.10 # dns\n\n# six\n  - \"fd00::a\"\n\
                 clusterDomain: cluster.local\nresolvConf: /run/r.conf\n",
                dns(&["10.96.0.10", "fd00::a"], "/run/r.conf", &["192.0.2.53", "2001:db8::53"]),
            ),
            (
                "clusterDNS: ['10.96.0.10', fd00::a]\nresolvConf: \"\"\n",
                dns(&["10.96.0.10", "fd00::a"], "", &[]),
            ),
            ("clusterDNSx: [a]\nkind: KubeletConfiguration\n", dns(&[], RESOLV_CONF, &["127.0.0.53"])),
            ("clusterDNS: []\nresolvConf: /absent\n", dns(&[], "/absent", &[])),
        ] {
            put(&tree, KUBELET, yaml);
            assert_eq!(host.kubelet_dns(), (Some(expected), None), "{yaml}");
        }
    }
}
