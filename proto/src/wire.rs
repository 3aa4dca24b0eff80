//! The wire between coordinator and agent: lockstep, both ends are of one build.
//!
//! The agent speaks first: the line [`MAGIC`], then frames. A frame is a length (4 bytes, big endian) and that
//! many bytes of JSON. Each side's first frame is its hello. Requests are answered in order.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::examine::{Examine, Examined};
use crate::facts::{Basics, Depth, Facts};
use crate::fault::Fault;
use crate::l2::{Probe, Probed};
use crate::name::{RunId, Sha256};
use crate::plan::Run;
use crate::reach::{Asked, Reached};
use crate::secret::Kubeconfig;
use crate::step::HostStep;
use crate::tool::{ArtifactPart, ToolOutcome, ToolRun};
use crate::traces::ClusterTraces;

/// The agent's first line. What comes before it is noise of the user's shell start-up files.
pub const MAGIC: &[u8] = b"RACKWRIGHT/1\n";

/// The longest frame, in bytes of JSON. A longer one is an error on either side.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// The version of requests and replies; any change of a shape here is a new one.
pub const PROTOCOL: u32 = 5;

/// The build that both ends must share: version and protocol. The agent's file is also named by its hash.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "/5");

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} allowed")]
    TooLong(usize),
    /// Not the JSON that was expected.
    #[error("a frame does not hold what was expected")]
    Content(#[source] serde_json::Error),
}

/// One frame with its length in front.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Content)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    // MAX_FRAME fits in 32 bits.
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// The length that a frame's first four bytes announce.
pub fn frame_length(head: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// The message in a frame's body.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(FrameError::Content)
}

/// The coordinator's hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorHello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// [`BUILD`].
    pub build: String,
}

/// The agent's hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// [`BUILD`].
    pub build: String,
    /// Who the host is.
    pub basics: Basics,
    /// The run that holds the host now.
    #[serde(default)]
    pub holder: Option<Holder>,
}

/// Who holds a host's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// Who asked for it.
    pub operator: String,
    /// Unix time in milliseconds since when.
    pub since_ms: u64,
    /// The process that holds the lock.
    pub pid: u32,
}

/// What the coordinator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Observe the host, and what it has where these steps would put something.
    Observe {
        /// Steps to observe; nothing is done about them.
        steps: Vec<HostStep>,
        /// How much.
        depth: Depth,
    },
    /// Ask the segment. All probes run at once.
    Probe {
        /// The questions.
        probes: Vec<Probe>,
    },
    /// Reach something from the host. All questions are asked at once.
    Reach {
        /// The questions.
        questions: Vec<Asked>,
    },
    /// Read the kubeconfig of the cluster's administrator.
    Kubeconfig,
    /// Tell what a cluster left on the host.
    Traces,
    /// Measure what can be wrong with the cluster on this host.
    Examine(Box<Examine>),
    /// Run a plan, detached from this session, and tell its events.
    Run(Box<Run>),
    /// Tell a run's events from this sequence number on.
    Attach {
        /// The run; `None` for the one in progress, else the last.
        run: Option<RunId>,
        /// The first record wanted.
        from_seq: u64,
    },
    /// The node is reachable over the connection that carries this: keep a run's risky steps.
    Confirm {
        /// The run.
        run: RunId,
    },
    /// Reboot the host. Answered first.
    Reboot,
    /// Run a tool of the cluster; it ends with this session at the latest. Answered by any number of `ToolSaid`, then
    /// `ToolEnded`.
    Tool(Box<ToolRun>),
    /// An archive is on its way: how much of it is there already? Answered by `Artifact`.
    Artifact {
        /// Of the whole.
        sha256: Sha256,
        /// How long the whole is, in bytes.
        size: u64,
    },
    /// A part of it. Answered by `Artifact`.
    ArtifactPart(Box<ArtifactPart>),
}

/// What the agent answers. `Run` and `Attach` are answered by `Following`, events, and `Followed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `Observe`.
    Facts(Box<Facts>),
    /// To `Probe`, in the order of the questions.
    Probed(Vec<Probed>),
    /// To `Reach`, in the order of the questions.
    Reached(Vec<Reached>),
    /// To `Kubeconfig`; `None` where the host has none.
    Kubeconfig(Option<Kubeconfig>),
    /// To `Traces`.
    Traces(Box<ClusterTraces>),
    /// To `Examine`.
    Examined(Box<Examined>),
    /// The run is on, or its journal was found: events follow.
    Following {
        /// The run.
        run: RunId,
    },
    /// One record of the run that is followed.
    Event(Box<Event>),
    /// No more records will come: the run finished, or died without finishing.
    Followed {
        /// Whether its last record is there.
        finished: bool,
    },
    /// To `Confirm`.
    Confirmed,
    /// To `Reboot`: it begins now.
    Rebooting,
    /// One line that a tool wrote to its standard error.
    ToolSaid(String),
    /// To `Tool`: it ended.
    ToolEnded(Box<ToolOutcome>),
    /// To `Artifact` and `ArtifactPart`: so many bytes of it are there, from its beginning. Those of a whole one were
    /// checked.
    Artifact {
        /// How many.
        have: u64,
    },
    /// The request could not be served.
    Fault(Fault),
}
