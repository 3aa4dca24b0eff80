//! The cluster's part of every command: find it, gather what is known of it, carry out its part of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rackwright_proto::cluster::ClusterPlan;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::finding::Finding;
use rackwright_proto::name::{NodeName, RunId, ToolName, ToolVersion};
use rackwright_proto::traces::ClusterTraces;

use super::Context;
use super::push;
use crate::balancer::{Manifest, fetch};
use crate::cluster::outcome::{ClusterOutcome, ClusterResult};
use crate::cluster::sight::{self, Sight};
use crate::cluster::{versions, wanted};
use crate::console::chain;
use crate::fleet;
use crate::judge;
use crate::kube::gather::{Wishes, gather};
use crate::kube::mesh::Tools;
use crate::kube::run::{Now, Run};
use crate::kube::turns::Turns;
use crate::kube::{Access, Api, Door, Options, Patience, act};
use crate::plan::Because;
use crate::proof::proxy::{self, Told};
use crate::proxy::home;
use crate::rack::Rack;
use crate::rack::model::kubernetes::{Kubernetes, OwnKubeconfig, Proxy};
use crate::report::progress;
use crate::survey::Surveyed;

/// How a cluster was found.
pub enum Found {
    /// The rack wants none.
    Unwanted,
    /// It takes no part: no control plane is among the nodes that the operator chose.
    Aside,
    /// No control plane has a kubeconfig yet.
    Absent,
    /// There is one, but it cannot be asked.
    Lost(Fault),
    /// It was asked.
    Here(Box<Cluster>),
}

/// A cluster that was asked.
pub struct Cluster {
    /// To ask more.
    pub api: Api,
    /// What is known of it, from its API and from its nodes.
    pub sight: Sight,
}

impl Found {
    /// The addresses that Services of the cluster have; `None` while it was not asked.
    pub fn served(&self) -> Option<BTreeSet<IpAddr>> {
        match self {
            Self::Here(cluster) => Some(cluster.sight.facts.served()),
            Self::Unwanted | Self::Aside | Self::Absent | Self::Lost(_) => None,
        }
    }

    /// What stands against the rack's part for it.
    pub fn findings(&self, rack: &Rack, heard: &[Surveyed]) -> Vec<Finding> {
        match self {
            Self::Unwanted | Self::Aside => Vec::new(),
            Self::Absent => vec![versions::absent()],
            Self::Lost(fault) => vec![versions::lost(fault)],
            Self::Here(here) => judge::cluster(rack, heard, &here.sight),
        }
    }

    /// Versions of tools that its receipts still need: with them a former run's work is undone. `None` while nobody
    /// knows.
    pub fn tools_in_use(&self) -> Option<BTreeSet<(ToolName, ToolVersion)>> {
        match self {
            Self::Here(cluster) => Some(wanted::tools_in_use(&cluster.sight.facts)),
            Self::Unwanted | Self::Absent => Some(BTreeSet::new()),
            Self::Aside | Self::Lost(_) => None,
        }
    }

    /// What is known of it, if it was asked.
    pub fn sight(&self) -> Option<&Sight> {
        match self {
            Self::Here(cluster) => Some(&cluster.sight),
            Self::Unwanted | Self::Aside | Self::Absent | Self::Lost(_) => None,
        }
    }
}

/// What a command needs to know of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// What the rack wants of it, and what its nodes tell.
    Rack,
    /// What receipts tell, whatever the rack wants by now.
    Receipts,
}

/// Finds the rack's cluster and asks it, and its nodes about it.
pub async fn find(context: &Context, heard: &mut [Surveyed], about: About) -> Found {
    let Some(kubernetes) = context.loaded.rack.kubernetes() else { return Found::Unwanted };
    let found = ask(context, kubernetes, heard, about).await;
    match (&kubernetes.proxy, about) {
        (Some(proxy), About::Rack) => {
            let wanted = want_files(context.parallel, proxy, heard, found.sight()).await;
            match wanted.and(want_proxies(context.parallel, heard, found.sight()).await) {
                Ok(()) => found,
                Err(fault) => Found::Lost(fault),
            }
        }
        _ => found,
    }
}

