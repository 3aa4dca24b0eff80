//! Bytes to other hosts and back, through the node's own stack. Callers set the deadlines.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// The longest datagram that is looked at; ours invite none above 512 bytes (RFC 1035 section 2.3.4).
const DATAGRAM: usize = 4096;

/// Opens a TCP connection and closes it again.
pub async fn connect(to: SocketAddr) -> io::Result<()> {
    TcpStream::connect(to).await.map(drop)
}

/// Sends `request` over a TCP connection and returns what comes back until it ends, is `enough`, or is `limit`
/// bytes long.
pub async fn converse(
    to: SocketAddr,
    request: &[u8],
    limit: usize,
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(request).await?;
    let mut reader = stream.take(limit as u64);
    let mut bytes = Vec::new();
    while !enough(&bytes) && reader.read_buf(&mut bytes).await? > 0 {}
    Ok(bytes)
}

/// Sends a message over a TCP connection and returns the next that comes, each with its length in front
/// (RFC 1035 section 4.2.2). `message` is shorter than 64 KiB.
pub async fn exchange(to: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&[&(message.len() as u16).to_be_bytes(), message].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Sends a datagram again and again until one comes back that is `understood`.
pub async fn repeat<T>(
    to: SocketAddr,
    message: &[u8],
    every: Duration,
    understood: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<T> {
    let here = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((here, 0)).await?;
    socket.connect(to).await?;
    let mut bytes = vec![0; DATAGRAM];
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = ticks.tick() => drop(socket.send(message).await?),
            length = socket.recv(&mut bytes) => {
                if let Some(answer) = understood(&bytes[..length?]) {
                    return Ok(answer);
                }
            }
        }
    }
}
