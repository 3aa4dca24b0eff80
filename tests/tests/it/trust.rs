//! Host keys, as the operator meets them.

use std::fs;
use std::process::Command;

use rackwright_lab::{Host, Lab, Login, Spec, command, must, need_lab};

use crate::operator::{LIMIT, Rack, coded, ends, expect, rackwright, says};

/// A rack of one host with little to do.
fn lab() -> Lab {
    let lab = Lab::up(Spec::test(1)).unwrap();
    Rack::new(&lab).files(1, "text").write();
    lab
}

fn key(host: &Host) -> String {
    host.read("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub").unwrap()
}

fn fingerprint(host: &Host) -> String {
    host.read("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2").unwrap()
}

/// Gives the host another key, as an installation would.
fn install_anew(host: &Host) {
    host.read(
        "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; \
         systemctl restart ssh",
    )
    .unwrap();
}

/// Nobody logged in, and nothing of ours is there.
#[track_caller]
fn assert_untouched(host: &Host) {
    let found = host
        .read("ls -d /usr/local/lib/rackwright /var/lib/rackwright /etc/many 2>/dev/null || true")
        .unwrap();
    assert_eq!(found, "");
    assert_eq!(host.read("journalctl -t sshd -t sshd-session | grep -c Accepted || true").unwrap(), "0");
}

fn known(lab: &Lab) -> String {
    fs::read_to_string(lab.known_hosts()).unwrap()
}

/// The keys that OpenSSH finds for the host.
fn known_keys(lab: &Lab) -> Vec<String> {
    let mut find = command("ssh-keygen");
    find.args(["-F", "192.0.2.11", "-f"]).arg(lab.known_hosts());
    let found = must(find, "find the host in known_hosts", LIMIT).unwrap().stdout;
    let keys = found.lines().filter(|line| !line.starts_with('#'));
    keys.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn an_unknown_key_is_refused_until_it_is_trusted() {
    need_lab!();
    let lab = lab();
    let host = lab.host("cp1");
    fs::write(lab.known_hosts(), "").unwrap();
    for arguments in [&["apply", "--yes"][..], &["check"], &["status"], &["revert", "--yes"]] {
        let refused = expect(&lab, arguments, 1);
        says(&refused, "the host key is unknown");
        says(&refused, &fingerprint(&host));
        says(&refused, "`rackwright trust cp1`");
    }
    assert_untouched(&host);

    let shown = expect(&lab, &["trust", "cp1"], 3);
    says(&shown, &fingerprint(&host));
    says(&shown, "nothing was recorded");
    assert_eq!(known(&lab), "");

    let trusted = expect(&lab, &["trust", "cp1", "--yes"], 0);
    let (shown, recorded) = (trusted.stderr.find(&fingerprint(&host)), trusted.stderr.find("recorded in"));
    assert!(shown.is_some() && shown < recorded, "{}", trusted.stderr);
    assert_eq!(known_keys(&lab), [key(&host)]);
    assert_untouched(&host);
    expect(&lab, &["apply", "--yes"], 0);
}

#[test]
fn a_changed_key_is_refused_until_it_is_replaced() {
    need_lab!();
    let lab = lab();
    let host = lab.host("cp1");
    let (old, before) = (fingerprint(&host), known(&lab));
    install_anew(&host);
    let refused = expect(&lab, &["apply", "--yes"], 1);
    for text in ["THE HOST KEY HAS CHANGED", &old, &fingerprint(&host), "`rackwright trust cp1 --replace`"] {
        says(&refused, text);
    }
    let refused = expect(&lab, &["trust", "cp1", "--yes"], 3);
    says(&refused, "--replace");
    assert_eq!(known(&lab), before);
    says(&expect(&lab, &["trust", "cp1", "--replace"], 3), "nothing was recorded");
    assert_eq!(known(&lab), before);
    assert_untouched(&host);

    expect(&lab, &["trust", "cp1", "--replace", "--yes"], 0);
    assert_eq!(known_keys(&lab), [key(&host)]);
    expect(&lab, &["apply", "--yes"], 0);
}

#[test]
fn a_revoked_key_is_refused_and_never_recorded() {
    need_lab!();
    let lab = lab();
    let host = lab.host("cp1");
    let text = format!("{}@revoked * {}\n", known(&lab), key(&host));
    fs::write(lab.known_hosts(), &text).unwrap();
    let refused = expect(&lab, &["apply", "--yes"], 1);
    says(&refused, "is revoked by");
    says(&refused, &fingerprint(&host));
    for arguments in [&["trust", "cp1", "--yes"][..], &["trust", "cp1", "--replace", "--yes"]] {
        says(&expect(&lab, arguments, 3), "revoked");
    }
    assert_eq!(known(&lab), text);
    assert_untouched(&host);
}

#[test]
fn a_certificate_of_a_trusted_authority_is_accepted() {
    need_lab!();
    let lab = lab();
    let host = lab.host("cp1");
    let authority = lab.dir().join("authority");
    let mut generate = command("ssh-keygen");
    generate.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&authority);
    must(generate, "make an authority", LIMIT).unwrap();
    let public = fs::read_to_string(authority.with_extension("pub")).unwrap();
    fs::write(lab.known_hosts(), format!("@cert-authority 192.0.2.* {public}")).unwrap();

    certify(&lab, &host, "192.0.2.99");
    says(&expect(&lab, &["apply", "--yes"], 1), "certificate");
    assert_untouched(&host);
    certify(&lab, &host, "192.0.2.11");
    expect(&lab, &["apply", "--yes"], 0);
}

