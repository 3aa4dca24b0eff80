//! The lab itself: what the other tests stand on.

use std::process::{Command, Stdio};
use std::time::Duration;

use rackwright_lab::{Defect, Lab, Login, RackName, Spec, await_until, need_lab};

use crate::traces;

const UP: &[&str] = &["up", "3"];

fn ssh(lab: &Lab, host: &str, script: &str) -> String {
    let output = lab.ssh(host).unwrap().arg(script).output().unwrap();
    assert!(output.status.success(), "{host}: {script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn hosts_are_real() {
    need_lab!();
    let lab = Lab::up(Spec::test(2)).unwrap();
    assert_eq!(ssh(&lab, "w1", "hostname; id -un; sudo id -un"), "w1\nops\nroot");
    assert_eq!(ssh(&lab, "cp1", "systemctl is-system-running"), "running");
    assert!(ssh(&lab, "w1", "ip -4 -br address show dev eth0").contains("192.0.2.12/24"));
    assert!(ssh(&lab, "w1", "ip route").contains("default via 192.0.2.1"));
    ssh(&lab, "w1", "ping -c 1 -W 5 192.0.2.11");
    ssh(&lab, "w1", "loginctl show-user ops && sudo systemd-run --wait --collect --quiet true");
    let identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";
    assert_ne!(lab.host("cp1").read(identity).unwrap(), lab.host("w1").read(identity).unwrap());
    assert_eq!(lab.host("w1").read("systemctl --failed --no-legend").unwrap(), "");
    assert!(lab.host("w1").cpu_time().unwrap() > Duration::ZERO);
}

#[test]
fn of_all_sysctls_a_host_owns_only_its_network() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    assert_eq!(host.read("sysctl -n net.ipv4.ip_forward").unwrap(), "0");
    assert!(host.sh("sysctl -w net.ipv4.ip_forward=1").unwrap().success());
    assert!(!host.sh("sysctl -w vm.swappiness=61").unwrap().success());
    assert!(host.sh("ip link add probe0 type bridge && ip link del probe0").unwrap().success());
}

#[test]
fn a_host_reads_the_clock_but_cannot_set_it() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    // adjtimex(2) by number, in mode 0, with room for its struct.
    let number = if cfg!(target_arch = "aarch64") { 171 } else { 159 };
    let read = format!("perl -e '$t = pack(\"q26\", (0) x 26); exit(syscall({number}, $t) < 0 ? 1 : 0)'");
    ssh(&lab, "cp1", &read);
    let capabilities = ssh(&lab, "cp1", "sudo grep CapBnd /proc/self/status | cut -f2");
    let cap_sys_time = 1 << 25;
    assert_eq!(u64::from_str_radix(&capabilities, 16).unwrap() & cap_sys_time, 0, "{capabilities}");
}

#[test]
fn a_reboot_keeps_files_and_nothing_else() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    let boot_id = || host.read("cat /proc/sys/kernel/random/boot_id").unwrap();
    let before = boot_id();
    host.read("echo kept > /root/note && sync && sysctl -w net.ipv4.ip_forward=1 && ip route add 203.0.113.0/24 dev eth0")
        .unwrap();
    host.reboot().unwrap();
    assert_ne!(boot_id(), before);
    assert_eq!(host.read("cat /root/note").unwrap(), "kept");
    assert_eq!(
        host.read("sysctl -n net.ipv4.ip_forward").unwrap(),
        "0",
        "live sysctls must not survive a boot"
    );
    assert!(!host.read("ip route").unwrap().contains("203.0.113"));
    assert_eq!(ssh(&lab, "cp1", "hostname"), "cp1");
}

#[test]
fn a_killed_host_is_down_until_it_is_booted() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    host.read("echo kept > /root/note").unwrap();
    host.kill().unwrap();
    assert_eq!(host.pid(), None);
    assert!(host.sh("true").unwrap_err().to_string().contains("cargo lab reboot cp1"));
    assert!(!lab.ssh("cp1").unwrap().arg("true").output().unwrap().status.success());
    host.reboot().unwrap();
    assert_eq!(ssh(&lab, "cp1", "sudo cat /root/note"), "kept");
}

