//! What tests and demos do with a cluster: MetalLB on it, a web server behind an address, a look from outside.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use super::{Cluster, Metallb, build};
use crate::error::{Doing, Result};
use crate::rack::Lab;
use crate::run::{await_until, must};

const POOL: &str = include_str!("pool.yaml");
const LIMIT: Duration = Duration::from_secs(120);
const ARPING: Duration = Duration::from_secs(30);
const API_MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const API_ASIDE: &str = "/etc/kubernetes/kube-apiserver.yaml";

impl Cluster {
    /// MetalLB's own manifest of the version that was ordered for this cluster, as it lies in the cache.
    pub fn metallb_manifest(version: Metallb) -> Result<std::path::PathBuf> {
        Ok(build::ensure(version.component())?.join("files/metallb-native.yaml"))
    }

    /// Installs MetalLB from its manifest, and waits until it runs. No pool is made by that.
    pub fn install_metallb(&self, version: Metallb) -> Result<()> {
        let path = Self::metallb_manifest(version)?;
        let manifest = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        // Not by client-side `apply`: its annotation does not hold the larger definitions.
        self.kube(&["apply", "--server-side", "--force-conflicts", "--filename=-"], Some(&manifest))?;
        for workload in ["deployment/controller", "daemonset/speaker"] {
            let status = ["--namespace=metallb-system", "rollout", "status", workload, "--timeout=240s"];
            self.kube(&status, None)?;
        }
        Ok(())
    }

    /// Gives MetalLB the pool and the advertisement of the rack's file, 192.0.2.200-219, as soon as its webhook
    /// lets them in.
    pub fn give_pool(&self) -> Result<()> {
        await_until("MetalLB's webhook lets the pool in", LIMIT, || {
            self.apply(POOL).map_err(|error| error.to_string())
        })
    }

    /// A web server of `replicas` pods that say their node's name, and a LoadBalancer Service of the same name in
    /// front of it, in namespace default. Returns when the pods are ready.
    pub fn deploy_web(&self, name: &str, replicas: usize) -> Result<()> {
        self.apply(&web(name, replicas))?;
        let workload = format!("deployment/{name}");
        self.kube(&["rollout", "status", &workload, "--timeout=120s"], None).map(drop)
    }

    /// The address that a Service of namespace default was given, once it was.
    pub fn address_of(&self, service: &str) -> Result<String> {
        self.address_in("default", service)
    }

    /// The same of any namespace.
    pub fn address_in(&self, namespace: &str, service: &str) -> Result<String> {
        let ingress = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        let (namespace, service) = (format!("--namespace={namespace}"), format!("service/{service}"));
        self.kube(&["wait", &namespace, &format!("--for={ingress}"), &service, "--timeout=120s"], None)?;
        Ok(self.kube(&["get", &namespace, &service, &format!("--output={ingress}")], None)?.text().to_owned())
    }

    /// Applies objects as the administrator.
    pub fn apply(&self, objects: &str) -> Result<()> {
        self.kube(&["apply", "--filename=-"], Some(objects)).map(drop)
    }

    /// The machine outside of the cluster on the same segment: the operator's.
    pub fn outside(&self) -> Outside<'_> {
        Outside { lab: self.lab() }
    }

    /// Ends the API server of a control plane, and only it: its static pod's manifest is taken away, and it is
    /// killed, so that nothing is drained for half a minute.
    pub fn stop_api_server(&self, host: &str) -> Result<()> {
        let host = self.lab().find(host)?;
        host.read(&format!("mv {API_MANIFEST} {API_ASIDE}"))?;
        let kill = "pkill --signal KILL --exact kube-apiserver; sleep 0.2; ! pgrep --exact kube-apiserver";
        await_until(&format!("the API server of {} is gone", host.name()), LIMIT, || {
            let output = host.sh(kill).map_err(|error| error.to_string())?;
            if output.success() { Ok(()) } else { Err(format!("process {}", output.text())) }
        })
    }

    /// Gives the manifest back, and waits until that API server is ready.
    pub fn start_api_server(&self, host: &str) -> Result<()> {
        let host = self.lab().find(host)?;
        host.read(&format!("mv {API_ASIDE} {API_MANIFEST}"))?;
        super::await_api(&host)
    }
}

/// Deployment and Service.
pub(super) fn web(name: &str, replicas: usize) -> String {
    include_str!("web.yaml").replace("NAME", name).replace("REPLICAS", &replicas.to_string())
}

/// A machine outside of a cluster, on the segment of its nodes.
#[derive(Debug)]
pub struct Outside<'a> {
    lab: &'a Lab,
}

impl Outside<'_> {
    /// A program that will run there.
    pub fn command(&self, program: &str) -> Result<Command> {
        self.lab.op_command(program)
    }

    /// The MAC addresses, in lower case, that answer ARP requests for an address within some seconds.
    pub fn answering(&self, address: &str) -> Result<BTreeSet<String>> {
        let mut arping = self.command("arping")?;
        arping.args(["-I", "eth0", "-b", "-c", "3", "-w", "4", address]);
        // It fails when nobody answers, which is an answer here.
        let said = crate::run::run(arping, None, ARPING)?.stdout.to_lowercase();
        let words = said.split(['[', ']']);
        Ok(words.filter(|word| word.matches(':').count() == 5).map(str::to_owned).collect())
    }

    /// The body that an HTTP server answers with.
    pub fn get(&self, url: &str) -> Result<String> {
        self.curl(&[url])
    }

    /// The same for a host of its own choice, as gateways of a mesh ask for, the answer's head included.
    pub fn get_as(&self, host: &str, url: &str) -> Result<String> {
        self.curl(&["--include", "--header", &format!("Host: {host}"), url])
    }

    fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut curl = self.command("curl")?;
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "10"]).args(arguments);
        Ok(must(curl, &format!("get {}", arguments.join(" ")), LIMIT)?.stdout)
    }
}
