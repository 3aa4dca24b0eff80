//! Istio's part of every command: the operator's file, what hosts have for it, its tools on control planes, and the
//! gate of DNS before it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::future::LocalBoxFuture;
use rackwright_proto::cluster::ClusterStep;
use rackwright_proto::facts::Depth;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::finding::Finding;
use rackwright_proto::plan::Plan;
use rackwright_proto::step::{Decision, Seen};
use rackwright_proto::tool::{ToolOutcome, ToolRun};

use super::cluster::{Cluster, Found};
use super::{Context, prove};
use crate::cluster::facts::ClusterFacts;
use crate::cluster::sight::MeshWanted;
use crate::cluster::wanted::mesh;
use crate::fleet;
use crate::judge::{self, Asked};
use crate::kube::mesh::Tools;
use crate::kube::turns::Tell;
use crate::mesh::{Install, settings};
use crate::rack::model::kubernetes::Istio;
use crate::survey::Surveyed;

/// How much longer than other rollouts an installation's may take: images are pulled, and gateways wait for istiod.
const ROOM: u32 = 2;
/// The least of it, in seconds.
const LEAST: u32 = 60;

/// What the rack and the operator's file want of Istio.
pub fn wanted(context: &Context, istio: &Istio) -> Result<MeshWanted, Fault> {
    let rack = &context.loaded.rack;
    // At most hours in a valid rack.
    let rollout = rack.limits().rollout.duration().as_secs() as u32;
    Ok(MeshWanted {
        install: Install::of(istio, settings_of(context, istio)?),
        seconds: rollout.saturating_mul(ROOM).max(LEAST),
        take_over: rack.waived("mesh-already-there", None).is_some(),
        today: jiff::Zoned::now().date(),
        hosts: BTreeMap::new(),
    })
}

fn settings_of(context: &Context, istio: &Istio) -> Result<settings::Settings, Fault> {
    const DOING: &str = "read the settings of Istio";
    let Some(file) = &istio.file else { return Ok(settings::Settings::None) };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = file.resolve(&context.loaded.folder, home.as_deref());
    let unreadable = |e: std::io::Error| {
        Fault::new(FaultKind::Host, DOING, format!("{}: {e}", path.display()))
            .next("`kubernetes.istio.file` in the rack names it")
    };
    let bytes = read(&path).map_err(unreadable)?;
    match settings::parse(istio, &path.display().to_string(), &bytes) {
        Ok((settings, warnings)) => {
            let name = path.display().to_string();
            let text = String::from_utf8_lossy(&bytes);
            if !warnings.is_empty() {
                context.console.say(crate::rack::diagnostic::render(&name, &text, &warnings).trim_end());
            }
            Ok(settings)
        }
        Err(invalid) => Err(Fault::new(FaultKind::Host, DOING, invalid.to_string())),
    }
}

/// One byte more than is taken, so that a larger file shows.
fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(settings::LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What hosts have of what Istio's data path needs.
pub async fn ask_hosts(parallel: usize, heard: &mut [Surveyed]) -> BTreeMap<String, BTreeMap<String, Seen>> {
    let asked = fleet::each(parallel, heard.iter_mut(), |one| async move {
        let facts = one.session.ask(async |agent| agent.observe(mesh::needs(), Depth::Quick).await).await;
        (one.session.node.to_string(), facts.map(|facts| facts.seen))
    })
    .await;
    asked.into_iter().filter_map(|(node, seen)| Some((node, seen.ok()?))).collect()
}

/// Whether the cluster's DNS can bear the mesh that is to be installed; nothing where none is. `plan` has all that would
/// be done before.
pub async fn gate(context: &Context, found: &Found, heard: &mut [Surveyed], plan: &Plan) -> Vec<Finding> {
    let Found::Here(cluster) = found else { return Vec::new() };
    let steps: Vec<_> = plan.cluster.iter().flat_map(|part| part.changes()).collect();
    let Some(at) = steps.iter().position(|s| matches!(s.step, ClusterStep::Mesh(_)) && installs(s)) else {
        return Vec::new();
    };
    let mended = at > 0 && steps[..at].iter().any(|s| is_below(&s.step))
        || plan.nodes.iter().any(|n| n.changes().next().is_some());
    let asked = asked(context, cluster, heard).await;
    vec![mesh::dns_gate(&asked, mended)]
}

/// The same for `check`, which has asked hosts already: what pods hear, and whether the gate would be open.
pub async fn gate_of(
    context: &Context,
    facts: &ClusterFacts,
    heard: &mut [Surveyed],
    names: &[Finding],
) -> Vec<Finding> {
    let rack = &context.loaded.rack;
    if rack.kubernetes().is_none_or(|k| k.istio.is_none()) {
        return Vec::new();
    }
    let pods = prove::names_from_pods(context, facts, heard).await;
    let asked = names.iter().chain(&pods).cloned().collect();
    let gate = mesh::dns_gate(&judge::settle(rack, asked, Asked::Some), false);
    pods.into_iter().chain([gate]).collect()
}

fn installs(planned: &rackwright_proto::cluster::PlannedClusterStep) -> bool {
    let ClusterStep::Mesh(step) = &planned.step else { return false };
    let acts = matches!(planned.decision, Decision::Change { .. });
    acts && step.want == rackwright_proto::cluster::mesh::MeshWant::Installed
}

/// Whether a step is about what DNS stands on.
fn is_below(step: &ClusterStep) -> bool {
    use rackwright_proto::cluster::Family;
    matches!(step.family(), Family::Proxy | Family::Dns)
}

async fn asked(context: &Context, cluster: &Cluster, heard: &mut [Surveyed]) -> Vec<Finding> {
    let now = prove::refreshed(context, cluster).await;
    let facts = now.as_ref().unwrap_or(&cluster.sight.facts);
    let mut asked = prove::names(context, facts, heard).await;
    asked.extend(prove::names_from_pods(context, facts, heard).await);
    judge::settle(&context.loaded.rack, asked, Asked::Some)
}

/// The tools on the control planes of a rack, through the sessions with their agents.
pub struct OnControlPlanes<'a> {
    context: &'a Context,
    cluster: &'a Cluster,
    heard: tokio::sync::Mutex<&'a mut [Surveyed]>,
}

