//! One file per command. A command asks, decides through pure code, and reports; it returns how to end.

pub mod apply;
pub mod attach;
pub mod check;
pub mod cluster;
pub mod completions;
pub mod diagnose;
pub mod init;
pub mod inject;
pub mod lint;
pub mod logs;
pub mod mesh;
pub mod migrate;
pub mod plan;
mod planes;
pub mod prove;
pub mod push;
pub mod revert;
pub mod schema;
pub mod status;
pub mod trust;
pub mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use crate::ask;
use crate::cli::CommonArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::judge::Asked;
use crate::rack::{self, Loaded, Node};
use crate::report::plan::View;
use crate::scene;
use crate::ssh::{Agents, Dialer};
use crate::survey::{NodeError, Surveyed, Surveyor};

/// What every command that reaches nodes has at hand.
pub struct Context {
    /// Where words go.
    pub console: Console,
    /// The rack.
    pub loaded: Loaded,
    /// Connections.
    pub dialer: Arc<Dialer>,
    /// The agents to deliver.
    pub agents: Agents,
    /// Nodes at once.
    pub parallel: usize,
    /// JSON on standard output.
    pub json: bool,
    /// Held while a neighbour asks for a node: its question is heard by all, and another node that listens for it
    /// would take the question for an answer.
    pub asking: tokio::sync::Mutex<()>,
    only: Vec<NodeName>,
}

impl Context {
    /// Reads the rack at `path` and the agents' manifest. Errors are told; the result is how to end then.
    pub fn load(console: Console, path: &Path, common: &CommonArgs) -> Result<Self, Exit> {
        let loaded = load_rack(console, path)?;
        let agents = Agents::load(&Agents::folder(std::env::var_os("RACKWRIGHT_AGENTS").map(PathBuf::from)));
        let agents = agents.map_err(|fault| {
            console.error(&fault);
            Exit::Failed
        })?;
        for name in &common.nodes {
            if loaded.rack.node(name.as_str()).is_none() {
                return Err(no_such_node(console, &loaded, name.as_str()));
            }
        }
        let answers = ask::answers(&loaded, std::env::var_os("HOME").map(PathBuf::from));
        let dialer = Arc::new(Dialer::new(answers));
        let parallel = usize::from(common.parallel.unwrap_or(loaded.rack.limits().parallel));
        Ok(Self {
            console,
            loaded,
            dialer,
            agents,
            parallel,
            json: common.json,
            asking: tokio::sync::Mutex::default(),
            only: common.nodes.clone(),
        })
    }

    /// A surveyor for the rack.
    pub fn surveyor(&self) -> Surveyor<'_> {
        Surveyor::new(&self.loaded, &self.dialer, &self.agents, self.parallel)
    }

    /// The nodes that the operator means, in the rack's order.
    pub fn nodes(&self) -> Vec<&Node> {
        self.loaded.rack.nodes().filter(|n| self.only.is_empty() || self.only.contains(&n.name)).collect()
    }

    /// Whether all that can be found was asked for, when all of `heard` were observed in full depth.
    pub fn asked(&self, heard: &[Surveyed]) -> Asked {
        let rack = &self.loaded.rack;
        let all = heard.len() == rack.nodes().len() && scene::patience(rack).is_some();
        if all { Asked::Everything } else { Asked::Some }
    }

    /// How reports look.
    pub fn view(&self) -> View {
        View { paint: self.console.paint, verbose: self.console.verbose > 0 }
    }

    /// The rack as the operator named it, for commands to type next.
    pub fn rack_name(&self) -> &str {
        &self.loaded.name
    }

    /// A command to type next, with the operator's own rack.
    pub fn command(&self, command: &str) -> String {
        match self.rack_name() {
            "rack.yaml" => format!("rackwright {command}"),
            name => format!("rackwright {command} {name}"),
        }
    }

    /// Tells which nodes could not be observed.
    pub fn say_lost(&self, lost: &[(NodeName, NodeError)]) {
        for (node, error) in lost {
            let fault = error.fault();
            self.console.say(format_args!("error: {node}: {fault}"));
            if !fault.next.is_empty() {
                self.console.say(format_args!("  {}", fault.next));
            }
        }
    }
}

/// Reads a rack; tells its errors or warnings.
pub fn load_rack(console: Console, path: &Path) -> Result<Loaded, Exit> {
    match rack::load(path) {
        Ok(loaded) => {
            let warnings = loaded.render_warnings();
            if !warnings.is_empty() {
                console.say(warnings.trim_end());
            }
            Ok(loaded)
        }
        Err(error @ rack::RackErrors::Invalid { .. }) => {
            console.say(error.to_string().trim_end());
            Err(Exit::Invalid)
        }
        Err(error) => {
            console.error(&error);
            if let rack::RackErrors::Unreadable { source, .. } = &error
                && source.kind() == std::io::ErrorKind::NotFound
            {
                let shown = path.display();
                console.say(format_args!("  `rackwright init --node NAME=ADDRESS -o {shown}` writes one"));
            }
            Err(Exit::Invalid)
        }
    }
}

/// Tells that the rack has no node of that name, and which it likely is.
pub fn no_such_node(console: Console, loaded: &Loaded, name: &str) -> Exit {
    let names: Vec<&str> = loaded.rack.nodes().map(|n| n.name.as_str()).collect();
    console.say(format_args!("error: {} has no node `{name}`", loaded.name));
    match rack::closest(name, &names) {
        Some(near) => console.say(format_args!("  did you mean `{near}`?")),
        None => console.say(format_args!("  {}", rack::nodes_of(&loaded.rack))),
    }
    Exit::Invalid
}

/// Nodes that were heard from, and those that were not.
pub fn split(
    results: Vec<(NodeName, Result<Surveyed, NodeError>)>,
) -> (Vec<Surveyed>, Vec<(NodeName, NodeError)>) {
    let (mut heard, mut lost) = (Vec::new(), Vec::new());
    for (node, result) in results {
        match result {
            Ok(surveyed) => heard.push(surveyed),
            Err(error) => lost.push((node, error)),
        }
    }
    (heard, lost)
}

/// Whether a finding blocks `apply`.
pub fn blocked(findings: &[Finding]) -> bool {
    findings.iter().any(Finding::blocks)
}
