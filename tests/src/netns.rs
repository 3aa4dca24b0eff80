//! Network namespaces and the wires between them, made by iproute2.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use crate::cgroup::kill_all;
use crate::error::{Doing, Result};
use crate::layout::{Layout, Station};
use crate::names::{NETNS, netns_path};
use crate::run::{command, must_with};

const LIMIT: Duration = Duration::from_secs(60);

/// What a fresh namespace would inherit from this machine, set to what a fresh kernel has instead
/// (`net.core.devconf_inherit_init_net` in ip-sysctl.rst). `ip_forward` first: it resets others.
const FRESH: &str = "forwarding rp_filter arp_ignore arp_announce arp_filter proxy_arp";

/// The script that makes the switch, the operator's place and the foreign devices.
pub(crate) fn rack_script(layout: &Layout) -> String {
    let mut script = format!("set -eu\nip netns add {}\nip -n {0} -batch - <<END\n", layout.switch);
    for bridge in &layout.bridges {
        let _ =
            writeln!(script, "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        let _ = writeln!(script, "link set {bridge} up");
    }
    script.push_str("END\n");
    for station in [&layout.operator].into_iter().chain(&layout.neighbours) {
        script.push_str(&station_script(layout, station));
    }
    script
}

/// The script that gives a station a fresh namespace, whatever was there before. Hosts run it at each boot,
/// so that sysctls, addresses and tables of the last boot are gone, as after a boot of real iron.
pub(crate) fn station_script(layout: &Layout, station: &Station) -> String {
    let (id, switch) = (&station.id, &layout.switch);
    let mut script = "set -eu\n".to_owned();
    for nic in &station.nics {
        let _ = writeln!(script, "ip -n {switch} link del {} 2>/dev/null || true", nic.port);
    }
    let _ = writeln!(script, "ip netns del {id} 2>/dev/null || true\nip netns add {id}");
    let _ = writeln!(script, "ip -n {switch} -batch - <<END");
    for nic in &station.nics {
        let bridge = &layout.bridges[nic.segment];
        let _ = writeln!(
            script,
            "link add {} type veth peer name {} address {} netns {id}",
            nic.port, nic.device, nic.mac
        );
        let _ = writeln!(script, "link set {} master {bridge} up", nic.port);
    }
    let _ = writeln!(script, "END\n{}", sysctl_lines(station));
    let _ = writeln!(script, "ip -n {id} -batch - <<END\n{}END", address_lines(station));
    script
}

fn sysctl_lines(station: &Station) -> String {
    let devices: Vec<&str> = station.nics.iter().map(|nic| nic.device.as_str()).collect();
    let mut lines = format!(
        "nsenter --net={NETNS}/{} sh -eu <<'END'\necho 0 > /proc/sys/net/ipv4/ip_forward\n\
         for scope in all default {}; do\n    for key in {FRESH}; do\n        \
         echo 0 > /proc/sys/net/ipv4/conf/$scope/$key\n    done\ndone\n",
        station.id,
        devices.join(" ")
    );
    for (key, value) in &station.sysctls {
        let _ = writeln!(lines, "echo {value} > /proc/sys/{key}");
    }
    lines.push_str("END");
    lines
}

pub(crate) fn address_lines(station: &Station) -> String {
    let mut lines = "link set lo up\n".to_owned();
    let with_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
    for nic in &station.nics {
        let _ = writeln!(lines, "addr add {} broadcast + dev {}", nic.address, nic.device);
        if with_ipv6 {
            let _ = writeln!(lines, "addr add {}/64 dev {} nodad", nic.address6, nic.device);
        }
        // Only this end: the bridge would take over a smaller size of a port for everybody.
        let _ = writeln!(lines, "link set {} mtu {} up", nic.device, nic.mtu);
    }
    if let Some(gateway) = station.gateway {
        let _ = writeln!(lines, "route add default via {gateway}");
    }
    lines
}

/// Runs a script of this room.
pub(crate) fn run_script(script: &str, doing: &str) -> Result<()> {
    let mut shell = command("sh");
    shell.arg("-s");
    must_with(shell, Some(script.as_bytes()), doing, LIMIT).map(drop)
}

/// The named namespaces whose name begins with `prefix`.
pub(crate) fn find(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// Removes a named namespace and everything that runs in it.
pub(crate) fn remove(name: &str) -> Result<()> {
    let path = netns_path(name);
    if let Some(identity) = identity(&path) {
        kill_all("no process is left in the network namespace", || processes_in(identity))?;
    }
    // Not a mount when its maker was killed between the two; then it is a plain file.
    while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Device and inode tell namespaces apart (namespaces(7)); `None` for what is no namespace.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let own = fs::metadata("/proc/self/ns/net").ok()?;
    let meta = fs::metadata(path).ok()?;
    // The machine's own namespace may be bound under a name too: never that one.
    (meta.dev() == own.dev() && meta.ino() != own.ino()).then_some((meta.dev(), meta.ino()))
}

fn processes_in(identity: (u64, u64)) -> BTreeSet<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net"));
        namespace.is_ok_and(|meta| (meta.dev(), meta.ino()) == identity)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::lay_out;
    use crate::spec::Spec;

    #[test]
    fn a_host_gets_a_fresh_network_at_each_boot() {
        let spec = Spec::new("lab".parse().unwrap(), 1).defect("cp1", crate::Defect::ProxyArp);
        let layout = lay_out(&spec);
        insta::assert_snapshot!(station_script(&layout, layout.host("cp1").unwrap()));
    }
}
