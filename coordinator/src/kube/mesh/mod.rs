//! Istio on a cluster: its installation made or removed by its own tools on a control plane, and awaited.

pub mod gather;
mod helm;

use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use rackwright_proto::cluster::mesh::{MeshAct, MeshPart, MeshRecord, MeshSeen, MeshStep, MeshWant};
use rackwright_proto::cluster::workload::Stamp;
use rackwright_proto::cluster::{ClusterLedger, ClusterStep, Family, ObjectStep, WorkloadKind, WorkloadStep};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::tool::{ToolOutcome, ToolRun};
use serde_json::Value;

use super::act::{self, Manner, fault};
use super::turns::Tell;
use super::{Api, KubeError, Resource, Selector, Set, Watched, rollout};
use crate::cluster::{facts::MeshFacts, mesh};
use gather::MeshWish;

/// How names of Istio's kinds end.
const GROUPS: [&str; 5] = [
    ".networking.istio.io",
    ".security.istio.io",
    ".telemetry.istio.io",
    ".extensions.istio.io",
    ".install.istio.io",
];
/// ConfigMaps that istiod puts into every namespace.
const LEFT: [&str; 2] = ["istio-ca-root-cert", "istio-ca-crl"];
/// The most lines of a tool's last words that are shown.
const LAST_WORDS: usize = 6;
/// Characters of a tool's line that are told.
const MOST_OF_LINE: usize = 160;

/// The way to tools on a control plane.
pub trait Tools {
    /// Runs a tool on a control plane where it is unpacked; another one takes over from one that is lost. What the tool
    /// says is told line by line.
    fn run<'a>(
        &'a self,
        run: &'a ToolRun,
        said: &'a mut (dyn FnMut(&str) + Send),
    ) -> LocalBoxFuture<'a, Result<ToolOutcome, Fault>>;

    /// Asks right before an installation whether the cluster can bear it: its DNS answers.
    fn gate<'a>(&'a self, tell: Tell<'a>) -> LocalBoxFuture<'a, Result<(), Fault>>;
}

/// What there is of a step's revision.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn observe(api: &Api, step: &MeshStep, ledger: &ClusterLedger) -> Result<MeshSeen, KubeError> {
    let facts = facts(api, step, ledger).await?;
    let key = ClusterStep::Mesh(Box::new(step.clone())).key();
    Ok(mesh::seen(&facts, ledger.entries.get(&key), step))
}

/// What a step brought, for the receipts.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn record(api: &Api, step: &MeshStep, ledger: &ClusterLedger) -> Result<MeshRecord, KubeError> {
    Ok(mesh::record(&facts(api, step, ledger).await?, &step.install))
}

async fn facts(api: &Api, step: &MeshStep, ledger: &ClusterLedger) -> Result<MeshFacts, KubeError> {
    let wanted = Some(ClusterStep::Mesh(Box::new(step.clone())));
    gather::gather(api, &MeshWish { wanted, removing: false }, ledger).await
}

/// Makes it so, and waits for all that an installation consists of.
///
/// # Errors
/// What failed, where, and what to do next.
pub async fn act(api: &Api, step: &MeshStep, seen: &MeshSeen, manner: &Manner<'_>) -> Result<(), Fault> {
    match step.want {
        MeshWant::Left => Ok(()),
        MeshWant::Installed => install(api, step, manner).await,
        MeshWant::Gone { .. } => uninstall(api, step, seen, manner).await,
    }
}

async fn install(api: &Api, step: &MeshStep, manner: &Manner<'_>) -> Result<(), Fault> {
    if let Some(tools) = manner.tools {
        tools.gate(manner.tell).await?;
    }
    let install = &step.install;
    if let Err(fault) = all(api, &install.make, step, manner).await {
        return Err(explained(api, &install.parts, fault, manner).await);
    }
    await_parts(api, &install.parts, manner).await?;
    await_operator(api, &install.make, manner).await
}

