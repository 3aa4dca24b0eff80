//! `rackwright revert` brings back the bytes.

use rackwright_lab::{Defect, Spec, need_lab};

use crate::run::{Rack, State};

/// All but what stays by design: the receipts, the agent that wrote them, and folders made for files.
fn unexpected(before: &State, after: &State) -> Vec<String> {
    let ours = |line: &String| {
        let path = line.split_once(": ").map_or("", |(path, _)| path);
        let path = path.trim_start_matches(['-', '+', ' ']).trim_start_matches("content of ");
        let dir = |dir: &str| path == dir || path.starts_with(&format!("{dir}/"));
        // A folder that was made for a file stays: somebody else may count on it by now.
        let folder = path.starts_with("/usr/local/etc/new") && line.contains(": d 755 0:0");
        folder
            || dir("/var/lib/rackwright")
            || dir("/run/rackwright")
            || path == "/usr/local/lib/rackwright"
            || path.starts_with("/usr/local/lib/rackwright/agent-")
    };
    before.changes(after).into_iter().filter(|line| !ours(line)).collect()
}

const FILES: &str = "  files:
    - {path: /etc/motd, content: \"prepared\\n\"}
    - {path: /etc/localtime, content: \"no zone\\n\"}
    - {path: /usr/local/etc/new/deep/file, content: \"new\\n\"}
    - {path: /etc/old.conf, absent: true}
  swap: off
";

#[test]
fn everything_is_as_before_byte_by_byte() {
    need_lab!();
    let rack = Rack::up(Spec::test(2).defect("w1", Defect::SwapFstab));
    rack.edit("  swap: off\n", FILES);
    for host in rack.hosts() {
        host.read("echo old > /etc/old.conf; chown ops:daemon /etc/old.conf; chmod 4751 /etc/old.conf")
            .unwrap();
        host.read("printf 'no newline' > /etc/motd; chmod 0604 /etc/motd").unwrap();
        host.read("ln -sf ../usr/share/zoneinfo/UTC /etc/localtime").unwrap();
        host.read("mkdir -p /etc/modules-load.d && echo '# mine' > /etc/modules-load.d/rackwright.conf")
            .unwrap();
        host.read("sysctl -w net.ipv4.conf.all.arp_announce=1").unwrap();
        // A hardened host: the kernel itself sets this one back when forwarding is switched off.
        host.read("sysctl -w net.ipv4.conf.all.accept_redirects=0").unwrap();
        // One link forwards, the host as such does not: switching that on and off switches every link off.
        host.read("sysctl -w net.ipv4.conf.eth0.forwarding=1").unwrap();
    }
    let before = rack.states();
    rack.apply();
    assert!(rack.apply().stdout.contains("2 unchanged"));
    assert_eq!(rack.host("w1").read("grep -c '^[^#]*swap' /etc/fstab || true").unwrap(), "0");
    rack.ends(0, &["revert", "--yes"]);
    for (before, after) in before.iter().zip(rack.states()) {
        let left = unexpected(before, &after);
        assert!(left.is_empty(), "{left:#?}");
    }
    // Nothing is ours any more, and there is nothing more to undo.
    assert!(rack.ends(0, &["revert", "--yes"]).stdout.contains("2 unchanged"));
    assert_eq!(rack.json(0, &["status"])["nodes"][0]["in_effect"], serde_json::json!([]));
    // It is no one-way street.
    rack.apply();
    assert_eq!(rack.host("w1").read("sysctl -n net.ipv4.ip_forward").unwrap(), "1");
}

#[test]
fn what_somebody_else_changed_since_is_told_and_left_alone() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.edit("  swap: off\n", "  files: [{path: /etc/motd, content: \"prepared\\n\"}]\n  swap: off\n");
    let host = rack.host("cp1");
    rack.apply();
    host.read("echo theirs > /etc/motd; sysctl -w net.ipv4.conf.all.arp_announce=1").unwrap();
    let said = rack.ends(0, &["revert", "--yes"]).stdout;
    assert!(said.contains("changed-by-others"), "{said}");
    assert!(said.contains("/etc/motd") && said.contains("net.ipv4.conf.all.arp_announce"), "{said}");
    assert_eq!(
        host.read("cat /etc/motd; sysctl -n net.ipv4.conf.all.arp_announce net.ipv4.conf.all.arp_ignore")
            .unwrap(),
        "theirs\n1\n0"
    );
    assert_eq!(rack.json(0, &["status"])["nodes"][0]["in_effect"], serde_json::json!([]));
}

#[test]
fn one_node_alone_can_be_reverted() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    let before = State::of(&rack.host("w1"));
    rack.apply();
    let prepared = State::of(&rack.host("cp1"));
    rack.ends(0, &["revert", "--yes", "-n", "w1"]);
    let left = unexpected(&before, &State::of(&rack.host("w1")));
    assert!(left.is_empty(), "{left:#?}");
    let touched = prepared.changes(&State::of(&rack.host("cp1")));
    assert!(touched.is_empty(), "{touched:#?}");
}
