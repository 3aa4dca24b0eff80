//! Observing all nodes at once, before anything is changed anywhere: connect, hello, ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rackwright_proto::facts::{Basics, Depth, Facts};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::file::FileStep;
use rackwright_proto::l2::{Probe, Probed};
use rackwright_proto::name::NodeName;
use rackwright_proto::step::HostStep;

use crate::agent::{Agent, AgentError};
use crate::console::chain;
use crate::fetch;
use crate::findings::clock::Reading;
use crate::fleet;
use crate::plan::{self, Because, ProxyWanted, Wanted};
use crate::rack::{Loaded, Node};
use crate::ssh::deliver::AGENT_DIR;
use crate::ssh::{Agents, ChannelReader, ChannelWriter, Connection, Dialer, Ending, SshError, Target};
use crate::target::{TargetError, Targets};
use crate::tools::Tools;
use crate::wanted::{self, SourceError};

/// Why a node could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It has no valid target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A file that the rack copies to it cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It could not be reached.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The session with its agent failed.
    #[error("speak with the agent{said}")]
    Agent {
        /// The end of what the agent wrote to standard error, if anything.
        said: String,
        /// Why.
        #[source]
        source: AgentError,
    },
    /// The rack says two different things of it.
    #[error(transparent)]
    Conflicts(#[from] plan::Conflicts),
}

impl NodeError {
    /// The same as a value for reports.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Agent { source: AgentError::Fault(fault), .. } => fault.clone(),
            Self::Ssh(error) => {
                // The node's name stands before it in every report.
                let text = format!("{}: {}", error.place, chain(&*error.fault));
                Fault::new(FaultKind::Host, "reach the node", text)
            }
            Self::Source(_) | Self::Conflicts(_) => {
                Fault::new(FaultKind::Host, "plan for the node", chain(self))
            }
            Self::Target(_) | Self::Agent { .. } => {
                Fault::new(FaultKind::Host, "reach the node", chain(self))
            }
        }
    }
}

/// A node that is spoken with.
pub struct Session {
    /// Its name.
    pub node: NodeName,
    /// How to reach it again.
    pub target: Target,
    connection: Arc<Connection>,
    agent: Agent<ChannelReader, ChannelWriter>,
    ending: Ending,
}

impl Session {
    /// Connects to a target and starts the agent there, delivering it where it is missing.
    pub async fn open(
        dialer: &Dialer,
        agents: &Agents,
        target: &Target,
        node: &NodeName,
    ) -> Result<Self, NodeError> {
        let connection = Arc::new(dialer.connect(target).await?);
        let channel = connection.agent(agents).await?;
        let ending = channel.ending;
        match Agent::open(channel.reader, channel.writer).await {
            Ok(agent) => Ok(Self { node: node.clone(), target: target.clone(), connection, agent, ending }),
            Err(source) => Err(failed(source, &ending)),
        }
    }

    /// What the agent said first.
    pub fn basics(&self) -> &Basics {
        &self.agent.hello.basics
    }

    /// The agent, to ask something; trouble comes with the end of what it said on standard error.
    pub async fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Agent<ChannelReader, ChannelWriter>) -> Result<T, AgentError>,
    ) -> Result<T, NodeError> {
        work(&mut self.agent).await.map_err(|source| failed(source, &self.ending))
    }

    /// The connection below, for tunnels.
    pub fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// Who holds the host, as of the hello.
    pub fn holder(&self) -> Option<&rackwright_proto::wire::Holder> {
        self.agent.hello.holder.as_ref()
    }

    /// Says goodbye.
    pub async fn close(self) {
        drop(self.agent);
        // A tunnel to the API server may still use it.
        if let Some(connection) = Arc::into_inner(self.connection) {
            connection.close().await;
        }
    }
}

fn failed(source: AgentError, ending: &Ending) -> NodeError {
    let stderr = ending.stderr();
    let said = match stderr.trim().lines().last() {
        Some(line) if !matches!(source, AgentError::Fault(_)) => format!(" (it said: {line})"),
        _ => String::new(),
    };
    NodeError::Agent { said, source }
}

/// One node with what it is asked to be and what it is.
pub struct Surveyed {
    /// The open session.
    pub session: Session,
    /// What the rack wants of it.
    pub wanted: Wanted,
    /// What was observed.
    pub facts: Facts,
    /// When its clock was read.
    pub reading: Reading,
}

/// What a survey is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// What the rack wants, and what receipts tell.
    Rack,
    /// What receipts tell, whatever the rack wants by now: a file that it copies may be gone.
    Receipts,
}

impl About {
    fn wanted(self, loaded: &Loaded, node: &Node, home: Option<&Path>) -> Result<Wanted, SourceError> {
        match self {
            Self::Rack => wanted::of(loaded, node, home),
            Self::Receipts => Ok(Wanted::default()),
        }
    }
}

/// What all surveys of one process share.
pub struct Surveyor<'a> {
    /// The rack.
    pub loaded: &'a Loaded,
    /// Connections.
    pub dialer: &'a Dialer,
    /// The agents to deliver.
    pub agents: &'a Agents,
    /// How to reach nodes.
    pub targets: Targets,
    /// Nodes at once.
    pub parallel: usize,
    home: Option<PathBuf>,
    tools: Tools<'a>,
}

impl<'a> Surveyor<'a> {
    /// A surveyor of a rack.
    pub fn new(loaded: &'a Loaded, dialer: &'a Dialer, agents: &'a Agents, parallel: usize) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let targets = Targets::new(loaded, home.clone());
        let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let tools = Tools::new(loaded, fetch::cache_folder(xdg.as_deref(), home.as_deref()));
        Self { loaded, dialer, agents, targets, parallel, home, tools }
    }

