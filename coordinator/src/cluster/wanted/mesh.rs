//! Istio: its namespaces, then the installation of the revision that the rack names. What hosts must have for it.

use rackwright_proto::cluster::mesh::{MeshStep, MeshWant};
use rackwright_proto::cluster::{ClusterStep, Family, ObjectStep};
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleSeen, ModuleStep, SysctlSeen, SysctlStep};
use rackwright_proto::name::NodeName;
use rackwright_proto::step::{HostStep, Seen};
use serde_json::json;

use super::{Scene, WantedStep};
use crate::cluster::mesh::installation;
use crate::cluster::sight::MeshWanted;
use crate::findings::Check;
use crate::mesh::release::Minor;
use crate::mesh::{OPERATOR_NAMESPACE, View, judge};
use crate::rack::model::kubernetes::IstioMethod;

const WHY: &str = "kubernetes.istio";

/// Modules by which a pod's traffic is turned to its proxy (istio.io, platform requirements): each by all of its names,
/// one of which is enough.
const MODULES: &[&[&str]] =
    &[&["iptable_nat", "nft_compat"], &["xt_REDIRECT"], &["xt_owner"], &["xt_conntrack"], &["br_netfilter"]];
/// Sysctls, and what they must be.
const SYSCTLS: &[(&str, &str)] = &[("net.ipv4.ip_forward", "1"), ("net.bridge.bridge-nf-call-iptables", "1")];

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let Some(wanted) = &scene.sight.mesh else { return Vec::new() };
    before_a_look(wanted).into_iter().map(|step| WantedStep { step, why: WHY.into() }).collect()
}

fn namespace(name: &str) -> ClusterStep {
    let want = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    ClusterStep::Object(Box::new(ObjectStep {
        family: Family::Mesh,
        api_version: "v1".into(),
        kind: "Namespace".into(),
        namespace: None,
        name: name.to_owned(),
        want: Some(want),
    }))
}

/// The step that installs what is wanted.
pub fn revision(wanted: &MeshWanted) -> ClusterStep {
    ClusterStep::Mesh(Box::new(MeshStep {
        revision: wanted.install.rev().to_owned(),
        want: MeshWant::Installed,
        install: installation(&wanted.install, wanted.seconds),
        take_over: wanted.take_over,
    }))
}

/// All that Istio leads to before a cluster was looked at: what is to be looked for there. Istio's tools make these
/// namespaces, too, where they lack, but never take them away. One of a gateway alone is left to them: it is made for
/// what others put there.
pub fn before_a_look(wanted: &MeshWanted) -> Vec<ClusterStep> {
    let operators = (wanted.install.method == IstioMethod::Operator).then_some(OPERATOR_NAMESPACE);
    let places = [wanted.install.namespace.as_str()].into_iter().chain(operators);
    places.map(namespace).chain([revision(wanted)]).collect()
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    let Some(wanted) = &scene.sight.mesh else { return Vec::new() };
    let facts = &scene.sight.facts;
    let view = View::of(&facts.mesh.objects);
    let kubernetes = Minor::parse(facts.version.trim_start_matches('v'));
    let mut found = judge::findings(&wanted.install, &view, kubernetes, wanted.today);
    found.extend(wanted.hosts.iter().filter_map(|(node, seen)| {
        let node: NodeName = node.parse().ok()?;
        Some(host(&node, |step| seen.get(&step.key())))
    }));
    found
}

/// What hosts are to be asked.
pub fn needs() -> Vec<HostStep> {
    let modules = MODULES.iter().flat_map(|names| names.iter()).filter_map(|name| module(name));
    modules.chain(SYSCTLS.iter().filter_map(|(key, value)| sysctl(key, value))).collect()
}

fn module(name: &str) -> Option<HostStep> {
    let step = ModuleStep { name: name.parse().ok()?, loaded: true };
    Some(HostStep::Kernel(KernelStep::Module(step)))
}

fn sysctl(key: &str, value: &str) -> Option<HostStep> {
    let step = SysctlStep { key: key.parse().ok()?, value: value.to_owned(), after_module: None };
    Some(HostStep::Kernel(KernelStep::Sysctl(step)))
}

fn host<'a>(node: &NodeName, seen: impl Fn(&HostStep) -> Option<&'a Seen>) -> Finding {
    let has = |name: &&str| {
        let step = module(name);
        !matches!(
            step.as_ref().and_then(&seen),
            Some(Seen::Kernel(KernelSeen::Module(
                // A kernel without modules may have it built in, which it does not always tell.
                ModuleSeen::Missing { .. } | ModuleSeen::Blacklisted { .. }
            )))
        )
    };
    let lacking = MODULES.iter().filter(|names| !names.iter().any(has));
    let mut lacks: Vec<String> = lacking.map(|names| format!("no module {}", names.join(" or "))).collect();
    lacks.extend(SYSCTLS.iter().filter_map(|(key, value)| {
        let step = sysctl(key, value)?;
        match seen(&step)? {
            Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: is })) if is == value => None,
            Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: is })) => {
                Some(format!("{key} = {is}"))
            }
            // Without its module the key is not there; only some pod networks need it.
            _ => None,
        }
    }));
    let what = "what turns a pod's traffic to its proxy, and lets packets pass to other nodes";
    let expected = "iptables by modules of the kernel; net.ipv4.ip_forward = 1 and bridged traffic filtered";
    let check = Check::new("mesh-host", &[node], "", what, expected);
    match lacks.as_slice() {
        [] => check.pass("all of it"),
        lacks => check.warning(
            lacks.join(", "),
            "set it under `hosts.sysctls` and `hosts.modules` in the rack, or install the kernel's package of modules",
        ),
    }
}

