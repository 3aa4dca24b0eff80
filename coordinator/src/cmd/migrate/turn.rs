//! One node's turn: drained, rebooted and let back as the rack allows, and proven before the next.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use rackwright_proto::facts::Depth;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cluster::sight;
use crate::cluster::wanted::proxy;
use crate::cmd::cluster::Cluster;
use crate::cmd::{Context, prove, split};
use crate::judge::{self, Asked};
use crate::kube::nodes;
use crate::kube::turns::{Tell, Turns};
use crate::proof::proxy as answers;
use crate::proxy::migrate::{Migration, Turn, stops};
use crate::rack::model::kubernetes::Proxy;
use crate::survey::{About, Surveyed};

/// How long a host may take until it can be reached again after a reboot: large servers test their memory first.
const REBOOT: Duration = Duration::from_secs(15 * 60);
/// How long its kubelet may take from there, its API server among what starts.
const KUBELET: Duration = Duration::from_secs(5 * 60);
/// Between two looks at a host.
const PAUSE: Duration = Duration::from_secs(2);
/// Agents take a coordinator that is silent for a quarter of an hour for gone: sessions are made anew before.
const FRESH: Duration = Duration::from_secs(8 * 60);

/// All that turns need.
pub(super) struct Desk<'a> {
    pub(super) context: &'a Context,
    pub(super) cluster: &'a Cluster,
    pub(super) proxy: &'a Proxy,
    pub(super) migration: &'a Migration,
    pub(super) seats: Mutex<Seats>,
}

/// Who is spoken with, and who had a turn.
pub(super) struct Seats {
    pub(super) heard: Vec<Surveyed>,
    pub(super) since: Instant,
    pub(super) passed: Vec<String>,
}

impl Turns for Desk<'_> {
    fn order(&self, _: &[String]) -> Vec<String> {
        self.migration.turns.iter().map(|turn| turn.node.clone()).collect()
    }

    fn before<'a>(&'a self, node: &'a str, tell: Tell<'a>) -> LocalBoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if !self.turn(node).is_some_and(|turn| turn.drain) {
                return Ok(());
            }
            tell(&format!("{node}: draining"));
            nodes::empty(&self.cluster.api, node, self.patience(), tell).await
        })
    }

    fn after<'a>(&'a self, node: &'a str, tell: Tell<'a>) -> LocalBoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.turn(node).is_some_and(|turn| turn.reboot) {
                self.reboot(node, tell).await?;
            }
            self.refresh().await;
            self.prove_host(node).await?;
            nodes::uncordon(&self.cluster.api, node).await?;
            self.prove_services(node).await?;
            tell(&format!("{node}: proven in mode {}", self.migration.to));
            self.seats.lock().await.passed.push(node.to_owned());
            Ok(())
        })
    }
}

