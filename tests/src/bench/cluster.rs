//! What a run costs a cluster's API server, and how that grows with its nodes: the whole way from kubeadm's cluster to
//! a Service that is proven from outside, then runs without a change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::error::{Doing, LabError, Result};
use crate::kube::{Cluster, Release};
use crate::names::RackName;
use crate::run::must;
use crate::spec::Spec;
use crate::talk::say;

/// Far more than a first apply takes.
const LIMIT: Duration = Duration::from_secs(900);
const UNCHANGED_RUNS: usize = 3;
/// Kubeadm keeps pods off control planes; of a cluster of one node, that would be all.
const TAINT: &str = "node-role.kubernetes.io/control-plane-";
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "apply", "replace", "patch", "delete"];

/// What to measure.
#[derive(Debug, Clone)]
pub struct ClusterOrder {
    /// The rack that is made for it, and taken down after.
    pub rack: RackName,
    /// Numbers of nodes.
    pub nodes: Vec<usize>,
    /// The coordinator, with its agents beside it.
    pub program: PathBuf,
}

/// One number of nodes.
#[derive(Debug, Serialize)]
pub struct ClusterHeat {
    /// How many.
    pub nodes: usize,
    /// From kubeadm's cluster to a proven Service: kube-proxy's mode, CoreDNS' upstream, MetalLB, one pool.
    pub first: Trip,
    /// The same again.
    pub unchanged: Vec<Trip>,
    /// All of it undone.
    pub revert: Trip,
}

/// What one run took.
#[derive(Debug, Default, Serialize)]
pub struct Trip {
    /// From start to exit of the whole process, in seconds.
    pub wall_s: f64,
    /// Requests to the API server, by verb and resource.
    pub asked: BTreeMap<String, u64>,
}

impl Trip {
    /// All requests of a verb.
    pub fn of(&self, verb: &str) -> u64 {
        let is = |(name, _): &(&String, &u64)| name.split(' ').next() == Some(verb);
        self.asked.iter().filter(is).map(|(_, count)| count).sum()
    }

    fn total(&self) -> u64 {
        self.asked.values().sum()
    }
}

/// Makes a cluster, runs `apply` on it, and takes it down.
pub fn measure(order: &ClusterOrder, nodes: usize) -> Result<ClusterHeat> {
    let cluster = Cluster::up(Spec::new(order.rack.clone(), nodes).kube(Release::V1_37))?;
    if nodes == 1 {
        cluster.kube(&["taint", "node", "--all", TAINT], None)?;
    }
    cluster.deploy_web("web", nodes.min(2))?;
    edit(&cluster)?;
    let trip = |command: &str, result: &str| {
        say(format_args!("{nodes} nodes: {command}"));
        trip(order, &cluster, command, result)
    };
    let first = trip("apply", "changed")?;
    let unchanged = (0..UNCHANGED_RUNS).map(|_| trip("apply", "unchanged")).collect::<Result<_>>()?;
    let revert = trip("revert", "changed")?;
    cluster.down()?;
    Ok(ClusterHeat { nodes, first, unchanged, revert })
}

/// The lab's rack, with another mode than the cluster's, so that every part has something to do.
fn edit(cluster: &Cluster) -> Result<()> {
    let path = cluster.lab().rack_yaml();
    let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
    let text =
        text.replace("mode: nftables", "mode: iptables").replace("network: {", "network: {probe: quick, ");
    fs::write(&path, text).doing(|| format!("write {}", path.display()))
}

fn trip(order: &ClusterOrder, cluster: &Cluster, command: &str, result: &str) -> Result<Trip> {
    let mut rackwright = cluster.lab().op_command(&order.program)?;
    rackwright.args([command, "--yes", "--json"]).current_dir(cluster.lab().dir());
    let started = Instant::now();
    let said = must(rackwright, &format!("measure `rackwright {command}`"), LIMIT)?.stdout;
    let wall_s = started.elapsed().as_secs_f64();
    let value: Value = serde_json::from_str(&said).unwrap_or_default();
    let cluster = &value["cluster"];
    // A run that did not do its job is not to be measured.
    if cluster["result"] != result {
        return Err(LabError::Refused(format!("`rackwright {command}` is not {result}: {said}")));
    }
    let asked = serde_json::from_value(cluster["asked"].clone()).unwrap_or_default();
    Ok(Trip { wall_s, asked })
}

/// The table for people.
pub fn table(heats: &[ClusterHeat]) -> String {
    let mut text = format!("{:>5}  {:<10} {:>7} {:>9}", "nodes", "run", "wall s", "requests");
    for verb in VERBS {
        let _ = write!(text, " {verb:>7}");
    }
    text.push('\n');
    for heat in heats {
        row(&mut text, heat.nodes, "first", &heat.first);
        // The fastest: what a busy machine adds is not ours.
        let fastest = heat.unchanged.iter().min_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        fastest.into_iter().for_each(|trip| row(&mut text, heat.nodes, "no change", trip));
        row(&mut text, heat.nodes, "revert", &heat.revert);
    }
    text
}

fn row(text: &mut String, nodes: usize, run: &str, trip: &Trip) {
    let _ = write!(text, "{nodes:>5}  {run:<10} {:>7.1} {:>9}", trip.wall_s, trip.total());
    for verb in VERBS {
        let _ = write!(text, " {:>7}", trip.of(verb));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_clusters() {
        let trip = |gets| Trip {
            wall_s: 1.25,
            asked: BTreeMap::from([
                ("get nodes".into(), gets),
                ("get /version".into(), 1),
                ("watch pods".into(), 2),
            ]),
        };
        let heat =
            |nodes| ClusterHeat { nodes, first: trip(9), unchanged: vec![trip(2), trip(2)], revert: trip(5) };
        insta::assert_snapshot!(table(&[heat(1), heat(3)]));
    }
}
