//! What a session makes of a stream that is not one of ours.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rackwright_proto::facts::Depth;
use rackwright_proto::reach::{Asked, Reach, Reached};
use rackwright_proto::tool::ToolRun;
use rackwright_proto::wire::{self, BUILD, CoordinatorHello, MAGIC, MAX_FRAME, PROTOCOL, Reply, Request};

use crate::risky::{Session, frame};
use crate::tree::{Tree, file, sysctl};

fn talk(bytes: &[u8]) -> Output {
    talk_on(&Tree::new(), bytes)
}

fn talk_on(tree: &Tree, bytes: &[u8]) -> Output {
    let mut child = tree.agent(&["session"]).stdin(Stdio::piped()).spawn().unwrap();
    // It may have ended before it took all of it.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

fn hello() -> Vec<u8> {
    wire::encode(&CoordinatorHello { protocol: PROTOCOL, build: BUILD.into() }).unwrap()
}

/// Ends with code 2, says so to people and, as its last frame, to the coordinator.
fn assert_refused(bytes: &[u8], because: &str) {
    let output = talk(bytes);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(because), "{said}");
    let mut frames = output.stdout.strip_prefix(MAGIC).unwrap();
    let _hello: serde_json::Value = frame(&mut frames).unwrap();
    let Some(Reply::Fault(fault)) = frame(&mut frames) else { panic!("no fault") };
    assert!(fault.cause.contains(because), "{fault}");
    assert_eq!(frames.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_stream_that_ends_between_frames_is_an_end() {
    for bytes in [Vec::new(), hello()] {
        assert_eq!(talk(&bytes).status.code(), Some(0));
    }
}

#[test]
fn garbage_is_refused() {
    assert_refused(b"GET / HTTP/1.1\r\n\r\n", "longer than");
    let with = |body: &[u8]| [&hello()[..], &(body.len() as u32).to_be_bytes(), body].concat();
    assert_refused(&with(b"\0\xff\0\xff"), "does not hold what was expected");
    assert_refused(&with(b"{\"observe\":{}}"), "missing field");
    assert_refused(&with(b"{\"format-the-disk\":{}}"), "unknown variant");
    let nested = "[".repeat(100_000);
    assert_refused(&with(nested.as_bytes()), "does not hold what was expected");
}

#[test]
fn a_frame_that_is_too_large_is_refused_by_its_head_alone() {
    let head = (MAX_FRAME as u32 + 1).to_be_bytes();
    assert_refused(&[&hello()[..], &head].concat(), "longer than the 16777216 allowed");
    assert_refused(&[&hello()[..], &[0xff; 4]].concat(), "longer than");
}

#[test]
fn a_frame_that_is_cut_anywhere_is_refused() {
    let request = wire::encode(&Request::Observe { steps: Vec::new(), depth: Depth::Quick }).unwrap();
    for cut in 1..request.len() {
        assert_refused(&[&hello()[..], &request[..cut]].concat(), "ended inside a frame");
    }
}

#[test]
fn another_build_is_told_to_bring_its_own_agent() {
    let other = CoordinatorHello { protocol: PROTOCOL, build: "0.0.0/0".into() };
    assert_refused(&wire::encode(&other).unwrap(), "let it deliver its own agent");
}

#[test]
fn looking_changes_nothing() {
    let tree = Tree::new();
    let before = tree.everything();
    let mut session = Session::open(&tree);
    let steps = vec![file("/etc/new", "x", 0o644), sysctl("vm.overcommit_memory", "1")];
    session.send(&Request::Observe { steps, depth: Depth::Quick });
    let Reply::Facts(facts) = session.hear() else { panic!("no facts") };
    assert_eq!(facts.seen.len(), 2, "{:?}", facts.troubles);
    session.send(&Request::Attach { run: None, from_seq: 0 });
    let Reply::Fault(fault) = session.hear() else { panic!("a run was found") };
    assert_eq!(fault.cause, "this host has no such run");
    session.send(&Request::Reboot);
    let Reply::Fault(fault) = session.hear() else { panic!("a tree is no machine to reboot") };
    assert_eq!(fault.next, "reboot it by hand");
    assert_eq!(session.end(), 0);
    assert_eq!(tree.everything(), before);
    assert!(!tree.at("var").exists() && !tree.at("run").exists(), "state was made by looking");
}

#[test]
fn the_kubeconfig_is_in_its_frame_and_nowhere_else() {
    const KEY: &str = "client-key-data: aHVudGVyMg==";
    let tree = Tree::new();
    let asked = [hello(), wire::encode(&Request::Kubeconfig).unwrap()].concat();
    let replied = |output: &Output| {
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        let mut frames = output.stdout.strip_prefix(MAGIC).unwrap();
        let _hello: serde_json::Value = frame(&mut frames).unwrap();
        frame::<Reply>(&mut frames).unwrap()
    };
    assert_eq!(replied(&talk_on(&tree, &asked)), Reply::Kubeconfig(None));
    tree.put("etc/kubernetes/admin.conf", KEY.as_bytes());
    let before = tree.everything();
    let reply = replied(&talk_on(&tree, &asked));
    let shown = format!("{reply:?}");
    assert_eq!(shown, r#"Kubeconfig(Some(Kubeconfig { path: "/etc/kubernetes/admin.conf", text: *** }))"#);
    let Reply::Kubeconfig(Some(kubeconfig)) = reply else { panic!("{shown}") };
    assert_eq!(kubeconfig.text.expose(), KEY);
    assert_eq!(tree.everything(), before);
    assert!(!tree.at("var").exists() && !tree.at("run").exists(), "state was made by reading");
}

#[test]
fn what_is_reached_and_what_a_cluster_left_come_back_in_order() {
    let tree = Tree::new();
    tree.put("var/lib/kubelet/config.yaml", b"clusterDNS:\n- 10.96.0.10\nresolvConf: /etc/r.conf\n");
    let mut session = Session::open(&tree);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ask = |address| Asked::new(Reach::Tcp { address }, 10_000);
    session.send(&Request::Reach { questions: vec![ask(closed), ask(open.local_addr().unwrap())] });
    let Reply::Reached(reached) = session.hear() else { panic!("nothing was reached") };
    assert_eq!(reached[0], Reached::Failed { why: "connection refused".into() });
    assert!(matches!(reached[1], Reached::Tcp { .. }), "{reached:?}");
    session.send(&Request::Traces);
    let Reply::Traces(traces) = session.hear() else { panic!("no traces") };
    assert_eq!(traces.kubelet.unwrap().cluster_dns, ["10.96.0.10"]);
    assert_eq!(session.end(), 0);
}

/// Whoever asked went away: the tool ends, with all that it started, and its files go.
#[test]
fn a_tool_ends_with_its_session() {
    let tree = Tree::new();
    tree.put("usr/bin/wait", b"#!/bin/sh\nsleep 300 &\necho $! >&2\nwait\n");
    fs::set_permissions(tree.at("usr/bin/wait"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |name: &str| ToolRun {
        tool: String::new(),
        version: String::new(),
        program: name.into(),
        args: Vec::new(),
        files: [("secret".to_owned(), "hunter2".to_owned())].into(),
        seconds: 600,
    };
    let mut session = Session::open(&tree);
    session.send(&Request::Tool(Box::new(run("nothing"))));
    let Reply::Fault(fault) = session.hear() else { panic!("it ran") };
    assert_eq!(fault.to_string(), "run nothing: this host has no nothing on its PATH");
    session.send(&Request::Tool(Box::new(run("wait"))));
    let Reply::ToolSaid(pid) = session.hear() else { panic!("it said nothing") };
    assert_eq!(session.end(), 0);
    let status = format!("/proc/{pid}/status");
    let runs = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs() {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        fs::read_dir(tree.at("run/rackwright/tools")).unwrap().count(),
        0,
        "its files are still there"
    );
}

#[test]
fn unknown_commands_show_the_usage() {
    let tree = Tree::new();
    for args in [&[][..], &["format"], &["run"], &["run", "a", "b"]] {
        let output = tree.agent(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: rackwright-agent"));
    }
    let output = tree.agent(&["run", "../../etc"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "a run's id is parsed before it is a path");
}