async fn ask(context: &Context, kubernetes: &Kubernetes, heard: &mut [Surveyed], about: About) -> Found {
    let api = match open(context, kubernetes, heard, Patience::default()).await {
        Ok(Some(api)) => api,
        Ok(None) => return closed(context, heard),
        Err(fault) => return Found::Lost(fault),
    };
    match sighted(context, kubernetes, &api, heard, about).await {
        Ok(sight) => Found::Here(Box::new(Cluster { api, sight })),
        Err(fault) => Found::Lost(fault),
    }
}

/// Why there is no way to the API: only control planes that were all heard can tell that there is no cluster.
fn closed(context: &Context, heard: &[Surveyed]) -> Found {
    let nodes = context.nodes();
    let mut chosen = nodes.iter().filter(|n| n.is_control_plane()).map(|n| &n.name).peekable();
    if chosen.peek().is_none() {
        context.console.say("cluster: left alone, since no control plane is among the chosen nodes");
        return Found::Aside;
    }
    let unheard: Vec<&str> = chosen
        .filter(|name| heard.iter().all(|s| s.session.node != **name))
        .map(|name| name.as_str())
        .collect();
    if unheard.is_empty() {
        return Found::Absent;
    }
    let why = format!("no way to its API was found, and not heard from: {}", unheard.join(", "));
    let next = "mend the way to those control planes, then apply again: the hosts' part does not wait for it";
    Found::Lost(Fault::new(FaultKind::Host, "reach the cluster", why).next(next))
}

/// Where kube-proxy's settings are a file on each host, as with k3s and RKE2, the hosts' plans have it. While the
/// cluster cannot be asked whether that is so, what we once wrote stays.
async fn want_files(
    parallel: usize,
    proxy: &Proxy,
    heard: &mut [Surveyed],
    sight: Option<&Sight>,
) -> Result<(), Fault> {
    let wanted = fleet::each(parallel, heard.iter_mut(), |one| async move {
        let file = match sight {
            Some(sight) => {
                let member = sight.facts.node(one.session.node.as_str()).is_some();
                let file = wanted::proxy::drop_in(proxy, &sight.facts).filter(|_| member);
                file.map(|file| file.step())
            }
            None => home::written(&one.facts.ledger),
        };
        match file {
            Some(file) => one.want_more(Because::new(file, "kubernetes.proxy")).await.map_err(|e| e.fault()),
            None => Ok(()),
        }
    })
    .await;
    wanted.into_iter().collect()
}

/// Hosts are prepared for the kube-proxy that runs on them.
async fn want_proxies(parallel: usize, heard: &mut [Surveyed], sight: Option<&Sight>) -> Result<(), Fault> {
    let Some(sight) = sight else { return Ok(()) };
    let wanted = fleet::each(parallel, heard.iter_mut(), |one| async move {
        let Some(rack) = &one.wanted.proxy else { return Ok(()) };
        let before = one.facts.ledger.entries.contains_key("kernel/module/ip_vs");
        let here = wanted::proxy::of_host(rack, sight, one.session.node.as_str(), before);
        match here == *rack {
            true => Ok(()),
            false => one.want_proxy(here).await.map_err(|e| e.fault()),
        }
    })
    .await;
    wanted.into_iter().collect()
}

