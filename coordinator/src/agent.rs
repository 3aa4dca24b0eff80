//! The coordinator's end of a session with one agent: hello, then requests answered in order.

use std::time::Duration;

use rackwright_proto::event::Event;
use rackwright_proto::examine::{Examine, Examined};
use rackwright_proto::facts::{Depth, Facts};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::l2::{Probe, Probed};
use rackwright_proto::name::{RunId, Sha256};
use rackwright_proto::plan::Run;
use rackwright_proto::reach::{Asked, Reached};
use rackwright_proto::secret::Kubeconfig;
use rackwright_proto::step::HostStep;
use rackwright_proto::tool::{ArtifactPart, ToolOutcome, ToolRun};
use rackwright_proto::traces::ClusterTraces;
use rackwright_proto::wire::{self, AgentHello, CoordinatorHello, FrameError, Reply, Request};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long an agent may take to say hello or to answer a small request.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an observation may take: a slow disk and a dozen slow programs.
const OBSERVE: Duration = Duration::from_secs(120);
/// How long a run may be silent: the longest step's deadline, with room.
const SILENCE: Duration = Duration::from_secs(340);

/// Why a session gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The connection broke, or the agent went away.
    #[error("the session with the agent broke off while {doing}")]
    Lost {
        /// What was awaited.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A frame was too long, or not what was expected.
    #[error("the agent broke the protocol while {doing}")]
    Protocol {
        /// What was awaited.
        doing: &'static str,
        /// How.
        #[source]
        source: FrameError,
    },
    /// No answer in time.
    #[error("no answer from the agent within {seconds} s while {doing}")]
    Deadline {
        /// What was awaited.
        doing: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The agent is of another build.
    #[error(
        "the agent is of build {theirs}, this is {ours}; remove /usr/local/lib/rackwright/ on the host and run again"
    )]
    Build {
        /// The agent's build.
        theirs: String,
        /// Our build.
        ours: String,
    },
    /// The agent could not do what was asked.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl AgentError {
    /// Whether the session is gone while the run it started goes on.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Deadline { .. })
    }
}

