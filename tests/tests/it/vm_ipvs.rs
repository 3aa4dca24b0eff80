//! kube-proxy in mode ipvs for real, on workers with kernels of their own. The control plane's host shares this
//! machine's kernel, which has no IP_VS: the lab gives it a kube-proxy of its own, of mode nftables.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rackwright_lab::{
    Cluster, Host, Metallb, Output, Release, Spec, await_until, need_cluster, need_vm, run,
};
use serde_json::Value;

use self::watch::{assert_went_on, watch};
use crate::cluster_rack::{kube, metallb, state, until_answering, write_with};
use crate::operator::{Working, coded, rackwright, says};

/// The workers' pods are emulated with them.
const WEB: &str = include_str!("vm_ipvs/web.yaml");
const WORKERS: [&str; 2] = ["w1", "w2"];
const POOLS: &str = "pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}], \
                     advertisements: [{pools: [first], nodes: [w1, w2]}]";
const WITHOUT: &str = "{mode: ipvs, scheduler: wrr}";
const STRICT: &str = "{mode: ipvs, scheduler: wrr, strictARP: true}";
/// What is known of this cluster, and lived with.
const KNOWN: [(&str, &str); 2] =
    [("proxy-of-others", "this kernel has no IP_VS"), ("proxy-mode-deprecated", "it is what is tried here")];
const LIMIT: Duration = Duration::from_secs(900);
/// Emulated machines answer late.
const PATIENCE: Duration = Duration::from_secs(180);

/// A cluster whose workers are virtual machines.
struct Yard {
    cluster: Cluster,
}

impl Yard {
    /// With a web server on the workers. What need not be emulated is kept off them.
    fn up() -> Self {
        let cluster = Cluster::up(Spec::test(3).kube(Release::V1_37).vms(WORKERS)).unwrap();
        kube(&cluster, &["taint", "node", "cp1", "node-role.kubernetes.io/control-plane-"]);
        kube(&cluster, &["taint", "node", "w1", "w2", "emulated=true:PreferNoSchedule"]);
        kube(&cluster, &["label", "node", "w1", "w2", "emulated=true"]);
        cluster.apply(WEB).unwrap();
        kube(&cluster, &["rollout", "status", "deployment/web", "--timeout=180s"]);
        Self { cluster }
    }

    /// Rewrites the rack: this of kube-proxy, and findings to live with besides those that all of these racks have.
    /// What hosts do by themselves at boot is shown, not what our unit would mend there.
    fn want(&self, proxy: &str, waived: &[&str]) {
        let proxy = format!("proxy: {proxy}");
        write_with(
            &self.cluster,
            "3min",
            &[&proxy, &metallb(Metallb::V0_13, POOLS), "services: [{name: web}]"],
        );
        let waived = waived.iter().map(|name| (*name, "to see it"));
        let waived: Vec<String> = KNOWN
            .into_iter()
            .chain(waived)
            .map(|(name, reason)| format!("{{finding: {name}, reason: {reason}}}"))
            .collect();
        let path = self.cluster.lab().rack_yaml();
        let text = fs::read_to_string(&path).unwrap();
        let hosts = "hosts:\n  watch: {drift: {enabled: false}, restore: false}\n";
        let hosts = format!("{hosts}  waive: [{}]\n", waived.join(", "));
        fs::write(path, text.replacen("hosts:\n", &hosts, 1)).unwrap();
    }

    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        coded(run(rackwright(self.cluster.lab(), arguments), None, LIMIT).unwrap(), code)
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.ends(code, &[arguments, &["--json"]].concat());
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", output.stdout))
    }

    fn workers(&self) -> [Host; 2] {
        WORKERS.map(|name| self.cluster.lab().host(name))
    }

    fn mac(&self, node: &str) -> String {
        self.cluster.lab().layout().host(node).unwrap().nics[0].mac.clone()
    }

    fn answering(&self, address: &str) -> BTreeSet<String> {
        self.cluster.outside().answering(address).unwrap()
    }

    /// Virtual servers that kube-proxy of mode ipvs has for the cluster's Services, as the API tells of these:
    /// `TCP 10.96.0.1:443 wrr`.
    fn virtual_servers(&self) -> BTreeSet<String> {
        let said = kube(&self.cluster, &["get", "services", "--all-namespaces", "--output=json"]);
        let list: Value = serde_json::from_str(&said).unwrap();
        list["items"].as_array().unwrap().iter().flat_map(servers_of).collect()
    }

    /// Where the web server's pods listen.
    fn web_pods(&self) -> BTreeSet<String> {
        let ips = ["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].status.podIP}"];
        kube(&self.cluster, &ips).split(' ').map(|ip| format!("{ip}:8080")).collect()
    }

    /// What a worker's kernel has of mode ipvs, all of it: modules, sysctls, addresses, virtual and real servers.
    #[track_caller]
    fn assert_ipvs(&self, host: &Host, address: &str) {
        let name = host.name();
        let modules = host.read("cut -d ' ' -f 1 /proc/modules").unwrap();
        for module in ["ip_vs", "ip_vs_wrr", "nf_conntrack", "br_netfilter", "overlay"] {
            assert!(modules.lines().any(|loaded| loaded == module), "{name} has no {module}: {modules}");
        }
        let keys = "net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables";
        assert_eq!(host.read(&format!("sysctl -n {keys}")).unwrap(), "1\n1", "{name}");
        let wanted = self.virtual_servers();
        await_until(&format!("{name} has all virtual servers"), PATIENCE, || {
            let (listed, pods) = (listed(host)?, self.web_pods());
            let missing: Vec<_> = wanted.iter().filter(|server| !listed.contains_key(*server)).collect();
            let of_web = &listed.get(&format!("TCP {address}:80 wrr"));
            let all = missing.is_empty() && *of_web == Some(&pods);
            if all { Ok(()) } else { Err(format!("not {missing:?}, nor {pods:?} of web: {listed:?}")) }
        })
        .unwrap();
        assert!(ipvs_link(host).contains(&format!("{address}/32")), "{name}");
        // This one is kube-proxy's own to set.
        assert_eq!(host.read("sysctl -n net.ipv4.vs.conntrack").unwrap(), "1", "{name}");
        assert_eq!(mode(host), "ipvs");
    }
}