/// Whether the cluster's DNS can bear a mesh, from what hosts and their pods heard of it: `asked` are its findings,
/// passes too. What comes first in the same run may still mend it.
pub fn dns_gate(asked: &[Finding], mended: bool) -> Finding {
    let bad: Vec<&Finding> =
        asked.iter().filter(|f| f.severity == Severity::Error && f.waived.is_none()).collect();
    let (pods, hosts): (Vec<&Finding>, Vec<&Finding>) = asked.iter().partition(|f| f.name == "dns-from-pods");
    let pods = pods.first().map_or("nobody asked from inside of a pod", |found| &found.observed);
    let what = "whether CoreDNS answers every host, and a pod on each, over UDP and TCP, at its Service's address and \
                at each of its pods";
    let check = Check::new("mesh-dns", &[], "CoreDNS", what, "answers from all of them");
    let observed = |found: &Finding| format!("{} ({})", found.observed, found.name);
    let fix = "mend it first: without DNS no proxy finds istiod, and gateways stay at 0/1; `rackwright diagnose` looks \
               for the cause";
    match bad.as_slice() {
        [] if !hosts.iter().any(|f| f.severity == Severity::Pass || f.waived.is_some()) => {
            check.warning("nobody could be asked", "see that the agents of the nodes can be reached")
        }
        [] => check.pass(format!("it answers all hosts; from inside of pods: {pods}")),
        bad if mended => check.warning(
            bad.iter().map(|f| observed(f)).collect::<Vec<_>>().join("; "),
            "steps before the mesh may mend it: it is asked again right before the installation",
        ),
        bad => check.error(bad.iter().map(|f| observed(f)).collect::<Vec<_>>().join("; "), fix),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn judged(seen: &[(&str, Seen)]) -> Finding {
        let seen: BTreeMap<String, Seen> = seen.iter().map(|(k, s)| ((*k).to_owned(), s.clone())).collect();
        host(&"w1".parse().unwrap(), |step| seen.get(&step.key()))
    }

    #[test]
    fn one_way_to_turn_traffic_is_enough() {
        let missing = || Seen::Kernel(KernelSeen::Module(ModuleSeen::Missing { release: "6.1".into() }));
        let one = judged(&[("kernel/module/iptable_nat", missing())]);
        assert_eq!(one.severity, Severity::Pass, "{one:?}");
        let both =
            judged(&[("kernel/module/iptable_nat", missing()), ("kernel/module/nft_compat", missing())]);
        assert_eq!(both.observed, "no module iptable_nat or nft_compat");
        assert_eq!(needs().len(), 8);
    }

    #[test]
    fn a_host_that_does_not_forward_is_told() {
        let off = Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: "0".into() }));
        let told = judged(&[("kernel/sysctl/net.ipv4.ip_forward", off)]);
        assert_eq!((told.severity, told.observed.as_str()), (Severity::Warning, "net.ipv4.ip_forward = 0"));
    }

    #[test]
    fn the_gate_is_shut_while_dns_is_silent_unless_something_before_may_mend_it() {
        let silent = Check::new("dns-no-pods", &[], "CoreDNS", "", "").error("there is none", "");
        let shut = dns_gate(std::slice::from_ref(&silent), false);
        assert!(shut.blocks() && shut.observed.contains("dns-no-pods"), "{shut:?}");
        assert!(!dns_gate(std::slice::from_ref(&silent), true).blocks());
        let waived = Finding { waived: Some("known".into()), ..silent };
        assert!(!dns_gate(&[waived], false).blocks());
        let good = Check::new("dns-answers", &[], "CoreDNS", "", "").pass("it does");
        assert_eq!(dns_gate(std::slice::from_ref(&good), false).severity, Severity::Pass);
        let pods = || Check::new("dns-from-pods", &[], "CoreDNS", "", "");
        let shut = dns_gate(&[good.clone(), pods().error("nothing for one on w1", "")], false);
        assert!(shut.blocks() && shut.observed == "nothing for one on w1 (dns-from-pods)", "{shut:?}");
        let none = dns_gate(&[good, pods().warning("there is none", "")], false);
        assert_eq!(none.observed, "it answers all hosts; from inside of pods: there is none");
        // Pods alone are no hosts.
        assert_eq!(dns_gate(&[pods().pass("it does")], false).observed, "nobody could be asked");
    }
}
