//! The other way between the pods of different hosts: VXLAN (RFC 7348), its tables written by hand. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::config::PodRange;

/// The device of every host.
pub(super) const DEVICE: &str = "overlay.1";
/// What a packet of the segment has room for beside the outer headers.
pub(super) const MTU: u32 = 1450;
/// IANA's port of VXLAN.
pub(super) const PORT: u16 = 4789;
/// Makes the unit of the pods' network write the second table too.
pub(super) const DROP_IN: &str = "[Service]\nExecStart=/sbin/bridge -batch /etc/pod-network/forwarding\n";

/// Commands of `ip -batch`: the device, and the way to the pods of the other hosts through it.
pub(super) fn routes(own: &PodRange, all: &[PodRange]) -> String {
    let mut lines = format!(
        "link add {DEVICE} address {mac} mtu {MTU} type vxlan id 1 dev eth0 local {address} dstport {PORT} \
         nolearning\naddress add {gateway}/32 dev {DEVICE}\nlink set {DEVICE} up\n",
        mac = mac(own.address),
        address = own.address,
        gateway = gateway(own),
    );
    for other in others(own, all) {
        let (range, gateway, mac) = (&other.range, gateway(other), mac(other.address));
        let _ = writeln!(lines, "neighbour replace {gateway} lladdr {mac} dev {DEVICE} nud permanent");
        let _ = writeln!(lines, "route replace {range} via {gateway} dev {DEVICE} onlink");
    }
    lines
}

/// Commands of `bridge -batch`: behind which host which device of the others is.
pub(super) fn forwarding(own: &PodRange, all: &[PodRange]) -> String {
    let mut lines = String::new();
    for other in others(own, all) {
        let (mac, address) = (mac(other.address), other.address);
        let _ = writeln!(lines, "fdb replace {mac} dev {DEVICE} dst {address} self permanent");
    }
    lines
}

fn others<'a>(own: &PodRange, all: &'a [PodRange]) -> impl Iterator<Item = &'a PodRange> {
    all.iter().filter(|range| range.node != own.node)
}

/// The first address of a node's range, which no pod gets.
fn gateway(range: &PodRange) -> &str {
    range.range.split('/').next().unwrap_or_default()
}

/// Locally administered, by the host's address.
fn mac(address: IpAddr) -> String {
    let (high, low) = match address {
        IpAddr::V4(address) => (address.octets()[2], address.octets()[3]),
        IpAddr::V6(address) => (address.octets()[14], address.octets()[15]),
    };
    format!("02:52:58:00:{high:02x}:{low:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_host() {
        let range = |node: &str, host: u8| PodRange {
            node: node.to_owned(),
            address: IpAddr::from([192, 0, 2, host]),
            range: format!("10.244.{}.0/24", host - 11),
        };
        let all = [range("cp1", 11), range("w1", 12)];
        insta::assert_snapshot!([routes(&all[1], &all), forwarding(&all[1], &all)].join("=====\n"));
    }
}
