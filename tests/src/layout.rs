//! Who gets which address, interface and segment. Pure: a rack's spec decides it all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use crate::defect::{Defect, NEIGHBOUR, WRONG_MTU};
use crate::spec::{BASTION, Kind, Spec};

/// Documentation networks (RFC 5737), each the IPv4 prefix of one segment.
const PREFIXES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 0), Ipv4Addr::new(198, 51, 100, 0), Ipv4Addr::new(203, 0, 113, 0)];
/// The benchmark network (RFC 2544), for fleets that a /24 cannot hold.
const FLEET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);
/// More hosts than this would grow into the usual pools at .200.
pub(crate) const MOST_IN_24: usize = 180;
const OPERATOR: u32 = 1;
const RESOLVER: u32 = 53;
/// The operator's address in a rack without a bastion.
pub(crate) const OPERATOR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The address of the resolver that a rack of cluster hosts has.
pub(crate) const RESOLVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const BASTION_NUMBER: u32 = 10;
const FIRST_HOST: u32 = 11;
const FIRST_SECOND_NIC: u32 = 230;
const SECOND_NIC_6: u32 = 0x8000;

/// One interface of a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its name inside.
    pub device: String,
    /// Its other end on the switch.
    pub port: String,
    /// The number of the segment it is plugged into.
    pub segment: usize,
    /// Fixed, locally administered.
    pub mac: String,
    /// Address and prefix length.
    pub address: Ipv4Net,
    /// The IPv6 address in a /64 of the segment.
    pub address6: Ipv6Addr,
    /// Size of packets.
    pub mtu: u32,
}

/// Something with a network namespace and interfaces: the operator, a host, a foreign device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// The name of its network namespace.
    pub id: String,
    /// Its interfaces; the first carries SSH.
    pub nics: Vec<Nic>,
    /// Where its default route leads.
    pub gateway: Option<Ipv4Addr>,
    /// Sysctls of its namespace to set at each boot, as paths below `/proc/sys`.
    pub sysctls: Vec<(&'static str, &'static str)>,
}

impl Station {
    /// The address that others reach it by.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(self.nics.first().map_or(Ipv4Addr::UNSPECIFIED, |nic| nic.address.addr()))
    }
}

/// The network of a whole rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The name of the namespace with the bridges.
    pub switch: String,
    /// The bridges, one per segment.
    pub bridges: Vec<String>,
    /// The operator.
    pub operator: Station,
    /// Host name and station, in the order of [`Spec::all_hosts`].
    pub hosts: Vec<(String, Station)>,
    /// Devices that are no nodes.
    pub neighbours: Vec<Station>,
}

impl Layout {
    /// The station of a host.
    pub fn host(&self, name: &str) -> Option<&Station> {
        self.hosts.iter().find(|(host, _)| host == name).map(|(_, station)| station)
    }
}

/// Lays a rack out.
pub fn lay_out(spec: &Spec) -> Layout {
    let outside = if spec.bastion { spec.segments } else { 0 };
    let segments = spec.segments + usize::from(spec.bastion);
    let gateway = if spec.bastion { BASTION_NUMBER } else { OPERATOR };
    let mut hosts = Vec::new();
    if spec.bastion {
        let nics = vec![nic(spec, outside, BASTION_NUMBER, 0), nic(spec, 0, BASTION_NUMBER, 1)];
        hosts.push((
            BASTION.to_owned(),
            station(spec.name.host(BASTION), nics, addr(spec, outside, OPERATOR)),
        ));
    }
    for (name, number) in spec.hosts.iter().zip(FIRST_HOST..) {
        hosts.push((name.clone(), host(spec, name, number, addr(spec, 0, gateway))));
    }
    let mut operator = nic(spec, outside, OPERATOR, 0);
    operator.port = "op".to_owned();
    Layout {
        switch: spec.name.switch(),
        bridges: (0..segments).map(|segment| format!("seg{segment}")).collect(),
        operator: Station {
            gateway: None,
            ..station(spec.name.operator(), vec![operator], Ipv4Addr::UNSPECIFIED)
        },
        hosts,
        neighbours: neighbours(spec),
    }
}

fn host(spec: &Spec, name: &str, number: u32, gateway: Ipv4Addr) -> Station {
    let mut nics: Vec<Nic> =
        (0..spec.segments).zip(0..).map(|(seg, slot)| nic(spec, seg, number, slot)).collect();
    let mut sysctls = Vec::new();
    for defect in spec.defects_of(name) {
        sysctls.extend_from_slice(defect.sysctls());
        if defect == Defect::WrongMtu {
            nics[0].mtu = WRONG_MTU;
        } else if defect == Defect::SecondNic {
            let slot = u8::try_from(nics.len()).unwrap_or(u8::MAX);
            let mut second = nic(spec, 0, number, slot);
            second.address = with_number(spec, 0, FIRST_SECOND_NIC + (number - FIRST_HOST) % 20);
            second.address6 = address6(0, SECOND_NIC_6 + number);
            nics.push(second);
        }
    }
    Station { sysctls, ..station(spec.name.host(name), nics, gateway) }
}

