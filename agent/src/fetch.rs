//! Archives that the host gets by itself: by https, from whoever a known authority vouches for, and used only under the
//! hash that the plan says.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::Sha256;
use rackwright_proto::reach::{Asked, Reach, Reached, RecordKind, Transport};

use crate::fault::chain;
use crate::host::Host;
use crate::host::web::{Answer, WebError};
use crate::reach;

/// How long a download may take in all; shorter than a step may.
const DEADLINE: Duration = Duration::from_secs(240);
/// How often an answer may send on: publishers do so once or twice.
const HOPS: usize = 5;
/// How long a name server may take, in milliseconds.
const NAME_SERVER_MS: u32 = 5_000;
/// Where https listens.
const HTTPS: u16 = 443;
/// What to do where there is no way to an archive.
const NEXT: &str = "where this host has no way to it, give `path` and `sha256` of a local copy as the tool's archive in the \
                    rack: it is then pushed from there";

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("`{0}` is no https address")]
    Address(String),
    #[error("no address was found for {name}: {why}")]
    Name { name: String, why: String },
    #[error("ask {0}")]
    Ask(String, #[source] WebError),
    #[error("the answer was {0}")]
    Status(u16),
    #[error("it was sent on more than {HOPS} times")]
    SentOn,
    #[error("the download broke off")]
    BrokeOff(#[source] WebError),
    #[error("it took longer than {} s", DEADLINE.as_secs())]
    TooLong,
}

/// Downloads an archive and keeps it, if its hash is right.
pub async fn archive(url: &str, sha256: &Sha256, host: &Host) -> Result<(), Fault> {
    let mut arriving = host.new_artifact(sha256)?;
    let work = async {
        let mut answer = follow(url, host).await.map_err(|e| failed(url, &e))?;
        while let Some(bytes) = answer.next().await.map_err(|e| failed(url, &FetchError::BrokeOff(e)))? {
            arriving.write(&bytes)?;
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(failed(url, &FetchError::TooLong)))?;
    arriving.done().map_err(|fault| Fault { doing: format!("download {url}"), ..fault })
}

fn failed(url: &str, error: &FetchError) -> Fault {
    Fault::new(FaultKind::Host, format!("download {url}"), chain(error)).next(NEXT)
}

/// The answer at the end of all redirections.
async fn follow(url: &str, host: &Host) -> Result<Answer, FetchError> {
    let mut uri = https(url)?;
    for _ in 0..=HOPS {
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let addresses = look_up(&name, host).await?;
        let port = uri.port_u16().unwrap_or(HTTPS);
        let answer = host.get(&uri, &name, port, &addresses).await;
        let answer = answer.map_err(|e| FetchError::Ask(name.clone(), e))?;
        match (answer.status, &answer.location) {
            (200, _) => return Ok(answer),
            (301 | 302 | 303 | 307 | 308, Some(to)) => uri = sent_on(&uri, to)?,
            (status, _) => return Err(FetchError::Status(status)),
        }
    }
    Err(FetchError::SentOn)
}

fn https(url: &str) -> Result<Uri, FetchError> {
    let bad = || FetchError::Address(url.chars().take(200).collect());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if uri.scheme() == Some(&Scheme::HTTPS) && plain { Ok(uri) } else { Err(bad()) }
}

/// Where an answer sends on to; a path alone stays with who said it (RFC 9110 section 10.2.2).
fn sent_on(from: &Uri, to: &str) -> Result<Uri, FetchError> {
    match (to.starts_with('/') && !to.starts_with("//"), from.authority()) {
        (true, Some(authority)) => https(&format!("https://{authority}{to}")),
        _ => https(to),
    }
}

/// The addresses of a name: itself, of `/etc/hosts`, or by the host's name servers. A static program has no NSS to ask.
async fn look_up(name: &str, host: &Host) -> Result<Vec<IpAddr>, FetchError> {
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    let hosts = host.addresses_of(name);
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let no = |why: String| FetchError::Name { name: name.to_owned(), why };
    let mut why = "/etc/resolv.conf names no server".to_owned();
    for server in host.name_servers() {
        match ask(name, server).await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => why = format!("{server} knows no such name"),
            Err(e) => why = format!("{server}: {e}"),
        }
    }
    Err(no(why))
}

/// Both kinds of addresses at once. One of them is enough.
async fn ask(name: &str, server: IpAddr) -> Result<Vec<IpAddr>, String> {
    let question = |kind| {
        let (server, transport, name) = ((server, 53).into(), Transport::Udp, name.to_owned());
        Asked::new(Reach::Dns { server, transport, name, kind }, NAME_SERVER_MS)
    };
    let (mut found, mut trouble) = (Vec::new(), None);
    for answer in reach::ask(&[question(RecordKind::A), question(RecordKind::Aaaa)]).await {
        match answer {
            Reached::Dns { answers, .. } => {
                found.extend(answers.iter().filter_map(|a| a.parse::<IpAddr>().ok()))
            }
            Reached::Failed { why } => trouble = Some(why),
            _ => {}
        }
    }
    match trouble {
        Some(why) if found.is_empty() => Err(why),
        _ => Ok(found),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests change their own folders")]
mod tests;
