//! One request, whatever breaks on the way: doors in turn, patience, and repeats only where they are safe.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::ask::{Ask, Repeat, retry_after};
use super::connect::{self, Gate};
use super::counts::Tally;
use super::door::Door;
use super::error::{KubeError, KubeFault};
use super::kubeconfig::Access;
use super::status::Status;
use super::trouble::{Broken, TlsFault, Why};

/// The name that every API server's certificate has: kubeadm, k3s, RKE2 and k0s all put it in.
const CLUSTER_NAME: &str = "kubernetes.default.svc";
/// The first pause before a repeat; each is twice the last.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long an answer may stall once it has begun.
const STALL: Duration = Duration::from_secs(20);

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until the answer to a read begins.
    pub read: Duration,
    /// Until the answer to a write begins: webhooks may take up to 30 s of it.
    pub write: Duration,
    /// How long a request is tried again, from its first trouble: an API server that restarts takes 10 to 40 s.
    pub trouble: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(15),
            write: Duration::from_secs(40),
            trouble: Duration::from_secs(60),
        }
    }
}

/// What progress may tell while a request finds its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A door was given up for the next.
    Through {
        /// The node that does not answer.
        lost: String,
        /// Why.
        why: String,
        /// The node that is asked instead.
        next: String,
    },
    /// Nobody answers; it is tried again for a while.
    Waiting {
        /// The node, or the last of them.
        node: String,
        /// Why.
        why: String,
        /// For how long at most.
        most: Duration,
    },
    /// The API server warns about what was sent (RFC 9111 5.5, as Kubernetes uses it).
    Warning {
        /// What was being done.
        doing: String,
        /// Its words.
        text: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Through { lost, why, next } => {
                write!(f, "{lost} does not answer ({why}); going on through {next}")
            }
            Self::Waiting { node, why, most } => {
                write!(f, "{node} does not answer ({why}); trying again for up to {} s", most.as_secs())
            }
            Self::Warning { doing, text } => write!(f, "{doing}: the API server warns: {text}"),
        }
    }
}

/// Who hears notices.
pub type Said = Arc<dyn Fn(&Notice) + Send + Sync>;

/// How an [`Api`](super::Api) behaves.
#[derive(Clone, Default)]
pub struct Options {
    /// How long things may take.
    pub patience: Patience,
    /// Who hears notices, besides the log.
    pub said: Option<Said>,
}

/// The doors to the API servers and what goes through them.
pub(super) struct Wire {
    access: Access,
    lanes: Vec<Lane>,
    turn: AtomicUsize,
    /// Tells watches that the door changed: theirs may hang for long before it breaks.
    pub(super) moved: Notify,
    options: Options,
    pub(super) tally: Arc<Tally>,
    /// Whether the last request was given up: the next ones try every door once, and wait no more.
    given_up: AtomicBool,
}

/// A door and the client behind it.
struct Lane {
    gate: Arc<Gate>,
    /// The names that the server may prove to have, in order; `None` for what the kubeconfig says.
    names: Vec<Option<String>>,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    client: Option<Client>,
    name: usize,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
    /// Whether the same request may have arrived before: a refusal may then be of our own doing.
    pub(super) repeated: bool,
}

pub(super) enum Content {
    Bytes(Vec<u8>),
    Stream(Body),
}

impl Reply {
    pub(super) fn bytes(self) -> Vec<u8> {
        match self.content {
            Content::Bytes(bytes) => bytes,
            Content::Stream(_) => Vec::new(),
        }
    }
}

impl Lane {
    fn new(door: Door, access: &Access, tally: Arc<Tally>) -> Self {
        let names = match &access.config.tls_server_name {
            None if door.own => vec![Some(CLUSTER_NAME.to_owned()), None],
            _ => vec![None],
        };
        let gate = Gate { door, opening: 0.into(), opened: 0.into(), tally };
        Self { gate: Arc::new(gate), names, state: Mutex::default() }
    }

