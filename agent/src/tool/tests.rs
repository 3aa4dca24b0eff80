use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A tree that looks like a host's, with a program on its PATH.
fn host(script: &str) -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("usr/bin/say");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let host = Host::at(dir.path());
    (dir, host)
}

fn say(args: &[&str], seconds: u32) -> ToolRun {
    ToolRun {
        tool: String::new(),
        version: String::new(),
        program: "say".into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        files: BTreeMap::from([("a.yaml".to_owned(), "secret\n".to_owned())]),
        seconds,
    }
}

async fn run(script: &str, args: &[&str], seconds: u32) -> (Vec<String>, ToolOutcome, tempfile::TempDir) {
    let (dir, host) = host(script);
    let mut running = start(&say(args, seconds), &host).unwrap();
    let mut said = Vec::new();
    while let Some(line) = running.said.recv().await {
        said.push(line);
    }
    let outcome = running.outcome().await.unwrap();
    (said, outcome, dir)
}

#[tokio::test(flavor = "current_thread")]
async fn a_tool_finds_its_files_and_nothing_of_ours() {
    let script = "stat -c %a \"$1\" \"$HOME\" \"$TMPDIR\"; cat \"$1\"; env | grep -c CARGO; echo $KUBECONFIG; \
                  echo one >&2; printf 'two\\rthree' >&2; cat; exit 3";
    let (dir, host) = host(script);
    fs::create_dir_all(dir.path().join("etc/kubernetes")).unwrap();
    fs::write(dir.path().join("etc/kubernetes/admin.conf"), "hunter2").unwrap();
    let mut running = start(&say(&["{files}/a.yaml"], 30), &host).unwrap();
    let mut said = Vec::new();
    while let Some(line) = running.said.recv().await {
        said.push(line);
    }
    let outcome = running.outcome().await.unwrap();
    assert_eq!(said, ["one", "two", "three"]);
    let kubeconfig = dir.path().join("etc/kubernetes/admin.conf");
    assert_eq!(outcome.stdout, format!("600\n700\n700\nsecret\n0\n{}\n", kubeconfig.display()));
    assert_eq!((outcome.code, outcome.cut), (Some(3), false));
    assert_eq!(outcome.stderr, "one\ntwo\rthree");
    assert_eq!(host.names_in("/run/rackwright/tools").unwrap(), [""; 0], "its folder is still there");
}

#[tokio::test(flavor = "current_thread")]
async fn the_deadline_ends_it_and_what_it_started() {
    let (_, outcome, dir) = run("sleep 300 & echo $! > $HOME/../../../../../pid; wait", &[], 1).await;
    assert_eq!(outcome.code, None);
    gone(&dir).await;
}

#[tokio::test(flavor = "current_thread")]
async fn it_ends_with_whoever_holds_it() {
    let (dir, host) = host("sleep 300 & echo $! > $HOME/../../../../../pid; echo on >&2; wait");
    let mut running = start(&say(&[], 60), &host).unwrap();
    assert_eq!(running.said.recv().await.as_deref(), Some("on"));
    drop(running);
    gone(&dir).await;
    assert_eq!(host.names_in("/run/rackwright/tools").unwrap(), [""; 0]);
}

/// Waits until the process whose id the script left is gone.
async fn gone(dir: &tempfile::TempDir) {
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    let status = format!("/proc/{}/status", pid.trim());
    let gone = async {
        // A dead one may wait for its parent.
        while fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn what_lives_on_behind_its_back_does_not_hold_it_up() {
    let (_, outcome, dir) = run("sleep 300 & echo $! > $HOME/../../../../../pid", &[], 60).await;
    assert_eq!(outcome.code, Some(0));
    gone(&dir).await;
}

#[tokio::test(flavor = "current_thread")]
async fn floods_are_cut() {
    let script = "head -c 9000000 /dev/zero | tr '\\0' x; yes | head -n 100000 >&2; echo end >&2";
    let (said, outcome, _dir) = run(script, &[], 60).await;
    assert_eq!(outcome.stdout.len(), 8 << 20);
    assert!(outcome.cut && outcome.stderr.len() == 64 << 10 && outcome.stderr.ends_with("end\n"));
    assert_eq!(said.len(), MOST_LINES);
}

#[test]
fn names_and_times_are_checked() {
    let (_dir, host) = host("true");
    let refused = |change: fn(&mut ToolRun)| {
        let mut run = say(&[], 1);
        change(&mut run);
        start(&run, &host).unwrap_err().to_string()
    };
    refused(|run| run.program = "../say".into());
    refused(|run| run.program = "/usr/bin/say".into());
    refused(|run| drop(run.files.insert("../x".into(), String::new())));
    refused(|run| drop(run.files.insert("a/x".into(), String::new())));
    refused(|run| run.seconds = 0);
    refused(|run| run.seconds = ToolRun::LONGEST + 1);
    refused(|run| run.version = "../1".into());
    let missing =
        refused(|run| (run.tool, run.version, run.program) = ("t".into(), "1".into(), "bin/t".into()));
    assert_eq!(missing, "run t of t 1: /usr/local/lib/rackwright/tools/t-1 is not there");
    let missing = refused(|run| run.program = "helm".into());
    assert_eq!(missing, "run helm: this host has no helm on its PATH");
}

#[test]
fn lines_are_plain_and_short() {
    let mut said = Vec::new();
    let mut lines = Lines::new(|line| {
        said.push(line);
        true
    });
    lines.take("a\x1b[1mb\n\n  \nc\u{e9}".as_bytes());
    lines.take(&vec![b'x'; 9000]);
    lines.end();
    assert!(!lines.left_out());
    assert_eq!(said[0], "a[1mb");
    assert!(said[1].starts_with("c\u{e9}x") && said[1].chars().count() == LONGEST_LINE);
}

#[test]
fn an_outcome_fits_into_a_frame() {
    let stdout = "\u{1}".repeat(8 << 20);
    let Reply::ToolEnded(outcome) = fitting(ToolOutcome { stdout, ..ToolOutcome::default() }) else {
        panic!()
    };
    assert!(outcome.cut && !outcome.stdout.is_empty());
}
