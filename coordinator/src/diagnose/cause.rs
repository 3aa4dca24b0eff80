//! What can be wrong: each cause has a name that is stable for ever.

use std::fmt;

use serde::{Serialize, Serializer};

/// Why something does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nobody answers for the cluster's API.
    ApiUnreachable,
    /// A node is not ready.
    NodeNotReady,
    /// CoreDNS has no pods.
    DnsDown,
    /// CoreDNS's pods are not placed on any node.
    DnsPending,
    /// CoreDNS asks itself.
    DnsLoop,
    /// CoreDNS ends as soon as it starts.
    DnsCrashes,
    /// The DNS Service leads nowhere.
    DnsNoEndpoints,
    /// A kubelet tells pods to ask somebody else for names.
    KubeletDns,
    /// A node does not translate the address of a Service.
    ServiceNotTranslated,
    /// A node forwards no packets.
    ForwardingOff,
    /// A node's packets between pods of one bridge pass kube-proxy's rules by.
    BridgeRulesOff,
    /// A node's firewall drops forwarded packets.
    ForwardDropped,
    /// Pods or Services have addresses that somebody else has, too.
    RangesOverlap,
    /// A node drops packets because of the link that they come in by.
    ReversePath,
    /// Packets between the pods of two nodes do not arrive.
    OverlayBlocked,
    /// Large packets between nodes vanish.
    LargePacketsLost,
    /// A node's kernel remembers a pod that is no more.
    StaleNat,
    /// CoreDNS runs, but is not ready.
    DnsNotReady,
    /// CoreDNS is ready, but does not answer.
    DnsSilent,
    /// CoreDNS does not know names outside of the cluster.
    DnsUpstreamSilent,
    /// istiod is not ready.
    IstiodNotReady,
    /// A webhook that the API server must ask has no endpoints.
    WebhookNoEndpoints,
    /// A webhook that the API server must ask is not reached.
    WebhookUnreachable,
    /// istiod is not reached from a node or a pod.
    IstiodUnreachable,
    /// A gateway's Envoy rejects its configuration.
    GatewayRejects,
    /// A gateway does not find istiod by its name.
    GatewayNoNames,
    /// A gateway's pods are not ready.
    GatewayNotReady,
    /// A pod is not ready.
    PodNotReady,
    /// A Service has no address; the reason's own name.
    Pending(&'static str),
    /// Nobody answers for a Service's address; the reason's own name.
    Silent(&'static str),
    /// More than one machine answers for a Service's address.
    AddressDoubled,
}

/// The causes that the doctor alone knows, with what they are about. The reasons of [`Cause::Pending`] and
/// [`Cause::Silent`] are findings, too, and have their names from [`crate::balancer::NAMES`].
pub const NAMES: &[(Cause, &str)] = &[
    (Cause::ApiUnreachable, "Nobody answers for the cluster's API, or it refuses us."),
    (Cause::NodeNotReady, "The cluster says that a node is not ready."),
    (Cause::DnsDown, "CoreDNS is scaled to nothing, or gone."),
    (Cause::DnsPending, "No node takes CoreDNS's pods."),
    (Cause::DnsLoop, "CoreDNS forwards to itself."),
    (Cause::DnsCrashes, "CoreDNS ends as soon as it starts, as with a Corefile that does not parse."),
    (Cause::DnsNoEndpoints, "The DNS Service is missing, or selects no pod that is ready."),
    (Cause::KubeletDns, "A kubelet gives pods another DNS address than the DNS Service's."),
    (
        Cause::ServiceNotTranslated,
        "A node has no rule for the address of the DNS Service or of the API's (DNAT).",
    ),
    (Cause::ForwardingOff, "A node has net.ipv4.ip_forward off: its pods reach nobody, and nobody them."),
    (
        Cause::BridgeRulesOff,
        "A node's bridge lets packets between its pods pass the rules by (br_netfilter).",
    ),
    (Cause::ForwardDropped, "A node's firewall drops what it should forward for its pods."),
    (Cause::RangesOverlap, "The addresses of pods or Services are those of another network, too."),
    (Cause::ReversePath, "A node with several links drops what comes in by the wrong one (rp_filter)."),
    (Cause::OverlayBlocked, "Nodes reach each other, but packets between their pods do not arrive."),
    (Cause::LargePacketsLost, "Small packets between nodes arrive, and large ones vanish (MTU)."),
    (Cause::StaleNat, "A node's kernel still leads clients of the DNS Service to a pod that is no more."),
    (Cause::DnsNotReady, "CoreDNS runs and is not ready, and the network of its node is not why."),
    (Cause::DnsSilent, "CoreDNS's pods are ready and reached, and do not answer."),
    (Cause::DnsUpstreamSilent, "CoreDNS knows names of the cluster, and none outside of it."),
    (Cause::IstiodNotReady, "istiod has no ready pod."),
    (Cause::WebhookNoEndpoints, "An admission webhook that must be asked has nobody behind it."),
    (
        Cause::WebhookUnreachable,
        "An admission webhook that must be asked is not reached from a control plane.",
    ),
    (Cause::IstiodUnreachable, "istiod's port 15012 is not reached from a node or a pod."),
    (Cause::GatewayRejects, "A gateway's Envoy rejects the configuration that istiod sends."),
    (Cause::GatewayNoNames, "A gateway is not ready because it does not find istiod by its name."),
    (Cause::GatewayNotReady, "A gateway's pods are not ready for another reason."),
    (Cause::PodNotReady, "The pod that was asked about is not ready."),
    (Cause::AddressDoubled, "More than one MAC address answers for the address of a Service."),
];

impl Cause {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiUnreachable => "api-unreachable",
            Self::NodeNotReady => "node-not-ready",
            Self::DnsDown => "dns-down",
            Self::DnsPending => "dns-pending",
            Self::DnsLoop => "dns-loop",
            Self::DnsCrashes => "dns-crashes",
            Self::DnsNoEndpoints => "dns-no-endpoints",
            Self::KubeletDns => "kubelet-dns",
            Self::ServiceNotTranslated => "service-not-translated",
            Self::ForwardingOff => "forwarding-off",
            Self::BridgeRulesOff => "bridge-rules-off",
            Self::ForwardDropped => "forward-dropped",
            Self::RangesOverlap => "ranges-overlap",
            Self::ReversePath => "reverse-path",
            Self::OverlayBlocked => "overlay-blocked",
            Self::LargePacketsLost => "large-packets-lost",
            Self::StaleNat => "stale-nat",
            Self::DnsNotReady => "dns-not-ready",
            Self::DnsSilent => "dns-pod-silent",
            Self::DnsUpstreamSilent => "dns-upstream-silent",
            Self::WebhookNoEndpoints => "webhook-no-endpoints",
            Self::WebhookUnreachable => "webhook-unreachable",
            Self::IstiodNotReady => "istiod-not-ready",
            Self::IstiodUnreachable => "istiod-unreachable",
            Self::GatewayRejects => "gateway-rejects",
            Self::GatewayNoNames => "gateway-no-names",
            Self::GatewayNotReady => "gateway-not-ready",
            Self::PodNotReady => "pod-not-ready",
            Self::Pending(name) | Self::Silent(name) => name,
            Self::AddressDoubled => "service-answered-twice",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
