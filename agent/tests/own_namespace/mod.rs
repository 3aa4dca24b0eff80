//! A test that starts itself again in a network and mount namespace of its own, and refuses to work in any other.

use std::fs;
use std::process::Command;

/// Tells the second process which namespace it must not be in.
const OUTSIDE: &str = "RACKWRIGHT_TEST_OUTSIDE";

/// The network namespace that we are in.
pub(crate) fn namespace() -> String {
    fs::read_link("/proc/self/ns/net").expect("/proc is there").to_string_lossy().into_owned()
}

/// Runs the test named `test` again in namespaces of its own, where `/sys` and these folders are new and empty; there,
/// runs `body`.
pub(crate) fn in_own_namespace<F: Future<Output = ()>>(test: &str, empty: &[&str], body: impl FnOnce() -> F) {
    if let Ok(outside) = std::env::var(OUTSIDE) {
        assert_ne!(namespace(), outside, "not in a namespace of the test's own");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.expect("a runtime").block_on(body());
    }
    let root = nix::unistd::geteuid().is_root();
    let mounts: String = empty.iter().map(|folder| format!("mount -t tmpfs tmpfs {folder} && ")).collect();
    let output = Command::new("unshare")
        .args(["--net", "--mount"])
        .args((!root).then_some("--map-root-user"))
        .args(["sh", "-c", &format!("mount -t sysfs sysfs /sys && {mounts}exec \"$@\""), "sh"])
        .arg(std::env::current_exe().expect("it runs"))
        .args([test, "--exact", "--nocapture"])
        .env(OUTSIDE, namespace())
        .output()
        .expect("unshare is there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "the test did not run inside:\n{said}");
}

/// Runs a program that must succeed, its words apart by one blank, and returns what it printed.
pub(crate) fn command(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("the program starts");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
