//! One coordinator at a time: a Lease (`coordination.k8s.io/v1`) in the cluster itself.
//!
//! Times are the API server's, read off its answers, so the clocks of two operators need not agree.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, header};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{Api, accept};
use super::ask::Ask;
use super::error::{KubeError, KubeFault};
use super::resource::{Resource, Selector, text};
use super::watch::{Set, Watched};

/// Where the Lease is.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "rackwright";
/// How long a hold lasts after its last renewal.
pub const DURATION: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(10);
/// How often a lock that changed while it was taken is looked at again.
const ATTEMPTS: usize = 4;

/// Who works on the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The operator's login name.
    pub operator: String,
    /// The operator's machine.
    pub machine: String,
    /// The run.
    pub run: String,
}

impl Holder {
    /// Whether another holder is a run of the same operator on the same machine.
    fn is_neighbour(&self, other: &str) -> bool {
        other.rsplit_once('/').is_some_and(|(who, _)| who == format!("{}@{}", self.operator, self.machine))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.operator, self.machine, self.run)
    }
}

/// Why the cluster is not ours to work on.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else works on it.
    #[error(
        "another coordinator works on this cluster: {holder}, since {since}; its last sign of life was {quiet} s ago. \
         Wait for it; if it died, it is given up {} s after that",
        DURATION.as_secs()
    )]
    Held {
        /// `OPERATOR@MACHINE/RUN`.
        holder: String,
        /// Since when, RFC 3339.
        since: String,
        /// Seconds since its last renewal.
        quiet: i64,
    },
    /// It was ours and is no more.
    #[error(
        "the lock on the cluster was lost: {why}; run again, which goes on from what the cluster has now"
    )]
    Lost {
        /// Who took it, or why it could not be kept.
        why: String,
    },
    /// The Lease could not be read or written.
    #[error("the lock on the cluster cannot be taken")]
    Kube(#[source] Box<KubeError>),
}

impl From<KubeError> for LeaseError {
    fn from(error: KubeError) -> Self {
        Self::Kube(Box::new(error))
    }
}

/// The lock, held and renewed in the background until it is released or dropped. One that is dropped is given up by
/// others 30 seconds later.
pub struct Hold {
    api: Api,
    state: Arc<Mutex<State>>,
    renewal: JoinHandle<()>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({})", text(&lock(&self.state).lease, "/spec/holderIdentity"))
    }
}

/// What is known of a Lease that is ours.
struct State {
    lease: Value,
    clock: Clock,
    renewed: Instant,
    lost: Option<String>,
}

/// The API server's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    server: Timestamp,
    at: Instant,
}

impl Clock {
    fn of(headers: &HeaderMap) -> Self {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let zoned = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        Self { server: zoned.map_or_else(Timestamp::now, |zoned| zoned.timestamp()), at: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.at.elapsed()).unwrap_or_default();
        self.server.saturating_add(passed).unwrap_or(self.server)
    }
}

impl Hold {
    /// Takes the lock, also one whose holder has given no sign of life for longer than its duration. Whether a run of
    /// the same operator on the same machine is alive, or was killed, is waited for: at most that long, and `tell`
    /// hears of it.
    ///
    /// # Errors
    /// [`LeaseError::Held`], or the API's refusal.
    pub async fn take(api: &Api, holder: &Holder, tell: &(dyn Fn(&str) + Sync)) -> Result<Self, LeaseError> {
        let mut attempt = 1;
        loop {
            match Self::try_take(api, holder).await {
                Err(LeaseError::Kube(error)) if attempt < ATTEMPTS && is_raced(&error) => {}
                Err(LeaseError::Held { holder: other, since, quiet })
                    if attempt < ATTEMPTS && holder.is_neighbour(&other) =>
                {
                    tell(&own_run(&other, quiet));
                    if is_alive(api, &other, quiet).await? {
                        return Err(LeaseError::Held { holder: other, since, quiet: 0 });
                    }
                }
                taken => return taken,
            }
            attempt += 1;
        }
    }

    async fn try_take(api: &Api, holder: &Holder) -> Result<Self, LeaseError> {
        let (found, clock) = read(api).await?;
        let lease = match found {
            None => api.create(&fresh(holder, clock.now()), false).await?,
            Some(lease) => {
                check_free(&lease, holder, clock.now())?;
                api.replace_object(&taken(lease, holder, clock.now()), false).await?
            }
        };
        let state = State { lease, clock, renewed: Instant::now(), lost: None };
        let state = Arc::new(Mutex::new(state));
        let renewal = tokio::spawn(renew(api.clone(), state.clone()));
        Ok(Self { api: api.clone(), state, renewal })
    }

