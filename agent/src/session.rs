//! A coordinator's session over stdin and stdout. It reads the host, starts runs and tells of them; it changes
//! nothing itself but what lies in `/var/lib/rackwright` and `/run/rackwright`.

use std::time::Duration;

use rackwright_proto::facts::{Basics, Depth, Facts};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::RunId;
use rackwright_proto::plan::Run;
use rackwright_proto::step::HostStep;
use rackwright_proto::tool::ToolRun;
use rackwright_proto::wire::{
    self, AgentHello, BUILD, CoordinatorHello, FrameError, Holder, PROTOCOL, Reply, Request,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::confirm::{self, Stage};
use crate::fault::{chain, host_fault};
use crate::follow::{Follower, Heard};
use crate::host::detach::Task;
use crate::host::tool::Running;
use crate::host::{Host, is_root, now_ms};
use crate::journal::{RunDir, RunError, is_finished};
use crate::ledger::Book;
use crate::{drift, examine, facts, l2, lock, reach, step, tool};

/// How long a coordinator may stay silent before it is taken for gone.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// How long the rest of a frame, or the reading of ours, may take.
const TRANSFER: Duration = Duration::from_secs(120);

/// How long a run that has its last record may take to let go of the lock.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a run may take to hear the word that was left for it.
const CONFIRMING: Duration = Duration::from_secs(15);

/// How many requests may wait while a run is followed.
const WAITING: usize = 16;

/// Why a session ended before the coordinator ended it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A frame was not one.
    #[error("read a frame from the coordinator")]
    Frame(#[source] FrameError),
    /// The stream ended inside a frame.
    #[error("the coordinator's stream ended inside a frame")]
    Cut,
    /// The coordinator is of another build.
    #[error("the coordinator is build {theirs}, this agent is {BUILD}; let it deliver its own agent")]
    Build {
        /// The coordinator's build.
        theirs: String,
    },
    /// Nothing came, or nothing was taken from us, for too long.
    #[error("the coordinator was silent for {0} s")]
    Silent(u64),
    /// More requests than an honest coordinator would send ahead.
    #[error("the coordinator sent more than {WAITING} requests ahead")]
    Crowd,
    /// The stream broke.
    #[error("talk to the coordinator")]
    Stream(#[source] std::io::Error),
}

impl SessionError {
    /// Whether the coordinator broke the protocol, as opposed to going away.
    pub fn is_protocol(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Cut | Self::Build { .. } | Self::Crowd)
    }
}

/// Serves one coordinator until it ends its stream.
pub async fn serve(
    host: &Host,
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin,
) -> Result<(), SessionError> {
    let (send, frames) = mpsc::channel(WAITING);
    let mut session = Session { host, output, frames, since_ms: now_ms() };
    let basics = facts::basics(host);
    session.greet(&basics).await?;
    tokio::spawn(read_frames(input, send));
    let result = session.answer_all(&basics).await;
    if let Err(e) = result.as_ref()
        && e.is_protocol()
    {
        let fault = Fault::new(FaultKind::Protocol, "serve the coordinator", chain(e));
        let _ = session.say(&Reply::Fault(fault)).await;
    }
    result
}

type Incoming = Result<Vec<u8>, SessionError>;

struct Session<'a, W> {
    host: &'a Host,
    output: W,
    frames: mpsc::Receiver<Incoming>,
    since_ms: u64,
}

/// Reads frames until the stream ends; the channel's end is the stream's.
async fn read_frames(mut input: impl AsyncRead + Unpin, send: mpsc::Sender<Incoming>) {
    loop {
        let frame = match read_frame(&mut input).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => return,
            Err(e) => Err(e),
        };
        let last = frame.is_err();
        if send.send(frame).await.is_err() || last {
            return;
        }
    }
}

/// One frame's body; `None` when the stream ended between frames. Memory grows with what comes, not with what a
/// head announces.
async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, SessionError> {
    let mut head = [0; 4];
    let first = input.read(&mut head[..1]).await.map_err(SessionError::Stream)?;
    if first == 0 {
        return Ok(None);
    }
    let rest = async {
        input.read_exact(&mut head[1..]).await.map_err(cut)?;
        let length = wire::frame_length(head).map_err(SessionError::Frame)?;
        let mut body = Vec::new();
        input.take(length as u64).read_to_end(&mut body).await.map_err(SessionError::Stream)?;
        if body.len() == length { Ok(Some(body)) } else { Err(SessionError::Cut) }
    };
    in_time(TRANSFER, rest).await
}