fn servers_of(service: &Value) -> BTreeSet<String> {
    let spec = &service["spec"];
    let of_balancer = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let addresses = of_balancer.map(|ingress| &ingress["ip"]).chain([&spec["clusterIP"]]);
    let addresses: Vec<&str> = addresses.filter_map(Value::as_str).filter(|ip| *ip != "None").collect();
    let ports = spec["ports"].as_array().unwrap().iter();
    let server =
        |port: &Value, ip: &str| format!("{} {ip}:{} wrr", port["protocol"].as_str().unwrap(), port["port"]);
    ports.flat_map(|port| addresses.iter().map(|ip| server(port, ip)).collect::<Vec<_>>()).collect()
}

/// What `ipvsadm` lists: the real servers of each virtual one.
fn listed(host: &Host) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let said = host.read("ipvsadm -Ln").map_err(|error| error.to_string())?;
    let (mut all, mut last) = (BTreeMap::new(), String::new());
    for line in said.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["->", real, ..] => {
                all.entry(last.clone()).or_insert_with(BTreeSet::new).insert(real.to_owned());
            }
            _ => {
                last = words.join(" ");
                all.insert(last.clone(), BTreeSet::new());
            }
        }
    }
    Ok(all)
}

fn ipvs_link(host: &Host) -> BTreeSet<String> {
    let said = host.read("ip -o -4 addr show dev kube-ipvs0 | awk '{print $4}'").unwrap();
    said.lines().map(str::to_owned).collect()
}

/// What kube-proxy says of itself on a host.
fn mode(host: &Host) -> String {
    let ask = "printf 'GET /proxyMode HTTP/1.0\\r\\n\\r\\n' | socat -t5 - TCP:127.0.0.1:10249 | tail -n1";
    host.read(ask).unwrap().trim().to_owned()
}

fn arp(host: &Host) -> String {
    host.read("sysctl -n net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce").unwrap()
}

#[test]
fn without_strict_arp_every_worker_answers_and_with_it_one() {
    need_cluster!();
    need_vm!();
    let yard = Yard::up();
    let address = every_worker_answers(&yard);

    yard.want(STRICT, &[]);
    let applied = yard.ends(0, &["apply", "--yes"]);
    says(&applied, "vip-answered-twice first on w1, w2");
    says(&applied, &format!("proven       default/web {address}"));
    for worker in yard.workers() {
        yard.assert_ipvs(&worker, &address);
        assert_eq!(arp(&worker), "1\n2");
    }
    assert_eq!(mode(&yard.cluster.lab().host("cp1")), "nftables");
    let status = yard.json(0, &["status"]);
    let proven = &status["proof"]["services"][0];
    assert_eq!(yard.answering(&address), BTreeSet::from([proven["mac"].as_str().unwrap().to_owned()]));
    assert_eq!(proven["mac"], yard.mac(proven["node"].as_str().unwrap()).as_str());
    let page = yard.cluster.outside().get(&format!("http://{address}/")).unwrap();
    assert!(WORKERS.contains(&page.trim()), "{page}");
}

