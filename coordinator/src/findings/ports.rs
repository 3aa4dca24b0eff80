//! Ports that a node's role needs.

use std::collections::BTreeSet;

use rackwright_proto::facts::{FullFacts, Listening};
use rackwright_proto::finding::Finding;

use super::Check;
use super::host::Host;

struct Port {
    protocol: &'static str,
    port: u16,
    /// Programs that are meant to listen there, as the kernel cuts their names: 15 bytes.
    ours: &'static [&'static str],
}

const CONTROL_PLANE: [Port; 5] = [
    Port { protocol: "tcp", port: 6443, ours: &["kube-apiserver"] },
    Port { protocol: "tcp", port: 2379, ours: &["etcd"] },
    Port { protocol: "tcp", port: 2380, ours: &["etcd"] },
    Port { protocol: "tcp", port: 10257, ours: &["kube-controller"] },
    Port { protocol: "tcp", port: 10259, ours: &["kube-scheduler"] },
];
const EVERY_NODE: [Port; 1] = [Port { protocol: "tcp", port: 10250, ours: &["kubelet"] }];
const METALLB: [Port; 2] = [
    Port { protocol: "tcp", port: 7946, ours: &["speaker"] },
    Port { protocol: "udp", port: 7946, ours: &["speaker"] },
];

/// One finding for each port that another program has, or one pass.
pub(super) fn in_use(host: &Host<'_>, full: &FullFacts) -> Vec<Finding> {
    let needed: Vec<&Port> = CONTROL_PLANE
        .iter()
        .filter(|_| host.control_plane)
        .chain(EVERY_NODE.iter())
        .chain(METALLB.iter().filter(|_| host.metallb))
        .filter(|_| host.kubernetes)
        .collect();
    let found: Vec<Finding> = needed.iter().flat_map(|port| taken(host, port, full)).collect();
    if found.is_empty() && !needed.is_empty() {
        let numbers: BTreeSet<u16> = needed.iter().map(|p| p.port).collect();
        let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
        let check = Check::new(
            "port-in-use",
            &[host.node],
            "",
            "ports that its role needs",
            "free, or Kubernetes' own",
        );
        return vec![check.pass(format!("none of {} is taken by others", numbers.join(", ")))];
    }
    found
}

fn taken(host: &Host<'_>, port: &Port, full: &FullFacts) -> Vec<Finding> {
    let here = |l: &&Listening| l.protocol == port.protocol && l.port == port.port;
    let programs: BTreeSet<Option<&str>> =
        full.listening.iter().filter(here).map(|l| l.program.as_deref()).collect();
    programs
        .into_iter()
        .filter(|p| !p.is_some_and(|p| is_ours(port, p)))
        .map(|p| finding(host, port, p))
        .collect()
}

fn is_ours(port: &Port, program: &str) -> bool {
    port.ours.iter().any(|ours| program.starts_with(ours))
}

fn finding(host: &Host<'_>, port: &Port, program: Option<&str>) -> Finding {
    let subject = format!("{}/{}", port.protocol, port.port);
    let expected = format!("free, or {}", port.ours.join(" or "));
    let check = Check::new(
        "port-in-use",
        &[host.node],
        subject.clone(),
        format!("port {subject}, which its role needs"),
        expected,
    );
    let fix =
        format!("stop that program or move it to another port: `ss -lnp 'sport = :{}'` shows it", port.port);
    match program {
        Some(program) => check.error(format!("{program} listens there"), fix),
        None => check.warning("a program that could not be named listens there", fix),
    }
}
