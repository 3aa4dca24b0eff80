//! What an error of the transport means: which part of the way broke, and whether trying again can help. Pure.

use std::error::Error;
use std::fmt;

use rustls::{AlertDescription, CertificateError, Error as Rustls};

use super::door::DoorError;
use crate::console::chain;

/// Why the API server's certificate does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFault {
    /// Its time is over.
    Expired,
    /// Its time has not come: one of the clocks is wrong.
    NotYetValid,
    /// It is signed by somebody whom the kubeconfig does not name.
    UnknownAuthority,
    /// It is for other names.
    Name {
        /// The name that was asked for.
        expected: String,
        /// The names it is for.
        presented: Vec<String>,
    },
    /// The server refuses our certificate.
    Client(String),
    /// Anything else about certificates.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str(
                "the API server's certificate has expired; on a control plane of kubeadm `kubeadm certs renew all` \
                 renews it, then its static pods must be restarted",
            ),
            Self::NotYetValid => f.write_str(
                "the API server's certificate is not valid yet; compare the clocks of this machine and the node",
            ),
            Self::UnknownAuthority => f.write_str(
                "the API server's certificate is not signed by the authority in the kubeconfig; either the kubeconfig \
                 is of another or a former cluster, or somebody is in between",
            ),
            Self::Name { expected, presented } if presented.is_empty() => {
                write!(f, "the API server's certificate is not for {expected}{NAMES}")
            }
            Self::Name { expected, presented } => {
                write!(f, "the API server's certificate is for {}, not for {expected}{NAMES}", presented.join(", "))
            }
            Self::Client(why) => write!(
                f,
                "the API server does not accept our client certificate ({why}); is the kubeconfig of this cluster?"
            ),
            Self::Other(why) => write!(f, "no TLS with the API server: {why}"),
        }
    }
}

const NAMES: &str = "; add the name to the certificate's names (kubeadm: apiServer.certSANs), or set tls-server-name in the kubeconfig";

/// A request that got no whole answer.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// Whether the request may have reached the API server.
    pub(super) sent: bool,
    /// Whether trying the same again cannot help.
    pub(super) lasting: bool,
    /// What broke.
    pub(super) why: Why,
}

/// What broke.
#[derive(Debug, Clone)]
pub(super) enum Why {
    /// A certificate.
    Tls(TlsFault),
    /// The answer is longer than so many bytes.
    TooLong(usize),
    /// Anything else, in words.
    Words(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(fault) => fault.fmt(f),
            Self::TooLong(most) => write!(f, "the answer is longer than {most} bytes"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl Broken {
    pub(super) fn words(sent: bool, why: impl Into<String>) -> Self {
        Self { sent, lasting: false, why: Why::Words(why.into()) }
    }

    /// What an error of the client means.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let links = Links::of(error);
        if let Some(door) = links.find::<DoorError>() {
            return Self { sent: false, lasting: door.lasting, why: Why::Words(door.why.clone()) };
        }
        if let Some(tls) = links.find::<Rustls>().and_then(tls) {
            return Self { sent: false, lasting: true, why: Why::Tls(tls) };
        }
        let legacy = links.find::<hyper_util::client::legacy::Error>();
        let sent = !legacy.is_some_and(hyper_util::client::legacy::Error::is_connect);
        Self::words(sent, links.last_words())
    }
}

/// What a TLS error says of certificates; `None` where it is just a broken connection.
fn tls(error: &Rustls) -> Option<TlsFault> {
    Some(match error {
        Rustls::InvalidCertificate(fault) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFault::NotYetValid
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownAuthority,
            CertificateError::NotValidForNameContext { expected, presented } => {
                TlsFault::Name { expected: expected.to_str().into_owned(), presented: presented.clone() }
            }
            CertificateError::NotValidForName => {
                TlsFault::Name { expected: "the name asked for".to_owned(), presented: Vec::new() }
            }
            other => TlsFault::Other(other.to_string()),
        },
        Rustls::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA),
        ) => TlsFault::Client(format!("{alert:?}")),
        Rustls::InvalidMessage(_) | Rustls::PeerIncompatible(_) => TlsFault::Other(error.to_string()),
        _ => return None,
    })
}

/// An error and all that lies under it. `io::Error` hides what it holds from `source`, so that is looked for too.
struct Links<'a>(Vec<&'a (dyn Error + 'static)>);

impl<'a> Links<'a> {
    fn of(error: &'a (dyn Error + 'static)) -> Self {
        let mut links = Vec::new();
        let mut next = Some(error);
        // No chain is that long; a loop in it must not be ours.
        while let Some(link) = next.filter(|_| links.len() < 32) {
            links.push(link);
            let held = link.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| link.source());
        }
        Self(links)
    }

    fn find<T: Error + 'static>(&self) -> Option<&'a T> {
        self.0.iter().find_map(|link| link.downcast_ref())
    }

    /// The innermost link that has something to say, with what lies under it.
    fn last_words(&self) -> String {
        self.0.last().map(|link| chain(*link)).unwrap_or_default()
    }
}
