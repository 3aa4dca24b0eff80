//! Doors: ways to an API server. Each opens byte streams; nothing is dialled before it is needed.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::console::chain;
use crate::ssh::{Connection, Dialer, Fault, SshError, Target, Tunnel};

/// Name resolution and TCP to the operator's own door.
const CONNECT: Duration = Duration::from_secs(10);

/// Bytes to and from an API server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What opens a stream, each time anew.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn Stream>, DoorError>> + Send + Sync>;

/// Host and port, as whoever connects there sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A door that does not open.
#[derive(Debug)]
pub struct DoorError {
    /// Why, in words.
    pub why: String,
    /// Whether trying again cannot help: a host key, a login, a server that forbids tunnels.
    pub lasting: bool,
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for DoorError {}

impl From<&SshError> for DoorError {
    fn from(error: &SshError) -> Self {
        let passing = match &*error.fault {
            Fault::Refused
            | Fault::Unreachable(_)
            | Fault::Timeout { .. }
            | Fault::Broken { .. }
            | Fault::Throttled
            | Fault::Booting(_)
            | Fault::Resolve(_) => true,
            Fault::Channel { why, .. } => !why.starts_with("forbidden"),
            _ => false,
        };
        Self { why: format!("{}: {}", error.place, chain(&*error.fault)), lasting: !passing }
    }
}

/// A way to an API server.
#[derive(Clone)]
pub struct Door {
    /// The node behind it: what progress and errors call it.
    pub node: String,
    /// Whether the bytes go to one control plane's own API server, whose certificate has the names of the cluster but
    /// not necessarily that of the kubeconfig's URL.
    pub(super) own: bool,
    pub(super) open: Opener,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({})", self.node)
    }
}

impl Door {
    /// A door of the caller's making: its streams lead to the API server on `node`.
    pub fn new(node: impl Into<String>, open: Opener) -> Self {
        Self { node: node.into(), own: true, open }
    }

    /// Through the SSH connection of a control plane to the API server as it sees it: `places` are tried in turn,
    /// see [`Access::local`](super::Access::local). `connected` is used while it lasts; else a new one is made.
    pub fn ssh(
        dialer: Arc<Dialer>,
        target: Target,
        connected: Option<Arc<Connection>>,
        places: Vec<Place>,
    ) -> Self {
        let node = target.node.clone();
        let way = Arc::new(Way { dialer, target, places, connection: Mutex::new(connected) });
        Self::new(
            node,
            Arc::new(move || {
                let way = way.clone();
                Box::pin(async move { way.open().await.map(|tunnel| Box::new(tunnel) as Box<dyn Stream>) })
            }),
        )
    }

    /// Straight to the server of the operator's own kubeconfig.
    pub fn direct(place: Place) -> Self {
        let node = place.to_string();
        let open: Opener = Arc::new(move || {
            let place = place.clone();
            Box::pin(async move { direct(&place).await.map(|stream| Box::new(stream) as Box<dyn Stream>) })
        });
        Self { node, own: false, open }
    }
}

/// The way through a control plane.
struct Way {
    dialer: Arc<Dialer>,
    target: Target,
    places: Vec<Place>,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Way {
    async fn open(&self) -> Result<Tunnel, DoorError> {
        let connection = self.connection().await?;
        let mut last = DoorError { why: "no place to connect to".to_owned(), lasting: true };
        for place in &self.places {
            match connection.direct_tcpip(&place.host, place.port).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(error) => {
                    last = DoorError::from(&error);
                    if !matches!(*error.fault, Fault::Channel { .. }) {
                        self.forget(&connection).await;
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn connection(&self) -> Result<Arc<Connection>, DoorError> {
        let mut slot = self.connection.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let connection = self.dialer.connect(&self.target).await.map_err(|error| DoorError::from(&error))?;
        Ok(slot.insert(Arc::new(connection)).clone())
    }

    /// A connection that broke or gives no answer is not used again.
    async fn forget(&self, connection: &Arc<Connection>) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, connection)) {
            *slot = None;
        }
    }
}

async fn direct(place: &Place) -> Result<TcpStream, DoorError> {
    let passing = |why: String| DoorError { why, lasting: false };
    let connect = timeout(CONNECT, TcpStream::connect((place.host.as_str(), place.port))).await;
    let stream = connect
        .map_err(|_| passing(format!("no TCP connection to {place} within {} s", CONNECT.as_secs())))?
        .map_err(|error| passing(format!("no TCP connection to {place}: {error}")))?;
    stream.set_nodelay(true).map_err(|error| passing(error.to_string()))?;
    Ok(stream)
}