async fn uninstall(api: &Api, step: &MeshStep, seen: &MeshSeen, manner: &Manner<'_>) -> Result<(), Fault> {
    let shared = purges(api, step, seen, manner).await?;
    let acts = if shared { &step.install.purge } else { &step.install.remove };
    all(api, acts, step, manner).await?;
    for part in step.install.parts.iter().filter(|part| goes(part, &step.revision, seen)) {
        await_gone(api, part, manner).await?;
    }
    if shared { leftovers(api).await.map_err(|e| fault(&e)) } else { Ok(()) }
}

/// Whether a part goes with its revision: of what is not the revision's alone, another one may have taken it over.
fn goes(part: &MeshPart, revision: &str, seen: &MeshSeen) -> bool {
    let own = match revision {
        "default" => part.kind == "Deployment" && part.name == "istiod",
        revision => part.name.ends_with(&format!("-{revision}")),
    };
    seen.parts.contains(part) && (seen.beside.is_empty() || own)
}

/// What the tools leave: Istio's kinds, in which nothing is, and what istiod put into every namespace for proxies to know
/// its authority by.
async fn leftovers(api: &Api) -> Result<(), KubeError> {
    let resource = Resource::of::<CustomResourceDefinition>();
    for kind in api.list_objects(&resource, &Selector::all().bare()).await?.items {
        let of = |key: &str| kind["metadata"][key].as_str().unwrap_or_default();
        if GROUPS.iter().any(|group| of("name").ends_with(group)) {
            api.delete(&resource, None, of("name"), of("uid"), false).await?;
        }
    }
    let resource = Resource::of::<ConfigMap>();
    let left = api.list_objects(&resource, &Selector::all().labels("istio.io/config=true").bare()).await?;
    for config in left.items {
        let of = |key: &str| config["metadata"][key].as_str().unwrap_or_default();
        if LEFT.contains(&of("name")) {
            api.delete(&resource, Some(of("namespace")), of("name"), of("uid"), false).await?;
        }
    }
    Ok(())
}

async fn all(api: &Api, acts: &[MeshAct], step: &MeshStep, manner: &Manner<'_>) -> Result<(), Fault> {
    let doing = ClusterStep::Mesh(Box::new(step.clone())).title();
    for one in acts {
        manner.go_on().await?;
        do_one(api, one, &doing, manner).await?;
    }
    Ok(())
}

/// Whether what all control planes share goes, too: it came with us, this was the last, and nobody else's objects are
/// of Istio's kinds.
async fn purges(api: &Api, step: &MeshStep, seen: &MeshSeen, manner: &Manner<'_>) -> Result<bool, Fault> {
    if step.want != (MeshWant::Gone { shared: true }) || !seen.beside.is_empty() {
        return Ok(false);
    }
    let theirs = gather::customs(api).await.map_err(|e| fault(&e))?;
    if let Some(first) = theirs.first() {
        (manner.tell)(&format!("Istio's kinds stay: {first} and other such objects are not ours"));
    }
    Ok(theirs.is_empty())
}

async fn do_one(api: &Api, act: &MeshAct, doing: &str, manner: &Manner<'_>) -> Result<(), Fault> {
    match act {
        MeshAct::Run(tool) => run(api, tool, doing, manner).await,
        MeshAct::Apply(object) => act::apply(api, object, manner).await,
        MeshAct::Delete { api_version, kind, namespace, name } => {
            let step = ObjectStep {
                family: Family::Mesh,
                api_version: api_version.clone(),
                kind: kind.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
                want: None,
            };
            let seen = act::seen_object(api, &step).await.map_err(|e| fault(&e))?;
            act::delete(api, &step, &seen, manner).await
        }
        MeshAct::Await(parts) => await_parts(api, parts, manner).await,
    }
}

async fn run(api: &Api, tool: &ToolRun, doing: &str, manner: &Manner<'_>) -> Result<(), Fault> {
    helm::unlock(api, tool, manner).await.map_err(|e| fault(&e))?;
    let failed = match run_tool(tool, doing, manner).await {
        Err(fault) if fault.kind != FaultKind::Deadline => fault,
        ended => return ended,
    };
    // The control plane where it ran went away, and the next one refused to go on from what it had begun.
    match helm::unlock(api, tool, manner).await {
        Ok(true) => run_tool(tool, doing, manner).await,
        _ => Err(failed),
    }
}

