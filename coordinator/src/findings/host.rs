//! One host by itself.

use rackwright_proto::facts::{Facts, FullFacts};
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use super::{Check, ports};
use crate::plan::is_swap_entry;

/// What a host is meant to be.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// Runs the control plane, etcd included.
    pub control_plane: bool,
    /// The rack wants Kubernetes.
    pub kubernetes: bool,
    /// The rack wants MetalLB.
    pub metallb: bool,
    /// The rack turns swap off; the plan then says what happens to it.
    pub swap_off: bool,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// All that can be said of one host by itself. What needs [`FullFacts`] is left out where there are none.
pub fn findings(host: &Host<'_>, facts: &Facts) -> Vec<Finding> {
    let mut found = vec![root(host, facts)];
    found.extend(hostname(host, facts));
    found.extend(swap(host, facts));
    found.push(resolver(host, facts));
    if host.kubernetes {
        found.extend(size(host, facts));
        found.push(cgroup(host, facts));
    }
    if let Some(full) = &facts.full {
        found.extend(disk(host, full));
        found.extend(firewall(host, full));
        found.extend(ports::in_use(host, full));
        found.push(leftovers(host, full));
    }
    found.extend(facts.troubles.iter().map(|trouble| {
        Check::new("not-observed", &[host.node], "", "facts", "all observed")
            .warning(trouble, "the agent's words say why; findings that need this fact are missing")
    }));
    found
}

fn root(host: &Host<'_>, facts: &Facts) -> Finding {
    let check = Check::new("not-root", &[host.node], "", "the agent's user", "root");
    match facts.basics.euid {
        0 => check.pass("root"),
        uid => check.error(format!("user id {uid}"), "set `ssh.become: sudo` in the rack, or log in as root"),
    }
}

fn hostname(host: &Host<'_>, facts: &Facts) -> Vec<Finding> {
    let name = &facts.basics.hostname;
    let invalid =
        Check::new("hostname-invalid", &[host.node], name, "hostname", "a valid node name (RFC 1123)");
    if let Err(error) = name.parse::<NodeName>() {
        let fix = format!("run `hostnamectl set-hostname {}` on the host", host.node);
        return vec![invalid.warning(error.to_string(), fix)];
    }
    let differs = Check::new("hostname-differs", &[host.node], "", "hostname", host.node.as_str());
    let same = name == host.node.as_str() || name.split('.').next() == Some(host.node.as_str());
    vec![
        invalid.pass(name),
        if same {
            differs.pass(name)
        } else {
            let fix = format!(
                "run `hostnamectl set-hostname {}` on the host, or rename the node in the rack: Kubernetes takes the hostname",
                host.node
            );
            differs.warning(name, fix)
        },
    ]
}

fn swap(host: &Host<'_>, facts: &Facts) -> Vec<Finding> {
    if host.swap_off || !host.kubernetes {
        return Vec::new();
    }
    let fix = "say `hosts: {swap: off}` in the rack, or set failSwapOn: false in kubelet's configuration";
    let on = Check::new("swap-on", &[host.node], "", "swap in use", "none, or a kubelet that allows it");
    let areas: Vec<String> = facts
        .swap
        .active
        .iter()
        .map(|a| format!("{}{}, {} MiB", a.device, if a.zram { " (zram)" } else { "" }, a.size_bytes / MIB))
        .collect();
    let on = if areas.is_empty() { on.pass("none") } else { on.warning(areas.join("; "), fix) };
    let returns = Check::new(
        "swap-returns",
        &[host.node],
        "",
        "swap at the next boot",
        "none, or a kubelet that allows it",
    );
    let sources = swap_sources(facts);
    let returns =
        if sources.is_empty() { returns.pass("none") } else { returns.warning(sources.join("; "), fix) };
    vec![on, returns]
}

fn swap_sources(facts: &Facts) -> Vec<String> {
    use rackwright_proto::file::FileSeen;
    let text = match &facts.swap.fstab {
        Some(FileSeen::File { text: Some(text), .. }) => text.as_str(),
        _ => "",
    };
    let lines = text.lines().enumerate().filter(|(_, line)| is_swap_entry(line));
    let entries = lines.map(|(i, line)| {
        format!("/etc/fstab:{} {}", i + 1, line.split_whitespace().next().unwrap_or_default())
    });
    entries.chain(facts.swap.units.iter().map(|unit| format!("unit {unit}"))).collect()
}

fn resolver(host: &Host<'_>, facts: &Facts) -> Finding {
    let conf = &facts.machine.resolv_conf;
    let checked = format!("nameservers of {}", if conf.path.is_empty() { "resolv.conf" } else { &conf.path });
    let check = Check::new("resolver-loop", &[host.node], "", &checked, "addresses beyond this host");
    let is_loopback = |server: &&String| {
        server.split('%').next().is_some_and(|s| s.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()))
    };
    match conf.nameservers.iter().find(is_loopback) {
        Some(server) => check.warning(
            format!("{server} is this host itself; CoreDNS would forward to itself"),
            "set resolvConf: /run/systemd/resolve/resolv.conf in kubelet's configuration, or name a real server",
        ),
        None if conf.nameservers.is_empty() => {
            Check::new("resolver-empty", &[host.node], "", checked, "at least one")
                .warning("none", "name a DNS server in resolv.conf; pods inherit it")
        }
        None => check.pass(conf.nameservers.join(", ")),
    }
}