    /// Observes all of `nodes` at once; the results are in their order.
    pub async fn survey(
        &self,
        nodes: &[&Node],
        about: About,
        depth: Depth,
    ) -> Vec<(NodeName, Result<Surveyed, NodeError>)> {
        fleet::each(self.parallel, nodes.iter().copied(), |node| async move {
            (node.name.clone(), self.one(node, about, depth).await)
        })
        .await
    }

    async fn one(&self, node: &Node, about: About, depth: Depth) -> Result<Surveyed, NodeError> {
        let mut wanted = about.wanted(self.loaded, node, self.home.as_deref())?;
        let target = self.targets.of(node).await?;
        let mut session = Session::open(self.dialer, self.agents, &target, &node.name).await?;
        wanted.agent_path = self.agent_path(session.basics())?;
        if about == About::Rack {
            wanted.tools = self.tools.of(node, &session.basics().arch).await;
        }
        let steps = plan::steps(&wanted, session.basics())?.into_iter().map(|s| s.what).collect();
        let (facts, reading) = observe(&mut session, steps, depth).await?;
        let mut surveyed = Surveyed { session, wanted, facts, reading };
        surveyed.complete().await?;
        Ok(surveyed)
    }

    /// Opens sessions with all of `nodes` at once, without observing anything.
    pub async fn sessions(&self, nodes: &[&Node]) -> Vec<(NodeName, Result<Session, NodeError>)> {
        fleet::each(self.parallel, nodes.iter().copied(), |node| async move {
            let session = async {
                let target = self.targets.of(node).await?;
                Session::open(self.dialer, self.agents, &target, &node.name).await
            };
            (node.name.clone(), session.await)
        })
        .await
    }

    fn agent_path(&self, basics: &Basics) -> Result<String, NodeError> {
        let name = self.agents.pick(&basics.arch).map(|agent| agent.name());
        let name = name.map_err(|fault| {
            let fault = Fault::new(FaultKind::Host, "choose an agent", fault.to_string());
            NodeError::Agent { said: String::new(), source: fault.into() }
        })?;
        Ok(Path::new(AGENT_DIR).join(name).display().to_string())
    }
}

impl Surveyed {
    /// Wants one more file of the host, and looks at what is there now. What the rack itself says of that path counts
    /// more.
    pub async fn want_more(&mut self, file: Because<FileStep>) -> Result<(), NodeError> {
        if self.wanted.files.iter().any(|f| f.what.path == file.what.path) {
            return Ok(());
        }
        self.wanted.files.push(file);
        self.complete().await
    }

    /// Wants another kube-proxy of the host than the rack alone led to, and looks at what that takes.
    pub async fn want_proxy(&mut self, proxy: ProxyWanted) -> Result<(), NodeError> {
        self.wanted.proxy = Some(proxy);
        self.complete().await
    }

    /// Asks for what only the facts made the planner want to see.
    async fn complete(&mut self) -> Result<(), NodeError> {
        let missing = plan::unobserved(&self.wanted, &self.facts)?;
        if missing.is_empty() {
            return Ok(());
        }
        let (more, _) = observe(&mut self.session, missing, Depth::Quick).await?;
        self.facts.seen.extend(more.seen);
        Ok(())
    }
}

async fn observe(
    session: &mut Session,
    steps: Vec<HostStep>,
    depth: Depth,
) -> Result<(Facts, Reading), NodeError> {
    let asked = Instant::now();
    let observed = session.ask(async |agent| agent.observe(steps, depth).await).await;
    let facts = observed.map_err(|error| not_as_root(error, session.basics()))?;
    let round_trip_ms = millis(asked.elapsed());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (node, host_ms) = (session.node.clone(), facts.clock.unix_ms);
    Ok((facts, Reading { node, host_ms, here_ms: millis(now), round_trip_ms }))
}

/// Most of what a user may not read only root may: the way out is the same.
fn not_as_root(error: NodeError, basics: &Basics) -> NodeError {
    match error {
        NodeError::Agent { said, source: AgentError::Fault(fault) }
            if basics.euid != 0 && fault.next.is_empty() =>
        {
            let fault = fault.next("set `ssh.become: sudo` in the rack, or log in as root");
            NodeError::Agent { said, source: fault.into() }
        }
        error => error,
    }
}

/// Looks once more at the networks of many nodes at once. A node that fails keeps what was seen of it before.
pub async fn networks_anew(surveyed: &mut [Surveyed], parallel: usize) {
    fleet::each(parallel, surveyed.iter_mut(), |one| async move {
        if let Ok((facts, _)) = observe(&mut one.session, Vec::new(), Depth::Quick).await {
            one.facts.network = facts.network;
        }
    })
    .await;
}

/// Makes probes on many nodes at once. A node that fails answers nothing.
pub async fn probe(
    surveyed: &mut [Surveyed],
    parallel: usize,
    asked: &BTreeMap<String, Vec<Probe>>,
) -> BTreeMap<String, Vec<Probed>> {
    let with_probes = surveyed.iter_mut().filter(|s| asked.contains_key(s.session.node.as_str()));
    let answers = fleet::each(parallel, with_probes, |one| async move {
        let node = one.session.node.to_string();
        let probes = asked.get(&node).cloned().unwrap_or_default();
        let probed = one.session.ask(async |agent| agent.probe(probes).await).await;
        (node, probed)
    })
    .await;
    answers.into_iter().filter_map(|(node, probed)| Some((node, probed.ok()?))).collect()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
