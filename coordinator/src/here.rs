//! What the operator's own machine reaches: a small door, for proofs from where clients may be.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rackwright_proto::reach::{Asked, Reach, Reached};
use tokio::net::TcpStream;

use crate::console::chain;
use crate::fleet;

/// Questions at once.
const AT_ONCE: usize = 64;

/// Whether this machine is where clients may be: on the segment of an address, by its own routes. Elsewhere silence
/// proves nothing, since nothing says that the address is routed this far.
pub fn is_on_segment(address: IpAddr) -> bool {
    shares_subnet(address).unwrap_or(false)
}

/// The source address that the kernel would choose, compared with the subnets of this machine's interfaces.
fn shares_subnet(to: IpAddr) -> std::io::Result<bool> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    // Of a datagram socket: nothing is sent, whatever the port.
    socket.connect((to, 9))?;
    let from = socket.local_addr()?.ip();
    let subnets = nix::ifaddrs::getifaddrs()?.filter_map(|i| {
        let (address, mask) = (i.address?, i.netmask?);
        let (address, mask) = (ip(&address)?, ip(&mask)?);
        (address == from).then(|| ipnet::IpNet::with_netmask(address, mask).ok()).flatten()
    });
    Ok({ subnets }.any(|net| net.contains(&to)))
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| a.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
}

/// Asks from here: TCP and HTTP only. Answers come in the order of the questions.
pub async fn reach(asked: &[Asked]) -> Vec<Reached> {
    fleet::each(AT_ONCE, asked, |question| async move {
        let within = Duration::from_millis(question.within_ms.into());
        let work = async {
            match &question.reach {
                Reach::Tcp { address } => connect(*address).await,
                Reach::Http { address, host, path } => get(*address, host.as_deref(), path).await,
                _ => Err("not asked from here".into()),
            }
        };
        match tokio::time::timeout(within, work).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(why)) => Reached::Failed { why },
            Err(_) => Reached::Failed { why: format!("no answer within {} s", within.as_secs()) },
        }
    })
    .await
}

async fn connect(to: SocketAddr) -> Result<Reached, String> {
    let begun = tokio::time::Instant::now();
    TcpStream::connect(to).await.map_err(|e| e.to_string())?;
    Ok(Reached::Tcp { micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX) })
}

/// One `GET` over a connection of its own, as agents do it.
async fn get(to: SocketAddr, host: Option<&str>, path: &str) -> Result<Reached, String> {
    let host = host.map_or_else(|| to.to_string(), str::to_owned);
    let request = Request::get(path).header(header::HOST, host).header(header::USER_AGENT, "rackwright");
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| chain(&e))?;
    let stream = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| chain(&e))?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|e| chain(&e))?;
        let status = response.status().as_u16();
        let server = response.headers().get(header::SERVER).and_then(|v| v.to_str().ok());
        let server = server.unwrap_or_default().chars().take(Reached::SERVER).collect();
        // What is longer than is kept is of no use here.
        let body = Limited::new(response.into_body(), Reached::BODY).collect().await;
        let body = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
        Ok(Reached::Http { status, server, body })
    };
    tokio::select! {
        answer = talk => answer,
        Err(error) = connection => Err(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server on loopback that says this to whoever asks; returns what it was asked.
    async fn asked_of(says: &'static str) -> (Vec<Reached>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 1024];
            let length = stream.read(&mut bytes).await.unwrap();
            stream.write_all(says.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        });
        let http = Reach::Http { address, host: Some("web.example".into()), path: "/x".into() };
        let reached = reach(&[Asked::new(http, 5_000)]).await;
        (reached, serve.await.unwrap())
    }

    #[tokio::test]
    async fn a_name_is_asked_for_and_the_answer_kept() {
        let says = "HTTP/1.1 404 Not Found\r\nserver: istio-envoy\r\ncontent-length: 2\r\n\r\nno";
        let (reached, request) = asked_of(says).await;
        let expected = Reached::Http { status: 404, server: "istio-envoy".into(), body: "no".into() };
        assert_eq!(reached, [expected]);
        assert!(
            request.starts_with("GET /x HTTP/1.1\r\n") && request.contains("host: web.example"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn what_speaks_no_http_is_a_failure_in_words() {
        let (reached, _) = asked_of("SSH-2.0-OpenSSH_9.9\r\n").await;
        assert!(matches!(&reached[0], Reached::Failed { why } if !why.is_empty()), "{reached:?}");
    }

    #[tokio::test]
    async fn only_tcp_and_http_are_asked_from_here() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let reached = reach(&[Asked::new(Reach::Tcp { address: closed }, 1_000)]).await;
        assert!(matches!(&reached[0], Reached::Failed { why } if why.contains("refused")), "{reached:?}");
    }

    #[test]
    fn loopback_is_on_a_segment_of_its_own() {
        assert!(is_on_segment("127.0.0.1".parse().unwrap()));
    }
}