async fn run_tool(run: &ToolRun, doing: &str, manner: &Manner<'_>) -> Result<(), Fault> {
    let Some(tools) = manner.tools else {
        return Err(Fault::new(FaultKind::Internal, doing, "there is no way to a control plane's tools"));
    };
    (manner.tell)(&format!("{} {}", program(run), words(run)));
    let tell = manner.tell;
    let mut said = |line: &str| {
        let line: String = line.trim().chars().take(MOST_OF_LINE).collect();
        // Some of it is a picture.
        if line.chars().any(char::is_alphabetic) {
            tell(&line);
        }
    };
    let outcome = tools.run(run, &mut said).await?;
    match outcome.code {
        Some(0) => Ok(()),
        code => Err(failed(run, code, &outcome, doing)),
    }
}

fn program(run: &ToolRun) -> &str {
    run.program.rsplit('/').next().unwrap_or(&run.program)
}

/// The words of a command that say what it does, without its options.
fn words(run: &ToolRun) -> String {
    let words = run.args.iter().take_while(|arg| !arg.starts_with('-'));
    words.cloned().collect::<Vec<_>>().join(" ")
}

fn failed(run: &ToolRun, code: Option<i32>, outcome: &ToolOutcome, doing: &str) -> Fault {
    let how = match code {
        Some(code) => format!("ended with exit code {code}"),
        None => format!("did not end within {} s", run.seconds),
    };
    let said = outcome.stderr.lines().chain(outcome.stdout.lines()).map(str::trim).filter(|l| !l.is_empty());
    let said: Vec<String> = said.map(|line| line.chars().take(2 * MOST_OF_LINE).collect()).collect();
    let last = &said[said.len().saturating_sub(LAST_WORDS)..];
    let cause = format!("{} {} {how}: {}", program(run), words(run), last.join("\n  | "));
    let kind = if code.is_some() { FaultKind::Host } else { FaultKind::Deadline };
    Fault::new(kind, doing, cause)
}

/// A failed installation with what keeps it from becoming ready: the pods, their states and last words.
async fn explained(api: &Api, parts: &[MeshPart], mut fault: Fault, manner: &Manner<'_>) -> Fault {
    let mut troubles = Vec::new();
    for step in parts.iter().filter_map(workload) {
        match unready(api, &step).await {
            Ok(false) => {}
            Ok(true) => troubles.push(rollout::stuck(api, &step, manner).await),
            Err(_) => return fault,
        }
    }
    // istiod first: gateways wait for it.
    for trouble in &troubles {
        fault.cause = format!("{}\n{}: {}", fault.cause, trouble.doing, trouble.cause);
    }
    if let Some(first) = troubles.into_iter().next() {
        fault.next = first.next;
    }
    fault
}

async fn unready(api: &Api, step: &WorkloadStep) -> Result<bool, KubeError> {
    let object = api.get_object(&rollout::resource(step.kind), Some(&step.namespace), &step.name).await?;
    Ok(object.is_some_and(|object| !act::workload_of(step.kind, &object).is_rolled_out()))
}

fn workload(part: &MeshPart) -> Option<WorkloadStep> {
    let kind = match part.kind.as_str() {
        "Deployment" => WorkloadKind::Deployment,
        "DaemonSet" => WorkloadKind::DaemonSet,
        _ => return None,
    };
    let (namespace, name) = (part.namespace.clone()?, part.name.clone());
    Some(WorkloadStep { family: Family::Mesh, kind, namespace, name, stamp: Stamp::Any })
}

/// Waits until all of these are there, and workloads ready.
async fn await_parts(api: &Api, parts: &[MeshPart], manner: &Manner<'_>) -> Result<(), Fault> {
    for part in parts {
        match workload(part) {
            Some(step) => rollout::await_all(api, &step, manner).await?,
            None => await_object(api, part, manner).await?,
        }
    }
    Ok(())
}