/// Has the host's key signed for a name, and sshd show the certificate.
fn certify(lab: &Lab, host: &Host, principal: &str) {
    let copy = lab.dir().join("host.pub");
    fs::write(&copy, format!("{} host\n", key(host))).unwrap();
    let mut sign = command("ssh-keygen");
    sign.args(["-q", "-h", "-I", "cp1", "-n", principal, "-s"]).arg(lab.dir().join("authority")).arg(&copy);
    must(sign, "sign the host's key", LIMIT).unwrap();
    let certificate = fs::read_to_string(lab.dir().join("host-cert.pub")).unwrap();
    let install = "cat > /etc/ssh/ssh_host_ed25519_key-cert.pub; \
                   echo 'HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub' > /etc/ssh/sshd_config.d/certificate.conf; \
                   systemctl restart ssh";
    assert!(host.sh_with(install, Some(certificate.as_bytes()), LIMIT).unwrap().success());
}

#[test]
fn a_pin_in_the_rack_counts_instead_of_known_hosts() {
    need_lab!();
    let lab = lab();
    let host = lab.host("cp1");
    fs::remove_file(lab.known_hosts()).unwrap();
    let pinned = |pin: &str| {
        let pin = format!(", hostKey: \"{pin}\"");
        Rack::new(&lab).files(1, "text").write_with(|_| pin.clone());
    };
    let wrong = "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDvTPZ5o2sPgVnTeDo";
    pinned(wrong);
    let refused = expect(&lab, &["apply", "--yes"], 1);
    for text in ["is not the one pinned in the rack", wrong, &fingerprint(&host)] {
        says(&refused, text);
    }
    assert_untouched(&host);
    pinned(&fingerprint(&host));
    expect(&lab, &["apply", "--yes"], 0);
    pinned(&key(&host));
    expect(&lab, &["status"], 0);
    assert!(!lab.known_hosts().exists(), "a pin needs no known_hosts");
}

fn encrypt(lab: &Lab, passphrase: &str) {
    let mut keygen = command("ssh-keygen");
    keygen.args(["-q", "-p", "-P", "", "-N", passphrase, "-f"]).arg(lab.identity());
    must(keygen, "encrypt the operator's key", LIMIT).unwrap();
}

#[test]
fn an_encrypted_key_is_opened_by_the_environment_or_a_file() {
    need_lab!();
    let lab = Lab::up(Spec::test(1).login(Login::Root)).unwrap();
    encrypt(&lab, "open sesame");
    let rack = |source: &str| {
        Rack::new(&lab).ssh("agent: false").ssh(&format!("passphrase: {source}")).files(1, "text").write();
    };
    rack("{env: KEY_PASSPHRASE}");
    let with = |value: &str| {
        let mut plan = rackwright(&lab, &["plan", "-vv"]);
        plan.env("KEY_PASSPHRASE", value);
        ends(plan)
    };
    let wrong = coded(with("open barley"), 1);
    says(&wrong, "the passphrase is wrong");
    let right = coded(with("open sesame"), 0);
    for output in [wrong, right] {
        assert!(!format!("{}{}", output.stdout, output.stderr).contains("open "), "{}", output.stderr);
    }
    says(&expect(&lab, &["plan"], 1), "no passphrase given");
    fs::write(lab.dir().join("passphrase"), "open sesame\n").unwrap();
    rack("{file: passphrase}");
    expect(&lab, &["apply", "--yes"], 0);
}

/// A real ssh-agent. Dropped, it is ended.
struct Agent {
    socket: String,
    pid: String,
}

impl Agent {
    fn start(lab: &Lab) -> Self {
        let socket = lab.dir().join("agent.socket").display().to_string();
        let mut start = command("ssh-agent");
        start.args(["-s", "-a", &socket]);
        let said = must(start, "start ssh-agent", LIMIT).unwrap().stdout;
        let pid = said.split("SSH_AGENT_PID=").nth(1).unwrap().split(';').next().unwrap().to_owned();
        Self { socket, pid }
    }

    fn asking(&self, mut command: Command) -> Command {
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let mut end = command("ssh-agent");
        let _ = end.arg("-k").env("SSH_AGENT_PID", &self.pid).env("SSH_AUTH_SOCK", &self.socket).output();
    }
}

#[test]
fn a_key_may_live_in_the_ssh_agent_only() {
    need_lab!();
    let lab = lab();
    let agent = Agent::start(&lab);
    let mut add = agent.asking(command("ssh-add"));
    add.arg("-q").arg(lab.identity());
    must(add, "add the key to the agent", LIMIT).unwrap();
    fs::remove_file(lab.identity()).unwrap();
    let refused = expect(&lab, &["apply", "--yes"], 1);
    says(&refused, "no login as ops");
    coded(ends(agent.asking(rackwright(&lab, &["apply", "--yes"]))), 0);
    let mut forget = agent.asking(command("ssh-add"));
    forget.args(["-q", "-D"]);
    must(forget, "empty the agent", LIMIT).unwrap();
    says(&coded(ends(agent.asking(rackwright(&lab, &["status"]))), 1), "holds no keys");
}