impl<'a> OnControlPlanes<'a> {
    /// Through these sessions.
    pub fn new(context: &'a Context, cluster: &'a Cluster, heard: &'a mut [Surveyed]) -> Self {
        Self { context, cluster, heard: tokio::sync::Mutex::new(heard) }
    }

    async fn on_any(&self, run: &ToolRun, said: &mut (dyn FnMut(&str) + Send)) -> Result<ToolOutcome, Fault> {
        let doing = format!("run {} {} on a control plane", run.tool, run.version);
        let rack = &self.context.loaded.rack;
        let mut heard = self.heard.lock().await;
        let mut last = None;
        let of = |s: &&mut Surveyed| rack.node(s.session.node.as_str()).is_some_and(|n| n.is_control_plane());
        for one in heard.iter_mut().filter(of) {
            let node = one.session.node.clone();
            let asked = run.clone();
            match one.session.ask(async |agent| agent.tool(asked, said).await).await {
                Ok(outcome) => return Ok(outcome),
                // It went away, or has no such tool: another one may.
                Err(error) => {
                    let fault = error.fault();
                    self.context.console.say(format_args!("cluster: {node}: {fault}"));
                    last = Some(fault);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            Fault::new(FaultKind::Host, doing, "no control plane can be reached")
                .next("apply again with at least one control plane among the nodes")
        }))
    }

    /// Waits for DNS as long as other things may settle: pods that were just restarted answer soon.
    async fn open(&self, tell: Tell<'_>) -> Result<(), Fault> {
        let within = self.context.loaded.rack.limits().rollout.duration();
        let until = tokio::time::Instant::now() + within.min(prove::SETTLE);
        loop {
            let mut heard = self.heard.lock().await;
            let asked = asked(self.context, self.cluster, &mut heard).await;
            drop(heard);
            let rack = &self.context.loaded.rack;
            let found = judge::settle(rack, vec![mesh::dns_gate(&asked, false)], Asked::Some);
            let Some(shut) = found.into_iter().find(Finding::blocks) else { return Ok(()) };
            if tokio::time::Instant::now() >= until {
                let fault = Fault::new(
                    FaultKind::Host,
                    "install Istio on a cluster whose DNS answers",
                    shut.observed,
                );
                return Err(fault.next(format!("{}; or waive `mesh-dns` in the rack", shut.fix)));
            }
            tell(&format!("waiting for DNS: {}", shut.observed));
            tokio::time::sleep(prove::PAUSE).await;
        }
    }
}

impl Tools for OnControlPlanes<'_> {
    fn run<'a>(
        &'a self,
        run: &'a ToolRun,
        said: &'a mut (dyn FnMut(&str) + Send),
    ) -> LocalBoxFuture<'a, Result<ToolOutcome, Fault>> {
        Box::pin(self.on_any(run, said))
    }

    fn gate<'a>(&'a self, tell: Tell<'a>) -> LocalBoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.open(tell))
    }
}
