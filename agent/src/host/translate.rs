//! Whether Services are translated to endpoints on this host: what kube-proxy of whatever mode made in the kernel.

use std::io;
use std::net::IpAddr;

use rackwright_proto::examine::{Rules, ServicePort, Translation};
use rackwright_proto::reach::Transport;
use rackwright_proto::traces::{ClusterTraces, Family};

use super::Host;
use super::checksum::octets;
use super::nftables;
use super::read::LARGE;

/// kube-proxy of mode nftables: its table, the map of what it translates, and that of what has no endpoints.
const TABLE: &str = "kube-proxy";
const TRANSLATED: &str = "service-ips";
const EMPTY: &str = "no-endpoint-services";
/// kube-proxy of mode iptables: where its rules begin.
const SERVICES: &str = "KUBE-SERVICES";

impl Host {
    /// Looks for rules for each of these ports. What it cannot tell, it says.
    pub(crate) fn translation(&self, traces: &ClusterTraces, services: &[ServicePort]) -> Translation {
        let family = |four| if four { Family::Ip } else { Family::Ip6 };
        let chained = |family| traces.chains.iter().any(|c| c.family == family && c.name == SERVICES);
        let ipvs = traces.ipvs_services.is_some_and(|count| count > 0);
        let mut by = Vec::new();
        by.extend((!traces.nftables.is_empty()).then_some("nftables"));
        by.extend(ipvs.then_some("ipvs"));
        by.extend((chained(Family::Ip) || chained(Family::Ip6)).then_some("iptables"));
        let rules = services.iter().map(|service| {
            let family = family(service.address.is_ipv4());
            match () {
                () if traces.nftables.contains(&family) => told(by_nftables(family, service)),
                () if ipvs => self.by_ipvs(service),
                () if chained(family) => told(by_iptables(family, service)),
                () if !traces.legacy.is_empty() => {
                    unknown("rules of legacy iptables cannot be read natively")
                }
                () => Rules::Absent,
            }
        });
        let rules = rules.collect();
        Translation { by: by.into_iter().map(str::to_owned).collect(), rules }
    }

    fn by_ipvs(&self, service: &ServicePort) -> Rules {
        match self.read_text("/proc/net/ip_vs", LARGE) {
            Ok(table) => in_ipvs(&table.unwrap_or_default(), service),
            Err(e) => unknown(&format!("read /proc/net/ip_vs: {e}")),
        }
    }
}

fn unknown(why: &str) -> Rules {
    Rules::Unknown { why: why.into() }
}

fn told(rules: io::Result<Rules>) -> Rules {
    rules.unwrap_or_else(|e| unknown(&format!("ask the kernel for its rules: {e}")))
}

fn by_nftables(family: Family, service: &ServicePort) -> io::Result<Rules> {
    let key = key(service);
    let has = |set: &str| match nftables::keys(family, TABLE, set) {
        Ok(keys) => Ok(keys.contains(&key)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    };
    if has(TRANSLATED)? {
        return Ok(Rules::Present);
    }
    Ok(if has(EMPTY)? { Rules::NoEndpoints } else { Rules::Absent })
}

/// `ADDRESS . PROTOCOL . PORT`, each part aligned to four bytes.
fn key(service: &ServicePort) -> Vec<u8> {
    let mut key = octets(service.address);
    let protocol = match service.transport {
        Transport::Udp => 17,
        Transport::Tcp => 6,
    };
    key.extend([protocol, 0, 0, 0]);
    key.extend(service.port.to_be_bytes());
    key.extend([0, 0]);
    key
}

/// The address alone: in which way a rule of iptables compares the port differs with its version.
fn by_iptables(family: Family, service: &ServicePort) -> io::Result<Rules> {
    let present = nftables::compares(family, "nat", SERVICES, &octets(service.address))?;
    Ok(if present { Rules::Present } else { Rules::Absent })
}

/// A virtual server is a line such as `UDP  0A60000A:0035 rr`, and each that it leads to one below, indented.
fn in_ipvs(table: &str, service: &ServicePort) -> Rules {
    let address = match service.address {
        IpAddr::V4(ip) => format!("{:08X}", u32::from(ip)),
        IpAddr::V6(ip) => {
            let parts = ip.segments().map(|part| format!("{part:04x}"));
            format!("[{}]", parts.join(":"))
        }
    };
    let server = format!("{:<4} {address}:{:04X} ", service.transport.to_string(), service.port);
    let mut lines = table.lines().skip_while(|line| !line.starts_with(&server));
    match (lines.next(), lines.next()) {
        (None, _) => Rules::Absent,
        (Some(_), Some(below)) if below.trim_start().starts_with("->") => Rules::Present,
        (Some(_), _) => Rules::NoEndpoints,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPVS: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  0A600001:01BB rr\n  -> C000020B:192B      Masq    1      0          0         \n\
        UDP  0A60000A:0035 rr\nTCP  [fd00:0000:0000:0000:0000:0000:0000:000a]:0035 rr\n  \
          -> [fd01:0000:0000:0000:0000:0000:0000:0002]:0035      Masq    1      0          0\n";

    #[test]
    fn virtual_servers_are_found_and_whether_they_lead_anywhere() {
        let rules = |address: &str, transport, port| {
            in_ipvs(IPVS, &ServicePort { address: address.parse().unwrap(), transport, port })
        };
        assert_eq!(rules("10.96.0.1", Transport::Tcp, 443), Rules::Present);
        assert_eq!(rules("10.96.0.10", Transport::Udp, 53), Rules::NoEndpoints);
        assert_eq!(rules("10.96.0.10", Transport::Tcp, 53), Rules::Absent);
        assert_eq!(rules("fd00::a", Transport::Tcp, 53), Rules::Present);
    }

    #[test]
    fn a_host_without_kube_proxy_translates_nothing() {
        let tree = tempfile::tempdir().unwrap();
        let service = ServicePort { address: [10, 96, 0, 10].into(), transport: Transport::Udp, port: 53 };
        let translation = Host::at(tree.path()).translation(&ClusterTraces::default(), &[service]);
        assert_eq!((translation.by, translation.rules), (vec![], vec![Rules::Absent]));
        assert_eq!(key(&service), [10, 96, 0, 10, 17, 0, 0, 0, 0, 53, 0, 0]);
    }
}
