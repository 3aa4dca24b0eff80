//! Modules and sysctls that follow from the rack, and the files that bring them back at boot.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::facts::Basics;
use rackwright_proto::kernel::{KernelStep, ModuleStep, SysctlStep, normalised};
use rackwright_proto::name::{ModuleName, SysctlKey};
use rackwright_proto::step::HostStep;

use super::file::root_file;
use super::wanted::{Because, Conflict, Conflicts, ProxyMode, ProxyWanted, Wanted};

/// Where modules are listed for systemd-modules-load(8).
pub const MODULES_FILE: &str = "/etc/modules-load.d/rackwright.conf";

/// Where sysctls are listed for systemd-sysctl(8).
pub const SYSCTLS_FILE: &str = "/etc/sysctl.d/90-rackwright.conf";

const HEADER: &str =
    "# Written by rackwright; the next `rackwright apply` overwrites it. Edit the rack instead.\n";

/// Everything that the kernel family wants of one host, each thing once, with all its reasons.
pub(super) struct Kernel {
    pub(super) modules: Vec<Because<ModuleName>>,
    pub(super) sysctls: Vec<Because<SysctlStep>>,
}

impl Kernel {
    pub(super) fn of(wanted: &Wanted, basics: &Basics) -> Result<Self, Conflicts> {
        let sysctls = merged_sysctls(wanted)?;
        let carriers = sysctls.iter().filter_map(|s| {
            let module = s.what.after_module.clone()?;
            Some(Because::new(module, format!("sysctl {}", s.what.key)))
        });
        let mut modules: BTreeMap<ModuleName, BTreeSet<String>> = BTreeMap::new();
        let named = wanted.modules.iter().cloned();
        for module in named.chain(proxy_modules(wanted.proxy.as_ref(), basics)) {
            modules.entry(module.what).or_default().insert(module.why);
        }
        for module in carriers {
            modules.entry(module.what).or_insert_with(|| BTreeSet::from([module.why]));
        }
        let modules = modules.into_iter().map(|(name, whys)| Because::new(name, joined(&whys))).collect();
        Ok(Self { modules, sysctls })
    }

    /// Files and live steps; the modules file leaves out what is `impossible`.
    pub(super) fn steps(&self, impossible: &BTreeSet<ModuleName>) -> Vec<Because<HostStep>> {
        let modules = self.modules.iter().map(|m| {
            let step = ModuleStep { name: m.what.clone(), loaded: true };
            Because::new(HostStep::Kernel(KernelStep::Module(step)), &m.why)
        });
        let sysctls = self
            .sysctls
            .iter()
            .map(|s| Because::new(HostStep::Kernel(KernelStep::Sysctl(s.what.clone())), &s.why));
        let files = self.modules_file(impossible).into_iter().chain(self.sysctls_file());
        files.chain(modules).chain(sysctls).collect()
    }

    /// A module that cannot be loaded would leave systemd-modules-load.service failed after each boot.
    pub(super) fn modules_file(&self, impossible: &BTreeSet<ModuleName>) -> Option<Because<HostStep>> {
        let lines: String = self
            .modules
            .iter()
            .filter(|m| !impossible.contains(&m.what))
            .map(|m| format!("{}\n", m.what))
            .collect();
        let text = format!("{HEADER}{lines}");
        (!lines.is_empty()).then(|| Because::new(root_file(MODULES_FILE, text), "kernel modules at boot"))
    }

    fn sysctls_file(&self) -> Option<Because<HostStep>> {
        let line = |s: &Because<SysctlStep>| format!("{} = {}\n", s.what.key, s.what.value);
        let lines: String = self.sysctls.iter().map(line).collect();
        let text = format!("{HEADER}{lines}");
        (!lines.is_empty()).then(|| Because::new(root_file(SYSCTLS_FILE, text), "sysctls at boot"))
    }
}

/// The module that makes a sysctl appear, where one is known to.
pub fn after_module(key: &SysctlKey) -> Option<ModuleName> {
    const CARRIERS: [(&str, &str); 4] = [
        ("net.bridge.", "br_netfilter"),
        ("net.ipv4.vs.", "ip_vs"),
        ("net.netfilter.nf_conntrack", "nf_conntrack"),
        ("net.nf_conntrack_max", "nf_conntrack"),
    ];
    let (_, module) = CARRIERS.iter().find(|(prefix, _)| key.as_str().starts_with(prefix))?;
    Some(module_name(module))
}

/// kube-proxy itself sets `net.ipv4.vs.*` when it starts, so these are left to it; what must hold before it
/// starts, or whether it runs or not, is ours.
fn proxy_modules(proxy: Option<&ProxyWanted>, basics: &Basics) -> Vec<Because<ModuleName>> {
    let Some(proxy) = proxy else { return Vec::new() };
    // nf_conntrack_ipv4 was merged into nf_conntrack in Linux 4.19.
    let conntrack = if older_than_4_19(&basics.kernel) { "nf_conntrack_ipv4" } else { "nf_conntrack" };
    let mut names = vec![
        ("br_netfilter", "Kubernetes: bridged pods behind Services".to_owned()),
        ("overlay", "Kubernetes: containerd's overlayfs".to_owned()),
    ];
    match &proxy.mode {
        ProxyMode::Ipvs { scheduler } => {
            let why = "kube-proxy mode ipvs".to_owned();
            names.extend([("ip_vs", why.clone()), (conntrack, why)]);
            let scheduler = format!("ip_vs_{scheduler}").parse::<ModuleName>();
            let scheduler = scheduler.map(|m| Because::new(m, "kube-proxy's ipvs scheduler"));
            return names
                .into_iter()
                .map(|(n, why)| Because::new(module_name(n), why))
                .chain(scheduler)
                .collect();
        }
        ProxyMode::Nftables => names.push((conntrack, "kube-proxy mode nftables".to_owned())),
        ProxyMode::Iptables => names.push((conntrack, "kube-proxy mode iptables".to_owned())),
        ProxyMode::Other => {}
    }
    names.into_iter().map(|(name, why)| Because::new(module_name(name), why)).collect()
}