    fn node(&self) -> &str {
        &self.gate.door.node
    }

    fn state(&self) -> std::sync::MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self, access: &Access) -> Result<Client, Broken> {
        let name = {
            let state = self.state();
            if let Some(client) = &state.client {
                return Ok(client.clone());
            }
            self.names.get(state.name).cloned().flatten()
        };
        let (access, gate) = (access.clone(), self.gate.clone());
        // An exec plugin runs while the client is made.
        let made = tokio::task::spawn_blocking(move || connect::client(&access, gate, name)).await;
        let client =
            made.map_err(|_| no_client("it could not be made"))?.map_err(|e| no_client(identity(&e)))?;
        Ok(self.state().client.insert(client).clone())
    }

    /// Forgets connections that may hang.
    fn reset(&self) {
        self.state().client = None;
    }

    /// Goes on to the next name that the server may have; false if there is none.
    fn next_name(&self) -> bool {
        let mut state = self.state();
        let more = state.name + 1 < self.names.len();
        state.name += usize::from(more);
        state.client = None;
        more
    }

    fn opened(&self) -> u64 {
        self.gate.opened.load(Ordering::Relaxed)
    }
}

fn no_client(why: &str) -> Broken {
    Broken { sent: false, lasting: true, why: Why::Words(format!("no client can be made: {why}")) }
}

/// Why an identity cannot be used. The library's own words may quote what a plugin printed, so they are not shown.
fn identity(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Auth(_) => {
            "the kubeconfig's token or exec plugin gives no identity; try it with `kubectl version`"
        }
        kube::Error::RustlsTls(_) => "the kubeconfig's certificate or key cannot be used",
        _ => "the kubeconfig cannot be used",
    }
}

impl Wire {
    pub(super) fn new(access: Access, doors: Vec<Door>, options: Options) -> Self {
        let tally = Arc::new(Tally::default());
        let lanes = doors.into_iter().map(|door| Lane::new(door, &access, tally.clone())).collect();
        Self {
            access,
            lanes,
            turn: AtomicUsize::new(0),
            moved: Notify::new(),
            options,
            tally,
            given_up: AtomicBool::new(false),
        }
    }

    pub(super) fn node(&self) -> &str {
        self.lanes.get(self.turn.load(Ordering::Relaxed)).map(Lane::node).unwrap_or_default()
    }

    /// Sends a request until it has an answer: one that succeeded, or the first refusal that stands.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Reply, KubeError> {
        let mut effort = Effort::new(self, ask);
        loop {
            let turn = self.turn.load(Ordering::Relaxed);
            let Some(lane) = self.lanes.get(turn) else {
                let why = "there is no control plane to ask".to_owned();
                return Err(KubeFault::Client { why }.at(&ask.doing));
            };
            let opened = lane.opened();
            let done = match self.attempt(lane, ask).await {
                Ok(reply) => effort.judge(lane, lane.opened() > opened, reply).await?,
                Err(broken) => effort.broke(turn, broken).await?,
            };
            if let Some(reply) = done {
                self.given_up.store(false, Ordering::Relaxed);
                return Ok(reply);
            }
        }
    }

    async fn attempt(&self, lane: &Lane, ask: &Ask) -> Result<Reply, Broken> {
        let client = lane.client(&self.access).await?;
        let request = ask
            .request()
            .map_err(|error| Broken { lasting: true, ..Broken::words(false, error.to_string()) })?;
        let patience = ask.patience(self.options.patience.read, self.options.patience.write);
        let mut send = pin!(client.send(request));
        let sent = loop {
            match timeout(patience, &mut send).await {
                Ok(sent) => break sent,
                // Opening the door has deadlines of its own.
                Err(_) if lane.gate.opening.load(Ordering::Relaxed) > 0 => {}
                Err(_) => {
                    self.tally.count(ask.verb, &ask.resource);
                    return Err(Broken::words(true, format!("no answer within {} s", patience.as_secs())));
                }
            }
        };
        let sent = sent.map_err(|error| Broken::of(&error));
        if !matches!(&sent, Err(broken) if !broken.sent) {
            self.tally.count(ask.verb, &ask.resource);
        }
        let (head, body) = sent?.into_parts();
        let content = match ask.stream && head.status.is_success() {
            true => Content::Stream(body),
            false => Content::Bytes(read(body, ask.most).await?),
        };
        Ok(Reply { status: head.status, headers: head.headers, content, repeated: false })
    }

    fn say(&self, notice: Notice) {
        tracing::info!("{notice}");
        if let Some(said) = &self.options.said {
            said(&notice);
        }
    }

    /// What the API server warns of, in the answer's `Warning: 299 - "text"`.
    fn warn(&self, ask: &Ask, headers: &HeaderMap) {
        for warning in headers.get_all(http::header::WARNING).iter().filter_map(|value| value.to_str().ok()) {
            let text =
                warning.split_once('"').map_or(warning, |(_, text)| text).trim_end_matches('"').to_owned();
            self.say(Notice::Warning { doing: ask.doing.clone(), text });
        }
    }

    /// Moves on from a door, unless somebody did already.
    fn pass(&self, turn: usize, why: &Why) {
        let next = (turn + 1) % self.lanes.len();
        let moved = self.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && next != turn {
            let (lost, next) = (self.lanes[turn].node().to_owned(), self.lanes[next].node().to_owned());
            self.say(Notice::Through { lost, why: why.to_string(), next });
            self.moved.notify_waiters();
        }
    }
}

