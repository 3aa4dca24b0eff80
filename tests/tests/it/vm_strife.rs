//! Who else may come into the middle of a run, on a machine with a kernel of its own: SSH dies, the coordinator dies,
//! a second operator comes, somebody reboots the node.

use nix::sys::signal::Signal;
use rackwright_agent::journal::is_finished;
use rackwright_lab::{Host, Lab, Spec, need_vm};

use crate::operator::{
    Rack, Working, as_bob, changes, coded, expect, journals, rackwright, says, until_begun, until_finished,
};

/// Time to stop a run in.
const FILES: usize = 60;
/// Records of a journal in the middle of the files.
const MIDDLE: usize = FILES;

struct Yard {
    lab: Lab,
    host: Host,
    before: String,
}

impl Yard {
    fn up() -> Self {
        let lab = Lab::up(Spec::test(1).vms_all()).unwrap();
        let host = lab.host("cp1");
        Rack::new(&lab)
            .hosts("modules: [ip_vs_wrr]")
            .hosts("sysctls: {net.ipv4.tcp_keepalive_time: 1234, net.ipv4.vs.conntrack: 1}")
            .files(FILES, "text")
            .write();
        host.read("mkdir /etc/many").unwrap();
        let before = state(&host);
        Self { lab, host, before }
    }

    /// An apply whose run is stopped in its middle, and that run.
    fn stopped(&self) -> (Working, String) {
        let known = self.runs();
        let mut apply = Working::start(&self.lab, rackwright(&self.lab, &["apply", "--yes"]));
        let run = until_begun(&mut apply, &self.host, &known);
        let wait = format!(
            "for n in $(seq 3000); do test $(wc -l < /var/lib/rackwright/runs/{run}/journal.jsonl) -ge {MIDDLE} && break; \
             sleep 0.1; done"
        );
        self.host.read(&wait).unwrap();
        self.signal(&run, "STOP");
        let events = &journals(&self.host)[&run];
        assert!(!is_finished(events), "the run ended before it could be stopped: give it more to do");
        (apply, run)
    }

    fn signal(&self, run: &str, signal: &str) {
        let pid = format!("$(systemctl show -P MainPID rackwright-run-{run}.service)");
        self.host.read(&format!("kill -{signal} {pid}")).unwrap();
    }

    /// All is done and nothing was done twice in runs but those; revert brings back what was there before.
    #[track_caller]
    fn assert_recovered(&self, earlier: &[String], volatile: bool) {
        let again = |key: &str| volatile && key.starts_with("kernel/");
        let mut twice = changes(&self.host, earlier);
        twice.retain(|key, count| *count > 1 + usize::from(again(key)));
        assert!(twice.is_empty(), "done more than once: {twice:?}");
        expect(&self.lab, &["plan", "--exit-code"], 0);
        let is =
            "cat /etc/many/*; echo; sysctl -n net.ipv4.tcp_keepalive_time; grep -c ^ip_vs_wrr /proc/modules";
        let files: String = (0..FILES).map(|number| format!("text-{number}")).collect();
        assert_eq!(self.host.read(is).unwrap(), format!("{files}\n1234\n1"));
        expect(&self.lab, &["revert", "--yes"], 0);
        assert_eq!(state(&self.host), self.before);
    }

    fn runs(&self) -> Vec<String> {
        journals(&self.host).into_keys().collect()
    }
}

/// What the rack touches, as the host's own tools tell it.
fn state(host: &Host) -> String {
    host.read(
        "ls -d /etc/many; ls /etc/many /etc/sysctl.d /etc/modules-load.d /etc/systemd/system; \
         sysctl -n net.ipv4.tcp_keepalive_time; grep -o '^ip_vs_wrr ' /proc/modules; true",
    )
    .unwrap()
}

#[test]
#[ignore = "long: applies and reverts over and over; hosts of this machine's kernel show the same"]
fn a_run_is_nobodys_but_its_own() {
    need_vm!();
    let yard = Yard::up();
    ssh_dies_and_a_second_operator_comes(&yard);
    the_coordinator_dies(&yard);
    somebody_reboots_the_node(&yard);
}

fn ssh_dies_and_a_second_operator_comes(yard: &Yard) {
    let earlier = yard.runs();
    let (apply, run) = yard.stopped();
    for arguments in [&["apply", "--yes"][..], &["revert", "--yes"]] {
        let refused = coded(as_bob(&yard.lab, arguments), 3);
        says(&refused, "alice@");
        says(&refused, &format!("(run {run})"));
        says(&refused, "`rackwright attach --node cp1`");
    }
    yard.host.read("pkill -KILL -f '[s]shd: ops'").unwrap();
    apply.until_it_says("connection lost");
    yard.signal(&run, "CONT");
    let output = coded(apply.end(), 0);
    says(&output, "1 changed");
    assert_eq!(until_finished(&yard.host), run);
    assert_eq!(yard.runs().len(), earlier.len() + 1, "two runs");
    yard.assert_recovered(&earlier, false);
}

fn the_coordinator_dies(yard: &Yard) {
    let earlier = yard.runs();
    let (apply, run) = yard.stopped();
    apply.signal(Signal::SIGKILL);
    apply.end();
    yard.signal(&run, "CONT");
    assert_eq!(until_finished(&yard.host), run);
    says(&expect(&yard.lab, &["apply", "--yes"], 0), "1 unchanged");
    yard.assert_recovered(&earlier, false);
}

/// In good order: systemd ends the run as it ends everything.
fn somebody_reboots_the_node(yard: &Yard) {
    let earlier = yard.runs();
    let (apply, run) = yard.stopped();
    yard.host.reboot().unwrap();
    let output = coded(apply.end(), 1);
    says(&output, "connection lost");
    says(&output, "died");
    assert!(!is_finished(&journals(&yard.host)[&run]));
    expect(&yard.lab, &["apply", "--yes"], 0);
    yard.assert_recovered(&earlier, true);
    assert_eq!(yard.host.read("systemctl --failed --no-legend").unwrap(), "");
}