/// A session with one agent.
pub struct Agent<R, W> {
    read: R,
    write: W,
    /// What it said first.
    pub hello: AgentHello,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Agent<R, W> {
    /// Exchanges hellos over a stream whose magic line has been read.
    pub async fn open(mut read: R, mut write: W) -> Result<Self, AgentError> {
        let hello: AgentHello = receive(&mut read, "waiting for its hello", ANSWER).await?;
        if hello.protocol != wire::PROTOCOL || hello.build != wire::BUILD {
            return Err(AgentError::Build { theirs: hello.build, ours: wire::BUILD.to_owned() });
        }
        let ours = CoordinatorHello { protocol: wire::PROTOCOL, build: wire::BUILD.to_owned() };
        send(&mut write, &ours, "saying hello").await?;
        Ok(Self { read, write, hello })
    }

    /// Observes the host, and what it has where `steps` would put something.
    pub async fn observe(&mut self, steps: Vec<HostStep>, depth: Depth) -> Result<Facts, AgentError> {
        const DOING: &str = "observing the host";
        match self.ask(&Request::Observe { steps, depth }, DOING, OBSERVE).await? {
            Reply::Facts(facts) => Ok(*facts),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Asks the segment; answers come in the order of the questions.
    pub async fn probe(&mut self, probes: Vec<Probe>) -> Result<Vec<Probed>, AgentError> {
        const DOING: &str = "probing the segment";
        match self.ask(&Request::Probe { probes }, DOING, OBSERVE).await? {
            Reply::Probed(probed) => Ok(probed),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Reaches something from the host; answers come in the order of the questions, within the longest of their
    /// deadlines.
    pub async fn reach(&mut self, questions: Vec<Asked>) -> Result<Vec<Reached>, AgentError> {
        const DOING: &str = "reaching out from the host";
        let count = questions.len();
        match self.ask(&Request::Reach { questions }, DOING, OBSERVE).await? {
            Reply::Reached(reached) if reached.len() == count => Ok(reached),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// The kubeconfig of the cluster's administrator; none where the host has none.
    pub async fn kubeconfig(&mut self) -> Result<Option<Kubeconfig>, AgentError> {
        const DOING: &str = "reading the administrator's kubeconfig";
        match self.ask(&Request::Kubeconfig, DOING, ANSWER).await? {
            Reply::Kubeconfig(kubeconfig) => Ok(kubeconfig),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// What a cluster left on the host.
    pub async fn traces(&mut self) -> Result<ClusterTraces, AgentError> {
        const DOING: &str = "looking for a cluster's traces";
        match self.ask(&Request::Traces, DOING, ANSWER).await? {
            Reply::Traces(traces) => Ok(*traces),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Measures what can be wrong with the cluster on the host, within the longest of the questions' deadlines.
    pub async fn examine(&mut self, what: Examine) -> Result<Examined, AgentError> {
        const DOING: &str = "examining the host";
        let counts = (what.questions.len(), what.echoes.len());
        match self.ask(&Request::Examine(Box::new(what)), DOING, OBSERVE).await? {
            Reply::Examined(said) if (said.reached.len(), said.echoed.len()) == counts => Ok(*said),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Keeps a run's risky steps. To be sent over a connection made after they were done.
    pub async fn confirm(&mut self, run: RunId) -> Result<(), AgentError> {
        const DOING: &str = "confirming a run";
        match self.ask(&Request::Confirm { run }, DOING, ANSWER).await? {
            Reply::Confirmed => Ok(()),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Reboots the host: it begins as this returns.
    pub async fn reboot(&mut self) -> Result<(), AgentError> {
        const DOING: &str = "asking for a reboot";
        match self.ask(&Request::Reboot, DOING, ANSWER).await? {
            Reply::Rebooting => Ok(()),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Runs a tool of the cluster; what it says on its standard error is told line by line.
    pub async fn tool(
        &mut self,
        run: ToolRun,
        said: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ToolOutcome, AgentError> {
        const DOING: &str = "running a tool";
        let deadline = Duration::from_secs(run.seconds.into()) + ANSWER;
        let mut reply = self.ask(&Request::Tool(Box::new(run)), DOING, deadline).await?;
        loop {
            match reply {
                Reply::ToolSaid(line) => said(&line),
                Reply::ToolEnded(outcome) => return Ok(*outcome),
                other => return Err(unexpected(other, DOING)),
            }
            reply = receive(&mut self.read, DOING, deadline).await?;
        }
    }

    /// How many bytes of an archive the host has already, from its beginning.
    pub async fn artifact(&mut self, sha256: Sha256, size: u64) -> Result<u64, AgentError> {
        const DOING: &str = "asking for an archive";
        self.artifact_reply(&Request::Artifact { sha256, size }, DOING).await
    }

    /// Sends one part of an archive; says how many bytes the host has then.
    pub async fn artifact_part(&mut self, part: ArtifactPart) -> Result<u64, AgentError> {
        const DOING: &str = "pushing an archive";
        self.artifact_reply(&Request::ArtifactPart(Box::new(part)), DOING).await
    }

    async fn artifact_reply(&mut self, request: &Request, doing: &'static str) -> Result<u64, AgentError> {
        match self.ask(request, doing, OBSERVE).await? {
            Reply::Artifact { have } => Ok(have),
            other => Err(unexpected(other, doing)),
        }
    }

    /// Starts a run; its events then come from [`Agent::next_event`].
    pub async fn run(&mut self, run: Run) -> Result<RunId, AgentError> {
        const DOING: &str = "starting a run";
        match self.ask(&Request::Run(Box::new(run)), DOING, ANSWER).await? {
            Reply::Following { run } => Ok(run),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// Follows a run from record `from_seq` on; `None` for the one in progress, else the last.
    pub async fn attach(&mut self, run: Option<RunId>, from_seq: u64) -> Result<RunId, AgentError> {
        const DOING: &str = "attaching to a run";
        match self.ask(&Request::Attach { run, from_seq }, DOING, ANSWER).await? {
            Reply::Following { run } => Ok(run),
            other => Err(unexpected(other, DOING)),
        }
    }

    /// The next record of the run that is followed; `None` after the last. An error of kind `Internal` when the
    /// run died without finishing.
    pub async fn next_event(&mut self) -> Result<Option<Event>, AgentError> {
        const DOING: &str = "following a run";
        match receive(&mut self.read, DOING, SILENCE).await? {
            Reply::Event(event) => Ok(Some(*event)),
            Reply::Followed { finished: true } => Ok(None),
            Reply::Followed { finished: false } => {
                Err(Fault::new(FaultKind::Internal, "follow the run", "the agent died before it finished")
                    .next("run `rackwright apply` again: it goes on from what the host has now")
                    .into())
            }
            other => Err(unexpected(other, DOING)),
        }
    }

    async fn ask(
        &mut self,
        request: &Request,
        doing: &'static str,
        deadline: Duration,
    ) -> Result<Reply, AgentError> {
        send(&mut self.write, request, doing).await?;
        match receive(&mut self.read, doing, deadline).await? {
            Reply::Fault(fault) => Err(fault.into()),
            reply => Ok(reply),
        }
    }
}

fn unexpected(reply: Reply, doing: &str) -> AgentError {
    match reply {
        Reply::Fault(fault) => fault.into(),
        _ => Fault::new(FaultKind::Protocol, doing, "the agent answered another question").into(),
    }
}

async fn send<W: AsyncWrite + Unpin, T: serde::Serialize>(
    write: &mut W,
    message: &T,
    doing: &'static str,
) -> Result<(), AgentError> {
    let frame = wire::encode(message).map_err(|source| AgentError::Protocol { doing, source })?;
    let work = async {
        write.write_all(&frame).await?;
        write.flush().await
    };
    within(ANSWER, doing, work).await?.map_err(|source| AgentError::Lost { doing, source })
}

async fn receive<R: AsyncRead + Unpin, T: serde::de::DeserializeOwned>(
    read: &mut R,
    doing: &'static str,
    deadline: Duration,
) -> Result<T, AgentError> {
    let lost = |source| AgentError::Lost { doing, source };
    let broken = |source| AgentError::Protocol { doing, source };
    let mut head = [0; 4];
    within(deadline, doing, read.read_exact(&mut head)).await?.map_err(lost)?;
    let mut body = vec![0; wire::frame_length(head).map_err(broken)?];
    within(ANSWER, doing, read.read_exact(&mut body)).await?.map_err(lost)?;
    wire::decode(&body).map_err(broken)
}

async fn within<T>(
    deadline: Duration,
    doing: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, AgentError> {
    tokio::time::timeout(deadline, work)
        .await
        .map_err(|_| AgentError::Deadline { doing, seconds: deadline.as_secs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn hello_from(bytes: Vec<u8>) -> Result<(), AgentError> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let feed = tokio::spawn(async move {
            let _ = theirs.write_all(&bytes).await;
        });
        let (read, write) = tokio::io::split(ours);
        let result = Agent::open(read, write).await.map(|_| ());
        feed.abort();
        result
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        let error = hello_from((wire::MAX_FRAME as u32 + 1).to_be_bytes().to_vec()).await.unwrap_err();
        assert!(matches!(error, AgentError::Protocol { source: FrameError::TooLong(_), .. }), "{error:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_cut_frame_is_a_lost_session() {
        let mut bytes = 100u32.to_be_bytes().to_vec();
        bytes.extend_from_slice(b"{\"prot");
        let error = hello_from(bytes).await.unwrap_err();
        assert!(error.is_lost(), "{error:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn garbage_is_an_error_of_the_protocol() {
        let mut bytes = 7u32.to_be_bytes().to_vec();
        bytes.extend_from_slice(b"garbage");
        let error = hello_from(bytes).await.unwrap_err();
        assert!(matches!(error, AgentError::Protocol { source: FrameError::Content(_), .. }), "{error:?}");
    }

    /// A session whose agent has said these replies already.
    async fn session(replies: Vec<Reply>) -> Agent<impl AsyncRead + Unpin, impl AsyncWrite + Unpin> {
        let basics = serde_json::json!({
            "hostname": "w1", "machine_id": "", "boot_id": "", "kernel": "", "arch": "", "systemd": true, "euid": 0
        });
        let hello = serde_json::json!({"protocol": wire::PROTOCOL, "build": wire::BUILD, "basics": basics});
        let mut bytes = wire::encode(&hello).unwrap();
        bytes.extend(replies.iter().flat_map(|reply| wire::encode(reply).unwrap()));
        Agent::open(std::io::Cursor::new(bytes), tokio::io::sink()).await.unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_error_shows_a_kubeconfig() {
        let text = rackwright_proto::secret::Secret::new("hunter2".into());
        let reply = Reply::Kubeconfig(Some(Kubeconfig { path: "/etc/kubernetes/admin.conf".into(), text }));
        let mut agent = session(vec![reply.clone(), reply]).await;
        let error = agent.traces().await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        let kubeconfig = agent.kubeconfig().await.unwrap().unwrap();
        assert_eq!(kubeconfig.text.expose(), "hunter2");
        assert!(!format!("{kubeconfig:?}").contains("hunter2"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn fewer_answers_than_questions_break_the_protocol() {
        let silence = Reached::Knock(rackwright_proto::reach::Knocked::Silence);
        let reply = Reply::Reached(vec![silence]);
        let address = "127.0.0.1:80".parse().unwrap();
        let asked = Asked::new(rackwright_proto::reach::Reach::Tcp { address }, 1000);
        let mut agent = session(vec![reply.clone(), reply]).await;
        assert_eq!(agent.reach(vec![asked.clone()]).await.unwrap().len(), 1);
        let error = agent.reach(vec![asked.clone(), asked]).await.unwrap_err();
        assert!(matches!(&error, AgentError::Fault(fault) if fault.kind == FaultKind::Protocol), "{error:?}");
    }
}