/// Waits until the operator says of its object that all it leads to is done: what it brings may be ready, and yet be
/// changed by it once more.
async fn await_operator(api: &Api, acts: &[MeshAct], manner: &Manner<'_>) -> Result<(), Fault> {
    let object = acts.iter().find_map(|act| match act {
        MeshAct::Apply(object) if object["kind"] == "IstioOperator" => Some(&object["metadata"]),
        _ => None,
    });
    let Some(metadata) = object else { return Ok(()) };
    let text = |key: &str| metadata[key].as_str().map(str::to_owned);
    let (namespace, name) = (text("namespace"), text("name").unwrap_or_default());
    let part = MeshPart { kind: "IstioOperator".into(), namespace, name };
    let done = |set: &Set<Value>| set.values().any(|o| o["status"]["status"] == "HEALTHY").then_some(());
    let late = "its log tells why: `kubectl -n istio-operator logs deployment/istio-operator`";
    watched(api, &part, manner, done, ("await", "not HEALTHY", late)).await
}

async fn await_object(api: &Api, part: &MeshPart, manner: &Manner<'_>) -> Result<(), Fault> {
    let there = |set: &Set<Value>| (!set.is_empty()).then_some(());
    let late = "apply again; if it never comes, `istioctl analyze` may tell why";
    watched(api, part, manner, there, ("await", "not there", late)).await
}

async fn await_gone(api: &Api, part: &MeshPart, manner: &Manner<'_>) -> Result<(), Fault> {
    let gone = |set: &Set<Value>| set.is_empty().then_some(());
    let late = "its pods may not end: look at them with kubectl; then revert again";
    watched(api, part, manner, gone, ("await the end of", "still there", late)).await
}

async fn watched(
    api: &Api,
    part: &MeshPart,
    manner: &Manner<'_>,
    met: impl FnMut(&Set<Value>) -> Option<()>,
    (doing, state, next): (&str, &str, &str),
) -> Result<(), Fault> {
    let version = match part.kind.as_str() {
        "Service" => "v1",
        "Deployment" | "DaemonSet" => "apps/v1",
        "IstioOperator" => "install.istio.io/v1alpha1",
        _ => "admissionregistration.k8s.io/v1",
    };
    let resource = api.resource(version, &part.kind).await.map_err(|e| fault(&e))?;
    let mut selector = Selector::all().named(&part.name);
    selector.namespace = part.namespace.clone();
    match api.watch_until::<Value, ()>(&resource, &selector, manner.patience, met).await {
        Ok(Watched::Met(())) => Ok(()),
        Ok(Watched::Late(_)) => {
            let cause = format!("it is {state} after {} s", manner.patience.as_secs());
            Err(Fault::new(FaultKind::Deadline, format!("{doing} {part}"), cause).next(next))
        }
        Err(error) => Err(fault(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_revisions_each_goes_with_its_own_parts_only() {
        let part = |kind: &str, name: &str| MeshPart {
            kind: kind.to_owned(),
            namespace: Some("istio-system".to_owned()),
            name: name.to_owned(),
        };
        let parts = vec![
            part("Deployment", "istiod"),
            part("Service", "istiod"),
            part("Deployment", "istiod-1-29-1"),
            part("Deployment", "istio-ingressgateway"),
        ];
        let gone = |revision: &str, beside: &[&str]| -> Vec<String> {
            let beside = beside.iter().map(|&name| name.to_owned()).collect();
            let seen = MeshSeen { parts: parts.clone(), beside, ..MeshSeen::default() };
            parts.iter().filter(|part| goes(part, revision, &seen)).map(ToString::to_string).collect()
        };
        assert_eq!(gone("default", &["1-29-1"]), ["Deployment istio-system/istiod"]);
        assert_eq!(gone("1-29-1", &["default"]), ["Deployment istio-system/istiod-1-29-1"]);
        assert_eq!(gone("default", &[]).len(), parts.len());
    }
}
