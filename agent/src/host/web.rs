//! One question by https. Which authorities are trusted is the host's to say: its own store of certificates, or
//! `SSL_CERT_FILE`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Host;
use super::read::SMALL;

/// How long a connection may take, and how long the other side may be silent then.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No store of certificates was found.
    #[error("this host trusts no certificate authority; install its package ca-certificates")]
    Authorities,
    /// TLS cannot be set up for this name.
    #[error("prepare TLS")]
    Prepare(#[source] tokio_rustls::rustls::Error),
    /// The name cannot be in a certificate.
    #[error("that is no name of a server")]
    Name,
    /// No TCP connection.
    #[error("connect to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    /// No TLS.
    #[error("agree on TLS")]
    Tls(#[source] io::Error),
    /// No HTTP.
    #[error("speak HTTP")]
    Http(#[from] hyper::Error),
    /// Not a request.
    #[error("make a request")]
    Request(#[from] http::Error),
    /// Silence.
    #[error("it is silent for {} s", PATIENCE.as_secs())]
    Silent,
}

/// An answer, whose body is yet to come.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Where it sends on to.
    pub location: Option<String>,
    body: Incoming,
}

impl Answer {
    /// The next bytes of the body; none at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WebError> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame()).await.map_err(|_| WebError::Silent)?;
            let Some(frame) = frame else { return Ok(None) };
            // Else trailers.
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}

impl Host {
    /// Asks for `uri` of the server `name`, at the first of these addresses that takes a connection.
    pub async fn get(
        &self,
        uri: &Uri,
        name: &str,
        port: u16,
        addresses: &[IpAddr],
    ) -> Result<Answer, WebError> {
        let connector = TlsConnector::from(Arc::new(trust()?));
        let server = ServerName::try_from(name.to_owned()).map_err(|_| WebError::Name)?;
        let stream = connect(addresses, port).await?;
        let tls = timeout(PATIENCE, connector.connect(server, stream)).await;
        let tls = tls.map_err(|_| WebError::Silent)?.map_err(WebError::Tls)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        // It ends with the answer's body.
        tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or(name, |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("rackwright-agent/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let answer =
            timeout(PATIENCE, sender.send_request(request)).await.map_err(|_| WebError::Silent)??;
        let location =
            answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        Ok(Answer { status: answer.status().as_u16(), location, body: answer.into_body() })
    }

    /// The addresses that `/etc/hosts` has for a name (hosts(5)).
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let text = self.read_text("/etc/hosts", SMALL).ok().flatten().unwrap_or_default();
        let address = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        };
        text.lines().filter_map(address).collect()
    }

    /// The name servers that programs of this host ask (resolv.conf(5)).
    pub fn name_servers(&self) -> Vec<IpAddr> {
        let text = self.read_text("/etc/resolv.conf", SMALL).ok().flatten().unwrap_or_default();
        let server = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse().ok();
        text.lines().filter_map(server).take(3).collect()
    }
}

fn trust() -> Result<ClientConfig, WebError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(WebError::Authorities);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(WebError::Prepare)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, WebError> {
    let mut trouble = WebError::Silent;
    for ip in addresses {
        let to = SocketAddr::new(*ip, port);
        match timeout(PATIENCE / 3, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => trouble = WebError::Connect(to, e),
            Err(_) => trouble = WebError::Connect(to, io::ErrorKind::TimedOut.into()),
        }
    }
    Err(trouble)
}
