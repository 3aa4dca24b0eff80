//! kube-proxy's mode changed node by node: which nodes, in which order, and what happens to each.

use rackwright_proto::finding::{Finding, Severity};
use serde::Serialize;

use super::word;
use crate::natural::Natural;
use crate::rack::model::kubernetes::{Migrate, ProxyMode};

/// The annotation of a node that we cordoned, so that whoever goes on or back uncordons it, and no other.
pub const CORDONED: &str = "rackwright.dev/cordoned";

/// Whether a finding about a node keeps the next one from its turn: also what a former mode left there.
pub fn stops(finding: &Finding) -> bool {
    let grave = finding.severity == Severity::Error || finding.name == "proxy-left-over";
    finding.severity != Severity::Pass && grave && finding.waived.is_none()
}

/// A node, as far as its turn needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is a control plane.
    pub control_plane: bool,
    /// Addresses of Services that it answers for, as MetalLB says.
    pub announces: Vec<String>,
    /// Its kube-proxy's own word on its mode; `None` where it did not say.
    pub mode: Option<String>,
    /// Its kube-proxy was started with what is wanted.
    pub started: bool,
    /// It lives it, and nothing of a former mode is left there.
    pub proven: bool,
    /// We cordoned it, and it has not been uncordoned.
    pub cordoned: bool,
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// The node.
    pub node: String,
    /// The mode that it says it is in.
    pub from: Option<String>,
    /// Its pods are evicted first, and let back afterwards.
    pub drain: bool,
    /// It is rebooted once its new kube-proxy is ready.
    pub reboot: bool,
    /// Addresses of Services that go to another node, or are silent, while it reboots.
    pub announces: Vec<String>,
}

/// The change of a cluster's mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The mode that all nodes are to be in.
    pub to: String,
    /// Each node's turn, in order.
    pub turns: Vec<Turn>,
    /// Nodes that are there already.
    pub done: Vec<String>,
    /// What the operator should know before.
    pub notes: Vec<String>,
}

/// Workers come first and control planes last; of each, those that answer for a Service's address last, so that it
/// moves once and to a node that is done.
pub fn migration(to: ProxyMode, allowed: Migrate, nodes: &[Node]) -> Migration {
    let mut nodes: Vec<&Node> = nodes.iter().collect();
    nodes.sort_by_key(|n| (n.control_plane, !n.announces.is_empty(), Natural(&n.name)));
    let (done, rest): (Vec<&Node>, Vec<&Node>) =
        nodes.into_iter().partition(|n| n.started && n.proven && !n.cordoned);
    let turn = |node: &&Node| Turn {
        node: node.name.clone(),
        from: node.mode.clone(),
        drain: allowed.drain,
        reboot: allowed.drain && allowed.reboot,
        announces: node.announces.clone(),
    };
    Migration {
        to: word(to).to_owned(),
        turns: rest.iter().map(turn).collect(),
        notes: notes(to, allowed, &rest),
        done: done.iter().map(|n| n.name.clone()).collect(),
    }
}

/// kube-proxy cleans up behind another mode when it starts in nftables or comes from it, but not between iptables and
/// ipvs (`platformCleanup` of cmd/kube-proxy/app/server_linux.go): KEP 2448 recommends a reboot.
fn notes(to: ProxyMode, allowed: Migrate, turns: &[&Node]) -> Vec<String> {
    let mut notes = Vec::new();
    let from = |mode: &str| turns.iter().any(|n| n.mode.as_deref() == Some(mode));
    let stays = match to {
        ProxyMode::Iptables => from("ipvs"),
        ProxyMode::Ipvs => from("iptables"),
        ProxyMode::Nftables => false,
    };
    if stays && !(allowed.drain && allowed.reboot) {
        notes.push(format!(
            "kube-proxy leaves behind what the former mode made when it changes to {}: without a reboot \
             (`kubernetes.proxy.migrate`) the first node will not be proven",
            word(to)
        ));
    }
    let control_planes = turns.iter().filter(|n| n.control_plane).count();
    if allowed.drain && allowed.reboot && control_planes == 1 {
        notes.push("while a lone control plane reboots, the cluster's API is away; Services are not".into());
    }
    if !allowed.drain {
        notes.push(
            "`kubernetes.proxy.migrate.drain` is off: connections through Services may break for seconds on each \
             node in its turn"
                .into(),
        );
    }
    notes
}

