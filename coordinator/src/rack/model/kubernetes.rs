//! `kubernetes`: the cluster on the nodes.

use std::collections::BTreeMap;

use rackwright_proto::name::{IfName, NodeName};
use rackwright_proto::range::AddressRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rack::format::{MapOf, Of};
use crate::rack::words::{
    Cidr, HttpsUrl, Label, LabelKey, LabelValue, LocalPath, ObjectName, Sha256, Upstream, Version,
};

/// The cluster on the nodes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kubernetes {
    /// The version of Kubernetes; asked of the cluster when left out.
    #[schemars(with = "Option<Of<Version>>")]
    pub version: Option<Version>,
    /// A kubeconfig on this machine to reach the cluster by; through the control planes' SSH when left out.
    pub kubeconfig: Option<OwnKubeconfig>,
    /// kube-proxy; left alone when left out.
    pub proxy: Option<Proxy>,
    /// CoreDNS; left alone when left out.
    pub dns: Option<Dns>,
    /// MetalLB in layer 2 mode.
    pub metallb: Option<Metallb>,
    /// Istio.
    pub istio: Option<Istio>,
    /// Services of type LoadBalancer to prove reachable from outside.
    pub services: Vec<ServiceName>,
}

impl Kubernetes {
    /// The Services to prove reachable from outside: those named, and those of gateways; each once.
    pub fn to_prove(&self) -> Vec<&ServiceName> {
        let mut all: Vec<&ServiceName> = self.services.iter().collect();
        for gateway in self.istio.iter().flat_map(|istio| &istio.gateways) {
            if !all.contains(&&gateway.service) {
                all.push(&gateway.service);
            }
        }
        all
    }
}

/// A kubeconfig of the operator's own.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnKubeconfig {
    /// Where it lies.
    #[schemars(with = "Of<LocalPath>")]
    pub path: LocalPath,
    /// The context in it; its current one when left out.
    #[serde(default)]
    pub context: Option<String>,
}

/// kube-proxy.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    /// How it programs services into the kernel.
    pub mode: ProxyMode,
    /// How IPVS spreads connections; `rr` when left out, of no effect in other modes.
    #[serde(default)]
    pub scheduler: Option<Scheduler>,
    /// Whether nodes keep silent on ARP requests for service addresses bound to `kube-ipvs0`; of no effect outside ipvs mode.
    #[serde(default, rename = "strictARP")]
    pub strict_arp: bool,
    /// Networks whose IPVS entries kube-proxy leaves alone when it cleans up.
    #[serde(default, rename = "excludeCIDRs")]
    #[schemars(with = "Vec<Of<Cidr>>")]
    pub exclude_cidrs: Vec<Cidr>,
    /// What `rackwright migrate-proxy` may do to a node while it changes the mode there.
    #[serde(default)]
    pub migrate: Migrate,
}

/// What a change of kube-proxy's mode may do to each node in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Migrate {
    /// Whether its pods may be evicted first, within their disruption budgets.
    pub drain: bool,
    /// Whether it may be rebooted, which clears all that the former mode left in the kernel; needs `drain`.
    pub reboot: bool,
}

/// kube-proxy's modes on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyMode {
    /// iptables rules.
    Iptables,
    /// IPVS virtual servers; deprecated in Kubernetes 1.35.
    Ipvs,
    /// nftables rules; needs kernel 5.13 and Kubernetes 1.31.
    Nftables,
}

/// IPVS schedulers of the Linux kernel (ipvsadm(8)); the module is `ip_vs_` and the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the kernel's names; ipvsadm(8) explains them")]
pub enum Scheduler {
    #[default]
    Rr,
    Wrr,
    Lc,
    Wlc,
    Fo,
    Ovf,
    Lblc,
    Lblcr,
    Dh,
    Sh,
    Mh,
    Sed,
    Nq,
    Twos,
}

impl Scheduler {
    /// The kernel's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Mh => "mh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Twos => "twos",
        }
    }
}