/// A way to the API: the operator's own kubeconfig, or a tunnel through each control plane with the kubeconfig of the
/// first that has one.
pub(super) async fn open(
    context: &Context,
    kubernetes: &Kubernetes,
    heard: &mut [Surveyed],
    patience: Patience,
) -> Result<Option<Api>, Fault> {
    let console = context.console;
    let options = Options {
        said: Some(Arc::new(move |notice| console.say(format_args!("cluster: {notice}")))),
        patience,
    };
    if let Some(own) = &kubernetes.kubeconfig {
        return own_door(context, own, options).await.map(Some);
    }
    let rack = &context.loaded.rack;
    let mut access: Option<Access> = None;
    let mut doors = Vec::new();
    for one in control_planes(rack, heard) {
        let node = one.session.node.to_string();
        if access.is_none() {
            let asked = one.session.ask(async |agent| agent.kubeconfig().await).await;
            if let Some(kubeconfig) = asked.map_err(|e| e.fault())? {
                let found = Access::from_node(&node, &kubeconfig.text).await;
                access =
                    Some(found.map_err(|e| Fault::new(FaultKind::Host, "reach the cluster", chain(&e)))?);
            }
        }
        doors.push((one.session.target.clone(), one.session.connection()));
    }
    let Some(access) = access else { return Ok(None) };
    let places = access.local();
    let door =
        |(target, connection)| Door::ssh(context.dialer.clone(), target, Some(connection), places.clone());
    let doors = doors.into_iter().map(door).collect();
    Ok(Some(Api::new(access, doors, options)))
}

async fn own_door(context: &Context, own: &OwnKubeconfig, options: Options) -> Result<Api, Fault> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = own.path.resolve(&context.loaded.folder, home.as_deref());
    let access = Access::from_file(&path, own.context.as_deref()).await;
    let access = access.map_err(|e| Fault::new(FaultKind::Host, "reach the cluster", chain(&e)))?;
    let doors = vec![Door::direct(access.server())];
    Ok(Api::new(access, doors, options))
}

fn control_planes<'a>(rack: &'a Rack, heard: &'a mut [Surveyed]) -> impl Iterator<Item = &'a mut Surveyed> {
    heard.iter_mut().filter(|s| rack.node(s.session.node.as_str()).is_some_and(|n| n.is_control_plane()))
}

async fn sighted(
    context: &Context,
    kubernetes: &Kubernetes,
    api: &Api,
    heard: &mut [Surveyed],
    about: About,
) -> Result<Sight, Fault> {
    let mut wishes = Wishes { services: to_prove(kubernetes), ..Wishes::default() };
    let mut manifest = None;
    let mut mesh = None;
    wishes.mesh.removing = about == About::Receipts || kubernetes.istio.is_none();
    if about == About::Rack
        && let Some(istio) = &kubernetes.istio
    {
        let mut wanted = super::mesh::wanted(context, istio)?;
        wanted.hosts = super::mesh::ask_hosts(context.parallel, heard).await;
        wishes.steps = wanted::mesh::before_a_look(&wanted);
        wishes.mesh.wanted = Some(wanted::mesh::revision(&wanted));
        mesh = Some(wanted);
    }
    if about == About::Rack
        && let Some(metallb) = &kubernetes.metallb
    {
        let loaded = fetched(context, metallb).await?;
        wishes.steps.extend(loaded.steps());
        wishes.balancer = metallb.namespace.to_string();
        manifest = Some(loaded);
    }
    if about == About::Rack {
        wishes.injection = kubernetes.istio.as_ref().map(|istio| istio.injection.clone());
    }
    let facts = gather(api, &wishes).await.map_err(|e| act::fault(&e))?;
    let mut sight = Sight { facts, manifest, mesh, ..Sight::default() };
    if about == About::Rack {
        ask_again(context, &mut sight, heard).await;
    }
    Ok(sight)
}

fn to_prove(kubernetes: &Kubernetes) -> Vec<(String, String)> {
    kubernetes.to_prove().into_iter().map(|s| (s.namespace.to_string(), s.name.to_string())).collect()
}

/// What the proof looks at, beside what is always asked.
pub fn wishes(context: &Context) -> Option<Wishes> {
    let kubernetes = context.loaded.rack.kubernetes()?;
    let balancer = kubernetes.metallb.as_ref().map(|m| m.namespace.to_string()).unwrap_or_default();
    Some(Wishes { balancer, services: to_prove(kubernetes), ..Wishes::default() })
}

/// Asks the nodes once more what they live of the cluster's settings.
pub async fn ask_again(context: &Context, sight: &mut Sight, heard: &mut [Surveyed]) {
    let doors = sight::doors(&sight.facts);
    for (node, told, traces) in ask_nodes(context, heard, doors).await {
        sight.told.extend(told.map(|told| (node.clone(), told)));
        sight.traces.extend(traces.map(|traces| (node, traces)));
    }
}

