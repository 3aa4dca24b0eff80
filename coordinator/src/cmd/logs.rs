//! `rackwright logs`: what a pod's sidecar said, or why the pod has none.

use std::io::Write as _;

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::check::close;
use super::planes::Planes;
use crate::cli::LogsArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::injection::log::cause;
use crate::injection::pods::PROXY;
use crate::injection::wins::{self, Labels, Namespace, Verdict};
use crate::kube::{Api, KubeError, Logs, Selector, act, injection};
use crate::rack::closest;
use crate::report;

/// Runs the command.
pub async fn run(console: Console, args: LogsArgs) -> Exit {
    let mut planes = match Planes::open(console, &args.rack, args.json).await {
        Ok(planes) => planes,
        Err(exit) => return exit,
    };
    let exit = match planes.api().await {
        Ok(api) => match logged(&planes, &api, &args).await {
            Ok(exit) => exit,
            Err(error) => planes.failed(&act::fault(&error)),
        },
        Err(exit) => exit,
    };
    close(planes.heard).await;
    exit
}

async fn logged(planes: &Planes, api: &Api, args: &LogsArgs) -> Result<Exit, KubeError> {
    let console = planes.context.console;
    let namespace = args.namespace.as_str();
    let Some(pod) = api.get::<Pod>(Some(namespace), &args.pod).await? else {
        console.say(absent(api, namespace, &args.pod).await?);
        return Ok(Exit::Failed);
    };
    let containers = containers(&pod);
    if !containers.contains(&args.container.as_str()) {
        let why = match args.container.as_str() {
            PROXY => format!("it has no sidecar: {}", why_none(api, namespace, &pod).await?),
            other => format!("it has no container {other}, but {}", containers.join(", ")),
        };
        console.say(format_args!("error: pod {namespace}/{}: {why}", args.pod));
        return Ok(Exit::Failed);
    }
    let which = Logs {
        container: Some(&args.container),
        previous: args.previous,
        tail_lines: args.tail,
        since_seconds: args.since,
        limit_bytes: None,
    };
    let log = api.pod_log(namespace, &args.pod, &which).await?;
    tell(planes, args, &log);
    Ok(Exit::Done)
}

/// `{"format", "kind": "logs", "pod", "namespace", "container", "cause": {"name", "words"} or null, "log"}`
#[derive(Serialize)]
struct Told<'a> {
    pod: &'a str,
    namespace: &'a str,
    container: &'a str,
    cause: Option<Known>,
    log: &'a str,
}

#[derive(Serialize)]
struct Known {
    name: &'static str,
    words: &'static str,
}

fn tell(planes: &Planes, args: &LogsArgs, log: &str) {
    let context = &planes.context;
    let cause = cause(log).filter(|_| args.container == PROXY);
    let told = Told {
        pod: &args.pod,
        namespace: args.namespace.as_str(),
        container: &args.container,
        cause: cause.map(|cause| Known { name: cause.name, words: cause.words }),
        log,
    };
    context.console.data(|out| match args.json {
        true => report::json(out, "logs", told),
        false => out.write_all(shown(log).as_bytes()),
    });
    if let Some(cause) = cause {
        let diagnose = context.command("diagnose");
        context.console.say(format_args!("cause: {}; `{diagnose}` looks for what is behind it", cause.words));
    }
}

/// A log as a terminal may have it: what steers one is written out.
fn shown(log: &str) -> String {
    log.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

fn containers(pod: &Pod) -> Vec<&str> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.map(|container| container.name.as_str()).collect()
}

/// That there is no such pod, and which it likely is.
async fn absent(api: &Api, namespace: &str, name: &str) -> Result<String, KubeError> {
    let pods = api.list::<Pod>(&Selector::namespace(namespace)).await?.items;
    let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    // The name of a workload begins that of its pods.
    let of = names.iter().find(|one| one.starts_with(&format!("{name}-"))).copied();
    let near = of.or_else(|| closest(name, &names));
    let near = near.map(|near| format!("\n  did you mean `{near}`?")).unwrap_or_default();
    Ok(format!("error: there is no pod {namespace}/{name}{near}"))
}

/// Why a pod has no sidecar, by what its namespace and itself say today.
async fn why_none(api: &Api, name: &str, pod: &Pod) -> Result<String, KubeError> {
    let (namespace, injectors) = injection::of_namespace(api, name).await?;
    let of_namespace: Labels = namespace.and_then(|n| n.metadata.labels).unwrap_or_default();
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let host_network = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let pod = wins::Pod { labels: &labels, annotations: &annotations, host_network };
    Ok(match wins::decide(Namespace { name, labels: &of_namespace }, pod, &injectors) {
        Verdict::Injected { why, .. } => format!("it was made before {why}; restart it to give it one"),
        Verdict::Not { why, .. } => why,
    })
}
