//! Connections that the kernel remembers, asked of it over netlink(7) (`linux/netfilter/nfnetlink_conntrack.h`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use rackwright_proto::examine::{Examined, ServicePort, Tracked};
use rackwright_proto::reach::Transport;
use rackwright_proto::traces::Family;

use super::Host;
use super::modules::Modules;
use super::netfilter::{self, List, value};

/// Messages of connection tracking.
const IPCTNL_MSG_CT_NEW: i32 = 0;
const IPCTNL_MSG_CT_GET: i32 = 1;
const CTA_TUPLE_ORIG: i32 = 1;
const CTA_TUPLE_REPLY: i32 = 2;
const CTA_STATUS: i32 = 3;
const CTA_TUPLE_IP: i32 = 1;
const CTA_TUPLE_PROTO: i32 = 2;
const CTA_PROTO_NUM: i32 = 1;
const CTA_PROTO_DST_PORT: i32 = 3;
/// Source and destination, of IPv4 and of IPv6.
const CTA_IP: [(i32, i32); 2] = [(1, 2), (3, 4)];
/// Something came back.
const IPS_SEEN_REPLY: u32 = 1 << 1;

impl Host {
    /// What the kernel remembers of connections to these ports; `None` where it cannot be asked without making it
    /// load a module.
    pub(crate) fn tracked(&self, services: &[ServicePort]) -> io::Result<Option<Vec<Tracked>>> {
        match Modules::read(self) {
            Ok(modules) if modules.cannot_autoload("nf_conntrack_netlink") => {}
            _ => return Ok(None),
        }
        let mut found = Vec::new();
        for family in [Family::Ip, Family::Ip6] {
            let of_family = |s: &ServicePort| s.address.is_ipv4() == (family == Family::Ip);
            if services.iter().any(of_family) {
                found.extend(list(family, services)?);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(Examined::TRACKED);
        Ok(Some(found))
    }
}

fn list(family: Family, services: &[ServicePort]) -> io::Result<Vec<Tracked>> {
    let what = List {
        subsystem: libc::NFNL_SUBSYS_CTNETLINK,
        ask: IPCTNL_MSG_CT_GET,
        told: IPCTNL_MSG_CT_NEW,
        family,
        narrow: &[],
    };
    netfilter::list(&what, |entry| tracked(entry).filter(|t| services.contains(&t.service)))
}

fn tracked(entry: &[u8]) -> Option<Tracked> {
    let (from, to) = ends(entry, CTA_TUPLE_ORIG)?;
    let (answers, _) = ends(entry, CTA_TUPLE_REPLY)?;
    let transport = match value(entry, &[CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM])? {
        [6] => Transport::Tcp,
        [17] => Transport::Udp,
        _ => return None,
    };
    let port = value(entry, &[CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT])?.first_chunk()?;
    let status = value(entry, &[CTA_STATUS])?.first_chunk()?;
    let service = ServicePort { address: to, transport, port: u16::from_be_bytes(*port) };
    Some(Tracked { from, service, answers, unreplied: u32::from_be_bytes(*status) & IPS_SEEN_REPLY == 0 })
}

/// Source and destination of one direction.
fn ends(entry: &[u8], tuple: i32) -> Option<(IpAddr, IpAddr)> {
    CTA_IP.into_iter().find_map(|(source, destination)| {
        let at = |which| ip(value(entry, &[tuple, CTA_TUPLE_IP, which])?);
        Some((at(source)?, at(destination)?))
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|b| Ipv4Addr::from(b).into());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|b| Ipv6Addr::from(b).into())).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: i32, value: &[u8]) -> Vec<u8> {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(kind: i32, from: [u8; 4], to: [u8; 4], port: u16) -> Vec<u8> {
        let ips = attribute(CTA_TUPLE_IP, &[attribute(1, &from), attribute(2, &to)].concat());
        let proto = [attribute(1, &[17]), attribute(2, &[0, 9]), attribute(3, &port.to_be_bytes())];
        attribute(kind, &[ips, attribute(CTA_TUPLE_PROTO, &proto.concat())].concat())
    }

    #[test]
    fn a_question_that_leads_to_a_pod_that_is_gone() {
        let entry = [
            tuple(CTA_TUPLE_ORIG, [10, 244, 1, 4], [10, 96, 0, 10], 53),
            tuple(CTA_TUPLE_REPLY, [10, 244, 9, 9], [10, 244, 1, 4], 40000),
            attribute(CTA_STATUS, &0x28u32.to_be_bytes()),
        ];
        let told = tracked(&entry.concat()).unwrap();
        let service = ServicePort { address: [10, 96, 0, 10].into(), transport: Transport::Udp, port: 53 };
        let wanted = Tracked {
            from: [10, 244, 1, 4].into(),
            service,
            answers: [10, 244, 9, 9].into(),
            unreplied: true,
        };
        assert_eq!(told, wanted);
    }

    proptest! {
        #[test]
        fn no_entry_makes_it_panic(bytes: Vec<u8>) {
            let _ = tracked(&bytes);
        }
    }
}
