//! Findings about the cluster as such: whether there is one, and whether its versions fit together and to us.

use rackwright_proto::fault::Fault;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use super::facts::ClusterFacts;
use crate::findings::Check;
use crate::rack::Rack;

/// The minor versions of Kubernetes 1 that this build was tried with, oldest and newest.
const TRIED: (u32, u32) = (30, 37);
/// How many minor versions a kubelet may be older than the API server (Kubernetes' version skew policy).
const KUBELET_OLDER: u32 = 3;

/// No control plane has a kubeconfig.
pub fn absent() -> Finding {
    Check::new("cluster-absent", &[], "", "whether there is a cluster", "a kubeconfig on a control plane").warning(
        "none of the control planes has one",
        "the hosts are prepared for `kubeadm init` and `kubeadm join`; apply again when the cluster stands",
    )
}

/// The cluster cannot be asked. Hosts are prepared all the same, since that may be what it lacks.
pub fn lost(fault: &Fault) -> Finding {
    let fix = match fault.next.is_empty() {
        true => "mend that, then apply again: the hosts' part does not wait for it",
        false => &fault.next,
    };
    Check::new(
        "cluster-unreachable",
        &[],
        "",
        "whether the cluster can be asked",
        "an API server that answers",
    )
    .warning(fault.to_string(), fix)
}

/// Versions of API server, kubelets and rack.
pub fn findings(rack: &Rack, facts: &ClusterFacts) -> Vec<Finding> {
    let mut found: Vec<Finding> = kubelets(facts);
    found.extend(tried(facts));
    found.extend(as_wanted(rack, facts));
    found
}

/// Major and minor of `v1.37.2`, `v1.30.2+k3s1`.
pub fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn tried(facts: &ClusterFacts) -> Option<Finding> {
    let (major, minor) = minor(&facts.version)?;
    let expected = format!("1.{} to 1.{}", TRIED.0, TRIED.1);
    let check = Check::new(
        "kubernetes-untested",
        &[],
        &facts.version,
        "whether this build was tried with this Kubernetes",
        expected,
    );
    Some(match major == 1 && (TRIED.0..=TRIED.1).contains(&minor) {
        true => check.pass("it was"),
        false => {
            check.warning("it was not", "look at the plan closely; a newer rackwright may know this version")
        }
    })
}

fn as_wanted(rack: &Rack, facts: &ClusterFacts) -> Option<Finding> {
    let wanted = rack.kubernetes()?.version.as_ref()?.to_string();
    let check = Check::new("kubernetes-version-differs", &[], "", "the cluster's version", &wanted);
    let live = facts.version.trim_start_matches('v');
    // A rack may say 1.30 and mean any of it.
    let same =
        live == wanted || live.starts_with(&format!("{wanted}.")) || live.starts_with(&format!("{wanted}+"));
    Some(match same {
        true => check.pass(&facts.version),
        false => check.warning(
            &facts.version,
            "rackwright does not upgrade Kubernetes: write the cluster's version into the rack, or leave it out",
        ),
    })
}

fn kubelets(facts: &ClusterFacts) -> Vec<Finding> {
    let Some((_, server)) = minor(&facts.version) else { return Vec::new() };
    let of = |node: &k8s_openapi::api::core::v1::Node| {
        let name: NodeName = node.metadata.name.as_ref()?.parse().ok()?;
        let version = &node.status.as_ref()?.node_info.as_ref()?.kubelet_version;
        let (_, kubelet) = minor(version)?;
        let expected =
            format!("not newer than {}, at most {KUBELET_OLDER} minor versions older", facts.version);
        let check = Check::new("kubelet-skew", &[&name], "", "the kubelet's version", expected);
        Some(match kubelet <= server && server - kubelet <= KUBELET_OLDER {
            true => check.pass(version),
            false => check.warning(
                version,
                "upgrade the older of the two (kubernetes.io/releases/version-skew-policy)",
            ),
        })
    };
    facts.nodes.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use rackwright_proto::finding::Severity;
    use serde_json::json;

    use super::*;

    fn kubelet(version: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "w1"},
            "status": {"nodeInfo": {
                "kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "",
                "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "",
                "systemUUID": "",
            }},
        }))
        .unwrap()
    }

    fn skew(server: &str, version: &str) -> Severity {
        let facts =
            ClusterFacts { version: server.into(), nodes: vec![kubelet(version)], ..ClusterFacts::default() };
        kubelets(&facts)[0].severity
    }

    #[test]
    fn kubelets_may_be_three_minors_older_and_not_newer() {
        assert_eq!(skew("v1.37.2", "v1.37.0"), Severity::Pass);
        assert_eq!(skew("v1.37.2", "v1.34.9"), Severity::Pass);
        assert_eq!(skew("v1.37.2", "v1.33.9"), Severity::Warning);
        assert_eq!(skew("v1.36.0", "v1.37.0+k3s1"), Severity::Warning);
    }

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(minor("v1.30.2+k3s1"), Some((1, 30)));
        assert_eq!(minor("v1.37.2-rc.1"), Some((1, 37)));
        assert_eq!(minor("banana"), None);
    }
}
