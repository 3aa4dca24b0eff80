//! What can be reached from this host? Many questions at once, each with its own deadline.

mod dns;
mod http;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rackwright_proto::reach::{Asked, Reach, Reached, RecordKind, Transport};

use crate::host::{dial, knock};

/// Asks all at once and returns one outcome per question, in order. Never fails as a whole, and ends with the
/// longest of the deadlines.
pub async fn ask(questions: &[Asked]) -> Vec<Reached> {
    join_all(questions.iter().enumerate().map(async |(at, asked)| {
        if at >= Asked::MOST {
            return Reached::Failed { why: format!("only {} questions are asked at once", Asked::MOST) };
        }
        one(asked).await.unwrap_or_else(|why| Reached::Failed { why })
    }))
    .await
}

async fn one(asked: &Asked) -> Result<Reached, String> {
    let within = Duration::from_millis(asked.within_ms.clamp(1, Asked::LONGEST_MS).into());
    let work = async {
        match &asked.reach {
            Reach::Http { address, host, path } => get(*address, host.as_deref(), path).await,
            Reach::Tcp { address } => {
                let began = Instant::now();
                dial::connect(*address).await.map_err(|e| why(&e))?;
                Ok(Reached::Tcp { micros: since(began) })
            }
            Reach::Dns { server, transport, name, kind } => {
                look_up(*server, *transport, name, *kind, spacing(within)).await
            }
            // Silence is an answer here: it keeps its own deadline.
            Reach::Knock { link, address, mac, port } => {
                let to = SocketAddr::new(*address, *port);
                knock::knock(link, to, *mac, within).await.map(Reached::Knock)
            }
        }
    };
    if matches!(asked.reach, Reach::Knock { .. }) {
        return work.await;
    }
    let answer = tokio::time::timeout(within, work).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {}", in_words(within))))
}

async fn get(address: SocketAddr, host: Option<&str>, path: &str) -> Result<Reached, String> {
    let request = http::request(address, host, path)?;
    let bytes = dial::converse(address, &request, http::LIMIT, http::is_enough).await.map_err(|e| why(&e))?;
    http::parse(&bytes).ok_or_else(|| "what answers there does not speak HTTP".into())
}

async fn look_up(
    server: SocketAddr,
    transport: Transport,
    name: &str,
    kind: RecordKind,
    every: Duration,
) -> Result<Reached, String> {
    let question = dns::Question::new(fastrand::u16(..), name, kind)?;
    let message = question.build();
    let began = Instant::now();
    let answer = match transport {
        Transport::Tcp => {
            let bytes = dial::exchange(server, &message).await.map_err(|e| why(&e))?;
            question.answer(&bytes)
        }
        // Datagrams that answer something else may be late, or forged: the right one may yet come.
        Transport::Udp => {
            let understood = |bytes: &[u8]| match question.answer(bytes) {
                Err(dns::NoAnswer::Another) => None,
                answer => Some(answer),
            };
            dial::repeat(server, &message, every, understood).await.map_err(|e| why(&e))?
        }
    };
    let dns::Answer { rcode, answers, truncated } = answer.map_err(|e| e.to_string())?;
    Ok(Reached::Dns { rcode, answers, truncated, micros: since(began) })
}

/// How long to wait for a datagram before it is sent again.
fn spacing(within: Duration) -> Duration {
    (within / 3).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What a socket's error means, in the words that ping(8) and curl(1) made known.
fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset".into(),
        ErrorKind::HostUnreachable => "no route to host".into(),
        ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        ErrorKind::TimedOut => "connection timed out".into(),
        ErrorKind::UnexpectedEof => "the connection was closed without an answer".into(),
        ErrorKind::PermissionDenied => "a firewall on this host forbids it".into(),
        ErrorKind::AddrNotAvailable => "this host has no address to ask from".into(),
        _ => error.to_string(),
    }
}

fn in_words(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}