/// As kube-proxy is by default: it is found, and said what it is and how it is mended. Returns the Service's address.
fn every_worker_answers(yard: &Yard) -> String {
    yard.want(WITHOUT, &["ipvs-without-strict-arp"]);
    let applied = yard.ends(1, &["apply", "--yes"]);
    let address = yard.cluster.address_of("web").unwrap();
    says(&applied, "error: service-answered-twice default/web on w1, w2");
    let cause = format!(
        "w1 and w2: kube-proxy in ipvs mode without strictARP ({address} on kube-ipvs0, and arp_ignore 0 on eth0)"
    );
    says(&applied, &cause);
    says(&applied, "set `strictARP: true` for kube-proxy");
    for worker in yard.workers() {
        assert!(ipvs_link(&worker).contains(&format!("{address}/32")), "{}", worker.name());
        assert_eq!(arp(&worker), "0\n0");
    }
    assert_eq!(yard.answering(&address), WORKERS.map(|worker| yard.mac(worker)).into());
    address
}

/// From kubeadm's nftables to ipvs, over a boot, away again node by node, and back to what there was.
#[test]
#[ignore = "long: the workers boot twice"]
fn ipvs_outlives_a_boot_and_is_left_node_by_node() {
    need_cluster!();
    need_vm!();
    let yard = Yard::up();
    let before = state(&yard.cluster);
    yard.want(STRICT, &[]);
    yard.ends(0, &["apply", "--yes"]);
    let address = yard.cluster.address_of("web").unwrap();
    a_boot_brings_all_back(&yard, &address);
    node_by_node(&yard, &address);

    // Hosts keep what ipvs needs for as long as it runs there.
    let [worker, _] = yard.workers();
    assert_eq!(arp(&worker), "1\n2");
    yard.ends(0, &["apply", "--yes"]);
    for worker in yard.workers() {
        assert_eq!(arp(&worker), "0\n0");
        assert!(!worker.read("cat /etc/modules-load.d/rackwright.conf").unwrap().contains("ip_vs"));
    }
    yard.ends(0, &["revert", "--yes"]);
    assert_eq!(state(&yard.cluster), before);
    for worker in yard.workers() {
        assert_eq!(mode(&worker), "nftables");
        assert!(!worker.sh("ls /etc/modules-load.d/rackwright.conf").unwrap().success());
    }
}

/// No coordinator is at work.
fn a_boot_brings_all_back(yard: &Yard, address: &str) {
    for worker in yard.workers() {
        yard.assert_ipvs(&worker, address);
    }
    let [worker, _] = yard.workers();
    worker.reboot().unwrap();
    yard.assert_ipvs(&worker, address);
    assert_eq!(arp(&worker), "1\n2");
    assert_eq!(worker.read("systemctl --failed --no-legend").unwrap(), "");
    until_answering(&yard.cluster, address, 1);
    // The address moves back, and MetalLB tells of it later than ARP does.
    await_until("the Service is proven again", PATIENCE, || {
        let status = run(rackwright(yard.cluster.lab(), &["status"]), None, LIMIT).unwrap();
        let proven =
            status.code == 0 && status.stdout.contains(&format!("proven       default/web {address}"));
        if proven { Ok(()) } else { Err(status.stdout) }
    })
    .unwrap();
}

/// What is seen from outside meanwhile: never two that answer ARP, and no silence but in the turn of the one who does.
fn node_by_node(yard: &Yard, address: &str) {
    yard.want("{mode: nftables, migrate: {drain: true, reboot: true}}", &[]);
    let boots = || yard.workers().map(|worker| worker.boot_id().unwrap());
    let before = boots();
    let lab = yard.cluster.lab();
    let mut migrating = Working::start(lab, rackwright(lab, &["migrate-proxy", "--yes", "--json"]));
    let looks = watch(lab, address, &mut migrating);
    let done: Value = serde_json::from_str(&coded(migrating.end(), 0).stdout).unwrap();
    assert_eq!(done["proven"].as_array().unwrap().len(), 2, "{done:#}");
    assert!(boots().iter().zip(&before).all(|(now, then)| now != then));
    for worker in yard.workers() {
        assert_eq!(mode(&worker), "nftables");
        assert_nothing_of_ipvs(&worker);
    }
    assert_went_on(lab, &looks);
}

#[track_caller]
fn assert_nothing_of_ipvs(host: &Host) {
    let name = host.name();
    assert!(!host.sh("ip link show kube-ipvs0").unwrap().success(), "{name} has kube-ipvs0");
    assert_eq!(listed(host).unwrap(), BTreeMap::new(), "{name}");
    assert_eq!(host.read("ipset list -name").unwrap(), "", "{name}");
    let chains =
        host.read("iptables-save | grep -E ':KUBE-(SERVICES|NODE-PORT|LOAD-BALANCER|SVC|SEP)' || true");
    assert_eq!(chains.unwrap(), "", "{name}");
    assert!(host.read("nft list tables").unwrap().contains("table ip kube-proxy"), "{name}");
}
