//! The byte stream under an SSH connection: TCP, or a channel through a jump host.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::error::Fault;
use super::target::Endpoint;
use super::tunnel::Tunnel;

/// Reads after which quick acknowledgements are no longer re-armed: the handshake and login are over by then.
const HANDSHAKE_READS: usize = 64;

/// A stream that counts its reads, and keeps the handshake free of delayed acknowledgements.
pub(super) struct Link {
    inner: Inner,
    reads: Reads,
}

enum Inner {
    Tcp(TcpStream),
    Hop(Tunnel),
}

/// What was read from a [`Link`] so far.
#[derive(Clone, Default)]
pub(super) struct Reads {
    count: Arc<AtomicUsize>,
    ssh: Arc<AtomicBool>,
}

impl Reads {
    /// Whether the server has said anything at all.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Whether it has said that it speaks SSH.
    pub(super) fn ssh(&self) -> bool {
        self.ssh.load(Ordering::Relaxed)
    }

    fn in_handshake(&self) -> bool {
        self.count.load(Ordering::Relaxed) < HANDSHAKE_READS
    }

    fn note(&self, bytes: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.ssh() && bytes.windows(6).any(|window| window == b"SSH-2.") {
            self.ssh.store(true, Ordering::Relaxed);
        }
    }
}

impl Link {
    /// Connects by TCP.
    pub(super) async fn tcp(endpoint: &Endpoint) -> Result<Self, Fault> {
        let addresses: Vec<_> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(|e| Fault::Resolve(Arc::new(e)))?
            .collect();
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(connect_fault)?;
        // Both are about speed only: a stack that refuses them still works.
        let _ = stream.set_nodelay(true);
        Ok(Self { inner: Inner::Tcp(stream), reads: Reads::default() })
    }

    /// Goes through a channel of another connection.
    pub(super) fn through(tunnel: Tunnel) -> Self {
        Self { inner: Inner::Hop(tunnel), reads: Reads::default() }
    }

    pub(super) fn reads(&self) -> Reads {
        self.reads.clone()
    }
}

fn connect_fault(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Refused,
        io::ErrorKind::ConnectionReset => Fault::Throttled,
        _ => Fault::Unreachable(Arc::new(error)),
    }
}

/// The server's small writes wait for our acknowledgement (Nagle), and Linux forgets the option after a while:
/// so it is set again before each read of the handshake.
fn acknowledge_quickly(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = stream.set_quickack(true);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = stream;
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        let before = buf.filled().len();
        match &mut link.inner {
            Inner::Tcp(stream) => {
                if link.reads.in_handshake() {
                    acknowledge_quickly(stream);
                }
                ready!(Pin::new(stream).poll_read(cx, buf))?;
            }
            Inner::Hop(stream) => ready!(Pin::new(stream).poll_read(cx, buf))?,
        }
        if buf.filled().len() > before && link.reads.in_handshake() {
            link.reads.note(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Hop(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Hop(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Hop(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