/// CoreDNS.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// The resolvers for names outside the cluster: IP, IP:PORT, tls://IP, or a resolv.conf's path.
    #[schemars(with = "Vec<Of<Upstream>>", length(max = 15))]
    pub forward: Vec<Upstream>,
    /// Whether resolvers are allowed that look like CoreDNS itself.
    pub allow_loop: bool,
}

/// MetalLB in layer 2 mode.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metallb {
    /// The version to install, with all three numbers.
    #[schemars(with = "Of<Version>")]
    pub version: Version,
    /// Where its manifest comes from; from the publisher when left out, for versions whose checksum is known.
    #[serde(default)]
    pub manifest: Option<Artifact>,
    /// The namespace that it lives in.
    #[serde(default = "metallb_system")]
    #[schemars(with = "Of<Label>")]
    pub namespace: Label,
    /// The addresses to hand out.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Which pools are announced, from where.
    #[serde(default)]
    pub advertisements: Vec<Advertisement>,
}

fn metallb_system() -> Label {
    "metallb-system".parse().expect("a valid name")
}

/// Something from elsewhere, checked before it is used: a local file, an address, or without both the publisher's.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artifact {
    /// A local file; no network is needed.
    #[serde(default)]
    #[schemars(with = "Option<Of<LocalPath>>")]
    pub path: Option<LocalPath>,
    /// Another address than the publisher's.
    #[serde(default)]
    #[schemars(with = "Option<Of<HttpsUrl>>")]
    pub url: Option<HttpsUrl>,
    /// Its SHA-256.
    #[schemars(with = "Of<Sha256>")]
    pub sha256: Sha256,
}

/// Addresses to hand out (MetalLB's IPAddressPool).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    #[schemars(with = "Of<ObjectName>")]
    pub name: ObjectName,
    /// Its ranges: a CIDR or `first-last`, IPv4 or IPv6.
    #[schemars(with = "Vec<Of<AddressRange>>", length(min = 1))]
    pub addresses: Vec<AddressRange>,
    /// Whether services get addresses from it without asking for it.
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Whether IPv4 addresses ending in .0 and .255 are skipped.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Which services may have addresses from it; all when left out.
    #[serde(default)]
    pub service_allocation: Option<ServiceAllocation>,
}

fn yes() -> bool {
    true
}

/// Which services may have addresses from a pool.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceAllocation {
    /// Pools with a lower number are tried first; 0 comes last.
    pub priority: u32,
    /// Only services of these namespaces.
    #[schemars(with = "Vec<Of<Label>>")]
    pub namespaces: Vec<Label>,
    /// Only services of namespaces that one of these selects.
    pub namespace_selectors: Vec<Selector>,
    /// Only services that one of these selects.
    pub service_selectors: Vec<Selector>,
}

/// A Kubernetes label selector; all of it must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Labels with these values.
    #[schemars(with = "MapOf<LabelKey, LabelValue>")]
    pub match_labels: BTreeMap<LabelKey, LabelValue>,
    /// Conditions on labels.
    pub match_expressions: Vec<Expression>,
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// The label.
    #[schemars(with = "Of<LabelKey>")]
    pub key: LabelKey,
    /// How it is compared.
    pub operator: Operator,
    /// With what; for `In` and `NotIn` only.
    #[serde(default)]
    #[schemars(with = "Vec<Of<LabelValue>>")]
    pub values: Vec<LabelValue>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values.
    NotIn,
    /// Any value.
    Exists,
    /// No such label.
    DoesNotExist,
}

/// Which pools are announced, from where (MetalLB's L2Advertisement).
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Advertisement {
    /// Its name; made from its pools when left out.
    #[schemars(with = "Option<Of<ObjectName>>")]
    pub name: Option<ObjectName>,
    /// The pools; all when left out.
    #[schemars(with = "Vec<Of<ObjectName>>")]
    pub pools: Vec<ObjectName>,
    /// The nodes of this rack that announce; all when left out.
    #[schemars(with = "Vec<Of<NodeName>>")]
    pub nodes: Vec<NodeName>,
    /// Selectors of nodes that announce, beside `nodes`.
    pub node_selectors: Vec<Selector>,
    /// The interfaces to announce on; all when left out.
    #[schemars(with = "Vec<Of<IfName>>")]
    pub interfaces: Vec<IfName>,
}

