//! A client outside of a cluster that asks for a Service again and again, and what it saw.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rackwright_lab::talk::say;
use rackwright_lab::{Cluster, Lab, run};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// How long nobody may be reached while another node takes over: its speaker must miss the other's, on an emulated
/// machine that may be booting.
const TAKEOVER: Duration = Duration::from_secs(60);
/// How long otherwise: kube-proxy of mode nftables takes away what ipvs has before it has written its own.
const BLINK: Duration = Duration::from_secs(10);

/// One try: a connection, and a broadcast for the address.
#[derive(Debug)]
pub(super) struct Look {
    /// Since the watch began.
    at: Duration,
    answered: bool,
    /// Who answered ARP.
    macs: BTreeSet<String>,
}

/// Works in a thread of its own until it is ended.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Look>>,
}

impl Watch {
    pub(super) fn start(cluster: &Cluster, address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let lab = Lab::open(&cluster.lab().spec().name).unwrap();
        let (stopped, address, begun) = (Arc::clone(&stop), address.to_owned(), Instant::now());
        let thread = std::thread::spawn(move || {
            let mut looks = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                looks.push(look(&lab, &address, begun));
                std::thread::sleep(PAUSE);
            }
            looks
        });
        Self { stop, thread }
    }

    pub(super) fn end(self) -> Vec<Look> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn look(lab: &Lab, address: &str, begun: Instant) -> Look {
    let ask = |program: &str, arguments: &[&str]| {
        let mut command = lab.op_command(program).unwrap();
        command.args(arguments);
        run(command, None, Duration::from_secs(10))
    };
    let url = format!("http://{address}/");
    let answer = ask("curl", &["--silent", "--fail", "--max-time", "2", &url]);
    let arping = ask("arping", &["-I", "eth0", "-b", "-c", "1", "-w", "1", address]);
    let said = arping.map(|output| output.stdout.to_lowercase()).unwrap_or_default();
    let macs = said.split(['[', ']']).filter(|word| word.matches(':').count() == 5).map(str::to_owned);
    Look { at: begun.elapsed(), answered: answer.is_ok_and(|output| output.success()), macs: macs.collect() }
}

/// Nobody ever shared the address with another; and wherever nobody was reached, that was for as long as a reason
/// holds: another node took over, or the one there is had its kube-proxy replaced. It ends with answers.
#[track_caller]
pub(super) fn assert_went_on(looks: &[Look]) {
    let doubled: Vec<_> = looks.iter().filter(|look| look.macs.len() > 1).collect();
    assert!(doubled.is_empty(), "{doubled:#?}");
    let good: Vec<usize> = (0..looks.len()).filter(|at| looks[*at].answered).collect();
    assert!(good.first() == Some(&0) && good.last() == Some(&(looks.len() - 1)), "{looks:#?}");
    let owner = |look: &Look| look.macs.first().cloned();
    let mut told = Vec::new();
    for pair in good.windows(2).filter(|pair| pair[1] > pair[0] + 1) {
        let silent = looks[pair[1]].at - looks[pair[0]].at;
        let before = looks[..=pair[0]].iter().rev().find_map(owner);
        let after = looks[pair[1]..].iter().find_map(owner);
        let most = if before == after { BLINK } else { TAKEOVER };
        assert!(silent < most, "{silent:?} of {before:?}, then {after:?}:\n{looks:#?}");
        let arp = looks[pair[0]..=pair[1]].iter().map(|look| {
            let who = look.macs.first().map_or("nobody", String::as_str);
            format!("{who} at {:.1}", look.at.as_secs_f64())
        });
        told.push(format!("{:.1} s ({})", silent.as_secs_f64(), arp.collect::<Vec<_>>().join(", ")));
    }
    say(format_args!("{} of {} tries were answered; not for {}", good.len(), looks.len(), told.join(", ")));
}
