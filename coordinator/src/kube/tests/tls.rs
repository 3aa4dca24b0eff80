//! Certificates that do not hold are told apart, and nothing is sent over them.

use std::time::{Duration, SystemTime};

use rcgen::CertificateParams;

use super::server::{Authority, Server, api};
use crate::kube::trouble::TlsFault;
use crate::kube::{KubeFault, Options};

const URL: &str = "https://192.0.2.99:6443";

async fn refused(
    signer: &Authority,
    trusted: &Authority,
    names: &[&str],
    edit: impl FnOnce(&mut CertificateParams),
) -> TlsFault {
    let server = Server::start(signer.server(names, edit), vec![]).await;
    let (api, _) = api(&trusted.access(URL).await, vec![server.door("cp1")], Options::default());
    let error = api.version().await.unwrap_err();
    assert!(server.heard().is_empty(), "the token was sent");
    let words = error.to_string();
    assert!(words.starts_with("ask for the version: cp1: the API server's certificate"), "{words}");
    match *error.fault {
        KubeFault::Tls { tls, .. } => tls,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn certificates_that_do_not_hold_are_told_apart() {
    let authority = Authority::new();
    let names = &["kubernetes.default.svc"];
    let day = Duration::from_secs(86_400);
    let expired = |params: &mut CertificateParams| params.not_after = (SystemTime::now() - day).into();
    let early = |params: &mut CertificateParams| params.not_before = (SystemTime::now() + day).into();
    assert_eq!(refused(&authority, &authority, names, expired).await, TlsFault::Expired);
    assert_eq!(refused(&authority, &authority, names, early).await, TlsFault::NotYetValid);
    assert_eq!(refused(&Authority::new(), &authority, names, |_| {}).await, TlsFault::UnknownAuthority);
    match refused(&authority, &authority, &["elsewhere.example"], |_| {}).await {
        TlsFault::Name { expected, presented } => {
            assert_eq!(expected, "192.0.2.99");
            assert!(presented[0].contains("elsewhere.example"), "{presented:?}");
        }
        other => panic!("{other}"),
    }
}
