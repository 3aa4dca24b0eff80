//! From a kubeconfig to what a connection needs: the server, whom to trust there, and who we are.

use std::fmt;
use std::path::Path;

use kube::config::{AuthInfo, Cluster, Config, KubeConfigOptions, Kubeconfig, KubeconfigError as Library};

use super::door::Place;
use crate::ssh::Secret;

/// More than any kubeconfig: those of clouds with dozens of clusters stay far below.
const MOST: usize = 1 << 20;

/// A kubeconfig that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {fault}")]
pub struct KubeconfigError {
    /// Where the kubeconfig is: a path, or `the kubeconfig of cp1`.
    pub origin: String,
    /// What is wrong with it. It quotes nothing that could be a secret.
    pub fault: KubeconfigFault,
}

/// What is wrong with a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigFault {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// It is too long.
    #[error("is longer than {MOST} bytes: not a kubeconfig")]
    TooLong,
    /// It is not what a kubeconfig is. The parser's words may quote it, so they are not shown.
    #[error("is not a kubeconfig; `kubectl --kubeconfig=FILE config view` shows where it breaks")]
    NotOne,
    /// The context or what it leads to is missing.
    #[error("has no usable context: {0}; `kubectl config get-contexts` lists them")]
    Context(String),
    /// Certificates would not be checked.
    #[error(
        "has insecure-skip-tls-verify, with which anybody on the way could act as the cluster; put the cluster's CA \
         into certificate-authority-data instead (on a control plane of kubeadm: /etc/kubernetes/pki/ca.crt)"
    )]
    Insecure,
    /// The server's URL is not https.
    #[error("has a server that is not https://…")]
    NotHttps,
    /// A proxy on the way.
    #[error(
        "has a proxy-url, which rackwright does not follow; let it connect through a control plane's SSH instead \
         (remove the kubeconfig from the rack)"
    )]
    Proxy,
    /// It would have the operator's machine run a program or read a file, and it comes from a node.
    #[error(
        "has {0}, which is followed only in a kubeconfig on the operator's own machine; name that one in the rack"
    )]
    Foreign(&'static str),
    /// A certificate, key or token in it cannot be used.
    #[error("has {0} that cannot be read")]
    Part(&'static str),
}

/// Access to a cluster: the API server's URL, its authority, and an identity. It cannot be printed.
#[derive(Clone)]
pub struct Access {
    pub(super) config: Config,
    pub(super) origin: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({} by {})", self.config.cluster_url, self.origin)
    }
}

impl Access {
    /// The access that a node's kubeconfig gives. It must hold all it needs: what a node says never makes this
    /// machine run a program or read a file.
    ///
    /// # Errors
    /// It is no kubeconfig, or not one to be used, and why.
    pub async fn from_node(node: &str, text: &Secret) -> Result<Self, KubeconfigError> {
        let origin = format!("the kubeconfig of {node}");
        match Self::of_node(text, &origin).await {
            Ok(access) => Ok(access),
            Err(fault) => Err(KubeconfigError { origin, fault }),
        }
    }

    async fn of_node(text: &Secret, origin: &str) -> Result<Self, KubeconfigFault> {
        if text.expose().len() > MOST {
            return Err(KubeconfigFault::TooLong);
        }
        let kubeconfig = Kubeconfig::from_yaml(text.expose()).map_err(|_| KubeconfigFault::NotOne)?;
        let (cluster, user) = chosen(&kubeconfig, None)?;
        match foreign(&cluster, &user) {
            Some(what) => Err(KubeconfigFault::Foreign(what)),
            None => Self::build(kubeconfig, &cluster, None, origin).await,
        }
    }

    /// The access that a kubeconfig on the operator's machine gives, by its current context or the one named. Token,
    /// client certificate and exec plugins all do.
    ///
    /// # Errors
    /// It cannot be read, is no kubeconfig, or not one to be used, and why.
    pub async fn from_file(path: &Path, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let origin = path.display().to_string();
        match Self::of_file(path, context, &origin).await {
            Ok(access) => Ok(access),
            Err(fault) => Err(KubeconfigError { origin, fault }),
        }
    }

