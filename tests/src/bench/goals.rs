//! What is wanted, and whether it was reached.

use serde::Serialize;

use super::{Cost, Heat, Results};

const MIB: f64 = 1024.0 * 1024.0;

/// One goal beside what was measured.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// What is judged.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// The most that is wanted.
    pub most: f64,
    /// Of both numbers.
    pub unit: &'static str,
}

impl Goal {
    /// Whether it was reached.
    pub fn is_met(&self) -> bool {
        self.measured <= self.most
    }
}

/// All goals that these results can be held against.
pub fn goals(results: &Results) -> Vec<Goal> {
    let mut goals: Vec<Goal> = results.heats.iter().flat_map(of_heat).collect();
    let measured = results.agent_bytes as f64 / 1e6;
    goals.push(Goal { what: "agent, static".into(), measured, most: 4.0, unit: "MB" });
    goals
}

fn of_heat(heat: &Heat) -> Vec<Goal> {
    let hosts = heat.hosts as f64;
    let per_host = |of: fn(&Cost) -> f64| heat.unchanged.medians(of).0 * 1000.0 / hosts;
    let named = |what: &str| match heat.hosts {
        1 => format!("{what}, 1 host"),
        count => format!("{what}, {count} hosts"),
    };
    let goal = |what: &str, measured, most, unit| Goal { what: named(what), measured, most, unit };
    let mut goals = vec![
        goal("no change, controller CPU per host", per_host(|cost| cost.controller_s), 2.0, "ms"),
        goal("no change, host CPU per host", per_host(|cost| cost.hosts_s), 35.0, "ms"),
    ];
    if [1, 64].contains(&heat.hosts) {
        let ratio = heat.unchanged.ratio(|cost| cost.wall_s);
        goals.push(goal("no change, wall", ratio, 0.7, "of the floor"));
    }
    let ratio = heat.first.ratio(|cost| cost.wall_s);
    goals.push(goal("first apply with delivery, wall", ratio, 1.3, "of the floor"));
    if heat.hosts == 64 {
        let both = [&heat.first, &heat.unchanged];
        let most = both.iter().flat_map(|pair| &pair.ours).map(|cost| cost.resident).max();
        goals.push(goal("coordinator, resident", most.unwrap_or(0) as f64 / MIB, 25.0, "MiB"));
    }
    goals
}
