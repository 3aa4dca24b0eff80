//! Host certificates: what must hold besides a trusted authority (OpenSSH `PROTOCOL.certkeys`).

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

/// Why a host certificate is not accepted although its authority is trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It certifies a user.
    #[error("it is a user certificate, not a host certificate")]
    NotHost,
    /// The name that we connect to is not among its principals.
    #[error("it is not for this name; it names {0}")]
    Principal(String),
    /// `now` lies before its validity.
    #[error("it is not valid yet")]
    NotYet,
    /// `now` lies after its validity.
    #[error("it has expired")]
    Expired,
    /// It has critical options; none is defined for hosts.
    #[error("it has a critical option that is not understood")]
    CriticalOption,
    /// The authority's signature is wrong, or made with SHA-1 or DSA.
    #[error("its signature is wrong or of a kind no longer trusted")]
    Signature,
}

/// Judges a certificate whose authority is trusted for the host. `name` is the host's name without port, in lower case, `now`
/// in seconds since 1970.
///
/// # Errors
/// The first thing that does not hold.
pub fn judge(certificate: &Certificate, name: &str, now: u64) -> Result<(), CertificateFault> {
    if certificate.cert_type() != CertType::Host {
        return Err(CertificateFault::NotHost);
    }
    if now < certificate.valid_after() {
        return Err(CertificateFault::NotYet);
    }
    if now >= certificate.valid_before() {
        return Err(CertificateFault::Expired);
    }
    let principals = certificate.valid_principals();
    if !principals.is_empty() && !principals.iter().any(|principal| principal == name) {
        return Err(CertificateFault::Principal(principals.join(", ").chars().take(200).collect()));
    }
    if !certificate.critical_options().is_empty() {
        return Err(CertificateFault::CriticalOption);
    }
    signature(certificate)
}

fn signature(certificate: &Certificate) -> Result<(), CertificateFault> {
    let weak = matches!(certificate.signature().algorithm(), Algorithm::Dsa | Algorithm::Rsa { hash: None });
    // The authority is already known to be trusted, so its own fingerprint is the one to validate against; the
    // time is checked above, where the reason can be told apart.
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    match certificate.validate_at(certificate.valid_after(), [&authority]) {
        Ok(()) if !weak => Ok(()),
        _ => Err(CertificateFault::Signature),
    }
}