#[test]
fn an_unplugged_host_is_silent_until_it_is_plugged_in() {
    need_lab!();
    let lab = Lab::up(Spec::test(2)).unwrap();
    let answers = || lab.host("cp1").sh("arping -c 1 -w 1 -I eth0 192.0.2.12").unwrap().success();
    assert!(answers());
    lab.unplug("w1").unwrap();
    assert!(!answers());
    assert_eq!(lab.host("w1").read("systemctl is-system-running").unwrap(), "running");
    lab.plug("w1").unwrap();
    let again = || if answers() { Ok(()) } else { Err("no answer".to_owned()) };
    await_until("w1 answers again", Duration::from_secs(20), again).unwrap();
}

#[test]
fn down_leaves_nothing() {
    need_lab!();
    let lab = Lab::up(Spec::test(2).defect("w1", Defect::PoolNeighbour)).unwrap();
    let rack = lab.spec().name.clone();
    let seen = traces::of(&rack);
    for source in ["netns: ", "cgroup: ", "ps: ", "find: "] {
        assert!(
            seen.iter().any(|line| line.starts_with(source)),
            "{source} would not be noticed in {seen:?}"
        );
    }
    lab.down().unwrap();
    traces::assert_none(&rack);
}

#[test]
fn two_racks_do_not_see_each_other() {
    need_lab!();
    let [one, two] = [Spec::test(1), Spec::test(1)].map(|spec| Lab::up(spec).unwrap());
    one.host("cp1").read("hostname one").unwrap();
    assert_eq!(one.host("cp1").read("hostname").unwrap(), "one");
    assert_eq!(two.host("cp1").read("hostname").unwrap(), "cp1");
    drop(one);
    assert_eq!(ssh(&two, "cp1", "hostname"), "cp1");
}

#[test]
fn behind_a_bastion_there_is_no_other_way() {
    need_lab!();
    let lab = Lab::up(Spec::test(1).bastion()).unwrap();
    assert_eq!(ssh(&lab, "cp1", "hostname"), "cp1");
    let straight =
        lab.op_command("bash").unwrap().args(["-c", "exec 3<>/dev/tcp/192.0.2.11/22"]).output().unwrap();
    assert!(!straight.status.success());
}

#[test]
fn sudo_asks_for_the_password_where_ordered() {
    need_lab!();
    let lab = Lab::up(Spec::test(1).login(Login::SudoPassword)).unwrap();
    assert!(!lab.ssh("cp1").unwrap().arg("sudo -n true").output().unwrap().status.success());
    let password = lab.dir().join("sudo-password");
    let mut ssh = lab.ssh("cp1").unwrap();
    ssh.arg("sudo -S -p '' id -un").stdin(std::fs::File::open(password).unwrap());
    assert_eq!(ssh.output().unwrap().stdout, b"root\n");
}

#[test]
fn defects_are_there() {
    need_lab!();
    let defects = [
        Defect::SwapFstab,
        Defect::SysctlWinsLater,
        Defect::PoolNeighbour,
        Defect::DuplicateMachineId,
        Defect::SecondNic,
        Defect::ProxyArp,
        Defect::WrongMtu,
    ];
    let spec = defects.into_iter().fold(Spec::test(2), |spec, defect| spec.defect("w1", defect));
    let lab = Lab::up(spec).unwrap();
    let (healthy, ill) = (lab.host("cp1"), lab.host("w1"));
    assert!(ill.read("cat /etc/fstab").unwrap().contains("/swap.img"));
    assert!(ill.read("cat /etc/sysctl.d/99-zz-local.conf").unwrap().contains("net.ipv4.ip_forward = 0"));
    assert!(healthy.read("arping -c 1 -w 5 -I eth0 192.0.2.205").unwrap().contains("02:52:57:00:00:CD"));
    assert_eq!(ill.read("cat /etc/machine-id").unwrap(), healthy.read("cat /etc/machine-id").unwrap());
    assert!(ill.read("ip -br -4 address show dev eth1").unwrap().contains("192.0.2."));
    assert_eq!(ill.read("sysctl -n net.ipv4.conf.eth0.proxy_arp").unwrap(), "1");
    assert_eq!(ill.read("cat /sys/class/net/eth0/mtu").unwrap(), "1400");
    assert_eq!(healthy.read("cat /sys/class/net/eth0/mtu").unwrap(), "1500");
    healthy.read("ping -c 1 -W 5 192.0.2.12").unwrap();
}

