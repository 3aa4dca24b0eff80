//! What can be wrong with a cluster on order. Each is something that operators really meet, and is done to the
//! real thing: by a unit on a host that also does it at every boot, or by an edit in the API.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Cluster, workload};
use crate::error::{LabError, Result};
use crate::host::Host;

/// An upstream that nobody answers at.
const NOWHERE: &str = "192.0.2.254";
/// The cluster's own name server, by kubeadm's choice.
const CLUSTER_DNS: &str = "10.96.0.10";
const KUBEADM_FORWARD: &str = "forward . /etc/resolv.conf";

/// One kind of defect of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterDefect {
    /// The hosts' resolv.conf, which CoreDNS takes its upstream from, names a resolver that is not there.
    DnsNoUpstream,
    /// CoreDNS forwards to the Service that it is behind, as blogs advise.
    DnsLoop,
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

impl ClusterDefect {
    /// Whether it is of one host; the others are of the whole cluster.
    pub fn is_of_host(self) -> bool {
        matches!(self, Self::ProxyNeverReady | Self::ProxyStuck | Self::FormerCni0)
    }

    /// The unit that does it at each boot, for those that are done so.
    fn unit(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::ProxyNeverReady => {
                Some(("proxy-never-ready", include_str!("defects/proxy-never-ready.service")))
            }
            Self::WebhookUnreachable => {
                Some(("webhook-unreachable", include_str!("defects/webhook-unreachable.service")))
            }
            Self::SpeakersApart => Some(("speakers-apart", include_str!("defects/speakers-apart.service"))),
            Self::FormerCni0 => Some(("former-cni0", include_str!("defects/former-cni0.service"))),
            Self::DnsNoUpstream | Self::DnsLoop | Self::ProxyStuck | Self::NoEndpoints => None,
        }
    }
}

impl Cluster {
    /// Makes something wrong with a cluster that stands; the host matters only to defects of one.
    pub fn spoil(&self, host: &str, defect: ClusterDefect) -> Result<()> {
        let hosts = if defect.is_of_host() { vec![self.lab().find(host)?] } else { self.lab().hosts() };
        if let Some((name, unit)) = defect.unit() {
            hosts.iter().try_for_each(|host| enable(host, name, unit))?;
        }
        match defect {
            ClusterDefect::DnsNoUpstream => {
                let script = format!("echo nameserver {NOWHERE} > /etc/resolv.conf");
                hosts.iter().try_for_each(|host| host.read(&script).map(drop))?;
                self.restart_dns()
            }
            ClusterDefect::DnsLoop => {
                self.forward_dns_to(CLUSTER_DNS)?;
                self.restart_dns()
            }
            ClusterDefect::ProxyNeverReady => self.restart_proxy(host),
            ClusterDefect::ProxyStuck => {
                hosts[0].read("rm -rf /run/xtables.lock && mkdir /run/xtables.lock")?;
                let line = "d /run/xtables.lock 0755 root root -";
                hosts[0].read(&format!("echo '{line}' > /etc/tmpfiles.d/lab-proxy-stuck.conf"))?;
                self.restart_proxy(host)
            }
            ClusterDefect::NoEndpoints => self.apply(&workload::web("web", 0)),
            ClusterDefect::WebhookUnreachable | ClusterDefect::SpeakersApart | ClusterDefect::FormerCni0 => {
                Ok(())
            }
        }
    }

    /// Undoes a defect; what crashed meanwhile comes back by itself, in Kubernetes' own time.
    pub fn heal(&self, host: &str, defect: ClusterDefect) -> Result<()> {
        let hosts = if defect.is_of_host() { vec![self.lab().find(host)?] } else { self.lab().hosts() };
        if let Some((name, _)) = defect.unit() {
            let script = format!("systemctl disable --quiet --now lab-{name}.service");
            return hosts.iter().try_for_each(|host| host.read(&script).map(drop));
        }
        match defect {
            ClusterDefect::ProxyStuck => {
                let script = "rm /etc/tmpfiles.d/lab-proxy-stuck.conf && rmdir /run/xtables.lock";
                hosts[0].read(script).map(drop)
            }
            ClusterDefect::NoEndpoints => {
                self.kube(&["scale", "deployment/web", "--replicas=1"], None).map(drop)
            }
            _ => Err(LabError::Refused(format!("{defect:?} is for the operator to heal"))),
        }
    }

    /// Edits the Corefile as somebody would who follows a blog.
    fn forward_dns_to(&self, upstream: &str) -> Result<()> {
        let system = "--namespace=kube-system";
        let corefile = "--output=jsonpath={.data.Corefile}";
        let text = self.kube(&["get", "configmap", "coredns", system, corefile], None)?.stdout;
        if !text.contains(KUBEADM_FORWARD) {
            return Err(LabError::Refused(format!("the Corefile has no `{KUBEADM_FORWARD}` to spoil")));
        }
        let text = text.replace(KUBEADM_FORWARD, &format!("forward . {upstream}"));
        let patch = serde_json::json!({"data": {"Corefile": text}}).to_string();
        let patch = format!("--patch={patch}");
        self.kube(&["patch", "configmap", "coredns", system, "--type=merge", &patch], None).map(drop)
    }

    /// All at once: what they see at their start is the same for all.
    fn restart_dns(&self) -> Result<()> {
        self.kube(&["delete", "pod", "--namespace=kube-system", "--selector=k8s-app=kube-dns"], None)
            .map(drop)
    }

    fn restart_proxy(&self, host: &str) -> Result<()> {
        let (on, of) = (format!("--field-selector=spec.nodeName={host}"), "--selector=k8s-app=kube-proxy");
        let delete = ["delete", "pod", "--namespace=kube-system", "--grace-period=1"];
        self.kube(&[&delete[..], &[of, &on]].concat(), None).map(drop)
    }
}

fn enable(host: &Host, name: &str, unit: &str) -> Result<()> {
    let file = format!("/etc/systemd/system/lab-{name}.service");
    let script = format!(
        "cat > {file} && systemctl daemon-reload && systemctl enable --quiet --now lab-{name}.service"
    );
    host.put(&script, unit)
}