fn cut(error: std::io::Error) -> SessionError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => SessionError::Cut,
        _ => SessionError::Stream(error),
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(SessionError::Silent(limit.as_secs())))
}

impl<W: AsyncWrite + Unpin> Session<'_, W> {
    async fn greet(&mut self, basics: &Basics) -> Result<(), SessionError> {
        let hello = AgentHello {
            protocol: PROTOCOL,
            build: BUILD.into(),
            basics: basics.clone(),
            holder: self.holder(),
        };
        let mut bytes = wire::MAGIC.to_vec();
        bytes.extend(wire::encode(&hello).map_err(SessionError::Frame)?);
        self.write(&bytes).await
    }

    /// Who holds the host; a run that only closes its books does not.
    fn holder(&self) -> Option<Holder> {
        lock::holder(self.host).filter(|h| {
            let events = RunDir::of(self.host, &h.run).events();
            !events.is_ok_and(|events| is_finished(&events))
        })
    }

    async fn answer_all(&mut self, basics: &Basics) -> Result<(), SessionError> {
        let Some(hello) = self.hear::<CoordinatorHello>().await? else { return Ok(()) };
        if hello.protocol != PROTOCOL || hello.build != BUILD {
            return Err(SessionError::Build { theirs: hello.build });
        }
        while let Some(request) = self.hear::<Request>().await? {
            match request {
                Request::Observe { steps, depth } => {
                    let facts = observe(self.host, basics.clone(), &steps, depth).await;
                    self.say(&facts.map_or_else(Reply::Fault, |f| Reply::Facts(Box::new(f)))).await?;
                }
                Request::Probe { probes } => self.say(&Reply::Probed(l2::probe(&probes).await)).await?,
                Request::Reach { questions } => {
                    self.say(&Reply::Reached(reach::ask(&questions).await)).await?;
                }
                Request::Kubeconfig => {
                    let reply = self.host.kubeconfig();
                    self.say(&reply.map_or_else(Reply::Fault, Reply::Kubeconfig)).await?;
                }
                Request::Traces => {
                    self.say(&Reply::Traces(Box::new(self.host.traces()))).await?;
                }
                Request::Examine(what) => {
                    self.say(&Reply::Examined(Box::new(examine::examine(self.host, &what).await))).await?;
                }
                Request::Run(run) => match self.start(&run, basics).await {
                    Ok(dir) => self.follow(&dir, 0, &run.plan.node.to_string()).await?,
                    Err(fault) => self.say(&Reply::Fault(fault)).await?,
                },
                Request::Attach { run, from_seq } => match find(self.host, run) {
                    Ok(dir) => self.follow(&dir, from_seq, "NODE").await?,
                    Err(fault) => self.say(&Reply::Fault(fault)).await?,
                },
                Request::Reboot => match may_reboot(self.host) {
                    Ok(()) => {
                        self.say(&Reply::Rebooting).await?;
                        // Whether it comes is seen by the next session, which a failure leaves possible.
                        if let Err(error) = self.host.reboot().await {
                            tracing::error!("{}", chain(&error));
                        }
                    }
                    Err(fault) => self.say(&Reply::Fault(fault)).await?,
                },
                Request::Tool(run) => match tool::start(&run, self.host) {
                    Ok(running) => self.listen(&run, running).await?,
                    Err(fault) => self.say(&Reply::Fault(fault)).await?,
                },
                Request::Artifact { sha256, size } => {
                    let have = self.host.artifact_have(&sha256, size);
                    self.say(&have.map_or_else(Reply::Fault, |have| Reply::Artifact { have })).await?;
                }
                Request::ArtifactPart(part) => {
                    let have = self.host.artifact_part(&part);
                    self.say(&have.map_or_else(Reply::Fault, |have| Reply::Artifact { have })).await?;
                }
                Request::Confirm { run } => {
                    let reply = confirm(self.host, &run, self.since_ms).await;
                    self.say(&reply.map_or_else(Reply::Fault, |()| Reply::Confirmed)).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the plan and starts its run, detached.
    async fn start(&self, run: &Run, basics: &Basics) -> Result<RunDir, Fault> {
        check(self.host, run, basics)?;
        self.wait_for_lock(run).await?;
        let dir = RunDir::create(self.host, run).map_err(|e| match e {
            RunError::Started(_) => Fault::new(FaultKind::Stale, "start the run", chain(&e)),
            e => host_fault("start the run", &e),
        })?;
        if let Err(e) = self.host.start_detached(Task::Run, &run.id).await {
            // A plan that nobody runs would be taken for the last run.
            dir.remove();
            return Err(e.into());
        }
        Ok(dir)
    }

    async fn wait_for_lock(&self, run: &Run) -> Result<(), Fault> {
        let deadline = tokio::time::Instant::now() + CLOSING;
        while lock::is_held(self.host) {
            let closing = self.holder().is_none();
            if !closing || tokio::time::Instant::now() > deadline {
                let held = lock::LockError::Held(lock::holder(self.host));
                return Err(held.fault(run.plan.node.as_str()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Tells a run's records until there are no more, or the coordinator goes away: the run does not care.
    async fn follow(&mut self, dir: &RunDir, from_seq: u64, node: &str) -> Result<(), SessionError> {
        let mut follower = match Follower::new(self.host, dir, from_seq) {
            Ok(follower) => follower,
            Err(e) => return self.say(&Reply::Fault(host_fault("follow the run", &e))).await,
        };
        self.say(&Reply::Following { run: dir.id().clone() }).await?;
        let mut waiting = Vec::new();
        loop {
            let heard = tokio::select! {
                heard = follower.next() => heard,
                frame = self.frames.recv() => match frame {
                    None => return Ok(()),
                    Some(_) if waiting.len() == WAITING => return Err(SessionError::Crowd),
                    Some(frame) => { waiting.push(frame?); continue }
                },
            };
            let last = match heard {
                Ok(Heard::Event(event)) => {
                    self.say(&Reply::Event(event)).await?;
                    continue;
                }
                Ok(Heard::Finished) => Reply::Followed { finished: true },
                Ok(Heard::Died) => Reply::Followed { finished: false },
                Ok(Heard::NeverBegan) => Reply::Fault(never_began(self.host, dir, node)),
                Err(e) => Reply::Fault(host_fault("follow the run", &e)),
            };
            self.say(&last).await?;
            break;
        }
        self.put_back(waiting);
        Ok(())
    }

    /// Tells what a tool says until it ended. It is killed when the coordinator goes away.
    async fn listen(&mut self, run: &ToolRun, mut tool: Running) -> Result<(), SessionError> {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                said = tool.said.recv() => match said {
                    Some(line) => self.say(&Reply::ToolSaid(line)).await?,
                    None => break,
                },
                frame = self.frames.recv() => match frame {
                    None => return Ok(()),
                    Some(_) if waiting.len() == WAITING => return Err(SessionError::Crowd),
                    Some(frame) => waiting.push(frame?),
                },
            }
        }
        let reply = match tool.outcome().await {
            Ok(outcome) => tool::fitting(outcome),
            Err(e) => Reply::Fault(host_fault(format!("run {}", run.program), &e)),
        };
        self.say(&reply).await?;
        self.put_back(waiting);
        Ok(())
    }

    /// Requests that came while a run or a tool was followed are answered next.
    fn put_back(&mut self, waiting: Vec<Vec<u8>>) {
        if waiting.is_empty() {
            return;
        }
        let (send, frames) = mpsc::channel(WAITING * 2);
        let mut later = std::mem::replace(&mut self.frames, frames);
        tokio::spawn(async move {
            for frame in waiting {
                let _ = send.send(Ok(frame)).await;
            }
            while let Some(frame) = later.recv().await {
                let _ = send.send(frame).await;
            }
        });
    }

    /// The next message; `None` when the coordinator ended its stream.
    async fn hear<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SessionError> {
        let next = tokio::time::timeout(IDLE, self.frames.recv()).await;
        match next.map_err(|_| SessionError::Silent(IDLE.as_secs()))? {
            None => Ok(None),
            Some(frame) => wire::decode(&frame?).map(Some).map_err(SessionError::Frame),
        }
    }

    async fn say<T: Serialize>(&mut self, message: &T) -> Result<(), SessionError> {
        let bytes = wire::encode(message).map_err(SessionError::Frame)?;
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let output = &mut self.output;
        let work = async {
            output.write_all(bytes).await.map_err(SessionError::Stream)?;
            output.flush().await.map_err(SessionError::Stream)
        };
        in_time(TRANSFER, work).await
    }
}

async fn observe(host: &Host, basics: Basics, steps: &[HostStep], depth: Depth) -> Result<Facts, Fault> {
    let (seen, troubles) = step::observe_all(steps, host).await;
    let ledger = Book::current(host).map_err(|e| host_fault("read the receipts", &e))?;
    let mut facts = facts::observe(host, basics, seen, ledger, depth).await;
    facts.drift = drift::last(host);
    facts.troubles.extend(troubles);
    Ok(facts)
}

fn check(host: &Host, run: &Run, basics: &Basics) -> Result<(), Fault> {
    let doing = format!("start run {}", run.id);
    if host.is_this() && !is_root() {
        return Err(Fault::new(FaultKind::Host, doing, "this agent does not run as root")
            .next("set `ssh.become: sudo` in the rack, or `ssh.user: root`"));
    }
    if run.plan.machine_id != basics.machine_id {
        let cause = format!(
            "the plan is for the host with machine-id {}, this one has {}",
            run.plan.machine_id, basics.machine_id
        );
        return Err(Fault::new(FaultKind::Stale, doing, cause).next("plan again"));
    }
    Ok(())
}

/// Whether a reboot may be ordered from here: of the machine itself, by root, through systemd, and not in mid-run.
fn may_reboot(host: &Host) -> Result<(), Fault> {
    let refused = |kind, why: &str, next: &str| Err(Fault::new(kind, "reboot the host", why).next(next));
    if lock::is_held(host) {
        return Err(lock::LockError::Held(lock::holder(host)).fault("NODE"));
    }
    if !host.is_this() || !host.has_systemd() {
        return refused(FaultKind::Host, "it has no systemd to stop its units first", "reboot it by hand");
    }
    if !is_root() {
        let next = "set `ssh.become: sudo` in the rack, or `ssh.user: root`";
        return refused(FaultKind::Host, "this agent does not run as root", next);
    }
    Ok(())
}

/// The run that was named, or the one in progress, or the last.
fn find(host: &Host, run: Option<RunId>) -> Result<RunDir, Fault> {
    let doing = "find the run";
    let named = run.or_else(|| lock::holder(host).map(|h| h.run)).map(|id| RunDir::of(host, &id));
    let dir = match named {
        Some(dir) => Some(dir),
        None => {
            let all = RunDir::all(host).map_err(|e| host_fault(doing, &e))?;
            all.into_iter().filter(RunDir::exists).max_by_key(RunDir::touched)
        }
    };
    dir.filter(RunDir::exists)
        .ok_or_else(|| Fault::new(FaultKind::Host, doing, "this host has no such run").next("apply again"))
}

fn never_began(host: &Host, dir: &RunDir, node: &str) -> Fault {
    if lock::is_held(host) {
        return lock::LockError::Held(lock::holder(host)).fault(node);
    }
    Fault::new(FaultKind::Host, format!("start run {}", dir.id()), "it wrote no record").next(format!(
        "on the host, `journalctl -u rackwright-run-{}` may tell why; then apply again",
        dir.id()
    ))
}

/// Leaves word for a run that awaits it, and returns once the run took it. The connection that carries the word
/// must be younger than the change: an older one proves nothing. The agent can tell the age of its session only;
/// that a new session comes over a new TCP connection is the coordinator's part.
async fn confirm(host: &Host, id: &RunId, since_ms: u64) -> Result<(), Fault> {
    let doing = format!("confirm run {id}");
    let fault = |why: &str| Fault::new(FaultKind::Stale, doing.clone(), why);
    let dir = RunDir::of(host, id);
    let events = dir.events().map_err(|e| host_fault(doing.clone(), &e))?;
    match confirm::stage(&events) {
        Stage::Open { awaiting_since_ms: Some(at), .. } if since_ms < at => {
            return Err(fault("this connection is older than the change").next("connect anew"));
        }
        Stage::Open { awaiting_since_ms: Some(_), .. } => {}
        _ => return Err(fault("it awaits no confirmation")),
    }
    if lock::holder(host).is_none_or(|h| h.run != *id) {
        return Err(fault("it died; what it could cut off is about to be undone"));
    }
    let from = events.last().map_or(0, |e| e.seq + 1);
    let follower = Follower::new(host, &dir, from).map_err(|e| host_fault(doing.clone(), &e))?;
    confirm::leave_word(&dir, host).map_err(|e| host_fault(doing.clone(), &e))?;
    let heard = tokio::time::timeout(CONFIRMING, until_confirmed(follower)).await;
    if heard.unwrap_or(false) { Ok(()) } else { Err(fault("it was undone before the word came")) }
}

async fn until_confirmed(mut follower: Follower) -> bool {
    use rackwright_proto::event::Record;
    while let Ok(Heard::Event(event)) = follower.next().await {
        match event.record {
            Record::Confirmed => return true,
            Record::RolledBack { .. } | Record::Finished { .. } => return false,
            _ => {}
        }
    }
    false
}
