//! Virtual machines: kernels and disks of their own. What hosts on this machine's kernel cannot show.

use std::collections::BTreeSet;

use rackwright_lab::{Host, Lab, Spec, need_vm};
use serde_json::Value;

use crate::confirm::unconfirmed_changes_do_not_survive_boots;
use crate::run::{Rack, redacted};

/// What a cluster with kube-proxy in mode ipvs wants of a kernel.
const WANTED: [&str; 5] = ["br_netfilter", "ip_vs", "ip_vs_rr", "nf_conntrack", "overlay"];
/// What somebody else's management leaves on a host.
const HELD: &str = "# site policy\nblacklist br_netfilter\ninstall ip_vs_sh /bin/false\n";
const HELD_FILE: &str = "/etc/modprobe.d/site.conf";
const FOREIGN: &str = "/etc/sysctl.d/99-zz-site.conf";

/// What was flushed is there after a power cut, what was not is lost, as with any disk that has a cache; and what had
/// not been confirmed by then is undone at boot.
#[test]
fn a_power_cut_takes_what_was_not_flushed() {
    need_vm!();
    let lab = Lab::up(Spec::test(1).vms_all()).unwrap();
    let host = lab.host("cp1");
    assert_eq!(
        host.read("cat /sys/block/vda/queue/write_cache /sys/block/vda/queue/fua").unwrap(),
        "write back\n0"
    );
    let first = host.boot_id().unwrap();
    let written = host.pid();
    host.read("echo kept > /root/kept && sync /root/kept /root && echo kept > /root/written").unwrap();
    // The file's blocks leave the kernel without a flush behind them: only the disk's own cache has them.
    host.read("sync && dd if=/dev/urandom of=/root/written bs=4k count=64 oflag=direct conv=notrunc 2>&1")
        .unwrap();
    host.read("echo lost > /root/lost").unwrap();
    host.kill().unwrap();
    assert_eq!((written.is_some(), host.pid()), (true, None));
    host.boot().unwrap();
    assert_ne!(host.boot_id().unwrap(), first);
    assert_eq!(
        host.read("cat /root/kept; head -c 4 /root/written; ls /root/lost 2>&1 || true").unwrap(),
        "kept\nkeptls: cannot access '/root/lost': No such file or directory"
    );
    assert_eq!(host.read("systemctl --failed --no-legend").unwrap(), "");
    assert!(host.root().unwrap_err().to_string().contains("virtual machine"));
    unconfirmed_changes_do_not_survive_boots(&lab);
}

fn modules(host: &Host) -> BTreeSet<String> {
    host.read("cut -d ' ' -f 1 /proc/modules").unwrap().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_prepared(host: &Host) {
    let loaded = modules(host);
    let missing: Vec<_> = WANTED.iter().filter(|module| !loaded.contains(**module)).collect();
    assert!(missing.is_empty(), "{missing:?} of {loaded:?}");
    let seen =
        host.read("head -n 1 /proc/net/ip_vs; lsmod | grep -c ^ip_vs_rr; ipvsadm -Ln | head -n 1").unwrap();
    assert!(seen.starts_with("IP Virtual Server version"), "{seen}");
    let keys = "net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.arp_ignore \
                net.ipv4.conf.all.arp_announce";
    assert_eq!(host.read(&format!("sysctl -n {keys}")).unwrap(), "1\n1\n1\n2");
    assert_eq!(host.read("systemctl --failed --no-legend").unwrap(), "");
}

/// Findings of some names, in their order.
fn findings(check: &Value, names: &[&str]) -> Vec<Value> {
    let all = check["findings"].as_array().unwrap().iter();
    all.filter(|finding| names.contains(&finding["name"].as_str().unwrap())).cloned().collect()
}

/// One apply for a host that shares this machine's kernel and one that has its own.
#[test]
fn modules_and_sysctls_of_a_real_kernel_survive_its_boots() {
    need_vm!();
    let rack = Rack::up(Spec::test(2).vms(["w1"]));
    let machine = rack.host("w1");
    // What the boot itself sets is shown, not what would be mended right after it.
    rack.edit("  swap: off\n", "  swap: off\n  watch: {restore: false}\n");
    let plain = std::fs::read_to_string(rack.rack_yaml()).unwrap();
    held_back_and_missing(&rack, &machine);
    std::fs::write(rack.rack_yaml(), &plain).unwrap();

    assert!(modules(&machine).is_disjoint(&["ip_vs", "br_netfilter"].map(str::to_owned).into()));
    assert!(rack.apply().stdout.contains("2 changed"));
    assert_prepared(&machine);
    let agents = rack
        .hosts()
        .into_iter()
        .map(|host| host.read("cd /usr/local/lib/rackwright && ls && sha256sum agent-*"));
    let agents: BTreeSet<String> = agents.map(Result::unwrap).collect();
    assert_eq!(agents.len(), 1, "one agent for all: {agents:?}");

    machine.reboot().unwrap();
    assert_prepared(&machine);
    assert!(rack.ends(0, &["status"]).stdout.contains("2 nodes, 0 drifted"));
    assert!(rack.apply().stdout.contains("2 unchanged"));
    a_later_file_wins(&rack, &machine);
}

fn held_back_and_missing(rack: &Rack, machine: &Host) {
    machine.read(&format!("printf '{}' > {HELD_FILE}", HELD.replace('\n', "\\n"))).unwrap();
    let modules = "hosts: {modules: [ip_vs_sh, no_such_module]}";
    rack.edit("address: 192.0.2.12}", &format!("address: 192.0.2.12, {modules}}}"));
    let check = rack.json(3, &["check"]);
    let found = findings(&check, &["module-blacklisted", "module-missing"]);
    let release = machine.read("uname -r").unwrap();
    let text = serde_json::to_string_pretty(&found).unwrap().replace(&release, "[release]");
    insta::assert_snapshot!(redacted(&text, rack));
    rack.ends(3, &["apply", "--yes"]);
    assert!(!machine.sh("test -e /etc/modules-load.d/rackwright.conf").unwrap().success());
    machine.read(&format!("rm {HELD_FILE}")).unwrap();
}

/// Told before the boot at which it wins; seen after it.
fn a_later_file_wins(rack: &Rack, machine: &Host) {
    machine.read(&format!("echo 'net.ipv4.conf.all.arp_ignore = 0' > {FOREIGN} && sync {FOREIGN}")).unwrap();
    let found = findings(&rack.json(0, &["check"]), &["sysctl-overridden"]);
    let of_machine: Vec<_> =
        found.iter().filter(|finding| finding["nodes"] == serde_json::json!(["w1"])).collect();
    let observed = of_machine[0]["observed"].as_str().unwrap();
    assert!(
        of_machine.len() == 1 && observed.contains(&format!("{FOREIGN}:1 sets it to 0")),
        "{of_machine:#?}"
    );
    rack.ends(0, &["status"]);
    machine.reboot().unwrap();
    let status = rack.ends(4, &["status"]).stdout;
    assert!(status.contains("drift: set net.ipv4.conf.all.arp_ignore = 1  now 0"), "{status}");
    assert!(status.contains("2 nodes, 1 drifted"), "{status}");
}
