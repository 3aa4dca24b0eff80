//! Getting things from the web to the operator's side: bounded, by https, with a deadline. Whoever asks checks what came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncReadExt as _;

use crate::atomic;

/// How long a download may take in all.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often an answer may send on: publishers do so once or twice.
const HOPS: usize = 3;

/// Where things lie on the operator's side.
#[derive(Debug, Clone)]
pub struct Places<'a> {
    /// The rack's folder.
    pub folder: &'a Path,
    /// The operator's home.
    pub home: Option<&'a Path>,
    /// Where downloads are kept, by [`cache_folder`]; nothing is kept without it.
    pub cache: Option<PathBuf>,
}

/// `$XDG_CACHE_HOME/rackwright`, or `~/.cache/rackwright` (XDG Base Directory Specification).
pub fn cache_folder(xdg_cache_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let named = xdg_cache_home.filter(|path| path.is_absolute()).map(Path::to_owned);
    named.or_else(|| Some(home?.join(".cache"))).map(|cache| cache.join("rackwright"))
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The machine's certificates of authorities cannot be read.
    #[error("read this machine's certificate authorities")]
    Authorities(#[source] std::io::Error),
    /// No connection, no TLS, or no HTTP.
    #[error("ask {0}")]
    Ask(String, #[source] hyper_util::client::legacy::Error),
    /// Another status than 200.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// Sent on to where we do not go.
    #[error("the answer sends on to {0}, which is not by https or sends on again")]
    SentOn(String),
    /// It broke off.
    #[error("the download broke off")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More bytes than are wanted.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// Longer than the deadline.
    #[error("it took longer than {} s", DEADLINE.as_secs())]
    TooLong,
}

/// What is at an address, at most `largest` bytes of it.
///
/// # Errors
/// When it cannot be had in time.
pub async fn download(url: &str, largest: usize) -> Result<Vec<u8>, DownloadError> {
    tokio::time::timeout(DEADLINE, follow(url, largest)).await.unwrap_or(Err(DownloadError::TooLong))
}

type Https = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

async fn follow(url: &str, largest: usize) -> Result<Vec<u8>, DownloadError> {
    let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(DownloadError::Authorities)?;
    let client: Https =
        Client::builder(TokioExecutor::new()).build(connector.https_only().enable_http1().build());
    let mut response = ask(&client, url).await?;
    for hop in 1.. {
        if !response.status().is_redirection() {
            break;
        }
        let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        let to = to.unwrap_or_default().to_owned();
        if hop > HOPS || !to.starts_with("https://") {
            return Err(DownloadError::SentOn(to));
        }
        response = ask(&client, &to).await?;
    }
    if response.status() != StatusCode::OK {
        return Err(DownloadError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), largest).collect().await;
    let bytes = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => DownloadError::TooLarge(largest),
        false => DownloadError::BrokeOff(error),
    })?;
    Ok(bytes.to_bytes().to_vec())
}

async fn ask(client: &Https, url: &str) -> Result<Response<Incoming>, DownloadError> {
    let uri: Uri = url.parse().map_err(|_| DownloadError::SentOn(url.to_owned()))?;
    let host = uri.host().unwrap_or_default().to_owned();
    let request =
        Request::get(uri).header(header::USER_AGENT, concat!("rackwright/", env!("CARGO_PKG_VERSION")));
    let request = request.body(Empty::new()).map_err(|_| DownloadError::SentOn(url.to_owned()))?;
    client.request(request).await.map_err(|source| DownloadError::Ask(host, source))
}

/// A local file, at most `largest` bytes of it.
///
/// # Errors
/// When it cannot be read, or is larger.
pub async fn read(path: &Path, largest: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(largest as u64 + 1).read_to_end(&mut bytes).await?;
    match bytes.len() > largest {
        true => Err(std::io::Error::other(format!("it is larger than {} MiB", largest >> 20))),
        false => Ok(bytes),
    }
}

/// Keeps a file of the cache.
///
/// # Errors
/// When it cannot be written.
pub fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    atomic::write(path, bytes, 0o600)
}

/// SHA-256 (FIPS 180-4), lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