fn neighbours(spec: &Spec) -> Vec<Station> {
    let mut devices = Vec::new();
    if spec.has(Defect::PoolNeighbour) {
        devices.push(device(spec, "printer", "neighbour", u32::from(NEIGHBOUR.octets()[3])));
    }
    if matches!(spec.kind, Kind::Kube(_)) {
        devices.push(device(spec, "resolver", "resolver", RESOLVER));
    }
    devices
}

/// A device that comes later.
pub(crate) fn device_at(spec: &Spec, name: &str, address: Ipv4Addr) -> Station {
    let number = address.octets()[3];
    device(spec, name, &format!("x{number}"), u32::from(number))
}

fn device(spec: &Spec, name: &str, port: &str, number: u32) -> Station {
    let mut nic = nic(spec, 0, number, 0);
    nic.port = port.to_owned();
    Station { gateway: None, ..station(spec.name.neighbour(name), vec![nic], Ipv4Addr::UNSPECIFIED) }
}

fn station(id: String, nics: Vec<Nic>, gateway: Ipv4Addr) -> Station {
    Station { id, nics, gateway: Some(gateway), sysctls: Vec::new() }
}

fn nic(spec: &Spec, segment: usize, number: u32, slot: u8) -> Nic {
    let [.., high, low] = number.to_be_bytes();
    Nic {
        device: format!("eth{slot}"),
        port: format!("h{number}e{slot}"),
        segment,
        mac: format!("02:52:57:{slot:02x}:{high:02x}:{low:02x}"),
        address: with_number(spec, segment, number),
        address6: address6(segment, number),
        mtu: 1500,
    }
}

fn addr(spec: &Spec, segment: usize, number: u32) -> Ipv4Addr {
    with_number(spec, segment, number).addr()
}

/// The address `number` of a segment, with the segment's prefix length.
fn with_number(spec: &Spec, segment: usize, number: u32) -> Ipv4Net {
    let prefix = if segment == 0 && spec.hosts.len() > MOST_IN_24 {
        FLEET
    } else {
        Ipv4Net::new_assert(PREFIXES[segment.min(PREFIXES.len() - 1)], 24)
    };
    let address = Ipv4Addr::from(u32::from(prefix.network()) + number);
    Ipv4Net::new_assert(address, prefix.prefix_len())
}

/// In 2001:db8::/32, the documentation prefix (RFC 3849).
fn address6(segment: usize, number: u32) -> Ipv6Addr {
    let segment = u16::try_from(segment).unwrap_or(u16::MAX);
    let [.., high, low] = number.to_be_bytes();
    Ipv6Addr::new(0x2001, 0xdb8, 0, segment, 0, 0, 0, u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn spec(count: usize) -> Spec {
        Spec::new("lab".parse().unwrap(), count)
    }

    #[test]
    fn a_plain_rack_is_where_the_readme_says() {
        let layout = lay_out(&spec(3));
        assert_eq!(layout.operator.address().to_string(), "192.0.2.1");
        let addresses: Vec<String> =
            layout.hosts.iter().map(|(name, s)| format!("{name} {}", s.address())).collect();
        assert_eq!(addresses, ["cp1 192.0.2.11", "w1 192.0.2.12", "w2 192.0.2.13"]);
    }

    #[test]
    fn behind_a_bastion_nobody_shares_a_segment_with_the_operator() {
        let layout = lay_out(&spec(2).bastion());
        let outside = layout.operator.nics[0].segment;
        for (name, station) in &layout.hosts {
            let touches = station.nics.iter().any(|nic| nic.segment == outside);
            assert_eq!(touches, name == BASTION, "{name}");
        }
    }

    #[test]
    fn a_second_nic_lies_in_the_same_subnet() {
        let layout = lay_out(&spec(2).defect("w1", Defect::SecondNic));
        let nics = &layout.host("w1").unwrap().nics;
        assert_eq!(nics.len(), 2);
        assert_eq!(nics[0].address.trunc(), nics[1].address.trunc());
        assert_eq!(nics[1].device, "eth1");
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice(count in 1usize..2000, segments in 1usize..=2, bastion: bool) {
            let segments = if count > MOST_IN_24 { 1 } else { segments };
            let mut spec = spec(count).segments(segments);
            spec.bastion = bastion;
            let layout = lay_out(&spec);
            let stations = || layout.hosts.iter().map(|(_, station)| station).chain([&layout.operator]);
            let nics = || stations().flat_map(|station| &station.nics);
            let total = nics().count();
            prop_assert_eq!(nics().map(|nic| nic.address.addr()).collect::<BTreeSet<_>>().len(), total);
            prop_assert_eq!(nics().map(|nic| nic.address6).collect::<BTreeSet<_>>().len(), total);
            prop_assert_eq!(nics().map(|nic| &nic.port).collect::<BTreeSet<_>>().len(), total);
            prop_assert_eq!(nics().map(|nic| &nic.mac).collect::<BTreeSet<_>>().len(), total);
            prop_assert!(nics().all(|nic| nic.port.len() < 16 && nic.segment < layout.bridges.len()));
        }
    }
}
