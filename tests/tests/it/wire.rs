//! The wire, when the other end is not what it should be: errors with words and an exit code, never a hang.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rackwright_lab::{Lab, Output, Spec, agents, command, need_lab};
use rackwright_proto::wire::{AgentHello, BUILD, MAGIC, PROTOCOL};
use sha2::{Digest, Sha256};

use crate::operator::{Rack, coded, ends, expect, rackwright, says};

/// Where the real agent lies on the host for false ones to fall back on.
const REAL: &str = "/root/real-agent";

fn lab() -> Lab {
    let lab = Lab::up(Spec::test(1)).unwrap();
    Rack::new(&lab).files(1, "text").write();
    let upper = lab.host("cp1").root().unwrap().join("root/real-agent");
    fs::copy(agent(), &upper).unwrap();
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).unwrap();
    lab
}

/// The static agent that tests deliver.
fn agent() -> PathBuf {
    let folder = agents::checkout().join("target/debug/agents");
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    folder.join(manifest[std::env::consts::ARCH]["file"].as_str().unwrap())
}

/// A command with an agent of our own making: a shell script that is delivered like any other.
fn with_agent(lab: &Lab, name: &str, script: &str, arguments: &[&str]) -> Output {
    let folder = lab.dir().join(name);
    fs::create_dir(&folder).unwrap();
    let script = format!("#!/bin/sh\n# {name}\n[ \"$1\" = session ] || exit 0\n{script}\n");
    fs::write(folder.join("agent"), &script).unwrap();
    let sum: String = Sha256::digest(&script).iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = format!(
        "{{\"{}\": {{\"file\": \"agent\", \"sha256\": \"{sum}\", \"size\": {}}}}}",
        std::env::consts::ARCH,
        script.len()
    );
    fs::write(folder.join("manifest.json"), entry).unwrap();
    let mut command = rackwright(lab, arguments);
    command.env("RACKWRIGHT_AGENTS", &folder);
    ends(command)
}

/// An agent that says these bytes, in printf's notation, and then nothing more until it is left.
fn says_only(bytes: &str) -> String {
    format!("printf 'RACKWRIGHT/1\\n{bytes}'; cat > /dev/null")
}

/// An agent that says hello as the real one does, hears the coordinator's hello and request, and then says this.
fn after_hello(bytes: &str) -> String {
    format!("{REAL} session < /dev/null; printf '{bytes}'; cat > /dev/null")
}

#[test]
fn false_agents_are_found_out() {
    need_lab!();
    let lab = lab();
    let cases = [
        ("long-hello", says_only(r"\377\377\377\377"), "a frame of 4294967295 bytes is longer than"),
        ("garbage-hello", says_only(r"\0\0\0\007garbage"), "does not hold what was expected"),
        ("cut-hello", r"printf 'RACKWRIGHT/1\n\0\0\0\144{'".to_owned(), "broke off"),
        ("no-hello", "true".to_owned(), "cp1"),
        ("mute-death", "echo out of memory >&2; exit 9".to_owned(), "out of memory"),
        ("babble", "yes babble".to_owned(), "cp1"),
        ("long-answer", after_hello(r"\001\0\0\001"), "is longer than"),
        ("garbage-answer", after_hello(r"\0\0\0\003[1]"), "does not hold what was expected"),
        ("cut-answer", format!(r"{REAL} session < /dev/null; printf '\0\0\0\144['"), "broke off"),
        ("another-answer", after_hello(r#"\0\0\0\013"confirmed""#), "answered another question"),
        ("death-after-hello", format!("{REAL} session < /dev/null; echo killed >&2"), "killed"),
    ];
    for (name, script, text) in &cases {
        let output = coded(with_agent(&lab, name, script, &["apply", "--yes"]), 1);
        says(&output, text);
        says(&output, "0 changed");
    }
    let host = lab.host("cp1");
    assert!(!host.sh("test -e /etc/many").unwrap().success());
    assert_eq!(host.read("ls /var/lib/rackwright/runs 2>/dev/null | wc -l").unwrap(), "0");
    expect(&lab, &["apply", "--yes"], 0);
}

#[test]
#[ignore = "long: a silent agent has 30 seconds to say hello and 120 to answer"]
fn silent_agents_are_given_up() {
    need_lab!();
    let lab = lab();
    says(
        &coded(with_agent(&lab, "silent", "cat > /dev/null", &["check"]), 1),
        "starting the agent took longer",
    );
    let output = coded(with_agent(&lab, "silent-hello", &says_only(""), &["check"]), 1);
    says(&output, "no answer from the agent within 30 s while waiting for its hello");
    let output = coded(with_agent(&lab, "slow-frame", &says_only(r"\0\0\0\144{"), &["check"]), 1);
    says(&output, "no answer from the agent within 30 s");
    let output = coded(with_agent(&lab, "silent-answer", &after_hello(""), &["check"]), 1);
    says(&output, "no answer from the agent within 120 s while observing the host");
}

/// Runs the agent with nothing around it: no library, no /proc, no /dev.
fn in_an_empty_root(root: &Path, arguments: &[&str]) -> Command {
    fs::copy(agent(), root.join("agent")).unwrap();
    assert_eq!(fs::read_dir(root).unwrap().count(), 1);
    let mut chroot = command("chroot");
    chroot.arg(root).arg("/agent").args(arguments);
    chroot
}

#[test]
fn the_agent_needs_nothing_but_a_kernel() {
    need_lab!();
    let root = tempfile::tempdir().unwrap();
    let version = in_an_empty_root(root.path(), &["--version"]).output().unwrap();
    assert!(version.status.success(), "{version:?}");
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")), "{version:?}");

    let root = tempfile::tempdir().unwrap();
    let mut session = in_an_empty_root(root.path(), &["session"]);
    let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(session.stdin.take());
    let mut said = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert!(session.wait().unwrap().success());
    let frame = said.strip_prefix(MAGIC).unwrap();
    let hello: AgentHello = rackwright_proto::wire::decode(&frame[4..]).unwrap();
    assert_eq!((hello.protocol, hello.build.as_str()), (PROTOCOL, BUILD));
}

#[test]
fn the_real_agent_refuses_what_is_no_frame() {
    need_lab!();
    let cases: [(&[u8], &str); 3] = [
        (&[0xff; 8], "longer than"),
        (b"\0\0\0\x07garbage", "does not hold"),
        (b"\0\0\x01\0{", "ended inside a frame"),
    ];
    for (bytes, text) in cases {
        let root = tempfile::tempdir().unwrap();
        let mut session = in_an_empty_root(root.path(), &["session"]);
        session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut session = session.spawn().unwrap();
        session.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = session.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(text) && !said.contains("panicked"), "{said}");
    }
}
