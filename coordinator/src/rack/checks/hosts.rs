//! Hosts: files, sysctls, waivers.

use std::collections::HashMap;

use rackwright_proto::kernel::normalised;
use rackwright_proto::name::SysctlKey;

use crate::findings;
use crate::rack::model::hosts::HostFile;
use crate::rack::model::kubernetes::ProxyMode;
use crate::rack::node::Rack;
use crate::rack::suggest;
use crate::rack::words::SysctlValue;

use super::Found;

pub(super) fn check(rack: &Rack, found: &mut Found<'_>) {
    let file = rack.file();
    files(&file.hosts.files, "hosts.files", found);
    sysctls(rack, file.hosts.sysctls.iter(), "hosts.sysctls", found);
    for (index, entry) in file.nodes.iter().enumerate() {
        files(&entry.hosts.files, &format!("nodes[{index}].hosts.files"), found);
        sysctls(rack, entry.hosts.sysctls.iter(), &format!("nodes[{index}].hosts.sysctls"), found);
    }
    waivers(rack, found);
    textfile(rack, found);
}

/// The folder becomes part of a unit's text, where blanks, `%` and line ends mean something.
fn textfile(rack: &Rack, found: &mut Found<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let folder = rack.file().hosts.watch.drift.textfile.as_ref();
    if let Some(folder) = folder.filter(|f| !f.as_str().chars().all(plain)) {
        found.error(
            "hosts.watch.drift.textfile",
            format!("{:?} has characters that a unit file would take for its own", folder.as_str()),
            "use a folder of letters, digits, `.`, `_` and `-`",
        );
    }
}

fn files(files: &[HostFile], path: &str, found: &mut Found<'_>) {
    let mut seen = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let ways = usize::from(file.content.is_some())
            + usize::from(file.source.is_some())
            + usize::from(file.absent);
        if ways != 1 {
            let message = match ways {
                0 => format!("nothing says what {} shall be", file.path),
                _ => format!("more than one thing says what {} shall be", file.path),
            };
            found.error(&at, message, "write exactly one of `content`, `source` and `absent: true`");
        }
        if let Some(first) = seen.insert(&file.path, index) {
            found.error(
                format!("{at}.path"),
                format!("{path}[{first}] has this path too"),
                "keep one of them",
            );
        }
        if let Some(why) = ours(file.path.as_str()) {
            found.error(format!("{at}.path"), format!("{} is written by rackwright itself", file.path), why);
        }
    }
}

/// Files of our own, and where their content comes from.
fn ours(path: &str) -> Option<&'static str> {
    match path {
        "/etc/sysctl.d/90-rackwright.conf" => Some("write its lines in `hosts.sysctls`"),
        "/etc/modules-load.d/rackwright.conf" => Some("write its lines in `hosts.modules`"),
        path if path.starts_with("/var/lib/rackwright/")
            || path.starts_with("/usr/local/lib/rackwright/") =>
        {
            Some("choose another folder")
        }
        _ => None,
    }
}

/// A sysctl that the cluster's settings will set; a rack that says otherwise would fight with itself.
struct Needed {
    key: &'static str,
    value: &'static str,
    why: &'static str,
    /// Whether every cluster needs it; else it depends on the network plugin.
    always: bool,
}

fn needed(rack: &Rack) -> Vec<Needed> {
    let Some(kubernetes) = rack.kubernetes() else { return vec![] };
    let always = |key, value, why| Needed { key, value, why, always: true };
    let bridge = |key| Needed {
        key,
        value: "1",
        why: "with a bridge as network plugin, services fail between pods of one node without it",
        always: false,
    };
    let mut needed = vec![
        always("net.ipv4.ip_forward", "1", "pods reach nothing beyond their node without it"),
        bridge("net.bridge.bridge-nf-call-iptables"),
        bridge("net.bridge.bridge-nf-call-ip6tables"),
    ];
    if let Some(proxy) = kubernetes.proxy.as_ref().filter(|p| p.mode == ProxyMode::Ipvs) {
        needed.push(always("net.ipv4.vs.conntrack", "1", "kube-proxy sets it in ipvs mode"));
        if proxy.strict_arp {
            needed.push(always("net.ipv4.conf.all.arp_ignore", "1", "strictARP sets it"));
            needed.push(always("net.ipv4.conf.all.arp_announce", "2", "strictARP sets it"));
        }
    }
    needed
}

fn sysctls<'a>(
    rack: &Rack,
    sysctls: impl Iterator<Item = (&'a SysctlKey, &'a SysctlValue)>,
    path: &str,
    found: &mut Found<'_>,
) {
    let needed = needed(rack);
    for (key, value) in sysctls {
        let Some(need) = needed.iter().find(|n| n.key == key.as_str()) else { continue };
        if normalised(value.as_str()) == need.value {
            continue;
        }
        let path = format!("{path}[{key}]");
        let message =
            format!("{key} = {value} contradicts `kubernetes`, which needs {}: {}", need.value, need.why);
        let help = format!("write {}, or remove the line", need.value);
        match need.always {
            true => found.error(path, message, help),
            false => found.warning(path, message, help),
        }
    }
}

fn waivers(rack: &Rack, found: &mut Found<'_>) {
    let known: Vec<&str> = findings::names().map(|(name, _)| *name).collect();
    for (index, waiver) in rack.waivers().iter().enumerate() {
        let name = waiver.finding.as_str();
        if !known.contains(&name) {
            let help = match suggest::closest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`rackwright check` shows each finding's name; docs/findings.md lists all".to_owned(),
            };
            found.error(
                format!("hosts.waive[{index}].finding"),
                format!("no finding is called `{name}`"),
                help,
            );
        }
        for (at, name) in waiver.nodes.iter().flatten().enumerate() {
            if rack.node(name.as_str()).is_none() {
                found.error(
                    format!("hosts.waive[{index}].nodes[{at}]"),
                    format!("no node is called `{name}`"),
                    super::nodes_of(rack),
                );
            }
        }
    }
}
