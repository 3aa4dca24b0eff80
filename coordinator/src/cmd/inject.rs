//! `rackwright inject`: a manifest with Istio's sidecar put in, by the istioctl of the rack's version on a control
//! plane.

use std::collections::BTreeMap;
use std::io::Write as _;

use rackwright_proto::tool::{ToolOutcome, ToolRun};

use super::check::close;
use super::lint;
use super::planes::Planes;
use crate::cli::InjectArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::injection::lint::{Source, lint as look, render};
use crate::injection::wins::DEFAULT;
use crate::rack::model::kubernetes::Istio;
use crate::report::words;

/// How long istioctl may take: it asks the cluster for its settings.
const SECONDS: u32 = 60;
/// The manifest's name on the control plane.
const FILE: &str = "manifest.yaml";

/// Runs the command.
pub async fn run(console: Console, args: InjectArgs) -> Exit {
    let source = match lint::source(console, &args.file) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let linted = look(std::slice::from_ref(&source));
    if let Some(linted) = linted.first().filter(|linted| !linted.findings.is_empty()) {
        console.say(render(&source, linted).trim_end());
    }
    // What is no YAML for us is none for istioctl.
    if linted.iter().any(|l| l.findings.iter().any(|m| m.name == "manifest-unreadable")) {
        return Exit::Refused;
    }
    let mut planes = match Planes::open(console, &args.rack, false).await {
        Ok(planes) => planes,
        Err(exit) => return exit,
    };
    let exit = injected(&mut planes, &args, source).await;
    close(planes.heard).await;
    exit
}

async fn injected(planes: &mut Planes, args: &InjectArgs, source: Source) -> Exit {
    let console = planes.context.console;
    let kubernetes = planes.context.loaded.rack.kubernetes();
    let Some(istio) = kubernetes.and_then(|kubernetes| kubernetes.istio.as_ref()) else {
        let name = planes.context.rack_name();
        console.say(format_args!(
            "error: {name} says nothing of `kubernetes.istio`, so of no version to inject"
        ));
        return Exit::Invalid;
    };
    let revision = args.revision.as_ref().or(istio.revision.as_ref()).map(ToString::to_string);
    let run = kube_inject(istio, revision.as_deref(), source.text);
    let mut said = |line: &str| console.say(words::plain(line));
    let Some(plane) = planes.heard.first_mut() else {
        console.say("error: istioctl runs on a control plane, and the rack names none");
        return Exit::Invalid;
    };
    match plane.session.ask(async |agent| agent.tool(run, &mut said).await).await {
        Ok(outcome) => ended(console, &outcome),
        Err(error) => planes.failed(&error.fault()),
    }
}

/// `istioctl kube-inject`. The default revision needs no name, and has none where it is of no name.
fn kube_inject(istio: &Istio, revision: Option<&str>, manifest: String) -> ToolRun {
    let mut args = vec!["kube-inject".to_owned(), "-f".to_owned(), format!("{{files}}/{FILE}")];
    if let Some(revision) = revision.filter(|revision| *revision != DEFAULT) {
        args.extend(["--revision".to_owned(), revision.to_owned()]);
    }
    ToolRun {
        tool: "istio".into(),
        version: istio.version.to_string(),
        program: "bin/istioctl".into(),
        args,
        files: BTreeMap::from([(FILE.to_owned(), manifest)]),
        seconds: SECONDS,
    }
}

fn ended(console: Console, outcome: &ToolOutcome) -> Exit {
    if outcome.code == Some(0) && !outcome.cut {
        console.data(|out| out.write_all(outcome.stdout.as_bytes()));
        return Exit::Done;
    }
    let how = match (outcome.code, outcome.cut) {
        (Some(0), _) => "wrote more than is taken; split the manifest".to_owned(),
        (Some(code), _) => format!("ended with {code}"),
        (None, _) => format!("did not end within {SECONDS} s"),
    };
    console.say(format_args!("error: istioctl kube-inject {how}"));
    Exit::Failed
}
