//! How long things may take.

use rackwright_proto::plan::Confirm;

use crate::rack::node::Rack;

use super::Found;

pub(super) fn check(rack: &Rack, found: &mut Found<'_>) {
    let confirm = rack.limits().confirm;
    let seconds = confirm.duration().as_secs_f64();
    if !(f64::from(Confirm::SHORTEST_S)..=f64::from(Confirm::LONGEST_S)).contains(&seconds) {
        found.error(
            "limits.confirm",
            format!("{confirm} is no time to confirm a change in"),
            "write 5s to 1h: long enough to connect anew, short enough to wait for when a node is cut off",
        );
    }
    let rollout = rack.limits().rollout;
    if !(5.0..=3600.0).contains(&rollout.duration().as_secs_f64()) {
        found.error(
            "limits.rollout",
            format!("{rollout} is no time to wait for a pod in"),
            "write 5s to 1h: long enough for a pod to start, short enough to wait for when one never does",
        );
    }
}
