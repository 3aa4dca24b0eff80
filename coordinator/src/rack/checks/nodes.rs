//! Nodes: one name, one address, one control plane at least.

use std::collections::HashMap;

use crate::rack::model::Role;
use crate::rack::model::ssh::{Become, Ssh};
use crate::rack::node::Rack;

use super::Found;

pub(super) fn check(rack: &Rack, found: &mut Found<'_>) {
    duplicates(rack, found);
    roles(rack, found);
    ssh(&rack.file().ssh, "ssh", found);
    for (index, entry) in rack.file().nodes.iter().enumerate() {
        ssh(&entry.ssh, &format!("nodes[{index}].ssh"), found);
        if let (Some(port), Some(other)) = (entry.port, entry.ssh.port)
            && port != other
        {
            let path = format!("nodes[{index}].ssh.port");
            found.error(
                path,
                format!("port {other} here, but {port} in `port` of the node"),
                "keep one of them",
            );
        }
    }
    becoming(rack, found);
}

fn duplicates(rack: &Rack, found: &mut Found<'_>) {
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for (index, node) in rack.nodes().enumerate() {
        if let Some(first) = names.insert(&node.name, index) {
            let message = format!("`{}` is also the name of nodes[{first}]", node.name);
            found.error(format!("nodes[{index}].name"), message, "give every node a name of its own");
        }
        // Behind different jump hosts or on different ports, one address can be two hosts.
        let way = (&node.address, node.port, node.ssh.jump.as_ref().map(|j| format!("{j:?}")));
        if let Some((_, first)) = addresses.insert(way, (index, &node.name)) {
            let message = format!("{} is also the address of {first}", node.address);
            found.error(
                format!("nodes[{index}].address"),
                message,
                "one host is one node; correct the address, or remove the node",
            );
        }
    }
}

fn roles(rack: &Rack, found: &mut Found<'_>) {
    for (index, entry) in rack.file().nodes.iter().enumerate() {
        for (at, role) in entry.roles.iter().enumerate() {
            if entry.roles[..at].contains(role) {
                found.error(format!("nodes[{index}].roles[{at}]"), "this role is given twice", "remove one");
            }
        }
    }
    let planes = rack.nodes().filter(|node| node.is_control_plane()).count();
    if rack.kubernetes().is_some() && planes == 0 {
        found.error(
            "kubernetes",
            "no node is a control plane, so nothing can be done to the cluster",
            format!("give one node `roles: [{}]`", role_word(Role::ControlPlane)),
        );
    }
    if rack.kubernetes().is_some() && planes > 0 && planes % 2 == 0 {
        let help = "etcd wants an odd number: one more, or one less, survives as many failures";
        found.warning("nodes", format!("{planes} control planes"), help);
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

fn ssh(ssh: &Ssh, path: &str, found: &mut Found<'_>) {
    if ssh.become_password.is_some() && ssh.become_root == Some(Become::None) {
        let message = "a password for sudo, but `become: none`";
        found.warning(format!("{path}.becomePassword"), message, "write `become: sudo`, or remove it");
    }
}

/// Only root can prepare a host; a rack that says another user and no way up cannot work.
fn becoming(rack: &Rack, found: &mut Found<'_>) {
    for (index, node) in rack.nodes().enumerate() {
        let Some(user) = node.ssh.user.as_ref().filter(|u| u.as_str() != "root") else { continue };
        if node.ssh.become_root == Become::None {
            let own = rack.file().nodes[index].ssh.user.is_some();
            let path = if own { format!("nodes[{index}].ssh.user") } else { "ssh.user".to_owned() };
            found.warning(
                path,
                format!("`{user}` is not root and does not become root"),
                "add `become: sudo`",
            );
            if !own {
                return;
            }
        }
    }
}
