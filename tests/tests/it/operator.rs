//! The operator's desk: the real `rackwright` on a rack of the lab, and what its runs leave on the hosts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rackwright_agent::journal::{self, is_finished};
use rackwright_lab::{Host, Lab, Output, agents, await_until, run};
use rackwright_proto::event::{Event, Outcome, Record};

/// More than any command takes on a busy machine, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// `rackwright` where the operator sits: in the rack's folder, with a home and an environment of its own.
pub(crate) fn rackwright(lab: &Lab, arguments: &[&str]) -> Command {
    let built = agents::checkout().join("target/debug");
    let program = built.join("rackwright");
    assert!(program.exists(), "no {}: `cargo lab test` builds it", program.display());
    let home = lab.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    let mut command = lab.op_command(program).unwrap();
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home).env("USER", "alice");
    command.env("RACKWRIGHT_AGENTS", built.join("agents"));
    command.current_dir(lab.dir()).args(arguments);
    command
}

/// The same, typed by a second operator.
pub(crate) fn as_bob(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = rackwright(lab, arguments);
    command.env("USER", "bob");
    ends(command)
}

/// Runs a command of the operator's to its end.
#[track_caller]
pub(crate) fn ends(command: Command) -> Output {
    run(command, None, LIMIT).unwrap()
}

/// Runs `rackwright` and insists on its exit code.
#[track_caller]
pub(crate) fn expect(lab: &Lab, arguments: &[&str], code: i32) -> Output {
    coded(ends(rackwright(lab, arguments)), code)
}

/// Insists on an exit code; all that was said is in the panic.
#[track_caller]
pub(crate) fn coded(output: Output, code: i32) -> Output {
    assert_eq!(output.code, code, "stdout:\n{}\nstderr:\n{}", output.stdout, output.stderr);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    output
}

/// Insists on a text in what was said on either stream.
#[track_caller]
pub(crate) fn says(output: &Output, text: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(text), "`{text}` is not in:\n{said}");
}

