//! What commands need that ask a cluster and no hosts: its control planes, and the API behind them.

use std::path::Path;

use rackwright_proto::facts::Depth;
use rackwright_proto::fault::Fault;

use super::{Context, cluster, split};
use crate::cli::CommonArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::kube::{Api, Patience};
use crate::survey::{About, Surveyed};

/// The rack's control planes.
pub(super) struct Planes {
    pub(super) context: Context,
    /// Those that answer.
    pub(super) heard: Vec<Surveyed>,
}

impl Planes {
    /// Speaks with the control planes of the rack at `path`. Errors are told; the result is how to end then.
    pub(super) async fn open(console: Console, path: &Path, json: bool) -> Result<Self, Exit> {
        let common = CommonArgs { rack: path.to_owned(), nodes: Vec::new(), json, parallel: None };
        let mut context = Context::load(console, path, &common)?;
        let rack = &context.loaded.rack;
        context.only = rack.nodes().filter(|n| n.is_control_plane()).map(|n| n.name.clone()).collect();
        let own = rack.kubernetes().is_some_and(|kubernetes| kubernetes.kubeconfig.is_some());
        if context.only.is_empty() && !own {
            console.say(format_args!("error: {} has no control plane, so no cluster", context.rack_name()));
            return Err(Exit::Invalid);
        }
        let nodes = if context.only.is_empty() { Vec::new() } else { context.nodes() };
        let (heard, lost) = split(context.surveyor().survey(&nodes, About::Receipts, Depth::Quick).await);
        context.say_lost(&lost);
        if heard.is_empty() && !own {
            return Err(Exit::Failed);
        }
        Ok(Self { context, heard })
    }

    /// The cluster's API. Errors are told.
    pub(super) async fn api(&mut self) -> Result<Api, Exit> {
        let kubernetes = self.context.loaded.rack.kubernetes().cloned().unwrap_or_default();
        match cluster::open(&self.context, &kubernetes, &mut self.heard, Patience::default()).await {
            Ok(Some(api)) => Ok(api),
            Ok(None) => {
                self.context
                    .console
                    .say("error: no control plane has a kubeconfig yet, so there is no cluster");
                Err(Exit::Failed)
            }
            Err(fault) => Err(self.failed(&fault)),
        }
    }

    /// Tells what failed and what to do next.
    pub(super) fn failed(&self, fault: &Fault) -> Exit {
        self.context.console.say(format_args!("error: {fault}"));
        if !fault.next.is_empty() {
            self.context.console.say(format_args!("  {}", fault.next));
        }
        Exit::Failed
    }
}