    /// Whether the lock is still ours; to be asked before each change.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]
    pub fn check(&self) -> Result<(), LeaseError> {
        let state = lock(&self.state);
        match &state.lost {
            Some(why) => Err(LeaseError::Lost { why: why.clone() }),
            None if state.renewed.elapsed() > DURATION => {
                let why = format!("it could not be renewed for {} s", state.renewed.elapsed().as_secs());
                Err(LeaseError::Lost { why })
            }
            None => Ok(()),
        }
    }

    /// The same, after an API server that was away for longer than the lock lasts: nobody else took it, if it can be
    /// renewed as it was last seen.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]
    pub async fn ensure(&self) -> Result<(), LeaseError> {
        for _ in 0..ATTEMPTS {
            let late = lock(&self.state).renewed.elapsed() > DURATION / 2;
            if !late || lock(&self.state).lost.is_some() {
                break;
            }
            renew_once(&self.api, &self.state).await;
        }
        self.check()
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// It was lost before, or the API's refusal; it then ends by itself.
    pub async fn release(self) -> Result<(), LeaseError> {
        let mut lease = self.stop().await?;
        lease["spec"]["holderIdentity"] = Value::Null;
        lease["spec"]["acquireTime"] = Value::Null;
        self.api.replace_object(&lease, false).await?;
        Ok(())
    }

    /// Gives the lock back and removes the Lease, so that nothing of ours is left.
    ///
    /// # Errors
    /// It was lost before, or the API's refusal.
    pub async fn remove(self) -> Result<(), LeaseError> {
        let lease = self.stop().await?;
        let uid = text(&lease, "/metadata/uid");
        self.api.delete(&Resource::of::<Lease>(), Some(NAMESPACE), NAME, uid, false).await?;
        Ok(())
    }

    /// Ends the renewal; the Lease as it is last known.
    async fn stop(&self) -> Result<Value, LeaseError> {
        self.ensure().await?;
        self.renewal.abort();
        // A renewal that was cut off may have arrived, so what is known may be older than what is.
        let (found, _) = read(&self.api).await?;
        let ours = lock(&self.state).lease.clone();
        let holder = text(&ours, "/spec/holderIdentity");
        match found {
            Some(lease) if text(&lease, "/spec/holderIdentity") == holder => Ok(lease),
            found => Err(LeaseError::Lost { why: taken_by(found.as_ref()) }),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own_run(holder: &str, quiet: i64) -> String {
    format!(
        "the cluster is still held by your run {holder}, whose last sign of life was {quiet} s ago; waiting up to {} s \
         to see whether it died",
        (DURATION.as_secs() as i64 - quiet).max(0) + 1
    )
}

/// Waits until a holder renews its hold, or gives it up, or should have renewed it; true for the first.
async fn is_alive(api: &Api, holder: &str, quiet: i64) -> Result<bool, KubeError> {
    let left =
        Duration::from_secs(u64::try_from(quiet).map_or(0, |q| DURATION.as_secs().saturating_sub(q)) + 1);
    let selector = Selector::namespace(NAMESPACE).named(NAME);
    let mut first = None;
    let changed = |leases: &Set<Value>| {
        let lease = leases.values().next();
        let now = lease.map(|lease| text(lease, "/spec/renewTime").to_owned());
        let same = first.get_or_insert_with(|| now.clone()) == &now;
        let held = lease.is_some_and(|lease| text(lease, "/spec/holderIdentity") == holder);
        if held && same { None } else { Some(held) }
    };
    match api.watch_until::<Value, bool>(&Resource::of::<Lease>(), &selector, left, changed).await? {
        Watched::Met(alive) => Ok(alive),
        Watched::Late(_) => Ok(false),
    }
}

/// Somebody else was faster, or gone in between.
fn is_raced(error: &KubeError) -> bool {
    matches!(*error.fault, KubeFault::Conflict { .. } | KubeFault::Exists | KubeFault::NotFound)
}

/// The Lease, and the API server's clock.
async fn read(api: &Api) -> Result<(Option<Value>, Clock), KubeError> {
    let ask = Ask::object("get", Method::GET, &Resource::of::<Lease>(), Some(NAMESPACE), NAME);
    let reply = api.wire.send(&ask).await?;
    let clock = Clock::of(&reply.headers);
    match accept(&ask, reply) {
        Ok(reply) => match serde_json::from_slice(&reply.bytes()) {
            Ok(lease) => Ok((Some(lease), clock)),
            Err(source) => Err(KubeFault::Malformed { source }.at(ask.doing)),
        },
        Err(error) if matches!(*error.fault, KubeFault::NotFound) => Ok((None, clock)),
        Err(error) => Err(error),
    }
}

/// `metav1.MicroTime`.
fn micro(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn fresh(holder: &Holder, now: Timestamp) -> Value {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "rackwright"},
        },
        "spec": {"leaseTransitions": -1},
    });
    taken(lease, holder, now)
}

fn taken(mut lease: Value, holder: &Holder, now: Timestamp) -> Value {
    let transitions = lease.pointer("/spec/leaseTransitions").and_then(Value::as_i64).unwrap_or(0);
    lease["spec"] = json!({
        "holderIdentity": holder.to_string(),
        "leaseDurationSeconds": DURATION.as_secs(),
        "acquireTime": micro(now),
        "renewTime": micro(now),
        "leaseTransitions": transitions + 1,
    });
    lease
}

/// Whether a Lease may be taken: nobody's, ours already, or one that was not renewed in time.
fn check_free(lease: &Value, ours: &Holder, now: Timestamp) -> Result<(), LeaseError> {
    let holder = text(lease, "/spec/holderIdentity");
    if holder.is_empty() || holder == ours.to_string() {
        return Ok(());
    }
    let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_i64);
    let Ok(renewed) = text(lease, "/spec/renewTime").parse::<Timestamp>() else { return Ok(()) };
    let quiet = now.duration_since(renewed).as_secs();
    if quiet > seconds.unwrap_or(DURATION.as_secs() as i64) {
        return Ok(());
    }
    let since = text(lease, "/spec/acquireTime").to_owned();
    Err(LeaseError::Held { holder: holder.to_owned(), since, quiet: quiet.max(0) })
}

