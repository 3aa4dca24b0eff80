//! What kube-proxy, of whatever mode, left in the node's kernel.

use std::io;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;
use rackwright_proto::traces::{Chain, ClusterTraces, Family, LegacyTable};

use super::Host;
use super::modules::Modules;
use super::nftables;
use super::read::LARGE;

/// The link that kube-proxy of mode ipvs puts all Services' addresses on.
const IPVS_LINK: &str = "kube-ipvs0";
/// The table that kube-proxy of mode nftables makes.
const TABLE: &str = "kube-proxy";
/// How names of chains begin that Kubernetes makes with iptables.
const CHAIN_PREFIX: &str = "KUBE-";
/// Sysctls that kube-proxy sets, beside all of [`IPVS_SYSCTLS`].
const SYSCTLS: [&str; 2] = ["net.ipv4.conf.all.arp_announce", "net.ipv4.conf.all.arp_ignore"];
/// Where the sysctls of IPVS are, once it is there.
const IPVS_SYSCTLS: &str = "net.ipv4.vs";
/// Both families, with the file that names the tables of legacy iptables.
const FAMILIES: [(Family, &str); 2] =
    [(Family::Ip, "/proc/net/ip_tables_names"), (Family::Ip6, "/proc/net/ip6_tables_names")];

impl Host {
    /// What a cluster left on the node. Reads only; runs no program and makes the kernel load no module.
    pub fn traces(&self) -> ClusterTraces {
        let mut traces = ClusterTraces { legacy: self.legacy_tables(), ..ClusterTraces::default() };
        self.sysctl_traces(&mut traces);
        match getifaddrs() {
            Ok(entries) => traces.ipvs_link = ipvs_link(entries),
            Err(e) => traces.troubles.push(format!("list the links: {e}")),
        }
        match self.read_text("/proc/net/ip_vs", LARGE) {
            Ok(table) => traces.ipvs_services = table.as_deref().map(ipvs_services),
            Err(e) => traces.troubles.push(format!("read /proc/net/ip_vs: {e}")),
        }
        self.nftables_traces(&mut traces);
        let (kubelet, trouble) = self.kubelet_dns();
        traces.kubelet = kubelet;
        traces.troubles.extend(trouble);
        traces
    }

    fn legacy_tables(&self) -> Vec<LegacyTable> {
        let of = |(family, file)| {
            let names = self.word(file).unwrap_or_default();
            names.lines().map(|name| LegacyTable { family, name: name.into() }).collect::<Vec<_>>()
        };
        let mut tables = FAMILIES.map(of).concat();
        tables.sort_unstable();
        tables
    }

    fn sysctl_traces(&self, traces: &mut ClusterTraces) {
        let path = |key: &str| format!("/proc/sys/{}", key.replace('.', "/"));
        let of_ipvs = self.names(path(IPVS_SYSCTLS)).into_iter().map(|name| format!("{IPVS_SYSCTLS}.{name}"));
        let keys = SYSCTLS.map(str::to_owned).into_iter().chain(of_ipvs);
        traces.sysctls = keys.filter_map(|key| Some((key.clone(), self.word(path(&key))?))).collect();
    }

    fn nftables_traces(&self, traces: &mut ClusterTraces) {
        match Modules::read(self) {
            Ok(modules) if modules.cannot_autoload("nf_tables") => {}
            // What is not loaded holds nothing, and would be loaded by asking.
            Ok(_) => return,
            Err(fault) => return traces.troubles.push(fault.to_string()),
        }
        for (family, _) in FAMILIES {
            if let Err(e) = nftables_of(family, traces) {
                traces.troubles.push(format!("list the tables and chains of nftables: {e}"));
            }
        }
        traces.chains.sort_unstable();
        let left_out = traces.chains.len().saturating_sub(ClusterTraces::CHAINS);
        if left_out > 0 {
            traces.chains.truncate(ClusterTraces::CHAINS);
            traces.troubles.push(format!("{left_out} chains KUBE-... are not told"));
        }
    }
}

fn nftables_of(family: Family, traces: &mut ClusterTraces) -> io::Result<()> {
    let tables = match nftables::tables(family) {
        Err(e) if is_lacking(&e) => return Ok(()),
        tables => tables?,
    };
    traces.nftables.extend(tables.iter().any(|name| name == TABLE).then_some(family));
    let chains: Vec<Chain> = nftables::chains(family, |name| name.starts_with(CHAIN_PREFIX))?;
    traces.chains.extend(chains);
    Ok(())
}

/// Whether a kernel without loadable modules says that it has no nftables.
fn is_lacking(error: &io::Error) -> bool {
    let lacking = [Errno::EPROTONOSUPPORT, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP, Errno::EINVAL];
    error.raw_os_error().is_some_and(|number| lacking.contains(&Errno::from_raw(number)))
}

/// The addresses on [`IPVS_LINK`], sorted; `None` when there is no such link.
fn ipvs_link(entries: impl Iterator<Item = InterfaceAddress>) -> Option<Vec<IpNet>> {
    let mut entries = entries.filter(|entry| entry.interface_name == IPVS_LINK).peekable();
    entries.peek()?;
    let mut addresses: Vec<_> = entries.filter_map(|entry| net(entry.address?, entry.netmask?)).collect();
    addresses.sort_unstable();
    Some(addresses)
}

fn net(address: SockaddrStorage, mask: SockaddrStorage) -> Option<IpNet> {
    if let (Some(address), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
        return IpNet::with_netmask(address.ip().into(), mask.ip().into()).ok();
    }
    let (address, mask) = (address.as_sockaddr_in6()?, mask.as_sockaddr_in6()?);
    IpNet::with_netmask(address.ip().into(), mask.ip().into()).ok()
}

/// The virtual services of `/proc/net/ip_vs`; what each forwards to is indented below it.
pub(super) fn ipvs_services(table: &str) -> u32 {
    let is_service = |line: &&str| ["TCP ", "UDP ", "SCTP ", "FWM "].iter().any(|p| line.starts_with(p));
    table.lines().filter(is_service).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_ipvs_are_counted() {
        let table = "IP Virtual Server version 1.2.1 (size=4096)\n\
            Prot LocalAddress:Port Scheduler Flags\n  \
              -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
            TCP  0A600001:01BB rr\n  -> C0A80101:192B      Masq    1      0          0\n\
            UDP  [2001:0db8:0000:0000:0000:0000:0000:000a]:0035 rr\n";
        assert_eq!(ipvs_services(table), 2);
    }

    #[test]
    fn live_sysctls_and_legacy_tables_are_told() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/modules", "");
        put("proc/net/ip_tables_names", "nat\nfilter\n");
        put("proc/sys/net/ipv4/conf/all/arp_ignore", "1\n");
        put("proc/sys/net/ipv4/vs/conntrack", "1\n");
        let traces = Host::at(tree.path()).traces();
        let sysctls: Vec<_> = traces.sysctls.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(sysctls, ["net.ipv4.conf.all.arp_ignore=1", "net.ipv4.vs.conntrack=1"]);
        let legacy: Vec<_> = traces.legacy.iter().map(|t| (t.family, t.name.as_str())).collect();
        assert_eq!(legacy, [(Family::Ip, "filter"), (Family::Ip, "nat")]);
        assert_eq!((traces.ipvs_services, traces.kubelet, traces.troubles), (None, None, vec![]));
    }
}
