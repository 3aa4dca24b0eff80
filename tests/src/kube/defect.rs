//! What can be wrong with a cluster on order. Each is something that operators really meet.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::PodNetwork;
use crate::error::{LabError, Result};
use crate::spec::Spec;

/// One kind of defect of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterDefect {
    /// The hosts' resolv.conf, which CoreDNS takes its upstream from, names a resolver that is not there.
    DnsNoUpstream,
    /// CoreDNS forwards to the Service that it is behind, as blogs advise.
    DnsLoop,
    /// CoreDNS is scaled to nothing.
    DnsDown,
    /// The name server's Service selects no pod, though CoreDNS runs.
    DnsNoEndpoints,
    /// On this host kubelet tells pods of a name server that is not there.
    KubeletDns,
    /// On this host the name server's Service is not translated: kube-proxy's rules for it vanish.
    DnatMissing,
    /// This host forwards no packets.
    IpForwardOff,
    /// On this host packets between pods of one bridge pass the rules by, so that Services answer from the wrong
    /// address.
    BridgeNfOff,
    /// The hosts drop each other's VXLAN packets. For clusters with an overlay.
    OverlayClosed,
    /// Packets above 1400 bytes between this host's pods and those of others vanish without a word.
    SmallMtu,
    /// Packets for pods of this host arrive on its second interface, where its strict filter drops them. For
    /// clusters on two segments.
    RpFilter,
    /// On this host the kernel remembers that the name server is a pod which is no more, for those who ask from
    /// ports 40000 to 40003.
    StaleNat,
    /// On this host another network, as a VPN brings it, covers half of every other host's pods.
    CidrOverlap,
    /// Envoy rejects its configuration: what upstream's lacks is not turned off. For clusters with Istio.
    GatewayRejects,
    /// On this host kube-proxy ends as soon as it starts, in mode nftables: another program owns its table.
    ProxyNeverReady,
    /// On this host kube-proxy's pod never starts: its lock file is a directory.
    ProxyStuck,
    /// The API server does not reach MetalLB's webhook: packets to it are dropped.
    WebhookUnreachable,
    /// The speakers' memberlist is cut between the hosts, so that each thinks that it is the only one.
    SpeakersApart,
    /// A LoadBalancer Service `web` in namespace default, and no pod behind it.
    NoEndpoints,
    /// This host has a bridge `cni0` with an address of another network, 10.85.0.1/16.
    FormerCni0,
}

/// The unit of a defect that is done by one: its name, and its text.
macro_rules! unit {
    ($name:literal) => {
        Some(($name, include_str!(concat!("defects/", $name, ".service"))))
    };
}

impl ClusterDefect {
    /// Whether it is of one host; the others are of the whole cluster.
    pub fn is_of_host(self) -> bool {
        use ClusterDefect as D;
        matches!(
            self,
            D::KubeletDns
                | D::DnatMissing
                | D::IpForwardOff
                | D::BridgeNfOff
                | D::SmallMtu
                | D::RpFilter
                | D::StaleNat
                | D::CidrOverlap
                | D::ProxyNeverReady
                | D::ProxyStuck
                | D::FormerCni0
        )
    }

    /// The unit that does it at each boot, for those that are done so.
    pub(super) fn unit(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::DnatMissing => unit!("dnat-missing"),
            Self::IpForwardOff => unit!("ip-forward-off"),
            Self::BridgeNfOff => unit!("bridge-nf-off"),
            Self::OverlayClosed => unit!("overlay-closed"),
            Self::SmallMtu => unit!("small-mtu"),
            Self::RpFilter => unit!("rp-filter"),
            Self::StaleNat => unit!("stale-nat"),
            Self::CidrOverlap => unit!("cidr-overlap"),
            Self::ProxyNeverReady => unit!("proxy-never-ready"),
            Self::WebhookUnreachable => unit!("webhook-unreachable"),
            Self::SpeakersApart => unit!("speakers-apart"),
            Self::FormerCni0 => unit!("former-cni0"),
            Self::DnsNoUpstream
            | Self::DnsLoop
            | Self::DnsDown
            | Self::DnsNoEndpoints
            | Self::KubeletDns
            | Self::GatewayRejects
            | Self::ProxyStuck
            | Self::NoEndpoints => None,
        }
    }

    /// Refuses what a cluster of this shape cannot have.
    pub(crate) fn fits(self, spec: &Spec) -> Result<()> {
        let overlay = spec.cluster.network == PodNetwork::Vxlan;
        let (possible, wants) = match self {
            Self::OverlayClosed => (overlay, "an overlay: `Spec::overlay`, `--network vxlan`"),
            Self::RpFilter => (
                spec.segments > 1 && !overlay,
                "two segments and no overlay: `Spec::segments`, `--segments 2`",
            ),
            Self::GatewayRejects => (spec.cluster.istio.is_some(), "Istio: `Spec::istio`, `--istio 1.29`"),
            _ => (true, ""),
        };
        let refuse = || LabError::Refused(format!("{self:?} is a defect of clusters with {wants}"));
        if possible { Ok(()) } else { Err(refuse()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::{Istio, Release};

    #[test]
    fn a_defect_needs_what_it_spoils() {
        let plain = || Spec::new("lab".parse().unwrap(), 2).kube(Release::V1_37);
        let cases = [
            (ClusterDefect::OverlayClosed, plain().overlay()),
            (ClusterDefect::RpFilter, plain().segments(2)),
            (ClusterDefect::GatewayRejects, plain().istio(Istio::V1_29)),
        ];
        for (defect, shape) in cases {
            defect.fits(&plain()).unwrap_err();
            shape.cluster_defect("w1", defect).validate().unwrap();
        }
    }
}