#[test]
fn light_hosts_serve_ssh_in_namespaces_of_their_own() {
    need_lab!();
    let lab = Lab::up(Spec::test(3).light().login(Login::Root)).unwrap();
    assert_eq!(ssh(&lab, "w2", "hostname; id -un"), "w2\nroot");
    let host = lab.host("w2");
    assert!(host.sh("sysctl -w net.ipv4.ip_forward=1").unwrap().success());
    assert_eq!(lab.host("w1").read("sysctl -n net.ipv4.ip_forward").unwrap(), "0");
    assert!(!host.sh("sysctl -w vm.swappiness=61").unwrap().success());
    host.reboot().unwrap();
    assert_eq!(host.read("sysctl -n net.ipv4.ip_forward").unwrap(), "0");
}

#[test]
fn up_again_takes_the_rack_as_it_is_and_boots_the_dead() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let spec = lab.spec().clone();
    lab.host("cp1").read("echo kept > /root/note").unwrap();
    lab.host("cp1").kill().unwrap();
    lab.keep();
    let other = Lab::up(Spec::new(spec.name.clone(), 2)).unwrap_err().to_string();
    assert!(other.contains("cargo lab down"), "{other}");
    let again = Lab::up(spec).unwrap();
    assert_eq!(again.host("cp1").read("cat /root/note").unwrap(), "kept");
}

/// Kills `lab` while it brings something up, as soon as `reached` says so, and takes down what is left.
pub(crate) fn killed_when(arguments: &[&str], what: &str, reached: impl Fn(&RackName) -> bool) {
    let lab = env!("CARGO_BIN_EXE_lab");
    let rack = RackName::of_test();
    let mut up = Command::new(lab);
    up.args(arguments).args(["--name", &rack.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut up = up.spawn().unwrap();
    let seen = || if reached(&rack) { Ok(()) } else { Err("not yet".to_owned()) };
    await_until(what, Duration::from_secs(300), seen).unwrap();
    up.kill().unwrap();
    up.wait().unwrap();
    let down = Command::new(lab).args(["down", &rack.to_string()]).output().unwrap();
    assert!(down.status.success(), "{what}: {}", String::from_utf8_lossy(&down.stderr));
    traces::assert_none(&rack);
}

#[test]
fn a_lab_killed_while_it_wires_the_network_leaves_nothing() {
    need_lab!();
    killed_when(UP, "the operator's namespace is there", |rack| {
        rackwright_lab::netns_path(&rack.operator()).exists()
    });
}

#[test]
fn a_lab_killed_while_it_prepares_hosts_leaves_nothing() {
    need_lab!();
    killed_when(UP, "the first host is prepared", |rack| rack.dir().join("hosts/cp1/host.env").exists());
}

#[test]
fn a_lab_killed_while_hosts_boot_leaves_nothing() {
    need_lab!();
    killed_when(UP, "the first host boots", |rack| rack.dir().join("hosts/cp1/console.log").exists());
}

#[test]
fn hosts_outlive_the_lab_that_booted_them() {
    need_lab!();
    let rack = RackName::of_test();
    let up = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["up", "1", "--name", &rack.to_string()])
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let lab = Lab::open(&rack).unwrap();
    assert_eq!(ssh(&lab, "cp1", "systemctl is-system-running"), "running");
    rackwright_lab::sweep::down(&rack).unwrap();
}