fn size(host: &Host<'_>, facts: &Facts) -> Vec<Finding> {
    if !host.control_plane {
        return Vec::new();
    }
    let machine = &facts.machine;
    let cpus = Check::new("cpu-few", &[host.node], "", "CPUs of a control-plane node", "at least 2");
    let cpus = match machine.cpus {
        n @ 0..2 => cpus.warning(n.to_string(), "`kubeadm init` refuses this host; give it another CPU"),
        n => cpus.pass(n.to_string()),
    };
    let memory =
        Check::new("memory-little", &[host.node], "", "memory of a control-plane node", "at least 1700 MiB");
    let have = format!("{} MiB", machine.memory_bytes / MIB);
    let memory = if machine.memory_bytes / MIB < 1700 {
        memory.warning(have, "`kubeadm init` refuses this host; give it more memory")
    } else {
        memory.pass(have)
    };
    vec![cpus, memory]
}

fn cgroup(host: &Host<'_>, facts: &Facts) -> Finding {
    let check = Check::new("cgroup-v1", &[host.node], "", "cgroup hierarchy", "version 2");
    let fix =
        "boot with systemd.unified_cgroup_hierarchy=1; kubelet refuses version 1 from Kubernetes 1.35 on";
    match facts.machine.cgroup {
        2 => check.pass("version 2"),
        1 => check.warning("version 1", fix),
        _ => check.warning("none mounted", fix),
    }
}

fn disk(host: &Host<'_>, full: &FullFacts) -> Vec<Finding> {
    let disk = &full.disk;
    let space = Check::new("disk-full", &[host.node], "/var/lib", "free space", "at least 10 % and 2 GiB");
    let percent = disk.free_bytes.saturating_mul(100).checked_div(disk.total_bytes).unwrap_or(0);
    let have = format!("{} MiB free ({percent} %)", disk.free_bytes / MIB);
    let mut found = vec![if percent < 10 || disk.free_bytes < 2 * GIB {
        space.warning(have, "free some space: kubelet evicts pods below 10 %")
    } else {
        space.pass(have)
    }];
    if let (true, Some(us)) = (host.control_plane && host.kubernetes, disk.fsync_us) {
        let check =
            Check::new("disk-slow", &[host.node], "/var/lib", "a synced write of 2 KiB", "at most 10 ms");
        let have = format!("{}.{} ms", us / 1000, us % 1000 / 100);
        let fix = "put /var/lib/etcd on a faster disk: etcd loses its leader when syncs are slow";
        found.push(if us > 10_000 { check.warning(have, fix) } else { check.pass(have) });
    }
    found
}

fn firewall(host: &Host<'_>, full: &FullFacts) -> Vec<Finding> {
    let expected = "none that Kubernetes does not know";
    let check =
        |name: &str| Check::new("firewall-active", &[host.node], name, "keepers of packet filters", expected);
    let line =
        |name: &str| full.firewall.iter().find(|l| l.strip_prefix(name).is_some_and(|l| l.starts_with(':')));
    let keepers = ["firewalld", "ufw"].into_iter().filter_map(|name| {
        let fix = format!(
            "disable {name}, or let it pass the ports of Kubernetes, MetalLB's (TCP and UDP 7946) and all traffic of pods"
        );
        Some(check(name).warning(line(name)?, fix))
    });
    let mut found: Vec<Finding> = keepers.collect();
    if found.is_empty() {
        found.push(check("").pass("neither firewalld nor ufw"));
    }
    found.push(backends(host, full));
    found
}

/// iptables-nft makes nftables tables of the families ip and ip6 that are named as the legacy ones.
fn backends(host: &Host<'_>, full: &FullFacts) -> Finding {
    let legacy = full.firewall.iter().find(|l| l.contains("tables (legacy):"));
    let is_of_iptables = |table: &str| {
        let (family, name) = table.trim().split_once(' ').unwrap_or_default();
        ["ip", "ip6"].contains(&family) && ["filter", "nat", "mangle", "raw", "security"].contains(&name)
    };
    let nftables = full
        .firewall
        .iter()
        .find(|l| l.strip_prefix("nftables:").is_some_and(|tables| tables.split(',').any(is_of_iptables)));
    let check = Check::new("firewall-mixed", &[host.node], "", "backends of iptables with tables", "one");
    match (legacy, nftables) {
        (Some(legacy), Some(nftables)) => check.warning(
            format!("{legacy}; {nftables}"),
            "settle on one (`update-alternatives --config iptables`) and reboot: rules of one do not see the other's",
        ),
        _ => check.pass("at most one"),
    }
}

fn leftovers(host: &Host<'_>, full: &FullFacts) -> Finding {
    let check = Check::new("leftovers", &[host.node], "", "traces of a former cluster", "none");
    let kubelet_runs = full.listening.iter().any(|l| l.program.as_deref() == Some("kubelet"));
    if full.leftovers.is_empty() {
        check.pass("none")
    } else if kubelet_runs {
        check.pass("of a cluster that runs")
    } else {
        check.warning(
            full.leftovers.join("; "),
            "run `kubeadm reset` on the host, remove /etc/cni/net.d, and reboot: the kernel's tables go with it",
        )
    }
}
