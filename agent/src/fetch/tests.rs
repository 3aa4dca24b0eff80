//! Downloads from a server on loopback that a test authority vouches for. Which authorities are trusted is the
//! machine's to say, by `SSL_CERT_FILE`; so the downloads run in a process of their own, this very program.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;

const BYTES: &[u8] = b"an archive";

/// An authority and a server's certificate of it, for `localhost` and 127.0.0.1. Returns the authority's PEM.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let names = ["archives.example".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(server_key.serialize_der()).into();
    (pem, config.with_single_cert(vec![certificate.der().clone()], key).unwrap())
}

async fn serve(config: ServerConfig) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
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
    port
}

fn answer(path: &str) -> Vec<u8> {
    let head = |head: &str| format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    let moved = |to: &str| head(&format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0"));
    match path {
        "/good" => [head(&format!("200 OK\r\ncontent-length: {}", BYTES.len())), BYTES.to_vec()].concat(),
        "/chunked" => {
            [head("200 OK\r\ntransfer-encoding: chunked"), b"4\r\nan a\r\n6\r\nrchive\r\n0\r\n\r\n".to_vec()]
                .concat()
        }
        "/short" => [head("200 OK\r\ncontent-length: 100"), BYTES.to_vec()].concat(),
        "/moved" => moved("/good"),
        "/round" => moved("/round"),
        "/plain" => moved("http://127.0.0.1:1/good"),
        _ => head("404 Not Found\r\ncontent-length: 0"),
    }
}

#[test]
fn downloads_are_checked_before_they_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fetch::tests::downloads", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", dir.path().join("ca.pem"))
        .env("DIR", dir.path())
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
#[ignore = "run by downloads_are_checked_before_they_are_used"]
#[expect(clippy::print_stdout, reason = "how a test says that it skips")]
fn downloads() {
    let Some(dir) = std::env::var_os("DIR") else {
        return println!("SKIPPED: run by downloads_are_checked_before_they_are_used");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = std::path::PathBuf::from(dir);
        let (pem, config) = authority();
        fs::write(dir.join("ca.pem"), pem).unwrap();
        let port = serve(config).await;
        let stranger = serve(authority().1).await;
        let host = Host::at(&dir);
        fs::create_dir_all(dir.join("etc")).unwrap();
        fs::write(dir.join("etc/hosts"), "::1 localhost\n127.0.0.1 other Archives.Example # ours\n").unwrap();
        let hash = |bytes: &[u8]| -> Sha256 { rackwright_proto::file::sha256_hex(bytes).parse().unwrap() };
        let right = hash(BYTES);
        for url in [
            format!("https://127.0.0.1:{port}/good"),
            format!("https://archives.example:{port}/good"),
            format!("https://127.0.0.1:{port}/chunked"),
            format!("https://127.0.0.1:{port}/moved"),
        ] {
            archive(&url, &right, &host).await.unwrap();
            assert!(host.artifact(&right).unwrap().is_some(), "{url}");
            host.forget_artifacts();
        }
        let told = async |url: String| {
            let fault = archive(&url, &right, &host).await.unwrap_err();
            assert!(fault.next.contains("`path`"), "{fault:?}");
            assert!(host.artifact(&right).unwrap().is_none(), "{url}");
            fault.cause
        };
        assert_eq!(told(format!("https://127.0.0.1:{port}/missing")).await, "the answer was 404");
        assert_eq!(told(format!("https://127.0.0.1:{port}/round")).await, "it was sent on more than 5 times");
        let plain = "`http://127.0.0.1:1/good` is no https address";
        assert_eq!(told(format!("https://127.0.0.1:{port}/plain")).await, plain);
        assert!(told(format!("https://127.0.0.1:{port}/short")).await.starts_with("the download broke off"));
        assert!(told(format!("https://127.0.0.1:{stranger}/good")).await.contains("agree on TLS"));
        assert!(
            told("https://127.0.0.1:1/good".into())
                .await
                .starts_with("ask 127.0.0.1: connect to 127.0.0.1:1")
        );
        let nowhere = "no address was found for nowhere.example: /etc/resolv.conf names no server";
        assert_eq!(told("https://nowhere.example/x".into()).await, nowhere);
        let user = told("https://user:pw@127.0.0.1/x".into()).await;
        assert!(user.ends_with("is no https address"), "{user}");

        let fault =
            archive(&format!("https://127.0.0.1:{port}/good"), &hash(b"other"), &host).await.unwrap_err();
        assert!(fault.cause.contains(right.as_str()) && fault.cause.contains("it was not used"), "{fault}");
    });
}
