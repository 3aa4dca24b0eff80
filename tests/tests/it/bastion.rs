//! Nodes behind a jump host.

use std::fs;

use rackwright_lab::{BASTION, Host, Lab, Spec, need_lab};

use crate::operator::{Held, Rack, Working, coded, expect, rackwright, says, ssh_sessions};

fn lab() -> Lab {
    let lab = Lab::up(Spec::test(2).bastion()).unwrap();
    Rack::new(&lab).files(100, "text").write();
    lab
}

/// Connections to a host's sshd, as its kernel counts them.
fn connections(host: &Host) -> usize {
    host.read("ss -Htn state established '( sport = :22 )'").unwrap().lines().count()
}

/// Logins that a host's sshd ever let in.
fn logins(host: &Host) -> usize {
    host.read("journalctl -t sshd -t sshd-session | grep -c Accepted || true").unwrap().parse().unwrap()
}

#[test]
fn all_nodes_share_one_connection_to_the_bastion() {
    need_lab!();
    let lab = lab();
    let bastion = lab.host(BASTION);
    expect(&lab, &["check"], 0);
    assert_eq!(logins(&bastion), 1);
    let mut apply = Working::start(&lab, rackwright(&lab, &["apply", "--yes"]));
    let held = ["cp1", "w1"].map(|node| Held::at(&mut apply, &lab.host(node), &[], 20));
    assert_eq!(connections(&bastion), 1);
    // One listener's child with root's rights, and one with the user's.
    assert_eq!(ssh_sessions(&bastion).len(), 2, "{:?}", ssh_sessions(&bastion));
    held.iter().for_each(Held::go_on);
    says(&coded(apply.end(), 0), "2 changed");
    assert_eq!(logins(&bastion), 2);
    for node in ["cp1", "w1"] {
        assert_eq!(lab.host(node).read("cat /etc/many/042").unwrap(), "text-42");
    }
    expect(&lab, &["status"], 0);
    let left =
        bastion.read("ls -d /usr/local/lib/rackwright /var/lib/rackwright 2>/dev/null || true").unwrap();
    assert_eq!(left, "", "the bastion is no node");
}

#[test]
fn an_unknown_bastion_is_named_and_can_be_trusted() {
    need_lab!();
    let lab = lab();
    let address = lab.host(BASTION).address().to_string();
    let known = fs::read_to_string(lab.known_hosts()).unwrap();
    let without: String =
        known.lines().filter(|line| !line.contains(&address)).map(|l| format!("{l}\n")).collect();
    assert_ne!(known, without);
    fs::write(lab.known_hosts(), without).unwrap();
    let fingerprint =
        lab.host(BASTION).read("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2").unwrap();
    let refused = expect(&lab, &["apply", "--yes"], 1);
    for text in [
        &format!("jump host {address}:22"),
        "the host key is unknown",
        &fingerprint,
        &format!("`rackwright trust {address}`"),
    ] {
        says(&refused, text);
    }
    assert_eq!(logins(&lab.host("cp1")), 0);
    says(&expect(&lab, &["trust", &address, "--yes"], 0), &fingerprint);
    expect(&lab, &["apply", "--yes"], 0);
}
