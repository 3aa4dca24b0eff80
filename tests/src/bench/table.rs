//! The results for people.

use std::fmt::Write as _;

use super::{Goal, Heat, Pair, Results, goals};

const CAPTION: &str = "\
Medians of runs that took turns. `floor`: the same job as one script over `ssh HOST sh -s` (curve25519), one ssh
per host, all at once. Both log in as root. Nobody probes for addresses in use: the rack says `probe: off`, as the
script does not either. CPU is per host; the hosts' includes sshd. Hosts and controller share this machine.
";

/// The table and the goals.
pub fn text(results: &Results) -> String {
    let mut text = String::from(CAPTION);
    let heads = ["wall s", "controller CPU ms", "host CPU ms"];
    let _ = write!(text, "\n{:<17}", "");
    for head in heads {
        let _ = write!(text, " | {head:^21}");
    }
    let _ = write!(text, " | resident MiB\n{:>5} {:<11}", "hosts", "run");
    for _ in heads {
        let _ = write!(text, " | {:>7} {:>7} {:>5}", "ours", "floor", "ratio");
    }
    let _ = writeln!(text, " | {:>5} {:>6}", "ours", "floor");
    for heat in &results.heats {
        row(&mut text, heat, "first", &heat.first);
        row(&mut text, heat, "no change", &heat.unchanged);
    }
    text.push('\n');
    for goal in goals(results) {
        let _ = writeln!(text, "{}", line(&goal));
    }
    text
}

fn row(text: &mut String, heat: &Heat, run: &str, pair: &Pair) {
    let _ = write!(text, "{:>5} {run:<11}", heat.hosts);
    let per_host = 1000.0 / heat.hosts as f64;
    let columns = [
        (pair.medians(|cost| cost.wall_s), 1.0, 3),
        (pair.medians(|cost| cost.controller_s), per_host, 2),
        (pair.medians(|cost| cost.hosts_s), per_host, 1),
    ];
    for ((ours, floor), scale, digits) in columns {
        let (left, right) = (ours * scale, floor * scale);
        let _ = write!(text, " | {left:>7.digits$} {right:>7.digits$} {:>5.2}", ours / floor);
    }
    let (ours, floor) = pair.medians(|cost| cost.resident as f64 / 1024.0 / 1024.0);
    let _ = writeln!(text, " | {ours:>5.1} {floor:>6.1}");
}

fn line(goal: &Goal) -> String {
    let verdict = if goal.is_met() { "met   " } else { "MISSED" };
    format!("{verdict}  {}: {:.2} {} (goal: {})", goal.what, goal.measured, goal.unit, goal.most)
}

#[cfg(test)]
mod tests {
    use super::super::Cost;
    use super::*;

    #[test]
    fn a_table() {
        let cost = |wall_s: f64, resident: u64| Cost {
            wall_s,
            controller_s: wall_s / 10.0,
            hosts_s: wall_s / 2.0,
            resident: resident << 20,
        };
        let pair = |ours, floor| Pair { ours: vec![cost(ours, 12)], floor: vec![cost(floor, 8)] };
        let heat = |hosts: usize| Heat {
            hosts,
            first: pair(0.3, 0.2),
            unchanged: pair(0.02 * hosts as f64, 0.04 * hosts as f64),
        };
        insta::assert_snapshot!(text(&Results { heats: vec![heat(1), heat(64)], agent_bytes: 3_012_576 }));
    }
}