/// A coordinator that works while the test looks on. Dropped, it is killed.
pub(crate) struct Working {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Working {
    /// Starts a command of the operator's. Its words go to files, so that no full pipe ever stops it.
    pub(crate) fn start(lab: &Lab, mut command: Command) -> Self {
        let number = fresh();
        let [stdout, stderr] = ["out", "err"].map(|stream| lab.dir().join(format!("{stream}-{number}")));
        command.stdin(Stdio::null());
        command.stdout(fs::File::create(&stdout).unwrap()).stderr(fs::File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// What it said on standard error so far.
    pub(crate) fn talk(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until it said something on standard error.
    #[track_caller]
    pub(crate) fn until_it_says(&self, text: &str) {
        let said = || if self.talk().contains(text) { Ok(()) } else { Err(self.talk()) };
        await_until(&format!("rackwright says `{text}`"), LIMIT, said).unwrap();
    }

    /// Waits until it said something on standard error; false if it ended without.
    #[track_caller]
    pub(crate) fn says_or_ends(&mut self, text: &str) -> bool {
        let deadline = Instant::now() + LIMIT;
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            match self.talk().contains(text) {
                said if said || ended => return said,
                _ => assert!(
                    Instant::now() < deadline,
                    "rackwright never says `{text}`; it said:\n{}",
                    self.talk()
                ),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, if it still runs.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Whether it has not ended yet.
    pub(crate) fn works(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Insists that it has not ended yet: whoever waits for what it does would wait in vain.
    #[track_caller]
    pub(crate) fn assert_works(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let said = fs::read_to_string(&self.stdout).unwrap() + &self.talk();
            panic!("rackwright ended too early, with {status}; it said:\n{said}");
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Output {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "rackwright hangs; it said:\n{}", self.talk()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|path| fs::read_to_string(path).unwrap());
        Output { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fresh() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// A rack file of the lab's nodes that prepares hosts only.
pub(crate) struct Rack<'a> {
    lab: &'a Lab,
    ssh: String,
    hosts: String,
    rest: String,
}

impl<'a> Rack<'a> {
    /// Reaches the nodes as the lab's own rack does, and wants nothing yet.
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let text = fs::read_to_string(lab.rack_yaml()).unwrap();
        let ssh = text.split_once("ssh:\n").unwrap().1.split("nodes:\n").next().unwrap().to_owned();
        Self { lab, ssh, hosts: "hosts:\n  swap: keep\n".to_owned(), rest: String::new() }
    }

    /// One more line below `ssh`, or instead of the one of the same name.
    pub(crate) fn ssh(mut self, line: &str) -> Self {
        let key = format!("  {}:", line.split(':').next().unwrap());
        self.ssh =
            self.ssh.lines().filter(|l| !l.starts_with(&key)).fold(String::new(), |all, l| all + l + "\n");
        let _ = writeln!(self.ssh, "  {line}");
        self
    }

    /// One more line below `hosts`.
    pub(crate) fn hosts(mut self, line: &str) -> Self {
        let _ = writeln!(self.hosts, "  {line}");
        self
    }

    /// One more line of the file.
    pub(crate) fn line(mut self, line: &str) -> Self {
        let _ = writeln!(self.rest, "{line}");
        self
    }

    /// So many files with a text of their own: each is a step, so that a run can be met in its middle.
    pub(crate) fn files(mut self, count: usize, text: &str) -> Self {
        self.hosts.push_str("  files:\n");
        for number in 0..count {
            let _ = writeln!(self.hosts, "    - {{path: /etc/many/{number:03}, content: {text}-{number}}}");
        }
        self
    }

    /// Writes it as the operator's `rack.yaml`; `node` gives each node's own fields.
    pub(crate) fn write_with(self, node: impl Fn(&str) -> String) {
        let mut text = format!("apiVersion: rackwright.dev/v1\nkind: Rack\nssh:\n{}nodes:\n", self.ssh);
        for host in &self.lab.spec().hosts {
            let address = self.lab.host(host).address();
            let _ = writeln!(text, "  - {{name: {host}, address: {address}{}}}", node(host));
        }
        fs::write(self.lab.rack_yaml(), text + &self.hosts + &self.rest).unwrap();
    }

    /// Writes it as the operator's `rack.yaml`.
    pub(crate) fn write(self) {
        self.write_with(|_| String::new());
    }
}

/// A host's runs by their ids: what the journals on its disk tell, read behind its back. A host whose disk is not this
/// machine's is asked.
pub(crate) fn journals(host: &Host) -> BTreeMap<String, Vec<Event>> {
    match host.root() {
        Ok(root) => journals_below(&root),
        Err(_) => host.sh(JOURNALS).map_or_else(|_| BTreeMap::new(), |told| journals_told(&told.stdout)),
    }
}

fn journals_below(root: &Path) -> BTreeMap<String, Vec<Event>> {
    let Ok(runs) = fs::read_dir(root.join("var/lib/rackwright/runs")) else { return BTreeMap::new() };
    let journal = |run: fs::DirEntry| {
        let bytes = fs::read(run.path().join("journal.jsonl")).ok()?;
        Some((run.file_name().to_string_lossy().into_owned(), journal::parse(&bytes).0))
    };
    runs.flatten().filter_map(journal).collect()
}

/// No line of a journal begins with a colon; a line that was torn stays one, for the newline before the next name is
/// no part of it.
const JOURNALS: &str = r"
cd /var/lib/rackwright/runs 2>/dev/null || exit 0
for run in *; do
  test -f $run/journal.jsonl && printf '\n:%s\n' $run && cat $run/journal.jsonl
done
true
";

fn journals_told(text: &str) -> BTreeMap<String, Vec<Event>> {
    let journal = |told: &str| {
        let (run, text) = told.split_once('\n')?;
        Some((run.to_owned(), journal::parse(text.as_bytes()).0))
    };
    text.split("\n:").filter_map(journal).collect()
}

/// The run of a host that began last. Ids do not tell: they begin with the second, and two runs fit into one.
pub(crate) fn last_run(host: &Host) -> Option<(String, Vec<Event>)> {
    journals(host).into_iter().max_by_key(|(_, events)| events.first().map(|event| event.at_ms))
}

/// How often each step said that it changed something, in all runs but those named.
pub(crate) fn changes(host: &Host, but: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let events =
        journals(host).into_iter().filter(|(run, _)| !but.contains(run)).flat_map(|(_, events)| events);
    for event in events {
        if let Record::Outcome { step, outcome: Outcome::Changed { .. }, .. } = event.record {
            *counts.entry(step.key()).or_default() += 1;
        }
    }
    counts
}

/// Waits until a run that is not among `known` has begun.
#[track_caller]
pub(crate) fn until_begun(by: &mut Working, host: &Host, known: &[String]) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(run) = journals(host).into_keys().find(|run| !known.contains(run)) {
            return run;
        }
        by.assert_works();
        assert!(Instant::now() < deadline, "no run came: {}", by.talk());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a run has a record of some kind; one that ended without will never have it.
#[track_caller]
pub(crate) fn until(host: &Host, run: &str, what: &str, wanted: impl Fn(&Record) -> bool) {
    let found = || {
        let events = journals(host).remove(run).unwrap_or_default();
        let last = events.last().map(|event| &event.record);
        match last {
            _ if events.iter().any(|event| wanted(&event.record)) => Ok(Ok(())),
            Some(Record::Finished { .. }) => Ok(Err(format!("{events:?}"))),
            _ => Err(format!("run {run}: {last:?}")),
        }
    };
    let ended = await_until(&format!("run {run} {what}"), LIMIT, found).unwrap();
    ended.unwrap_or_else(|events| panic!("run {run} ended before it {what}: {events}"));
}

/// Waits until the host's last run has ended.
#[track_caller]
pub(crate) fn until_finished(host: &Host) -> String {
    let found = || match last_run(host) {
        Some((run, events)) if is_finished(&events) => Ok(run),
        Some((run, events)) => Err(format!("run {run}: {:?}", events.last())),
        None => Err("no run".to_owned()),
    };
    await_until("the run is finished", LIMIT, found).unwrap()
}

/// A run that is stopped in its middle, by SIGSTOP to its process.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) run: String,
    pub(crate) pid: i32,
}

impl Held {
    /// Stops the next run that is not among `known` once its journal has so many records.
    #[track_caller]
    pub(crate) fn at(by: &mut Working, host: &Host, known: &[String], records: usize) -> Self {
        Self::when(by, host, known, |events| events.len() >= records)
    }

    /// Stops the next run that is not among `known` once its journal is as wanted.
    #[track_caller]
    pub(crate) fn when(
        by: &mut Working,
        host: &Host,
        known: &[String],
        wanted: impl Fn(&[Event]) -> bool,
    ) -> Self {
        let deadline = Instant::now() + LIMIT;
        loop {
            let met = journals(host).into_iter().find(|(run, events)| !known.contains(run) && wanted(events));
            if let Some((run, _)) = met {
                let pid = process(host, &["run", &run]).expect("the run ended before it could be stopped");
                kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
                let held = Self { run, pid };
                held.assert_unfinished(host);
                return held;
            }
            by.assert_works();
            assert!(Instant::now() < deadline, "no run came so far: {:?}", last_run(host));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[track_caller]
    fn assert_unfinished(&self, host: &Host) {
        assert!(
            !is_finished(&journals(host)[&self.run]),
            "the run ended before it could be stopped: give it more to do"
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn is_alive(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }
}

/// The arguments of a process.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// The host's agent with these arguments, as the machine numbers it.
pub(crate) fn process(host: &Host, wanted: &[&str]) -> Option<i32> {
    host.processes().into_iter().find(|pid| {
        let arguments = arguments(*pid);
        let agent = arguments.first().is_some_and(|program| program.contains("/rackwright/agent"));
        agent && arguments[1..].iter().take(wanted.len()).eq(wanted)
    })
}

/// The processes of sshd that serve sessions, without the one that listens.
pub(crate) fn ssh_sessions(host: &Host) -> Vec<i32> {
    let serves = |pid: &i32| {
        let title = arguments(*pid).concat();
        title.starts_with("sshd") && title.contains(": ") && !title.contains("listener")
    };
    host.processes().into_iter().filter(serves).collect()
}

/// Ends every SSH session of a host, without a word to the other end but TCP's.
pub(crate) fn kill_ssh_sessions(host: &Host) {
    let sessions = ssh_sessions(host);
    assert!(!sessions.is_empty(), "nobody is logged in on {}", host.name());
    for pid in sessions {
        // One ends with the other.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Files and sysctls that racks of these tests touch, as the host's own tools tell them.
pub(crate) fn state(host: &Host) -> String {
    host.read(
        "find /etc/many /etc/sysctl.d /etc/modules-load.d /etc/systemd/system -printf '%p %y %m %U:%G %s %l\\n' 2>/dev/null \
         | sort; find /etc/many /etc/sysctl.d -type f -exec sha256sum {} + 2>/dev/null | sort; \
         sysctl net.ipv4.tcp_keepalive_time net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.rp_filter",
    )
    .unwrap()
}
