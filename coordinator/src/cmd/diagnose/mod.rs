//! `rackwright diagnose`: ask the API and all hosts at once, walk the tree, report one cause. Changes nothing.

mod api;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rackwright_proto::facts::Depth;
use rackwright_proto::fault::Fault;
use rackwright_proto::l2::Probe;
use rackwright_proto::link::{Mac, Network};

use super::Context;
use super::check::close;
use crate::cli::DiagnoseArgs;
use crate::console::Console;
use crate::diagnose::case::{Case, Cluster, Host};
use crate::diagnose::{Verdict, ask, diagnose};
use crate::exit::Exit;
use crate::proof::dns::outside_name;
use crate::rack::Node;
use crate::survey::{self, About, Surveyed};
use crate::{fleet, report};

/// How long a host may take to be connected and to tell its links and routes; the agent may have to be delivered.
const SESSION: Duration = Duration::from_secs(5);
/// How long all that is asked of the API may take.
const API: Duration = Duration::from_secs(4);
/// How long a host may take to answer, all its questions together.
const EXAMINE: Duration = Duration::from_secs(5);

/// Runs the command.
pub async fn run(console: Console, args: DiagnoseArgs) -> Exit {
    let context = match Context::load(console, &args.common.rack, &args.common) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let began = Instant::now();
    let (mut heard, mut case) = gathered(&context, &args).await;
    examine(&context, &mut heard, &mut case).await;
    listen(&context, &mut heard, &mut case).await;
    let found = diagnose(&case);
    let took = began.elapsed();
    let view = report::diagnose::View {
        paint: context.console.paint,
        verbose: context.view().verbose,
        hosts: case.heard().count(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    console.data(|out| match context.json {
        true => report::diagnose::json_text(out, &found, view),
        false => report::diagnose::text(out, &found, view),
    });
    close(heard).await;
    match found.verdict {
        Verdict::Well => Exit::Done,
        Verdict::Cause(_) => Exit::Failed,
        Verdict::CannotTell { .. } => Exit::Refused,
    }
}

/// Of these hosts those that were heard, and why others were not, by name.
async fn sessions(context: &Context, nodes: Vec<&Node>) -> (Vec<Surveyed>, BTreeMap<String, String>) {
    let surveyor = context.surveyor();
    let results = fleet::each(context.parallel, nodes, |node| {
        let surveyor = &surveyor;
        async move {
            let nodes = [node];
            let work = surveyor.survey(&nodes, About::Receipts, Depth::Quick);
            let told = tokio::time::timeout(SESSION, work).await;
            let result = match told {
                Ok(mut told) => told.pop().map(|(_, result)| result.map_err(|e| words(&e.fault()))),
                Err(_) => None,
            };
            let late = || Err(format!("it was not connected within {} s", SESSION.as_secs()));
            (node.name.to_string(), result.unwrap_or_else(late))
        }
    })
    .await;
    let (mut heard, mut lost) = (Vec::new(), BTreeMap::new());
    for (name, result) in results {
        match result {
            Ok(surveyed) => heard.push(surveyed),
            Err(why) => _ = lost.insert(name, why),
        }
    }
    (heard, lost)
}

fn words(fault: &Fault) -> String {
    fault.to_string()
}

/// The case as far as it is known without asking the hosts about it, and those that were heard. A worker that is waited
/// for keeps nobody from asking the API.
async fn gathered(context: &Context, args: &DiagnoseArgs) -> (Vec<Surveyed>, Case) {
    let mut not_asked = Vec::new();
    let (planes, workers) = context.nodes().into_iter().partition(|node| node.is_control_plane());
    let api = async {
        let (mut heard, lost) = sessions(context, planes).await;
        let asked = tokio::time::timeout(API, api::ask(context, &mut heard, args, &mut not_asked)).await;
        let late = || Err(format!("it did not answer all within {} s", API.as_secs()));
        (heard, lost, asked.unwrap_or_else(|_| late()))
    };
    let ((mut heard, mut lost, cluster), (others, gone)) = tokio::join!(api, sessions(context, workers));
    heard.extend(others);
    lost.extend(gone);
    let rack = &context.loaded.rack;
    let known: BTreeMap<&str, &Network> =
        heard.iter().map(|one| (one.session.node.as_str(), &one.facts.network)).collect();
    let host = |node: &&Node| {
        let name = node.name.to_string();
        let address = address(node.address.ip(), cluster.as_ref().ok(), &name);
        let network = known.get(name.as_str()).map(|network| (*network).clone());
        let why = lost.get(&name).cloned().unwrap_or_else(|| "it was not asked".into());
        Host {
            address,
            control_plane: node.is_control_plane(),
            network: network.unwrap_or_default(),
            asked: Default::default(),
            examined: Err(why),
            name,
        }
    };
    let hosts: Vec<Host> = context.nodes().iter().map(host).collect();
    let of_rack = rack.nodes().len();
    if hosts.len() < of_rack {
        not_asked.push(format!(
            "{} of the rack's {of_rack} hosts: only those named by --node",
            of_rack - hosts.len()
        ));
    }
    (heard, Case { cluster, hosts, not_asked })
}

/// A host's address among nodes: as the cluster has it, else as the rack has it.
fn address(of_rack: Option<IpAddr>, cluster: Option<&Cluster>, name: &str) -> Option<IpAddr> {
    let node = cluster.and_then(|cluster| cluster.nodes.iter().find(|node| node.name == name));
    node.and_then(|node| node.addresses.iter().find(|ip| ip.is_ipv4()).copied()).or(of_rack)
}

/// Asks all hosts at once.
async fn examine(context: &Context, heard: &mut [Surveyed], case: &mut Case) {
    let dns = match &case.cluster {
        Ok(cluster) => cluster.dns.services.clone(),
        // Their settings are not read yet: traces tell them.
        Err(_) => kubelets_dns(context, heard).await,
    };
    let outside = outside_name(fastrand::u64(..));
    let ask = |host| ask::ask(host, &case.hosts, case.cluster.as_ref().ok(), &dns, &outside);
    let questions: BTreeMap<String, _> =
        case.hosts.iter().map(|host| (host.name.clone(), ask(host))).collect();
    let answers = fleet::each(context.parallel, heard.iter_mut(), |one| {
        let name = one.session.node.to_string();
        let what = questions.get(&name).cloned().unwrap_or_default();
        async move {
            let work = one.session.ask(async |agent| agent.examine(what).await);
            let told = tokio::time::timeout(EXAMINE, work).await;
            let late = || Err(format!("it did not answer within {} s", EXAMINE.as_secs()));
            (name, told.map_or_else(|_| late(), |told| told.map_err(|e| words(&e.fault()))))
        }
    })
    .await;
    for (name, told) in answers {
        if let Some(host) = case.hosts.iter_mut().find(|host| host.name == name) {
            host.asked = questions.get(&name).cloned().unwrap_or_default();
            host.examined = told;
        }
    }
}

/// What most kubelets say is the DNS Service.
async fn kubelets_dns(context: &Context, heard: &mut [Surveyed]) -> Vec<IpAddr> {
    let told = fleet::each(context.parallel, heard.iter_mut(), |one| async move {
        let traces = one.session.ask(async |agent| agent.traces().await);
        let traces = tokio::time::timeout(EXAMINE, traces).await.ok()?.ok()?;
        let addresses: Vec<IpAddr> =
            traces.kubelet?.cluster_dns.iter().filter_map(|ip| ip.parse().ok()).collect();
        Some(addresses)
    })
    .await;
    crate::diagnose::case::most_said(told.into_iter().flatten())
}

/// Asks the segments who answers for the addresses of Services.
async fn listen(context: &Context, heard: &mut [Surveyed], case: &mut Case) {
    let Ok(cluster) = &mut case.cluster else { return };
    let addresses: BTreeSet<IpAddr> =
        cluster.services.iter().flat_map(|service| &service.addresses).map(|state| state.address).collect();
    if addresses.is_empty() {
        return;
    }
    let asked: BTreeMap<String, Vec<Probe>> = ask::probes(&case.hosts, &addresses);
    let work = survey::probe(heard, context.parallel, &asked);
    let Ok(probed) = tokio::time::timeout(EXAMINE, work).await else {
        return case
            .not_asked
            .push("who answers for the addresses of Services: the hosts took too long".into());
    };
    for state in cluster.services.iter_mut().flat_map(|service| &mut service.addresses) {
        let outcomes: Vec<_> =
            probed.values().flatten().filter(|outcome| outcome.trouble.is_none()).collect();
        let answers = outcomes.iter().flat_map(|outcome| &outcome.answers);
        let macs: BTreeSet<Mac> = answers
            .filter(|answer| answer.ip == state.address)
            .flat_map(|answer| answer.macs.iter().copied())
            .collect();
        // Nobody hears itself: silence to one host alone says nothing.
        state.heard = (!macs.is_empty() || outcomes.len() > 1).then_some(macs);
    }
}