fn taken_by(found: Option<&Value>) -> String {
    match found.map(|lease| text(lease, "/spec/holderIdentity")) {
        None => format!("the Lease {NAMESPACE}/{NAME} was removed"),
        Some("") => "somebody released it".to_owned(),
        Some(holder) => format!("{holder} took it over"),
    }
}

/// Renews until the lock is lost or the task is ended.
async fn renew(api: Api, state: Arc<Mutex<State>>) {
    while lock(&state).lost.is_none() {
        tokio::time::sleep(RENEW).await;
        renew_once(&api, &state).await;
    }
}

async fn renew_once(api: &Api, state: &Mutex<State>) {
    let mut lease = lock(state).lease.clone();
    lease["spec"]["renewTime"] = micro(lock(state).clock.now()).into();
    let asked = Instant::now();
    match api.replace_object(&lease, false).await {
        Ok(renewed) => {
            let mut state = lock(state);
            state.lease = renewed;
            state.renewed = asked;
        }
        Err(error) if is_raced(&error) => {
            if let Some(why) = look_again(api, state).await {
                lock(state).lost = Some(why);
            }
        }
        // The next round tries again; whoever asks is told when it has been too long.
        Err(error) => tracing::warn!("{error}"),
    }
}

/// After a conflict: why the lock is lost, or nothing if only something else of the Lease changed.
async fn look_again(api: &Api, state: &Mutex<State>) -> Option<String> {
    let Ok((found, clock)) = read(api).await else { return None };
    let mut state = lock(state);
    let ours = text(&state.lease, "/spec/holderIdentity")
        == found.as_ref().map_or("", |l| text(l, "/spec/holderIdentity"));
    match found {
        Some(lease) if ours => {
            state.lease = lease;
            state.clock = clock;
            None
        }
        found => Some(taken_by(found.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(run: &str) -> Holder {
        Holder { operator: "ann".into(), machine: "desk".into(), run: run.into() }
    }

    #[test]
    fn a_lease_is_free_when_its_holder_is_silent_for_too_long() {
        let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let lease = fresh(&holder("1"), start);
        assert_eq!(lease["spec"]["renewTime"], "2026-11-23T12:00:00.000000Z");
        assert_eq!(lease["spec"]["leaseTransitions"], 0);
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        assert!(check_free(&lease, &holder("1"), at(1)).is_ok());
        let held = check_free(&lease, &holder("2"), at(30)).unwrap_err().to_string();
        assert!(
            held.contains("ann@desk/1, since 2026-11-23T12:00:00") && held.contains("30 s ago"),
            "{held}"
        );
        assert!(check_free(&lease, &holder("2"), at(31)).is_ok());
        let mut released = lease;
        released["spec"]["holderIdentity"] = Value::Null;
        assert!(check_free(&released, &holder("2"), at(1)).is_ok());
    }

    #[test]
    fn the_servers_clock_is_read_off_its_answers() {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, "Mon, 23 Nov 2026 16:40:26 GMT".parse().unwrap());
        assert_eq!(Clock::of(&headers).server.to_string(), "2026-11-23T16:40:26Z");
    }
}