impl Desk<'_> {
    fn turn(&self, node: &str) -> Option<&Turn> {
        self.migration.turns.iter().find(|turn| turn.node == node)
    }

    fn patience(&self) -> Duration {
        self.context.loaded.rack.limits().rollout.duration()
    }

    /// Through the agent, and back by its next boot over a new connection.
    async fn reboot(&self, node: &str, tell: Tell<'_>) -> Result<(), Fault> {
        let name: NodeName = node.parse().map_err(|_| unknown(node))?;
        tell(&format!("{node}: rebooting"));
        let before = {
            // An old session may have been given up by its agent.
            self.refresh().await;
            let mut seats = self.seats.lock().await;
            let one = seats.find(node)?;
            one.session.ask(async |agent| agent.reboot().await).await.map_err(|e| e.fault())?;
            one.session.basics().boot_id.clone()
        };
        let back = self.back(&name, &before).await?;
        let boot = back.session.basics().boot_id.clone();
        *self.seats.lock().await.find(node)? = back;
        tell(&format!("{node}: is back, awaiting its kubelet"));
        nodes::booted(&self.cluster.api, node, &boot, KUBELET).await
    }

    /// The node with another boot than `before`.
    async fn back(&self, name: &NodeName, before: &str) -> Result<Surveyed, Fault> {
        let end = Instant::now() + REBOOT;
        let nodes: Vec<_> = self.context.loaded.rack.node(name.as_str()).into_iter().collect();
        let mut last = "it still runs as before".to_owned();
        while Instant::now() < end {
            tokio::time::sleep(PAUSE).await;
            let (heard, lost) =
                split(self.context.surveyor().survey(&nodes, About::Rack, Depth::Quick).await);
            for one in heard {
                if one.session.basics().boot_id != before {
                    return Ok(one);
                }
                one.session.close().await;
            }
            last = lost.first().map_or(last, |(_, error)| error.fault().to_string());
        }
        let cause = format!("not within {} s: {last}", REBOOT.as_secs());
        Err(Fault::new(FaultKind::Deadline, format!("reach {name} again after its reboot"), cause)
            .next("look at its console"))
    }

    /// All sessions anew, if they are old. Who is not reached now is not asked.
    async fn refresh(&self) {
        let mut seats = self.seats.lock().await;
        if seats.since.elapsed() < FRESH {
            return;
        }
        let nodes: Vec<_> = self.context.loaded.rack.nodes().collect();
        let (heard, _) = split(self.context.surveyor().survey(&nodes, About::Rack, Depth::Quick).await);
        seats.heard = heard;
        seats.since = Instant::now();
    }

    /// The host's own word, and its kernel's. kube-proxy writes its rules a moment after it is ready.
    async fn prove_host(&self, node: &str) -> Result<(), Fault> {
        let end = Instant::now() + self.patience();
        loop {
            let found = self.ask_host(node).await?;
            if !found.iter().any(stops) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(not_proven(node, &found));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_host(&self, node: &str) -> Result<Vec<Finding>, Fault> {
        let name: NodeName = node.parse().map_err(|_| unknown(node))?;
        let doors = sight::doors(&self.cluster.sight.facts);
        let mut seats = self.seats.lock().await;
        let one = seats.find(node)?;
        let reached = one.session.ask(async |agent| agent.reach(answers::ask(&doors)).await).await;
        let told = answers::told(&reached.map_err(|e| e.fault())?);
        let traces = one.session.ask(async |agent| agent.traces().await).await.map_err(|e| e.fault())?;
        let mode = told.mode.and_then(|mode| told.healthy.map(|()| mode));
        let found = proxy::of_one(self.proxy, &name, mode, &traces);
        Ok(judge::settle(&self.context.loaded.rack, found, Asked::Some))
    }

    async fn prove_services(&self, node: &str) -> Result<(), Fault> {
        let mut seats = self.seats.lock().await;
        let within = self.patience();
        let found = prove::between_turns(self.context, self.cluster, &mut seats.heard, node, within).await;
        if found.iter().any(Finding::blocks) { Err(not_proven(node, &found)) } else { Ok(()) }
    }
}

impl Seats {
    fn find(&mut self, node: &str) -> Result<&mut Surveyed, Fault> {
        self.heard.iter_mut().find(|s| s.session.node.as_str() == node).ok_or_else(|| unknown(node))
    }
}

fn unknown(node: &str) -> Fault {
    Fault::new(FaultKind::Host, format!("speak with {node}"), "it is not in the rack, or cannot be reached")
}

fn not_proven(node: &str, found: &[Finding]) -> Fault {
    let of = |f: &&Finding| stops(f) || f.blocks();
    let lines: Vec<String> = found.iter().filter(of).map(|f| format!("{}: {}", f.name, f.observed)).collect();
    let fix = found.iter().find(of).map(|f| f.fix.clone()).unwrap_or_default();
    Fault::new(FaultKind::Diverged, format!("prove {node}"), lines.join("\n")).next(fix)
}