/// What is known of a cluster after it was changed; `None` where it cannot be asked any more.
pub async fn looked_again(context: &Context, cluster: &Cluster, heard: &mut [Surveyed]) -> Option<Sight> {
    let kubernetes = context.loaded.rack.kubernetes()?;
    sighted(context, kubernetes, &cluster.api, heard, About::Rack).await.ok()
}

type OfNode = (String, Option<Told>, Option<ClusterTraces>);

async fn ask_nodes(context: &Context, heard: &mut [Surveyed], doors: proxy::Doors) -> Vec<OfNode> {
    fleet::each(context.parallel, heard.iter_mut(), |one| async move {
        let node = one.session.node.to_string();
        let reached = one.session.ask(async |agent| agent.reach(proxy::ask(&doors)).await).await;
        let traces = one.session.ask(async |agent| agent.traces().await).await;
        (node, reached.ok().map(|reached| proxy::told(&reached)), traces.ok())
    })
    .await
}

async fn fetched(
    context: &Context,
    metallb: &crate::rack::model::kubernetes::Metallb,
) -> Result<Manifest, Fault> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let places = fetch::Places {
        folder: &context.loaded.folder,
        home: home.as_deref(),
        cache: fetch::cache_folder(xdg.as_deref(), home.as_deref()),
    };
    let manifest = fetch::manifest(metallb, &places).await;
    manifest.map_err(|e| Fault::new(FaultKind::Host, "get MetalLB's manifest", chain(&e)))
}

/// Carries out the cluster's part of a plan.
pub async fn carry_out(
    context: &Context,
    cluster: &Cluster,
    run: &RunId,
    plan: &ClusterPlan,
    turns: Option<&dyn Turns>,
    tools: Option<&dyn Tools>,
) -> ClusterOutcome {
    let rack = &context.loaded.rack;
    let progress = context.console.progress(1);
    let name: NodeName = "cluster".parse().expect("a word is a name");
    let tell = |now: Now<'_>| match now {
        Now::Step(number, of, step) => {
            let title = step.step.title();
            progress.step(&name, progress::Now { number, of, title: &title, why: &step.why });
        }
        Now::Waiting(text) => progress.say(&name, text),
    };
    let stopped = AtomicBool::new(false);
    let run = Run {
        api: &cluster.api,
        id: run.clone(),
        operator: push::operator(),
        patience: rack.limits().rollout.duration(),
        force: rack.waived("balancer-owned-by-others", None).is_some(),
        tell: &tell,
        stop: &|| stopped.load(Ordering::Relaxed),
        turns,
        tools,
    };
    let outcome = {
        let mut work = std::pin::pin!(run.carry_out(plan));
        tokio::select! {
            outcome = &mut work => outcome,
            _ = tokio::signal::ctrl_c() => {
                stopped.store(true, Ordering::Relaxed);
                progress.say(&name, "stopping after this step, or this node; Ctrl-C again leaves it as it is");
                tokio::select! {
                    outcome = &mut work => outcome,
                    _ = tokio::signal::ctrl_c() => broken_off(cluster),
                }
            }
        }
    };
    progress.done(
        &name,
        match &outcome.result {
            ClusterResult::Changed { .. } => "changed",
            ClusterResult::Unchanged => "unchanged",
            _ => "failed",
        },
    );
    progress.end();
    outcome
}

fn broken_off(cluster: &Cluster) -> ClusterOutcome {
    let fault = Fault::new(
        FaultKind::Host,
        "work on the cluster",
        "broken off by the operator in the middle of a step",
    )
    .next("apply again: what was begun is on record, and it goes on from there");
    let counts = cluster.api.counts();
    ClusterOutcome {
        result: ClusterResult::Failed { fault },
        steps: Vec::new(),
        requests: counts.total(),
        asked: counts.requests,
    }
}

/// An outcome without a single step.
pub fn idle(result: ClusterResult) -> ClusterOutcome {
    ClusterOutcome { result, steps: Vec::new(), requests: 0, asked: BTreeMap::new() }
}
