//! What is wrong with the cluster on this host? Everything is read at once, before and after the questions.

use std::collections::BTreeMap;
use std::time::Duration;

use rackwright_proto::examine::{Examine, Examined, FromPod};
use rackwright_proto::reach::Asked;

use crate::host::Host;
use crate::host::space::Space;
use crate::{host::echo, reach};

/// Sysctls that decide what becomes of packets between pods and hosts.
const SYSCTLS: [&str; 6] = [
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.all.forwarding",
];

/// Finds out all that is asked, and never fails as a whole: what could not be found out is told. Changes nothing.
pub async fn examine(host: &Host, what: &Examine) -> Examined {
    let mut found = Examined::default();
    // First, so that what we ask ourselves is not in it.
    match host.tracked(&what.services) {
        Ok(tracked) => found.tracked = tracked,
        Err(e) => found.troubles.push(format!("read the connections that the kernel remembers: {e}")),
    }
    let (spaces, troubles) = host.spaces().await;
    found.troubles.extend(troubles);
    let before = host.drop_counters();
    let within = Duration::from_millis(what.within_ms.clamp(1, Asked::LONGEST_MS).into());
    let (reached, from_pod, echoed, (drops, troubles), tunnels) = tokio::join!(
        reach::ask(&what.questions),
        from_pod(&spaces, what, within),
        echo::echo(&what.echoes, within),
        host.drop_rules(),
        host.tunnels(),
    );
    found.rose = rose(&before, &host.drop_counters());
    found.troubles.extend(troubles);
    (found.reached, found.from_pod, found.echoed, found.drops) = (reached, from_pod, echoed, drops);
    match tunnels {
        Ok(tunnels) => found.tunnels = tunnels,
        Err(trouble) => found.troubles.push(trouble),
    }
    found.spaces = spaces.into_iter().map(|space| space.pod).collect();
    settings(host, what, &mut found);
    found
}

/// What is read without asking anybody.
fn settings(host: &Host, what: &Examine, found: &mut Examined) {
    let (kubelet, trouble) = host.kubelet_names();
    found.kubelet = kubelet;
    found.troubles.extend(trouble);
    let traces = host.traces();
    found.translation = host.translation(&traces, &what.services);
    found.troubles.extend(traces.troubles);
    let value = |key: &str| host.word(format!("/proc/sys/{}", key.replace('.', "/")));
    found.sysctls = SYSCTLS.iter().filter_map(|key| Some(((*key).to_owned(), value(key)?))).collect();
    found.closed_forward = host.closed_forward();
    found.managers = host.managers();
    found.cni = host.cni();
    found.troubles.sort_unstable();
    found.troubles.dedup();
}

/// From the pod that is wanted, else from any that is no name server, else from a name server.
async fn from_pod(spaces: &[Space], what: &Examine, within: Duration) -> FromPod {
    let wanted = what.pods.iter().find_map(|ip| spaces.iter().find(|s| s.pod.addresses.contains(ip)));
    let any = || spaces.iter().find(|space| !space.pod.names).or(spaces.first());
    let Some(space) = wanted.or_else(any) else {
        let why_not = "no pod with a network of its own runs here".to_owned();
        return FromPod { why_not, ..FromPod::default() };
    };
    let pod = space.pod.addresses.first().copied();
    match space.ask(what.from_pod.clone(), what.pod_echoes.clone(), within).await {
        Ok((reached, echoed)) => FromPod { pod, reached, echoed, why_not: String::new() },
        Err(why_not) => FromPod { why_not, ..FromPod::default() },
    }
}

fn rose(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let risen = after
        .iter()
        .map(|(name, now)| (name.clone(), now.saturating_sub(before.get(name).copied().unwrap_or(*now))));
    risen.filter(|(_, by)| *by > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_rose_is_told() {
        let counters = |values: [u64; 2]| -> BTreeMap<String, u64> {
            ["a", "b"].map(str::to_owned).into_iter().zip(values).collect()
        };
        assert_eq!(rose(&counters([1, 5]), &counters([1, 7])), [("b".to_owned(), 2)].into());
        assert_eq!(rose(&BTreeMap::new(), &counters([1, 7])), BTreeMap::new());
    }

    #[tokio::test]
    async fn a_host_without_a_cluster_is_examined_too() {
        let tree = tempfile::tempdir().unwrap();
        let found = examine(&Host::at(tree.path()), &Examine { within_ms: 10, ..Examine::default() }).await;
        assert_eq!((found.kubelet, found.cni, found.from_pod.pod), (None, vec![], None));
        assert!(!found.from_pod.why_not.is_empty());
    }
}
