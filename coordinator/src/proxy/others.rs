//! Nodes that kubeadm's DaemonSet puts no kube-proxy on: somebody else's runs there, or none.

use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use crate::findings::Check;

/// Such a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub node: NodeName,
    /// DaemonSets and other owners of pods there that bear kube-proxy's label: `DaemonSet kube-proxy-cp`.
    pub owners: Vec<String>,
    /// What `/proxyMode` said there, or why it said nothing; `None` for a node that nobody asked.
    pub said: Option<Result<String, String>>,
}

impl Other {
    /// What runs there, in words.
    pub fn words(&self) -> String {
        let who = match &self.owners[..] {
            [] => "somebody else's".to_owned(),
            owners => format!("that of {}", owners.join(" and ")),
        };
        match (&self.said, &self.owners[..]) {
            (Some(Ok(mode)), _) => format!("{who} runs there, in mode {mode}"),
            (Some(Err(why)), []) => format!("none answers there: {why}"),
            (Some(Err(why)), _) => format!("{who} is there, but does not answer: {why}"),
            (None, []) => "nobody asked there what does its work".to_owned(),
            (None, _) => format!("{who} is there"),
        }
    }
}

/// The finding about each of them; equal ones of several nodes are one. Where the rack wants nothing of kube-proxy,
/// only a node where none answers is worth a word.
pub fn findings(others: &[Other], wanted: bool) -> Vec<Finding> {
    let told = |other: &&Other| wanted || matches!(other.said, Some(Err(_)));
    let all: Vec<Finding> = others.iter().filter(told).map(finding).collect();
    crate::findings::merged(&all)
}

fn finding(other: &Other) -> Finding {
    let checked = "whose kube-proxy runs on the node";
    let check = Check::new("proxy-of-others", &[&other.node], "", checked, "that of kubeadm's DaemonSet");
    check.warning(
        format!(
            "DaemonSet kube-system/kube-proxy leaves this node out (its selector, its affinity or a taint); {}",
            other.words()
        ),
        "nothing of the rack's `kubernetes.proxy` is set, restarted or proven there: waive it (`hosts.waive`) if that \
         is meant; else let the DaemonSet run there, and take the other kube-proxy away",
    )
}
