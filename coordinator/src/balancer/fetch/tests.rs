//! Downloads from a server on loopback that a test authority vouches for. Its key is good for nothing else.
//!
//! Which authorities are trusted is this machine's to say, by `SSL_CERT_FILE`; so the downloads run in a process of
//! their own, this very program with that variable set.

use std::sync::Arc;

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::atomic;
use crate::balancer::fixtures::rack;
use crate::balancer::manifest::tests::SMALL;

fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn metallb(version: &str, source: &str) -> Metallb {
    let rack = rack(&["w1"], version, source);
    rack.kubernetes().unwrap().metallb.clone().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A server that answers paths: `/good`, `/large`, `/moved`, `/plain`, `/round`, else 404. Returns its address.
async fn server() -> String {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("golden/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("golden/server-key.pem")).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let mut request = vec![0; 4096];
                let Ok(read) = stream.read(&mut request).await else { return };
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let _ = stream.write_all(&answer(request.split(' ').nth(1).unwrap_or_default())).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

fn answer(path: &str) -> Vec<u8> {
    let moved =
        |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    match path {
        "/good" => [
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", SMALL.len()).as_bytes(),
            SMALL.as_bytes(),
        ]
        .concat(),
        "/large" => {
            [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice(), &vec![b'#'; LARGEST + 1]].concat()
        }
        "/plain" => moved("http://127.0.0.1:1/good"),
        path => match path.strip_prefix("/to/") {
            Some(to) => moved(&format!("https://{to}")),
            None => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        },
    }
}

#[test]
fn downloads_are_checked_before_they_are_used_or_kept() {
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/src/balancer/fetch/golden/authority.pem");
    #[expect(clippy::disallowed_methods, reason = "the test itself, with another environment")]
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "balancer::fetch::tests::downloads", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", authority)
        .env("DOWNLOADS", "here")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run by downloads_are_checked_before_they_are_used_or_kept"]
#[expect(clippy::print_stdout, reason = "how a test says that it skips")]
fn downloads() {
    if std::env::var_os("DOWNLOADS").is_none() {
        return println!("SKIPPED: run by downloads_are_checked_before_they_are_used_or_kept");
    }
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { folder: folder.path(), home: None, cache: Some(folder.path().join("cache")) };
        let kept = || std::fs::read_dir(folder.path().join("cache")).map(Iterator::count).unwrap_or(0);
        let server = server().await;
        let (right, wrong) = (sha256(SMALL.as_bytes()), sha256(b""));
        let from = |path: &str, sha256: &str| {
            metallb(
                "0.13.10",
                &format!("    manifest: {{url: \"https://{server}{path}\", sha256: {sha256}}}"),
            )
        };

        let refused = manifest(&from("/good", &wrong), &places).await.unwrap_err();
        assert!(matches!(&refused, FetchError::Checksum { found, .. } if *found == right), "{refused}");
        for (path, told) in [
            ("/missing", "the answer was 404 Not Found".to_owned()),
            ("/large", format!("it is larger than {LARGEST} bytes")),
            (
                "/plain",
                "the answer sends on to http://127.0.0.1:1/good, which is not by https or sends on again"
                    .to_owned(),
            ),
            (
                &format!("{}/good", format!("/to/{server}").repeat(4)),
                format!(
                    "the answer sends on to https://{server}/good, which is not by https or sends on again"
                ),
            ),
        ] {
            let FetchError::Download { source, .. } =
                manifest(&from(path, &right), &places).await.unwrap_err()
            else {
                panic!("{path} is no download that failed");
            };
            assert_eq!(source.to_string(), told);
        }
        assert_eq!(kept(), 0);

        let good = manifest(&from(&format!("/to/{server}/good"), &right), &places).await.unwrap();
        assert_eq!((good.version(), kept()), (Some("0.13.10"), 1));
        // Nobody listens there: it comes from the cache.
        let again = metallb(
            "0.13.10",
            &format!("    manifest: {{url: \"https://127.0.0.1:1/good\", sha256: {right}}}"),
        );
        assert_eq!(manifest(&again, &places).await.unwrap(), good);
        // What somebody changed in the cache does not count.
        atomic::write(&folder.path().join("cache").join(format!("{right}.yaml")), b"changed", 0o600).unwrap();
        assert!(matches!(manifest(&again, &places).await, Err(FetchError::Download { .. })));
    });
}

#[test]
fn an_unknown_authority_is_not_believed() {
    runtime().block_on(async {
        let error = download(&format!("https://{}/good", server().await), LARGEST).await.unwrap_err();
        assert!(matches!(error, DownloadError::Ask(..) | DownloadError::Authorities(_)), "{error}");
    });
}

#[test]
fn a_file_needs_no_network() {
    let folder = tempfile::tempdir().unwrap();
    atomic::write(&folder.path().join("metallb.yaml"), SMALL.as_bytes(), 0o600).unwrap();
    let places = Places { folder: folder.path(), home: None, cache: None };
    let with = |version: &str, sha256: &str| {
        let metallb = metallb(version, &format!("    manifest: {{path: metallb.yaml, sha256: {sha256}}}"));
        runtime().block_on(manifest(&metallb, &places))
    };
    let right = sha256(SMALL.as_bytes());
    assert!(with("0.13.10", &right).is_ok());
    assert!(matches!(with("0.13.10", &sha256(b"")), Err(FetchError::Checksum { .. })));
    assert!(matches!(with("0.16.1", &right), Err(FetchError::Version { found, .. }) if found == "0.13.10"));
}

#[test]
fn a_version_without_checksum_is_refused_with_the_command_for_one() {
    let places = Places { folder: Path::new("/nowhere"), home: None, cache: None };
    let error = runtime().block_on(manifest(&metallb("0.99.1", ""), &places)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the manifest of MetalLB 0.99.1 has no known checksum; if you trust what this prints, put it into the rack as \
         kubernetes.metallb.manifest.sha256: curl -fsSL \
         https://raw.githubusercontent.com/metallb/metallb/v0.99.1/config/manifests/metallb-native.yaml | sha256sum"
    );
}

#[test]
fn the_cache_is_where_the_operator_keeps_caches() {
    let (home, xdg) = (Path::new("/home/o"), Path::new("/var/cache/o"));
    assert_eq!(cache_folder(Some(xdg), Some(home)).unwrap(), Path::new("/var/cache/o/rackwright"));
    assert_eq!(
        cache_folder(Some(Path::new("relative")), Some(home)).unwrap(),
        Path::new("/home/o/.cache/rackwright")
    );
    assert_eq!(cache_folder(None, None), None);
}
