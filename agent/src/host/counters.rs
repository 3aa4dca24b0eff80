//! Counters of the kernel that rise when it drops packets for where they come from.

use std::collections::BTreeMap;

use super::Host;
use super::read::SMALL;

/// Counters of `/proc/net/netstat` that are looked at.
const NETSTAT: [&str; 1] = ["IPReversePathFilter"];
/// Counters of `/proc/net/stat/rt_cache`, one row per CPU.
const ROUTES: [&str; 2] = ["in_martian_src", "in_martian_dst"];

impl Host {
    /// What they are now. Those that the kernel does not have are not in it.
    pub(crate) fn drop_counters(&self) -> BTreeMap<String, u64> {
        let text = |path: &str| self.read_text(path, SMALL).ok().flatten().unwrap_or_default();
        let mut counters = netstat(&text("/proc/net/netstat"));
        counters.extend(rt_cache(&text("/proc/net/stat/rt_cache")));
        counters
    }
}

/// Pairs of lines, `TcpExt: NAME NAME` and `TcpExt: 1 2`.
fn netstat(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks_exact(2).flat_map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
    let wanted = pairs.filter(|(name, _)| NETSTAT.contains(name));
    wanted.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// A line of names, then a line of hexadecimal numbers for each CPU.
fn rt_cache(text: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let Some(names) = lines.next() else { return BTreeMap::new() };
    let names: Vec<&str> = names.collect();
    let mut sums = BTreeMap::new();
    for row in lines {
        for (name, value) in names.iter().zip(row).filter(|(name, _)| ROUTES.contains(name)) {
            *sums.entry((*name).to_owned()).or_default() += u64::from_str_radix(value, 16).unwrap_or(0);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_the_kernel_prints_them() {
        let text = "TcpExt: SyncookiesSent IPReversePathFilter TCPTimeouts\nTcpExt: 0 17 3\n\
                    IpExt: InNoRoutes InMcastPkts\nIpExt: 2 4\n";
        assert_eq!(netstat(text), [("IPReversePathFilter".to_owned(), 17)].into());
        let text = "entries  in_hit   in_martian_dst in_martian_src\n00000003 00000000 00000001 0000000a\n\
                    00000003 00000000 00000000 00000006\n";
        let wanted = [("in_martian_dst".to_owned(), 1), ("in_martian_src".to_owned(), 16)];
        assert_eq!(rt_cache(text), wanted.into());
        assert_eq!((netstat("x"), rt_cache("")), Default::default());
    }

    #[test]
    fn this_machine_has_them() {
        assert!(Host::this().drop_counters().contains_key("IPReversePathFilter"));
    }
}
