//! A TCP stream through a server. It is closed when dropped, which a bare channel is not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use russh::Channel;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::process::{ChannelReader, ChannelWriter, Process};

/// Bytes to and from `host:port` as a server sees it.
pub struct Tunnel {
    reader: ChannelReader,
    writer: ChannelWriter,
}

impl Tunnel {
    pub(super) fn over(channel: Channel<Msg>) -> Self {
        let (reader, writer) = Process::over(channel).into_streams(Vec::new());
        Self { reader, writer }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_shutdown(cx)
    }
}
