//! Waiting for the cluster: one LIST, then a WATCH, never a poll.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::api::{Api, accept, named, typed};
use super::ask::Ask;
use super::error::{KubeError, KubeFault};
use super::resource::{Resource, Selector, text};
use super::status::Status;
use super::wire::Content;

/// Bookmarks come about once a minute (KEP-956), so a watch that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest event that is taken: etcd stores no larger object than 1.5 MiB.
const MOST_LINE: usize = 8 << 20;
/// The pause before a watch that ended at once is begun again.
const PAUSE: Duration = Duration::from_millis(500);

/// The selected objects as they are now, by namespace (empty for those of the cluster) and name.
pub type Set<K> = BTreeMap<(String, String), K>;

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched<K, T> {
    /// The condition was met, with what it yielded.
    Met(T),
    /// It was not met in time; the objects as they last were.
    Late(Set<K>),
}

/// How a watch ended.
enum Ended<T> {
    Met(T),
    /// By itself or broken: to be resumed where it was.
    Cut,
    /// Too old, or silent: to be listed anew.
    Old,
    Late,
}

impl Api {
    /// Waits until `met` yields something for the selected objects, at most for `within`. It is asked with the full set
    /// at first and after each change. A watch that breaks is resumed where it was, through another control plane if
    /// need be.
    ///
    /// # Errors
    /// The cluster refuses, or cannot be reached for longer than the patience. Being late is none.
    pub async fn watch_until<K, T>(
        &self,
        resource: &Resource,
        selector: &Selector,
        within: Duration,
        mut met: impl FnMut(&Set<K>) -> Option<T>,
    ) -> Result<Watched<K, T>, KubeError>
    where
        K: DeserializeOwned,
    {
        let mut watch = Watch {
            api: self,
            resource,
            selector,
            set: Set::new(),
            version: String::new(),
            end: Instant::now() + within,
        };
        loop {
            match timeout_at(watch.end, watch.list()).await {
                Ok(listed) => listed?,
                Err(_) => return Ok(Watched::Late(watch.set)),
            }
            if let Some(value) = met(&watch.set) {
                return Ok(Watched::Met(value));
            }
            match watch.follow_on(&mut met).await? {
                Ended::Met(value) => return Ok(Watched::Met(value)),
                Ended::Late => return Ok(Watched::Late(watch.set)),
                Ended::Cut | Ended::Old => {}
            }
        }
    }
}

struct Watch<'a, K> {
    api: &'a Api,
    resource: &'a Resource,
    selector: &'a Selector,
    set: Set<K>,
    version: String,
    end: Instant,
}

impl<K: DeserializeOwned> Watch<'_, K> {
    async fn list(&mut self) -> Result<(), KubeError> {
        let listed = self.api.list_objects(self.resource, self.selector).await?;
        let doing = || self.doing();
        let items = listed.items.into_iter().map(|item| Ok((key(&item), typed(item, doing)?)));
        self.set = items.collect::<Result<_, KubeError>>()?;
        self.version = listed.version;
        Ok(())
    }

    fn doing(&self) -> String {
        format!("watch {}", self.selector.words(self.resource))
    }

    /// Follows one watch after another, from version to version.
    async fn follow_on<T>(
        &mut self,
        met: &mut impl FnMut(&Set<K>) -> Option<T>,
    ) -> Result<Ended<T>, KubeError> {
        loop {
            let begun = Instant::now();
            let followed = timeout_at(self.end, self.follow(met)).await;
            match followed.unwrap_or(Ok(Ended::Late)) {
                Ok(Ended::Cut) if begun.elapsed() < PAUSE => {
                    if timeout_at(self.end, tokio::time::sleep(PAUSE)).await.is_err() {
                        return Ok(Ended::Late);
                    }
                }
                Ok(Ended::Cut) => {}
                Err(error) if matches!(*error.fault, KubeFault::Gone) => return Ok(Ended::Old),
                ended => return ended,
            }
        }
    }

    async fn follow<T>(&mut self, met: &mut impl FnMut(&Set<K>) -> Option<T>) -> Result<Ended<T>, KubeError> {
        // The server ends it a little after we would, so that it does not live on when we are gone.
        let left = self.end.saturating_duration_since(Instant::now()).as_secs() + 5;
        let mut ask = Ask::selection("watch", self.resource, self.selector)
            .query("watch", true)
            .query("allowWatchBookmarks", true)
            .query("resourceVersion", &self.version)
            .query("timeoutSeconds", left);
        ask.stream = true;
        let reply = accept(&ask, self.api.wire.send(&ask).await?)?;
        let Content::Stream(body) = reply.content else { return Ok(Ended::Cut) };
        let mut lines = Lines { body, buffer: Vec::new(), searched: 0 };
        let mut moved = pin!(self.api.wire.moved.notified());
        loop {
            let line = tokio::select! {
                line = timeout(SILENCE, lines.next()) => line,
                () = &mut moved => return Ok(Ended::Cut),
            };
            let line = match line {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None) | Err(Cut)) => return Ok(Ended::Cut),
                Err(_) => return Ok(Ended::Old),
            };
            let event = serde_json::from_slice(&line);
            let event = event.map_err(|source| KubeFault::Malformed { source }.at(&ask.doing))?;
            if self.take(event, &ask)?
                && let Some(value) = met(&self.set)
            {
                return Ok(Ended::Met(value));
            }
        }
    }

    /// Takes in one event; true if the set changed.
    fn take(&mut self, mut event: Value, ask: &Ask) -> Result<bool, KubeError> {
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        let kind = text(&event, "/type");
        if kind == "ERROR" {
            let code = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            let body = object.to_string().into_bytes();
            return Err(Status::of(&body).fault(code.unwrap_or(500), ask).at(&ask.doing));
        }
        let version = text(&object, "/metadata/resourceVersion");
        if !version.is_empty() {
            version.clone_into(&mut self.version);
        }
        match kind {
            "ADDED" | "MODIFIED" => {
                let object = named(object, self.resource);
                self.set.insert(key(&object), typed(object, || ask.doing.clone())?);
            }
            "DELETED" => drop(self.set.remove(&key(&object))),
            // A bookmark has nothing but its version.
            _ => return Ok(false),
        }
        if self.set.len() > self.selector.most {
            let (what, most) = (self.selector.words(self.resource), self.selector.most);
            return Err(KubeFault::TooLarge { what, most, unit: "objects" }.at(&ask.doing));
        }
        Ok(true)
    }
}

fn key(object: &Value) -> (String, String) {
    (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned())
}

/// The lines of a stream.
struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// How far the buffer is known to have no end of a line.
    searched: usize,
}

/// The stream broke, or holds what is no event.
struct Cut;

impl Lines {
    /// The next line; `None` at the end. May be dropped while it waits: nothing is lost.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Cut> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MOST_LINE {
                return Err(Cut);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data))
                }
                Some(Err(_)) => return Err(Cut),
                None => return Ok(None),
            }
        }
    }
}
