//! How a machine is plugged into the segments: a tap on the bridge instead of a pair of cables. Pure.

use std::fmt::Write as _;

use crate::layout::{Layout, Station};
use crate::netns::address_lines;
use crate::vm::Image;

/// Plain machines want little; kubelet, containerd and the pods more. In MiB.
const MEMORY: u32 = 512;
const KUBE_MEMORY: u32 = 2048;

/// The script that makes the ports of a machine on the switch, whatever was there before.
pub(crate) fn ports_script(layout: &Layout, station: &Station) -> String {
    let (mut script, switch) = ("set -eu\n".to_owned(), &layout.switch);
    for nic in &station.nics {
        let (port, bridge) = (&nic.port, &layout.bridges[nic.segment]);
        let _ = writeln!(script, "ip -n {switch} link del {port} 2>/dev/null || true");
        let _ = writeln!(script, "ip -n {switch} tuntap add dev {port} mode tap");
        let _ = writeln!(script, "ip -n {switch} link set {port} master {bridge} up");
    }
    script
}

/// What the machine runs at each boot: the addresses of its interfaces, and sysctls that a defect sets.
pub(crate) fn network_file(station: &Station) -> String {
    let mut script = "set -eu\n".to_owned();
    for (key, value) in &station.sysctls {
        let _ = writeln!(script, "echo {value} > /proc/sys/{key}");
    }
    let _ = writeln!(script, "ip -batch - <<END\n{}END", address_lines(station));
    script
}

/// What `boot.sh` needs to know besides.
pub(crate) fn environment(layout: &Layout, station: &Station, image: &Image, kube: bool) -> String {
    let mut network = String::new();
    for (nic, number) in station.nics.iter().zip(0..) {
        let _ = write!(
            network,
            " -netdev tap,id=n{number},ifname={},script=no,downscript=no \
             -device virtio-net-pci,netdev=n{number},mac={},romfile=",
            nic.port, nic.mac
        );
    }
    let memory = if kube { KUBE_MEMORY } else { MEMORY };
    let (switch, image) = (&layout.switch, image.dir.display());
    format!("SWITCH='{switch}'\nIMAGE='{image}'\nMEMORY='{memory}'\nNETWORK='{}'\n", network.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::lay_out;
    use crate::spec::Spec;

    #[test]
    fn a_machine_hangs_on_the_bridge_and_knows_its_addresses() {
        let spec = Spec::new("lab".parse().unwrap(), 1).vms_all().segments(2);
        let layout = lay_out(&spec);
        let station = layout.host("cp1").unwrap();
        let image = Image { dir: "/image".into(), tree: "/tree".into() };
        let texts = [
            ports_script(&layout, station),
            network_file(station),
            environment(&layout, station, &image, false),
        ];
        // Whether this machine has IPv6 is not what is tested.
        let text: Vec<String> = texts
            .join("=====\n")
            .lines()
            .filter(|line| !line.contains("2001:db8"))
            .map(str::to_owned)
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