impl Turn {
    /// What happens, in order and in words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.drain {
            words.push("drain");
        }
        words.push("new kube-proxy");
        if self.reboot {
            words.push("reboot");
        }
        words.push("prove");
        if self.drain {
            words.push("uncordon");
        }
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Migrate = Migrate { drain: true, reboot: true };

    fn node(name: &str, mode: &str) -> Node {
        let control_plane = name.starts_with("cp");
        Node { name: name.into(), control_plane, mode: Some(mode.into()), ..Node::default() }
    }

    fn order(migration: &Migration) -> Vec<&str> {
        migration.turns.iter().map(|t| t.node.as_str()).collect()
    }

    #[test]
    fn workers_come_first_and_whoever_answers_for_a_service_comes_late() {
        let names = ["cp2", "cp1", "w10", "w2", "w1"];
        let mut nodes: Vec<Node> = names.map(|name| node(name, "ipvs")).into();
        nodes[4].announces = vec!["192.0.2.200".into()];
        let migration = migration(ProxyMode::Nftables, ALL, &nodes);
        assert_eq!(order(&migration), ["w2", "w10", "w1", "cp1", "cp2"]);
        let last = &migration.turns[2];
        assert_eq!(last.words(), "drain, new kube-proxy, reboot, prove, uncordon");
        assert_eq!((last.from.as_deref(), &last.announces[..]), (Some("ipvs"), &["192.0.2.200".into()][..]));
        assert!(migration.notes.is_empty(), "{:?}", migration.notes);
    }

    #[test]
    fn what_is_proven_is_skipped_and_what_was_left_cordoned_is_not() {
        let done = |name| Node { started: true, proven: true, ..node(name, "nftables") };
        let cordoned = Node { cordoned: true, ..done("w2") };
        let unproven = Node { proven: false, ..done("w3") };
        let all = [done("w1"), cordoned, unproven, node("w4", "ipvs")];
        let migration = migration(ProxyMode::Nftables, ALL, &all);
        assert_eq!(order(&migration), ["w2", "w3", "w4"]);
        assert_eq!(migration.done, ["w1"]);
    }

    #[test]
    fn nothing_is_drained_or_rebooted_unless_the_rack_allows_it() {
        let nodes = [node("cp1", "ipvs"), node("w1", "ipvs")];
        let of = |drain, reboot| migration(ProxyMode::Nftables, Migrate { drain, reboot }, &nodes);
        assert_eq!(of(false, false).turns[0].words(), "new kube-proxy, prove");
        // The rack's check refuses it; the plan does not depend on that.
        assert_eq!(of(false, true).turns[0].words(), "new kube-proxy, prove");
        assert_eq!(of(true, false).turns[0].words(), "drain, new kube-proxy, prove, uncordon");
        assert!(of(false, false).notes[0].contains("drain` is off"));
        assert!(of(true, true).notes[0].contains("a lone control plane"));
    }

    #[test]
    fn a_change_that_kube_proxy_does_not_clean_up_behind_is_told_before() {
        let told = |to, from, allowed| {
            let notes = migration(to, allowed, &[node("w1", from)]).notes;
            notes.iter().any(|n| n.contains("leaves behind"))
        };
        let drain = Migrate { drain: true, reboot: false };
        assert!(told(ProxyMode::Iptables, "ipvs", drain));
        assert!(told(ProxyMode::Ipvs, "iptables", drain));
        assert!(!told(ProxyMode::Iptables, "ipvs", ALL));
        for (to, from) in [
            (ProxyMode::Nftables, "ipvs"),
            (ProxyMode::Nftables, "iptables"),
            (ProxyMode::Iptables, "nftables"),
        ] {
            assert!(!told(to, from, drain), "{from}");
        }
    }
}