    async fn of_file(path: &Path, context: Option<&str>, origin: &str) -> Result<Self, KubeconfigFault> {
        let length = tokio::fs::metadata(path).await.map_err(KubeconfigFault::Read)?.len();
        if length > MOST as u64 {
            return Err(KubeconfigFault::TooLong);
        }
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
            Library::ReadConfig(error, _) => KubeconfigFault::Read(error),
            _ => KubeconfigFault::NotOne,
        })?;
        let (cluster, _) = chosen(&kubeconfig, context)?;
        Self::build(kubeconfig, &cluster, context, origin).await
    }

    async fn build(
        kubeconfig: Kubeconfig,
        cluster: &Cluster,
        context: Option<&str>,
        origin: &str,
    ) -> Result<Self, KubeconfigFault> {
        if cluster.insecure_skip_tls_verify == Some(true) {
            return Err(KubeconfigFault::Insecure);
        }
        if cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return Err(KubeconfigFault::Proxy);
        }
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(part)?;
        if config.cluster_url.scheme_str() != Some("https") || config.cluster_url.host().is_none() {
            return Err(KubeconfigFault::NotHttps);
        }
        // What the operator's environment says of proxies is meant for the internet.
        config.proxy_url = None;
        Ok(Self { config, origin: origin.to_owned() })
    }

    /// The API server's place by its URL.
    pub fn server(&self) -> Place {
        let url = &self.config.cluster_url;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        Place { host: host.to_owned(), port: url.port_u16().unwrap_or(443) }
    }

    /// Where a control plane finds its own API server: on loopback, else where the URL says.
    pub fn local(&self) -> Vec<Place> {
        let server = self.server();
        let loopback = Place { host: "127.0.0.1".to_owned(), port: server.port };
        if server == loopback { vec![loopback] } else { vec![loopback, server] }
    }
}

/// The cluster and the user of a context.
fn chosen(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(Cluster, AuthInfo), KubeconfigFault> {
    let missing = |what: String| KubeconfigFault::Context(what);
    let name = context.or(kubeconfig.current_context.as_deref());
    let name = name.ok_or_else(|| missing("current-context is not set".to_owned()))?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = context.and_then(|context| context.context.as_ref());
    let context = context.ok_or_else(|| missing(format!("there is no context {name}")))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.clone());
    let cluster = cluster.ok_or_else(|| missing(format!("context {name} names a missing cluster")))?;
    let user = kubeconfig.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user = user.and_then(|user| user.auth_info.clone());
    Ok((cluster, user.ok_or_else(|| missing(format!("context {name} names a missing user")))?))
}

/// What of a node's kubeconfig would reach into the operator's machine.
fn foreign(cluster: &Cluster, user: &AuthInfo) -> Option<&'static str> {
    let parts = [
        (user.exec.is_some(), "an exec plugin"),
        (user.auth_provider.is_some(), "an auth-provider"),
        (user.token_file.is_some(), "a tokenFile"),
        (
            user.client_certificate.is_some() && user.client_certificate_data.is_none(),
            "a path to its certificate",
        ),
        (user.client_key.is_some() && user.client_key_data.is_none(), "a path to its key"),
        (
            cluster.certificate_authority.is_some() && cluster.certificate_authority_data.is_none(),
            "a path to the authority",
        ),
    ];
    parts.into_iter().find_map(|(there, what)| there.then_some(what))
}

fn part(error: Library) -> KubeconfigFault {
    match error {
        Library::MissingClusterUrl | Library::ParseClusterUrl(_) => KubeconfigFault::NotHttps,
        Library::LoadCertificateAuthority(_) | Library::ParseCertificates(_) => {
            KubeconfigFault::Part("a certificate authority")
        }
        Library::LoadClientCertificate(_) => KubeconfigFault::Part("a client certificate"),
        Library::LoadClientKey(_) => KubeconfigFault::Part("a client key"),
        _ => KubeconfigFault::NotOne,
    }
}