/// A whole answer, if it is not too long.
async fn read(mut body: Body, most: usize) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    loop {
        let frame = timeout(STALL, body.frame()).await;
        let frame = frame.map_err(|_| Broken::words(true, "the answer stalled"))?;
        let Some(frame) = frame else { return Ok(bytes) };
        let frame = frame.map_err(|error| Broken::of(&error))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > most {
                return Err(Broken { sent: true, lasting: true, why: Why::TooLong(most) });
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// The trouble that one request has had so far.
struct Effort<'a> {
    wire: &'a Wire,
    ask: &'a Ask,
    since: Option<Instant>,
    /// For how long it is tried again.
    most: Duration,
    pauses: u32,
    /// The last trouble of each door.
    troubles: Vec<Option<Broken>>,
    /// Whether an earlier try may have arrived.
    arrived: bool,
    doubted: bool,
    told: bool,
}

impl<'a> Effort<'a> {
    fn new(wire: &'a Wire, ask: &'a Ask) -> Self {
        let troubles = wire.lanes.iter().map(|_| None).collect();
        let most = match wire.given_up.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => wire.options.patience.trouble,
        };
        Self {
            wire,
            ask,
            since: None,
            most,
            pauses: 0,
            troubles,
            arrived: false,
            doubted: false,
            told: false,
        }
    }

    /// An answer: the end, unless the API server is about to come or to go.
    async fn judge(
        &mut self,
        lane: &Lane,
        fresh: bool,
        mut reply: Reply,
    ) -> Result<Option<Reply>, KubeError> {
        reply.repeated = self.arrived;
        self.wire.warn(self.ask, &reply.headers);
        let code = reply.status.as_u16();
        if reply.status.is_success() {
            return Ok(Some(reply));
        }
        let Content::Bytes(body) = &reply.content else { return Ok(Some(reply)) };
        let status = Status::of(body);
        if matches!(code, 401 | 403) && !self.doubted && (fresh || self.since.is_some()) {
            // An API server that has just begun to listen refuses everybody until it has read its roles.
            self.doubted = true;
            self.await_ready(lane).await;
            return Ok(None);
        }
        if status.is_passing(code) && self.ask.repeat == Repeat::IfUnsent {
            return Err(KubeFault::Uncertain { why: status.message }.at(&self.ask.doing));
        }
        if status.is_busy(code) || status.is_passing(code) {
            self.arrived |= status.is_passing(code);
            let why = Why::Words(format!("{code} {}", status.message));
            self.pause(lane.node(), &why, retry_after(&reply.headers)).await?;
            return Ok(None);
        }
        Ok(Some(reply))
    }

    /// Waits until an API server says that it is ready, for a while. One that has not read its roles yet forbids
    /// even that question, which is everybody's by default (`system:public-info-viewer`).
    async fn await_ready(&mut self, lane: &Lane) {
        let mut ask = Ask::path("get", Method::GET, "/readyz", "ask whether the API server is ready");
        ask.within = Some(Duration::from_secs(5));
        let end = Instant::now() + self.wire.options.patience.trouble / 2;
        while let Ok(reply) = self.wire.attempt(lane, &ask).await {
            if reply.status.is_success() || Instant::now() > end {
                return;
            }
            tokio::time::sleep(PAUSE * 2).await;
        }
    }

    /// A door broke: the next one, another name, a pause, or the end.
    async fn broke(&mut self, turn: usize, broken: Broken) -> Result<Option<Reply>, KubeError> {
        let lane = &self.wire.lanes[turn];
        if matches!(broken.why, Why::Tls(TlsFault::Name { .. })) && lane.next_name() {
            return Ok(None);
        }
        if let Why::TooLong(most) = broken.why {
            let fault = KubeFault::TooLarge { what: "the answer".to_owned(), most, unit: "bytes" };
            return Err(fault.at(&self.ask.doing));
        }
        if broken.sent {
            lane.reset();
            self.arrived = true;
        }
        let why = broken.why.clone();
        let uncertain = broken.sent && self.ask.repeat == Repeat::IfUnsent;
        self.troubles[turn] = Some(broken);
        if self.troubles.iter().all(|trouble| trouble.as_ref().is_some_and(|trouble| trouble.lasting)) {
            return Err(self.end(Duration::ZERO));
        }
        self.wire.pass(turn, &why);
        if uncertain {
            return Err(KubeFault::Uncertain { why: why.to_string() }.at(&self.ask.doing));
        }
        // The next door is tried at once, unless all have been.
        if self.troubles.iter().any(Option::is_none) {
            self.since.get_or_insert_with(Instant::now);
            return Ok(None);
        }
        let node = lane.node();
        self.pause(node, &why, None).await?;
        Ok(None)
    }

    async fn pause(&mut self, node: &str, why: &Why, asked: Option<Duration>) -> Result<(), KubeError> {
        let most = self.most;
        let passed = self.since.get_or_insert_with(Instant::now).elapsed();
        if passed >= most {
            let index = self.wire.lanes.iter().position(|lane| lane.node() == node);
            if let Some(trouble) = index.and_then(|index| self.troubles.get_mut(index)) {
                trouble.get_or_insert(Broken { sent: true, lasting: false, why: why.clone() });
            }
            return Err(self.end(passed));
        }
        if !self.told {
            self.told = true;
            self.wire.say(Notice::Waiting { node: node.to_owned(), why: why.to_string(), most });
        }
        let pause = asked.unwrap_or_else(|| LONGEST_PAUSE.min(PAUSE * 2u32.saturating_pow(self.pauses)));
        self.pauses += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The error when nothing more can be tried.
    fn end(&self, after: Duration) -> KubeError {
        self.wire.given_up.store(true, Ordering::Relaxed);
        let lanes = self.wire.lanes.iter().zip(&self.troubles);
        let troubles: Vec<_> =
            lanes.filter_map(|(lane, trouble)| Some((lane.node(), trouble.as_ref()?))).collect();
        let fault = match troubles.as_slice() {
            [(node, Broken { why: Why::Tls(tls), .. })] => {
                KubeFault::Tls { node: (*node).to_owned(), tls: tls.clone() }
            }
            _ => {
                let doors = troubles.iter().map(|(node, broken)| format!("{node}: {}", broken.why)).collect();
                KubeFault::Unreachable { doors, after }
            }
        };
        fault.at(&self.ask.doing)
    }
}
