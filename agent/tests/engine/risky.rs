//! A change that could cut the node off, over real sessions of the real binary.

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rackwright_proto::event::{Record, RunResult};
use rackwright_proto::fault::FaultKind;
use rackwright_proto::plan::{Confirm, Purpose, Run};
use rackwright_proto::step::HostStep;
use rackwright_proto::wire::{self, AgentHello, BUILD, CoordinatorHello, MAGIC, PROTOCOL, Reply, Request};
use serde::de::DeserializeOwned;

use crate::tree::{Tree, file, sysctl, wanted};

pub(crate) struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) hello: AgentHello,
}

impl Session {
    pub(crate) fn open(tree: &Tree) -> Self {
        let mut child = tree.agent(&["session"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut magic = vec![0; MAGIC.len()];
        output.read_exact(&mut magic).unwrap();
        assert_eq!(magic, MAGIC);
        let hello = frame(&mut output).unwrap();
        let input = child.stdin.take();
        let mut session = Self { child, input, output, hello };
        session.send(&CoordinatorHello { protocol: PROTOCOL, build: BUILD.into() });
        session
    }

    pub(crate) fn send<T: serde::Serialize>(&mut self, message: &T) {
        self.input.as_mut().unwrap().write_all(&wire::encode(message).unwrap()).unwrap();
    }

    pub(crate) fn hear(&mut self) -> Reply {
        frame(&mut self.output).expect("the session ended")
    }

    /// Listens until a record of the run that is followed pleases.
    pub(crate) fn hear_record(&mut self, pleases: impl Fn(&Record) -> bool) -> Record {
        loop {
            match self.hear() {
                Reply::Event(event) if pleases(&event.record) => return event.record,
                Reply::Event(_) | Reply::Following { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn end(mut self) -> i32 {
        drop(self.input.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

pub(crate) fn frame<T: DeserializeOwned>(output: &mut impl Read) -> Option<T> {
    let mut head = [0; 4];
    output.read_exact(&mut head).ok()?;
    let mut body = vec![0; wire::frame_length(head).unwrap()];
    output.read_exact(&mut body).unwrap();
    Some(wire::decode(&body).unwrap())
}

fn steps() -> Vec<(HostStep, Purpose)> {
    wanted(vec![
        // Planned first, and yet done with the value that it makes lasting.
        file("/etc/sysctl.d/90-rackwright.conf", "net.ipv4.conf.all.rp_filter = 2\n", 0o644),
        sysctl("vm.overcommit_memory", "1"),
        sysctl("net.ipv4.conf.all.rp_filter", "2"),
    ])
}

async fn plan(tree: &Tree, id: &str, within_s: u32) -> Run {
    tree.plan(id, &steps(), Some(Confirm { within_s, probes: Vec::new() })).await
}

fn live(tree: &Tree) -> Vec<u8> {
    std::fs::read(tree.at("proc/sys/net/ipv4/conf/all/rp_filter")).unwrap()
}

fn is_awaiting(record: &Record) -> bool {
    matches!(record, Record::AwaitingConfirm)
}

#[tokio::test]
async fn a_newer_connection_confirms_and_an_older_one_does_not() {
    let tree = Tree::new();
    let mut older = Session::open(&tree);
    let mut first = Session::open(&tree);
    let run = plan(&tree, "one", 600).await;
    first.send(&Request::Run(Box::new(run.clone())));
    first.hear_record(is_awaiting);
    assert_eq!(live(&tree), b"2\n");

    older.send(&Request::Confirm { run: run.id.clone() });
    let Reply::Fault(fault) = older.hear() else { panic!("an old connection confirmed") };
    assert_eq!(fault.cause, "this connection is older than the change");
    older.send(&Request::Run(Box::new(plan(&tree, "two", 600).await)));
    let Reply::Fault(fault) = older.hear() else { panic!("two runs at once") };
    assert_eq!((fault.kind, fault.next.as_str()), (FaultKind::Locked, "rackwright attach w1"));
    assert!(fault.cause.contains("run one of ops@desk"), "{fault}");

    let mut newer = Session::open(&tree);
    assert_eq!(newer.hello.holder.as_ref().unwrap().run, run.id);
    newer.send(&Request::Confirm { run: run.id.clone() });
    assert_eq!(newer.hear(), Reply::Confirmed);
    first.hear_record(|r| matches!(r, Record::Finished { result: RunResult::Done }));
    assert_eq!(first.hear(), Reply::Followed { finished: true });

    newer.send(&Request::Attach { run: None, from_seq: 3 });
    let Reply::Following { run: found } = newer.hear() else { panic!("not followed") };
    assert_eq!(found, run.id);
    let Reply::Event(event) = newer.hear() else { panic!("no event") };
    assert_eq!(event.seq, 3);
    for session in [older, first, newer] {
        assert_eq!(session.end(), 0);
    }
    assert_eq!(live(&tree), b"2\n");
}

#[tokio::test]
async fn what_stands_behind_waits_for_the_confirmation() {
    for confirmed in [true, false] {
        let tree = Tree::new();
        let steps = [steps(), wanted(vec![file("/etc/behind", "text\n", 0o644)])].concat();
        let within_s = if confirmed { 600 } else { 1 };
        let confirm = Confirm { within_s, probes: Vec::new() };
        let run = tree.plan("one", &steps, Some(confirm)).await;
        let mut session = Session::open(&tree);
        session.send(&Request::Run(Box::new(run.clone())));
        session.hear_record(is_awaiting);
        assert!(!tree.at("etc/behind").exists());
        if confirmed {
            let mut newer = Session::open(&tree);
            newer.send(&Request::Confirm { run: run.id });
            assert_eq!(newer.hear(), Reply::Confirmed);
        }
        session.hear_record(|r| matches!(r, Record::Finished { .. }));
        assert_eq!(tree.at("etc/behind").exists(), confirmed);
    }
}

#[tokio::test]
async fn nobody_confirms_and_the_change_is_undone() {
    let tree = Tree::new();
    let mut session = Session::open(&tree);
    session.send(&Request::Run(Box::new(plan(&tree, "one", 1).await)));
    let back = session.hear_record(|r| matches!(r, Record::RolledBack { .. }));
    let Record::RolledBack { why, keys } = back else { unreachable!() };
    assert_eq!(why, "nobody confirmed in time over a new connection");
    let undone = ["kernel/sysctl/net.ipv4.conf.all.rp_filter", "file//etc/sysctl.d/90-rackwright.conf"];
    assert_eq!(keys, undone);
    session.hear_record(|r| matches!(r, Record::Finished { result: RunResult::RolledBack }));
    assert_eq!(live(&tree), b"1\n");
    assert!(!tree.at("etc/sysctl.d/90-rackwright.conf").exists());
    let safe = std::fs::read(tree.at("proc/sys/vm/overcommit_memory")).unwrap();
    assert_eq!(safe, b"1\n", "what is not risky stays");
}

#[tokio::test]
async fn the_watchdog_undoes_the_change_of_a_run_that_was_killed() {
    let tree = Tree::new();
    let mut session = Session::open(&tree);
    session.send(&Request::Run(Box::new(plan(&tree, "one", 1).await)));
    session.hear_record(is_awaiting);
    let holder = rackwright_agent::lock::holder(&tree.host).unwrap();
    let runner = nix::unistd::Pid::from_raw(holder.pid as i32);
    nix::sys::signal::kill(runner, nix::sys::signal::Signal::SIGKILL).unwrap();
    // The same follower hears what the watchdog writes.
    session.hear_record(|r| matches!(r, Record::RolledBack { .. }));
    session.hear_record(|r| matches!(r, Record::Finished { result: RunResult::RolledBack }));
    assert_eq!(session.hear(), Reply::Followed { finished: true });
    assert_eq!(live(&tree), b"1\n");
}

#[tokio::test]
async fn a_run_goes_on_without_its_session_and_is_found_again() {
    let tree = Tree::new();
    let mut session = Session::open(&tree);
    session.send(&Request::Run(Box::new(plan(&tree, "one", 600).await)));
    session.hear_record(|r| matches!(r, Record::Started { .. }));
    assert_eq!(session.end(), 0, "the end of the stream is the end of the session");

    let mut again = Session::open(&tree);
    again.send(&Request::Attach { run: None, from_seq: 0 });
    again.hear_record(is_awaiting);
    let mut newer = Session::open(&tree);
    newer.send(&Request::Confirm { run: "one".parse().unwrap() });
    assert_eq!(newer.hear(), Reply::Confirmed);
    again.hear_record(|r| matches!(r, Record::Finished { result: RunResult::Done }));
}

#[tokio::test]
async fn a_plan_for_another_host_is_refused() {
    let tree = Tree::new();
    let mut session = Session::open(&tree);
    let mut run = plan(&tree, "one", 600).await;
    run.plan.machine_id = "another".into();
    session.send(&Request::Run(Box::new(run)));
    let Reply::Fault(fault) = session.hear() else { panic!("not refused") };
    assert_eq!(fault.kind, FaultKind::Stale);
    assert!(fault.cause.contains("machine-id another"), "{fault}");
    assert_eq!(live(&tree), b"1\n");
}