/// Istio.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Istio {
    /// The version to install, with all three numbers.
    #[schemars(with = "Of<Version>")]
    pub version: Version,
    /// How it is installed.
    #[serde(default)]
    pub method: IstioMethod,
    /// The profile to start from.
    #[serde(default)]
    pub profile: IstioProfile,
    /// The revision's name; the default revision when left out.
    #[serde(default)]
    #[schemars(with = "Option<Of<Label>>")]
    pub revision: Option<Label>,
    /// A local file with more settings: an IstioOperator for istioctl and operator, values for helm.
    #[serde(default)]
    #[schemars(with = "Option<Of<LocalPath>>")]
    pub file: Option<LocalPath>,
    /// The release archive, `istio-VERSION-OS-ARCH.tar.gz`; the publisher's with its checksum when left out.
    #[serde(default)]
    pub archive: Option<Artifact>,
    /// Helm's own archive, `helm-vVERSION-OS-ARCH.tar.gz`, for `method: helm`; a `helm` on the control plane's PATH when
    /// left out.
    #[serde(default)]
    pub helm: Option<Artifact>,
    /// Whose pods get a sidecar.
    #[serde(default)]
    pub injection: Injection,
    /// Ways through a gateway to prove from outside.
    #[serde(default)]
    pub gateways: Vec<Gateway>,
}

/// Whose pods get a sidecar.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Injection {
    /// Namespaces whose pods get one, of the revision that is wanted.
    #[schemars(with = "Vec<Of<Label>>")]
    pub namespaces: Vec<Label>,
    /// Namespaces whose pods get none, whatever they ask for.
    #[schemars(with = "Vec<Of<Label>>")]
    pub off: Vec<Label>,
    /// Workloads whose pods get none in a namespace whose others do.
    pub exclude: Vec<WorkloadName>,
    /// Whether workloads whose pods were made before are restarted; without it a finding names them.
    pub restart: bool,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadName {
    /// Its kind.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(with = "Of<ObjectName>")]
    pub name: ObjectName,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    #[schemars(with = "Of<Label>")]
    pub namespace: Label,
}

/// Kinds of workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    #[default]
    Deployment,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

/// A way through a gateway to prove from outside: plain HTTP to the address of its Service.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// The gateway's Service.
    #[serde(default = "ingress_gateway")]
    pub service: ServiceName,
    /// The port of the Service.
    #[serde(default = "http_port")]
    pub port: u16,
    /// The name to ask for (HTTP's `Host`); the address itself when left out.
    #[serde(default)]
    pub host: Option<String>,
    /// The path to ask for.
    #[serde(default = "root_path")]
    pub path: String,
    /// The status that shall come.
    #[serde(default = "ok_status")]
    pub status: u16,
}

fn ingress_gateway() -> ServiceName {
    ServiceName {
        name: "istio-ingressgateway".parse().expect("a valid name"),
        namespace: "istio-system".parse().expect("a valid name"),
    }
}

fn http_port() -> u16 {
    80
}

fn root_path() -> String {
    "/".into()
}

fn ok_status() -> u16 {
    200
}

/// How Istio is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IstioMethod {
    /// `istioctl install`.
    #[default]
    Istioctl,
    /// The in-cluster operator; gone since 1.24.
    Operator,
    /// Helm charts.
    Helm,
}

/// Istio's profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IstioProfile {
    /// Control plane and ingress gateway.
    #[default]
    Default,
    /// Like default, with an egress gateway.
    Demo,
    /// Control plane only.
    Minimal,
    /// Nothing, as a base.
    Empty,
    /// Default with experimental settings.
    Preview,
    /// Ambient mode.
    Ambient,
    /// A remote cluster of a mesh.
    Remote,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceName {
    /// Its name.
    #[schemars(with = "Of<Label>")]
    pub name: Label,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    #[schemars(with = "Of<Label>")]
    pub namespace: Label,
}

fn default_namespace() -> Label {
    "default".parse().expect("a valid name")
}
