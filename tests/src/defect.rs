//! What can be wrong with a host on order. Each is something that operators really meet.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// An address of the usual pool (192.0.2.200-219) that a foreign device owns under [`Defect::PoolNeighbour`].
pub const NEIGHBOUR: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 205);
/// The size that [`Defect::WrongMtu`] sets instead of 1500.
pub const WRONG_MTU: u32 = 1400;

/// One kind of defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// `/etc/fstab` turns a swap file on at boot.
    SwapFstab,
    /// `/etc/sysctl.d/99-zz-local.conf` sets `ip_forward` and `arp_ignore` back at boot.
    SysctlWinsLater,
    /// A device that is no node owns 192.0.2.205 (whichever host is named).
    PoolNeighbour,
    /// The machine-id of another host, as after cloning a disk.
    DuplicateMachineId,
    /// A second interface in the same subnet.
    SecondNic,
    /// The interface answers ARP for addresses it can route to.
    ProxyArp,
    /// The interface has MTU 1400 among neighbours with 1500.
    WrongMtu,
}

/// A change to a file of the host, before its first boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// The path on the host, without the leading slash.
    pub path: &'static str,
    /// What to append to what the base tree has there.
    pub append: &'static str,
}

impl Defect {
    /// The files of the host that the defect changes.
    pub fn edits(self) -> &'static [Edit] {
        match self {
            Self::SwapFstab => &[Edit { path: "etc/fstab", append: "/swap.img\tnone\tswap\tsw\t0\t0\n" }],
            Self::SysctlWinsLater => &[Edit {
                path: "etc/sysctl.d/99-zz-local.conf",
                append: "# local tuning\nnet.ipv4.ip_forward = 0\nnet.ipv4.conf.all.arp_ignore = 0\n",
            }],
            Self::ProxyArp => &[Edit {
                path: "etc/sysctl.d/50-proxy-arp.conf",
                append: "net.ipv4.conf.eth0.proxy_arp = 1\n",
            }],
            Self::PoolNeighbour | Self::DuplicateMachineId | Self::SecondNic | Self::WrongMtu => &[],
        }
    }

    /// The sysctls that the defect sets live.
    pub fn sysctls(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::ProxyArp => &[("net/ipv4/conf/eth0/proxy_arp", "1")],
            Self::SwapFstab
            | Self::SysctlWinsLater
            | Self::PoolNeighbour
            | Self::DuplicateMachineId
            | Self::SecondNic
            | Self::WrongMtu => &[],
        }
    }
}
