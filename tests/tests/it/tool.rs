//! Tools of the cluster on its control planes: pushed or fetched, unpacked, linked, side by side, removed; whoever is
//! killed meanwhile.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use rackwright_lab::{Host, Lab, Spec, await_until, need_lab};
use rackwright_proto::event::Record;
use rackwright_proto::file::sha256_hex;

use crate::operator::{Held, LIMIT, Rack, Working, coded, expect, journals, rackwright, says};

const TREE: &str = "/usr/local/lib/rackwright/tools";

/// A release archive with the publisher's layout, in the rack's folder. Returns its file name and SHA-256.
pub(crate) struct Archive {
    file: String,
    sha256: String,
}

impl Archive {
    /// Its `istioctl` tells the version. `ballast` are bytes that nothing makes smaller.
    pub(crate) fn new(lab: &Lab, version: &str, ballast: usize) -> Self {
        Self::changed(lab, version, ballast, |_| Vec::new())
    }

    /// `change` spoils the folder before it is packed, and says what more tar(1) is to do.
    fn changed(lab: &Lab, version: &str, ballast: usize, change: impl Fn(&Path) -> Vec<String>) -> Self {
        let folder = format!("istio-{version}");
        let work = lab.dir().join(format!("work-{version}"));
        let root = work.join(&folder);
        for dir in ["bin", "manifests/charts/base", "samples"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let script = format!("#!/bin/sh\necho \"client version: {version}\"\n");
        fs::write(root.join("bin/istioctl"), script).unwrap();
        fs::write(root.join("manifests/charts/base/Chart.yaml"), "name: base\n").unwrap();
        let mut noise = vec![0; ballast];
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
        fs::write(root.join("samples/noise"), noise).unwrap();
        must(Command::new("chmod").arg("755").arg(root.join("bin/istioctl")));
        let more = change(&root);
        let file = format!("{folder}-linux-amd64.tar.gz");
        let path = lab.dir().join(&file);
        let mut tar = Command::new("tar");
        must(tar.arg("-C").arg(&work).args(["-P", "-czf"]).arg(&path).args(more).arg(&folder));
        fs::remove_dir_all(&work).unwrap();
        let sha256 = sha256_hex(&fs::read(path).unwrap());
        Self { file, sha256 }
    }

    pub(crate) fn pushed(&self) -> String {
        format!("{{path: {}, sha256: {}}}", self.file, self.sha256)
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A rack whose first node is a control plane that is to have Istio's tools.
fn wants(lab: &Lab, version: &str, archive: &str) {
    let istio = format!("kubernetes: {{istio: {{version: {version}, archive: {archive}}}}}");
    let roles = |host: &str| if host == "cp1" { ", roles: [control-plane]" } else { "" }.to_owned();
    Rack::new(lab).line(&istio).write_with(roles);
}

/// What is on a host where tools would be.
fn state(host: &Host) -> String {
    host.read(
        "find /usr/local/bin /usr/local/lib/rackwright /var/lib/rackwright/artifacts /run/rackwright \
         ! -path '*/agent*' ! -path '/run/rackwright/lock' -mindepth 1 -printf '%p %y %m %U:%G %s %l\\n' 2>/dev/null | sort",
    )
    .unwrap()
}

fn version(host: &Host) -> String {
    host.read("istioctl version 2>&1 || true").unwrap()
}

#[test]
fn a_pushed_archive_becomes_a_tool_on_control_planes_and_goes_again() {
    need_lab!();
    let lab = Lab::up(Spec::test(2)).unwrap();
    let (cp1, w1) = (lab.host("cp1"), lab.host("w1"));
    Rack::new(&lab).hosts("sysctls: {net.ipv4.tcp_keepalive_time: 1234}").write();
    expect(&lab, &["apply", "--yes"], 0);
    let before = state(&cp1);

    let first = Archive::new(&lab, "1.28.3", 100);
    wants(&lab, "1.28.3", &first.pushed());
    let plan = expect(&lab, &["plan"], 0);
    says(&plan, "unpack istio 1.28.3");
    says(&plan, "link /usr/local/bin/istioctl");
    expect(&lab, &["check"], 0);
    assert_eq!(state(&cp1), before, "a plan and a check push nothing");
    says(&expect(&lab, &["apply", "--yes"], 0), "pushing the archive of istio 1.28.3");
    assert_eq!(version(&cp1), "client version: 1.28.3");
    assert_eq!(
        cp1.read(&format!(
            "cd {TREE}/istio-1.28.3 && stat -c '%a %U:%G %n' bin/istioctl manifests/charts/base/Chart.yaml"
        ))
        .unwrap(),
        "755 root:root bin/istioctl\n644 root:root manifests/charts/base/Chart.yaml"
    );
    cp1.read("test ! -e /var/lib/rackwright/artifacts").unwrap();
    w1.read(&format!("test ! -e {TREE} && test ! -e /usr/local/bin/istioctl")).unwrap();
    says(&expect(&lab, &["apply", "--yes"], 0), "2 unchanged");
    expect(&lab, &["status"], 0);

    // A tree that is damaged is drift, and mended.
    cp1.read(&format!("rm {TREE}/istio-1.28.3/bin/istioctl")).unwrap();
    says(&expect(&lab, &["status"], 4), "bin/istioctl is missing");
    expect(&lab, &["apply", "--yes"], 0);
    assert_eq!(version(&cp1), "client version: 1.28.3");

    // A version that does not come takes nothing away.
    let broken = Archive::changed(&lab, "1.29.0", 100, |_| vec!["--transform=s,.*/noise,/etc/noise,".into()]);
    wants(&lab, "1.29.0", &broken.pushed());
    says(&expect(&lab, &["apply", "--yes"], 1), "unpack istio 1.29.0: `/etc/noise`");
    assert_eq!(version(&cp1), "client version: 1.28.3");

    // The next version comes before the former one goes: at no time is there none.
    let second = Archive::new(&lab, "1.29.1", 100);
    wants(&lab, "1.29.1", &second.pushed());
    expect(&lab, &["apply", "--yes"], 0);
    assert_eq!(version(&cp1), "client version: 1.29.1");
    assert_eq!(cp1.read(&format!("ls {TREE}")).unwrap(), "istio-1.29.1");
    let titles: Vec<String> = journals(&cp1)
        .into_values()
        .flatten()
        .filter_map(|e| match e.record {
            Record::Intent { step, .. } => Some(step.title()),
            _ => None,
        })
        .collect();
    let at = |title: &str| titles.iter().rposition(|t| t == title);
    assert!(at("unpack istio 1.29.1") < at("link /usr/local/bin/istioctl"), "{titles:?}");
    assert!(at("link /usr/local/bin/istioctl") < at("remove istio 1.28.3"), "{titles:?}");

    // A rack without it wants it no more.
    Rack::new(&lab).hosts("sysctls: {net.ipv4.tcp_keepalive_time: 1234}").write();
    expect(&lab, &["apply", "--yes"], 0);
    assert_eq!(state(&cp1), before);
    wants(&lab, "1.29.1", &second.pushed());
    expect(&lab, &["apply", "--yes"], 0);
    expect(&lab, &["revert", "--yes"], 0);
    assert_eq!(state(&cp1), before);
}

#[test]
fn what_is_not_ours_or_not_the_racks_is_refused() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let cp1 = lab.host("cp1");
    Rack::new(&lab).write();
    expect(&lab, &["apply", "--yes"], 0);
    let before = state(&cp1);
    let good = Archive::new(&lab, "1.29.1", 100);

    // Another file, and none.
    wants(&lab, "1.29.1", &format!("{{path: {}, sha256: {}}}", good.file, "ab".repeat(32)));
    says(&expect(&lab, &["apply", "--yes"], 3), &format!("has the SHA-256 {}", good.sha256));
    wants(&lab, "1.29.1", &format!("{{path: nothing.tar.gz, sha256: {}}}", good.sha256));
    says(&expect(&lab, &["apply", "--yes"], 3), "nothing.tar.gz cannot be read");
    assert_eq!(state(&cp1), before);

    // Right by their hash, and yet not unpacked: nothing of them is left.
    let link = |root: &Path| std::os::unix::fs::symlink("/etc", root.join("samples/etc")).unwrap();
    type Change = Box<dyn Fn(&Path) -> Vec<String>>;
    let hostile: [(&str, Change); 5] = [
        (
            "is a link that leads out of it",
            Box::new(move |root| {
                link(root);
                Vec::new()
            }),
        ),
        ("has an absolute path", Box::new(|_| vec!["--transform=s,.*/noise,/etc/noise,".into()])),
        (
            "has `..` in its path",
            Box::new(|_| vec!["--transform=s,.*/noise,istio-1.29.2/../../noise,".into()]),
        ),
        (
            "is neither file, folder nor link",
            Box::new(|root| {
                nix::unistd::mkfifo(&root.join("samples/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
                Vec::new()
            }),
        ),
        (
            "is to run with another's rights",
            Box::new(|root| {
                must(Command::new("chmod").arg("4755").arg(root.join("bin/istioctl")));
                Vec::new()
            }),
        ),
    ];
    for (told, change) in hostile {
        let archive = Archive::changed(&lab, "1.29.2", 100, change);
        wants(&lab, "1.29.2", &archive.pushed());
        says(&expect(&lab, &["apply", "--yes"], 1), told);
        cp1.read("test ! -e /etc/noise && test ! -e /usr/local/lib/rackwright/tools/istio-1.29.2").unwrap();
        assert_eq!(
            cp1.read(&format!("ls -A {TREE}; ls -A /usr/local/bin 2>&1 | grep istioctl || true")).unwrap(),
            ""
        );
    }

    // Somebody's own program.
    cp1.read("mkdir -p /usr/local/bin; echo theirs > /usr/local/bin/istioctl").unwrap();
    wants(&lab, "1.29.1", &good.pushed());
    says(&expect(&lab, &["apply", "--yes"], 3), "which rackwright did not make");
    assert_eq!(cp1.read("cat /usr/local/bin/istioctl; rm /usr/local/bin/istioctl").unwrap(), "theirs");
    expect(&lab, &["apply", "--yes"], 0);
    assert_eq!(version(&cp1), "client version: 1.29.1");
    // And one that came later stays, whatever we undo.
    cp1.read("rm /usr/local/bin/istioctl; echo theirs > /usr/local/bin/istioctl").unwrap();
    expect(&lab, &["revert", "--yes"], 0);
    assert_eq!(cp1.read("cat /usr/local/bin/istioctl; rm /usr/local/bin/istioctl").unwrap(), "theirs");
    assert_eq!(state(&cp1), before);
}

#[test]
fn hosts_fetch_archives_by_themselves() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let cp1 = lab.host("cp1");
    let archive = Archive::new(&lab, "1.29.1", 300_000);
    let server = lab.layout().operator.address();
    let at = |path: &str| format!("{{url: \"https://{server}:8443/{path}\", sha256: {}}}", archive.sha256);
    wants(&lab, "1.29.1", &at(&archive.file));
    let failed = expect(&lab, &["apply", "--yes"], 1);
    says(&failed, "ca-certificates");

    let _serving = serve(&lab, server);
    let authority = fs::read(lab.dir().join("ca.pem")).unwrap();
    cp1.sh_with(
        "mkdir -p /etc/ssl/certs && cat > /etc/ssl/certs/ca-certificates.crt",
        Some(&authority),
        LIMIT,
    )
    .unwrap();
    wants(&lab, "1.29.1", &at("missing"));
    let failed = expect(&lab, &["apply", "--yes"], 1);
    says(&failed, "the answer was 404");
    says(&failed, "`path` and `sha256` of a local copy");
    wants(&lab, "1.29.1", &at(&format!("moved/{}", archive.file)));
    let done = expect(&lab, &["apply", "--yes"], 0);
    assert!(!done.stderr.contains("pushing"), "{}", done.stderr);
    assert_eq!(version(&cp1), "client version: 1.29.1");
    cp1.read("test ! -e /var/lib/rackwright/artifacts").unwrap();
    expect(&lab, &["revert", "--yes"], 0);
    wants(&lab, "1.29.1", &at(&archive.file).replace(&archive.sha256, &"ab".repeat(32)));
    says(&expect(&lab, &["apply", "--yes"], 1), "it was not used");
}

#[test]
fn whoever_is_killed_the_next_apply_converges() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let cp1 = lab.host("cp1");
    Rack::new(&lab).write();
    expect(&lab, &["apply", "--yes"], 0);
    let before = state(&cp1);
    let archive = Archive::new(&lab, "1.29.1", 48 << 20);
    wants(&lab, "1.29.1", &archive.pushed());

    // The coordinator, in the middle of a push: what came is not sent again.
    let part = cp1.root().unwrap().join(format!("var/lib/rackwright/artifacts/{}.part", archive.sha256));
    let size = || part.metadata().map_or(0, |meta| meta.len());
    let mut apply = Working::start(&lab, rackwright(&lab, &["apply", "--yes"]));
    await_until("a part is there", LIMIT, || if size() > 0 { Ok(()) } else { Err("none".to_owned()) })
        .unwrap();
    apply.assert_works();
    apply.signal(Signal::SIGKILL);
    apply.end();
    let came = size();
    assert!((1..48 << 20).contains(&came), "{came}");

    // The agent, in the middle of unpacking.
    let known: Vec<String> = journals(&cp1).into_keys().collect();
    let mut apply = Working::start(&lab, rackwright(&lab, &["apply", "--yes"]));
    let begun = |events: &[rackwright_proto::event::Event]| {
        let hidden = fs::read_dir(cp1.root().unwrap().join(&TREE[1..])).map_or(0, Iterator::count);
        matches!(events.last().map(|e| &e.record), Some(Record::Intent { .. })) && hidden > 0
    };
    let held = Held::when(&mut apply, &cp1, &known, begun);
    held.signal(Signal::SIGKILL);
    says(&coded(apply.end(), 1), "died");
    assert_eq!(
        cp1.read(&format!("ls {TREE}; ls -A {TREE} | wc -l; readlink /usr/local/bin/istioctl || true"))
            .unwrap(),
        "1"
    );

    says(&expect(&lab, &["apply", "--yes"], 0), "1 changed");
    assert_eq!(version(&cp1), "client version: 1.29.1");
    assert_eq!(cp1.read(&format!("ls -A {TREE}")).unwrap(), "istio-1.29.1");
    cp1.read("test ! -e /var/lib/rackwright/artifacts").unwrap();
    says(&expect(&lab, &["apply", "--yes"], 0), "1 unchanged");
    expect(&lab, &["revert", "--yes"], 0);
    assert_eq!(state(&cp1), before);
}

/// A server of the rack's folder where the operator sits: this very program, in that network.
fn serve(lab: &Lab, address: std::net::IpAddr) -> Working {
    let mut command = lab.op_command(std::env::current_exe().unwrap()).unwrap();
    command.args(["--exact", "tool::server", "--ignored", "--nocapture"]);
    command.env("TOOL_SERVER", format!("{address}:8443")).env("TOOL_FOLDER", lab.dir());
    let mut server = Working::start(lab, command);
    let there = || if lab.dir().join("ca.pem").exists() { Ok(()) } else { Err("no ca.pem".to_owned()) };
    await_until("the server serves", LIMIT, there).unwrap();
    server.assert_works();
    server
}

#[test]
#[ignore = "started by hosts_fetch_archives_by_themselves"]
fn server() {
    let (Some(address), Some(folder)) = (std::env::var("TOOL_SERVER").ok(), std::env::var_os("TOOL_FOLDER"))
    else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(listen(address.parse().unwrap(), PathBuf::from(folder)));
}

async fn listen(address: std::net::SocketAddr, folder: PathBuf) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (pem, config) = authority(&address.ip().to_string());
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    fs::write(folder.join("ca.new"), pem).unwrap();
    fs::rename(folder.join("ca.new"), folder.join("ca.pem")).unwrap();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(socket).await else { continue };
        let mut request = vec![0; 4096];
        let Ok(read) = stream.read(&mut request).await else { continue };
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let answer = match (path.strip_prefix("/moved/"), fs::read(folder.join(path.trim_start_matches('/'))))
        {
            (Some(to), _) => {
                format!("HTTP/1.1 302 Found\r\nlocation: /{to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
            }
            (None, Ok(bytes)) => {
                [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes(), &bytes]
                    .concat()
            }
            (None, Err(_)) => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        };
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }
}

/// An authority and the certificate of a server of it. Returns the authority's PEM.
fn authority(name: &str) -> (String, tokio_rustls::rustls::ServerConfig) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new([name.to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(server_key.serialize_der()).into();
    (pem, config.with_single_cert(vec![certificate.der().clone()], key).unwrap())
}
