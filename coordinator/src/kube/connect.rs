//! The HTTP client behind one door: streams of the door, TLS over them, who we are in each request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Client;
use kube::client::{Body, ConfigExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tower::{BoxError, Layer as _, Service, ServiceExt as _};

use super::counts::Tally;
use super::door::{Door, DoorError, Stream};
use super::kubeconfig::Access;

/// How long a door may take to open; those over SSH have shorter deadlines of their own for each part.
const OPEN: Duration = Duration::from_secs(60);

/// A door as a client sees it, and what is known of its use.
pub(super) struct Gate {
    pub(super) door: Door,
    /// Streams being opened now.
    pub(super) opening: AtomicUsize,
    /// Streams opened so far.
    pub(super) opened: AtomicU64,
    pub(super) tally: Arc<Tally>,
}

impl Gate {
    async fn open(self: Arc<Self>) -> Result<TokioIo<Counted>, DoorError> {
        self.opening.fetch_add(1, Ordering::Relaxed);
        let _opening = Opening(&self.opening);
        let late = || DoorError { why: format!("did not open within {} s", OPEN.as_secs()), lasting: false };
        let stream = timeout(OPEN, (self.door.open)()).await.map_err(|_| late())??;
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        Ok(TokioIo::new(Counted { stream, tally: self.tally.clone() }))
    }
}

/// Counts down also when the opening is given up.
struct Opening<'a>(&'a AtomicUsize);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client whose connections go through a gate and whose server must prove to be `name`, or the URL's host. Blocks
/// while an exec plugin of the kubeconfig runs.
pub(super) fn client(access: &Access, gate: Arc<Gate>, name: Option<String>) -> Result<Client, kube::Error> {
    let mut config = access.config.clone();
    config.tls_server_name = name.or(config.tls_server_name);
    let https = config.rustls_https_connector_with_connector(Connector(gate))?;
    let http: Http<_, Body> = Http::builder(TokioExecutor::new()).build(https);
    let http = config.extra_headers_layer()?.layer(http.map_err(BoxError::from));
    let base = config.base_uri_layer();
    let namespace = config.default_namespace.clone();
    Ok(match config.auth_layer()? {
        Some(auth) => Client::new(base.layer(auth.layer(http)), namespace),
        None => Client::new(base.layer(http), namespace),
    })
}

/// Opens the gate whatever the URL says: the door leads to one server only.
#[derive(Clone)]
struct Connector(Arc<Gate>);

impl Service<http::Uri> for Connector {
    type Response = TokioIo<Counted>;
    type Error = DoorError;
    type Future = BoxFuture<'static, Result<Self::Response, DoorError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DoorError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        Box::pin(self.0.clone().open())
    }
}

/// A stream whose bytes are counted.
struct Counted {
    stream: Box<dyn Stream>,
    tally: Arc<Tally>,
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.tally.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = poll {
            self.tally.sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