fn proxy_sysctls(proxy: Option<&ProxyWanted>) -> Vec<Because<(SysctlKey, String)>> {
    let Some(proxy) = proxy else { return Vec::new() };
    let bridged = "Kubernetes: bridged pods behind Services";
    let mut sysctls = vec![
        ("net.ipv4.ip_forward", "1", "Kubernetes: nodes forward to pods"),
        ("net.bridge.bridge-nf-call-iptables", "1", bridged),
        ("net.bridge.bridge-nf-call-ip6tables", "1", bridged),
    ];
    // In the other modes no node owns the addresses of Services, so there is nothing to be strict about.
    if proxy.strict_arp && matches!(proxy.mode, ProxyMode::Ipvs { .. }) {
        sysctls.push(("net.ipv4.conf.all.arp_ignore", "1", "kube-proxy strictARP"));
        sysctls.push(("net.ipv4.conf.all.arp_announce", "2", "kube-proxy strictARP"));
    }
    sysctls.into_iter().map(|(key, value, why)| Because::new((sysctl_key(key), value.into()), why)).collect()
}

/// Each key once; a key that is wanted with two values is a conflict.
fn merged_sysctls(wanted: &Wanted) -> Result<Vec<Because<SysctlStep>>, Conflicts> {
    let mut wishes: BTreeMap<SysctlKey, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for sysctl in wanted.sysctls.iter().cloned().chain(proxy_sysctls(wanted.proxy.as_ref())) {
        let (key, value) = sysctl.what;
        wishes.entry(one_name(key)).or_default().entry(normalised(&value)).or_default().insert(sysctl.why);
    }
    let conflicts = sysctl_conflicts(&wishes);
    if !conflicts.is_empty() {
        return Err(Conflicts(conflicts));
    }
    name_what_follows(&mut wishes);
    let step = |(key, values): (SysctlKey, BTreeMap<String, BTreeSet<String>>)| {
        let (value, whys) = values.into_iter().next()?;
        let after_module = after_module(&key);
        Some(Because::new(SysctlStep { key, value, after_module }, joined(&whys)))
    };
    let mut steps: Vec<_> = wishes.into_iter().filter_map(step).collect();
    steps.sort_by_cached_key(|s| (forwarding_first(&s.what.key), s.what.key.clone()));
    Ok(steps)
}

/// Switching forwarding on makes the kernel ignore ICMP redirects, and switching it off makes it heed them again
/// (`inet_forward_change` of Linux). As a step of its own, what was there before is on record, and an undo brings
/// it back: a host that ignored them before must not start to heed them.
fn name_what_follows(wishes: &mut BTreeMap<SysctlKey, BTreeMap<String, BTreeSet<String>>>) {
    let switch = wishes.get(&sysctl_key("net.ipv4.ip_forward"));
    if switch.is_some_and(|values| values.contains_key("1")) {
        let follower = wishes.entry(sysctl_key("net.ipv4.conf.all.accept_redirects")).or_default();
        if follower.is_empty() {
            follower.insert("0".to_owned(), BTreeSet::from(["net.ipv4.ip_forward brings it".to_owned()]));
        }
    }
}

fn sysctl_conflicts(wishes: &BTreeMap<SysctlKey, BTreeMap<String, BTreeSet<String>>>) -> Vec<Conflict> {
    let wish = |(value, whys): (&String, &BTreeSet<String>)| Because::new(value.clone(), joined(whys));
    let contradicted = wishes.iter().filter(|(_, values)| values.len() > 1);
    contradicted
        .map(|(key, values)| Conflict {
            about: format!("sysctl {key}"),
            wishes: values.iter().map(wish).collect(),
        })
        .collect()
}

/// Two names of one switch become one.
fn one_name(key: SysctlKey) -> SysctlKey {
    match key.as_str() {
        "net.ipv4.conf.all.forwarding" => sysctl_key("net.ipv4.ip_forward"),
        _ => key,
    }
}

/// Whether two keys are names of one switch: `net.ipv4.ip_forward` is `net.ipv4.conf.all.forwarding`.
pub fn same_switch(a: &SysctlKey, b: &SysctlKey) -> bool {
    one_name(a.clone()) == one_name(b.clone())
}

/// Forwarding first: writing it resets other keys of `conf` (ip-sysctl: "its change resets all configuration
/// parameters to their default state"), which must therefore follow.
pub(super) fn forwarding_first(key: &SysctlKey) -> u8 {
    let last = key.as_str().rsplit('.').next();
    u8::from(!matches!(last, Some("ip_forward" | "forwarding")))
}

fn older_than_4_19(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < (4, 19),
        _ => false,
    }
}

pub(super) fn joined(whys: &BTreeSet<String>) -> String {
    whys.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
}

fn module_name(name: &str) -> ModuleName {
    name.parse().expect("names in this file are valid")
}

fn sysctl_key(key: &str) -> SysctlKey {
    key.parse().expect("keys in this file are valid")
}
