//! Defects are done to the real thing: by a unit on a host that also does it at every boot, or by an edit in the API.

use super::mesh::ISTIO_SYSTEM;
use super::{Cluster, ClusterDefect, workload};
use crate::error::{LabError, Result};
use crate::host::Host;

/// An upstream that nobody answers at.
const NOWHERE: &str = "192.0.2.254";
/// The cluster's own name server, by kubeadm's choice.
const CLUSTER_DNS: &str = "10.96.0.10";
/// An address of the Services' range that none has.
const NO_SERVICE: &str = "10.96.0.99";
const KUBEADM_FORWARD: &str = "forward . /etc/resolv.conf";
const KUBE_SYSTEM: &str = "--namespace=kube-system";
const ISTIOD: &str = "deployment/istiod";
const GATEWAY: &str = "deployment/istio-ingressgateway";

impl Cluster {
    /// Makes something wrong with a cluster that stands; the host matters only to defects of one.
    pub fn spoil(&self, host: &str, defect: ClusterDefect) -> Result<()> {
        defect.fits(self.lab().spec())?;
        let hosts = self.hosts_of(host, defect)?;
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
            ClusterDefect::DnsDown => self.scale_dns(0),
            ClusterDefect::DnsNoEndpoints => self.select_dns("kube-dns-former"),
            ClusterDefect::KubeletDns => tell_pods(&hosts[0], CLUSTER_DNS, NO_SERVICE),
            ClusterDefect::SmallMtu => {
                // Packets shall be as large on the way as they are to the rules that drop some of them.
                let script = "ethtool -K eth0 tso off gso off gro off";
                self.lab().hosts().iter().try_for_each(|host| host.read(script).map(drop))
            }
            ClusterDefect::RpFilter => self.lead_to_pods(&hosts[0], 0, 1),
            ClusterDefect::GatewayRejects => self.switch_filters("-"),
            ClusterDefect::ProxyNeverReady => self.restart_proxy(host),
            ClusterDefect::ProxyStuck => {
                hosts[0].read("rm -rf /run/xtables.lock && mkdir /run/xtables.lock")?;
                let line = "d /run/xtables.lock 0755 root root -";
                hosts[0].read(&format!("echo '{line}' > /etc/tmpfiles.d/lab-proxy-stuck.conf"))?;
                self.restart_proxy(host)
            }
            ClusterDefect::NoEndpoints => self.apply(&workload::web("web", 0)),
            ClusterDefect::DnatMissing
            | ClusterDefect::IpForwardOff
            | ClusterDefect::BridgeNfOff
            | ClusterDefect::OverlayClosed
            | ClusterDefect::StaleNat
            | ClusterDefect::CidrOverlap
            | ClusterDefect::WebhookUnreachable
            | ClusterDefect::SpeakersApart
            | ClusterDefect::FormerCni0 => Ok(()),
        }
    }

    /// Undoes a defect; what crashed meanwhile comes back by itself, in Kubernetes' own time.
    pub fn heal(&self, host: &str, defect: ClusterDefect) -> Result<()> {
        let hosts = self.hosts_of(host, defect)?;
        if let Some((name, _)) = defect.unit() {
            let script = format!("systemctl disable --quiet --now lab-{name}.service");
            hosts.iter().try_for_each(|host| host.read(&script).map(drop))?;
        }
        match defect {
            ClusterDefect::DnsDown => self.scale_dns(2),
            ClusterDefect::DnsNoEndpoints => self.select_dns("kube-dns"),
            ClusterDefect::KubeletDns => tell_pods(&hosts[0], NO_SERVICE, CLUSTER_DNS),
            ClusterDefect::DnatMissing => {
                hosts[0].sh("nft delete table ip kube-proxy")?;
                self.restart_proxy(host)
            }
            ClusterDefect::RpFilter => self.lead_to_pods(&hosts[0], 1, 0),
            ClusterDefect::GatewayRejects => self.switch_filters("=false"),
            ClusterDefect::ProxyStuck => {
                let script = "rm /etc/tmpfiles.d/lab-proxy-stuck.conf && rmdir /run/xtables.lock";
                hosts[0].read(script).map(drop)
            }
            ClusterDefect::NoEndpoints => {
                self.kube(&["scale", "deployment/web", "--replicas=1"], None).map(drop)
            }
            ClusterDefect::DnsNoUpstream | ClusterDefect::DnsLoop => {
                Err(LabError::Refused(format!("{defect:?} is for the operator to heal")))
            }
            _ => Ok(()),
        }
    }

    fn hosts_of(&self, host: &str, defect: ClusterDefect) -> Result<Vec<Host>> {
        if defect.is_of_host() { Ok(vec![self.lab().find(host)?]) } else { Ok(self.lab().hosts()) }
    }

    /// Edits the Corefile as somebody would who follows a blog.
    fn forward_dns_to(&self, upstream: &str) -> Result<()> {
        let corefile = "--output=jsonpath={.data.Corefile}";
        let text = self.kube(&["get", "configmap", "coredns", KUBE_SYSTEM, corefile], None)?.stdout;
        if !text.contains(KUBEADM_FORWARD) {
            return Err(LabError::Refused(format!("the Corefile has no `{KUBEADM_FORWARD}` to spoil")));
        }
        let text = text.replace(KUBEADM_FORWARD, &format!("forward . {upstream}"));
        let patch = serde_json::json!({"data": {"Corefile": text}}).to_string();
        let patch = format!("--patch={patch}");
        self.kube(&["patch", "configmap", "coredns", KUBE_SYSTEM, "--type=merge", &patch], None).map(drop)
    }

    /// All at once: what they see at their start is the same for all.
    fn restart_dns(&self) -> Result<()> {
        self.kube(&["delete", "pod", KUBE_SYSTEM, "--selector=k8s-app=kube-dns"], None).map(drop)
    }

    /// Returns when that many run.
    fn scale_dns(&self, replicas: usize) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.kube(&["scale", KUBE_SYSTEM, "deployment/coredns", &replicas], None)?;
        if replicas.ends_with("=0") {
            let gone = ["wait", KUBE_SYSTEM, "--for=delete", "pod", "--selector=k8s-app=kube-dns"];
            return self.kube(&[&gone[..], &["--timeout=120s"]].concat(), None).map(drop);
        }
        self.kube(&["rollout", "status", KUBE_SYSTEM, "deployment/coredns", "--timeout=120s"], None).map(drop)
    }

    fn select_dns(&self, app: &str) -> Result<()> {
        let patch = format!("--patch={{\"spec\": {{\"selector\": {{\"k8s-app\": \"{app}\"}}}}}}");
        self.kube(&["patch", "service", "kube-dns", KUBE_SYSTEM, "--type=merge", &patch], None).map(drop)
    }

    fn restart_proxy(&self, host: &str) -> Result<()> {
        let (on, of) = (format!("--field-selector=spec.nodeName={host}"), "--selector=k8s-app=kube-proxy");
        let delete = ["delete", "pod", KUBE_SYSTEM, "--grace-period=1"];
        self.kube(&[&delete[..], &[of, &on]].concat(), None).map(drop)
    }

    /// Makes the other hosts send packets for a host's pods to another of its interfaces, now and at each boot.
    fn lead_to_pods(&self, host: &Host, from: usize, to: usize) -> Result<()> {
        let station = self.lab().layout().host(host.name());
        let address = |nic: usize| station.map(|station| station.nics[nic].address.addr().to_string());
        let (from, to) = (address(from).unwrap_or_default(), address(to).unwrap_or_default());
        let file = "/etc/pod-network/routes";
        let script = format!("sed -i 's/ via {from}$/ via {to}/' {file} && ip -batch {file}");
        let mut others = self.lab().hosts();
        others.retain(|other| other.name() != host.name());
        others.iter().try_for_each(|other| other.read(&script).map(drop))
    }

    /// Sets (`=false`) or takes away (`-`) what upstream's Envoy needs of istiod, and starts the gateway anew: one
    /// that has a good configuration keeps it. Where Istio is not there yet, its settings lack it.
    fn switch_filters(&self, how: &str) -> Result<()> {
        let found = self.kube(&["get", ISTIO_SYSTEM, ISTIOD, "--ignore-not-found", "--output=name"], None);
        if found.is_ok_and(|found| found.text().is_empty()) {
            return Ok(());
        }
        let switches = ["METADATA_EXCHANGE", "ALPN_FILTER"].map(|name| format!("PILOT_ENABLE_{name}{how}"));
        self.kube(&["set", "env", ISTIO_SYSTEM, ISTIOD, &switches[0], &switches[1]], None)?;
        self.kube(&["rollout", "status", ISTIO_SYSTEM, ISTIOD, "--timeout=120s"], None)?;
        self.kube(&["rollout", "restart", ISTIO_SYSTEM, GATEWAY], None).map(drop)
    }
}

fn enable(host: &Host, name: &str, unit: &str) -> Result<()> {
    let file = format!("/etc/systemd/system/lab-{name}.service");
    let script = format!(
        "cat > {file} && systemctl daemon-reload && systemctl enable --quiet --now lab-{name}.service"
    );
    host.put(&script, unit)
}

/// Changes the name server that kubelet tells to pods which start from now on.
fn tell_pods(host: &Host, from: &str, to: &str) -> Result<()> {
    let script =
        format!("sed -i 's/^- {from}$/- {to}/' /var/lib/kubelet/config.yaml && systemctl restart kubelet");
    host.read(&script).map(drop)
}
