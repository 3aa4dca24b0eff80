//! What filters packets on the node.
//!
//! Listing rules with `iptables`, or with `nft` on a kernel that has not loaded nf_tables, makes the kernel load
//! modules. So `nft` is asked only where it cannot, and `iptables` never.

use std::time::Duration;

use serde_json::Value;

use super::Host;
use super::modules::Modules;
use crate::fault::chain;

/// How long nft may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What was found of packet filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firewall {
    /// Each filter in force, with words.
    pub words: Vec<String>,
    /// Every nftables table and chain as `family table` and `family table chain`.
    pub nftables: Vec<String>,
    /// What could not be asked.
    pub troubles: Vec<String>,
}

impl Host {
    /// Packet filters in force. Only at [`rackwright_proto::facts::Depth::Full`]: it runs `nft`.
    pub async fn firewall(&self, modules: &Modules<'_>) -> Firewall {
        let mut firewall = Firewall::default();
        if modules.cannot_autoload("nf_tables") {
            self.nftables(&mut firewall).await;
        }
        let tables: Vec<_> =
            firewall.nftables.iter().filter(|entry| entry.split(' ').count() == 2).cloned().collect();
        if !tables.is_empty() {
            firewall.words.push(format!("nftables: {}", tables.join(", ")));
        }
        for (file, name) in [("ip_tables_names", "iptables"), ("ip6_tables_names", "ip6tables")] {
            if let Some(tables) = self.word(format!("/proc/net/{file}")) {
                firewall.words.push(format!("{name} (legacy): {}", tables.replace('\n', ", ")));
            }
        }
        firewall.words.extend(self.managers());
        firewall
    }

    async fn nftables(&self, firewall: &mut Firewall) {
        for what in ["tables", "chains"] {
            match self.run_ok(&["nft", "-j", "list", what], DEADLINE).await {
                Ok(output) => firewall.nftables.extend(parse_nft(&output.stdout)),
                Err(e) if e.is_missing() => return,
                Err(e) => firewall.troubles.push(chain(&e)),
            }
        }
        firewall.nftables.sort_unstable();
        firewall.nftables.dedup();
    }

    /// Programs that keep rules in place and would bring back what somebody else removes.
    pub(crate) fn managers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let wanted = self.exists("/etc/systemd/system/multi-user.target.wants/firewalld.service");
        // systemd keeps a control group for a service as long as it runs.
        let runs = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd"]
            .iter()
            .any(|root| self.exists(format!("{root}/system.slice/firewalld.service")));
        match (runs, wanted) {
            (true, _) => found.push("firewalld: running".into()),
            (false, true) => found.push("firewalld: starts at boot".into()),
            (false, false) => {}
        }
        let ufw = self.word("/etc/ufw/ufw.conf").unwrap_or_default();
        if ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")) {
            found.push("ufw: enabled".into());
        }
        found
    }
}

/// The tables and chains in what `nft -j` printed (libnftables-json(5)).
fn parse_nft(text: &str) -> Vec<String> {
    let Ok(Value::Object(document)) = serde_json::from_str(text) else { return Vec::new() };
    let Some(Value::Array(items)) = document.get("nftables") else { return Vec::new() };
    let entry = |item: &Value| {
        let field = |object: &Value, name: &str| object.get(name)?.as_str().map(str::to_owned);
        if let Some(table) = item.get("table") {
            return Some(format!("{} {}", field(table, "family")?, field(table, "name")?));
        }
        let chain = item.get("chain")?;
        Some(format!("{} {} {}", field(chain, "family")?, field(chain, "table")?, field(chain, "name")?))
    };
    items.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_chains_of_nft_are_named() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "filter", "handle": 1}},
            {"chain": {"family": "ip", "table": "nat", "name": "KUBE-SERVICES", "handle": 2}}]}"#;
        assert_eq!(parse_nft(text), ["inet filter", "ip nat KUBE-SERVICES"]);
        assert_eq!(parse_nft("Error: no"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn managers_are_told_from_files_and_a_module_that_could_be_loaded_is_left_alone() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/modules", "");
        put("proc/net/ip_tables_names", "nat\nfilter\n");
        put("etc/ufw/ufw.conf", "# ufw\nENABLED=yes\n");
        put("sys/fs/cgroup/system.slice/firewalld.service/cgroup.procs", "1\n");
        let host = Host::at(tree.path());
        let firewall = host.firewall(&Modules::read(&host).unwrap()).await;
        assert_eq!(firewall.words, ["iptables (legacy): nat, filter", "firewalld: running", "ufw: enabled"]);
        assert_eq!((firewall.nftables, firewall.troubles), (vec![], vec![]));
    }
}
