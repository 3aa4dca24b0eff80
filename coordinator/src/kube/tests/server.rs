//! A TLS server on loopback that answers as it is told: for trouble that a real API server does not make on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::kube::door::{DoorError, Opener, Stream};
use crate::kube::{Access, Api, Door, Notice, Options, Place};
use crate::ssh::Secret;

/// A certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The TLS of a server with these names, changed by `edit`.
    pub(super) fn server(
        &self,
        names: &[&str],
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateDer::from(params.signed_by(&key, &self.0).unwrap());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
    }

    /// A kubeconfig with a token and this authority.
    pub(super) fn kubeconfig(&self, server: &str) -> String {
        let authority = STANDARD.encode(self.0.pem());
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "me", "user": {"token": "sesame-open"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        })
        .to_string()
    }

    pub(super) async fn access(&self, server: &str) -> Access {
        Access::from_node("cp1", &Secret::new(self.kubeconfig(server))).await.unwrap()
    }
}

/// What a server does with the next request.
#[derive(Debug, Clone)]
pub(super) enum Turn {
    /// Answers with this status and JSON.
    Answer(u16, String),
    /// Reads the request and closes the connection.
    Hangup,
    /// Reads the request and does not answer.
    Silence,
}

/// A server with its script. When the script is over it answers 200 and `{}`.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) place: Place,
    script: Arc<Mutex<VecDeque<Turn>>>,
    /// What was asked: `GET /path`.
    pub(super) heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) async fn start(tls: Arc<ServerConfig>, script: Vec<Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let server = Self { place, script: Arc::new(Mutex::new(script.into())), heard: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(tls);
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(acceptor.clone(), stream));
            }
        });
        server
    }

    async fn serve(self, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        while let Some(request) = read_request(&mut stream).await {
            self.heard.lock().unwrap().push(request);
            let turn = self.script.lock().unwrap().pop_front();
            let (code, body) = match turn.unwrap_or_else(|| Turn::Answer(200, "{}".to_owned())) {
                Turn::Answer(code, body) => (code, body),
                Turn::Hangup => return,
                Turn::Silence => std::future::pending().await,
            };
            let head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    }

    /// A door to this server, as that of a control plane.
    pub(super) fn door(&self, node: &str) -> Door {
        let place = self.place.clone();
        let open: Opener = Arc::new(move || {
            let place = place.clone();
            Box::pin(async move {
                let stream = TcpStream::connect((place.host.as_str(), place.port)).await.unwrap();
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        });
        Door::new(node, open)
    }

    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A door that never opens.
pub(super) fn shut(node: &str, lasting: bool) -> Door {
    Door::new(
        node,
        Arc::new(move || {
            Box::pin(async move { Err(DoorError { why: "the cable is cut".to_owned(), lasting }) })
        }),
    )
}

/// An API, and what it says on the way.
pub(super) fn api(access: &Access, doors: Vec<Door>, mut options: Options) -> (Api, Arc<Mutex<Vec<Notice>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let said = notices.clone();
    options.said = Some(Arc::new(move |notice| said.lock().unwrap().push(notice.clone())));
    (Api::new(access.clone(), doors, options), notices)
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head.lines().next().unwrap().split(" HTTP").next().unwrap().to_owned())
}
