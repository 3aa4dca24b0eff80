use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use rackwright_proto::name::Sha256;
use rackwright_proto::step::{Decision, HostStep, Seen};
use rackwright_proto::tool::{ArchiveFormat, ArtifactPart, LinkSeen};
use tar::{EntryType, Header};

use super::*;

const TREE: &str = "/usr/local/lib/rackwright/tools/t-1";

/// Name, kind, mode, and bytes or target.
type Entry<'a> = (&'a str, EntryType, u32, &'a [u8]);

/// An archive of these entries.
fn packed(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, kind, mode, bytes) in entries {
        let mut header = Header::new_gnu();
        // As written: the library itself would refuse to write a name that leads out.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if link {
            header.as_gnu_mut().unwrap().linkname[..bytes.len()].copy_from_slice(bytes);
        }
        let bytes = if link { &[] } else { *bytes };
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

const DIR: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;

fn good() -> Vec<u8> {
    packed(&[
        ("t-1/", DIR, 0o777, b""),
        ("t-1/bin/t", FILE, 0o775, b"#!/bin/sh\necho one\n"),
        ("t-1/README.md", FILE, 0o600, b"read\n"),
        ("t-1/samples/", DIR, 0o2775, b""),
        ("t-1/samples/link", LINK, 0o777, b"../README.md"),
        ("t-1/empty", DIR, 0o755, b""),
    ])
}

fn hash(bytes: &[u8]) -> Sha256 {
    rackwright_proto::file::sha256_hex(bytes).parse().unwrap()
}

fn tree(bytes: &[u8]) -> ToolStep {
    let archive = Archive {
        sha256: hash(bytes),
        format: ArchiveFormat::TarGz,
        folder: "t-1".into(),
        from: ArchiveSource::Pushed,
    };
    let (name, version) = ("t".parse().unwrap(), "1".parse().unwrap());
    ToolStep::Tree(TreeStep { name, version, archive: Some(archive) })
}

fn link(target: Option<&str>) -> ToolStep {
    ToolStep::Link(LinkStep { name: "t".parse().unwrap(), target: target.map(str::to_owned) })
}

fn push(bytes: &[u8], host: &Host) -> Result<u64, Fault> {
    let (sha256, size) = (hash(bytes), bytes.len() as u64);
    let mut have = host.artifact_have(&sha256, size)?;
    while have < size {
        let part = &bytes[have as usize..bytes.len().min(have as usize + 1000)];
        have = host.artifact_part(&ArtifactPart::new(sha256.clone(), size, have, part))?;
    }
    Ok(have)
}

fn host() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    (dir, host)
}

async fn converge(step: &ToolStep, host: &Host) -> Result<ToolSeen, Fault> {
    let before = observe(step, host)?;
    act(step, &before, host).await?;
    let after = observe(step, host)?;
    assert_eq!(HostStep::Tool(step.clone()).decide(&Seen::Tool(after)), Decision::Keep);
    Ok(before)
}

fn inverse(step: &ToolStep, before: ToolSeen) -> ToolStep {
    match HostStep::Tool(step.clone()).inverse(&Seen::Tool(before)) {
        Some(HostStep::Tool(step)) => step,
        other => panic!("{other:?}"),
    }
}

/// All paths below a folder.
fn below(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        all.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            all.extend(below(&entry.path()));
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "current_thread")]
async fn an_archive_becomes_a_tree_and_goes_again() {
    let (dir, host) = host();
    let bytes = good();
    push(&bytes, &host).unwrap();
    let step = tree(&bytes);
    let before = converge(&step, &host).await.unwrap();
    let real = host.path(TREE);
    let mode = |at: &str| real.join(at).symlink_metadata().unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("bin/t"), mode("README.md"), mode("samples"), mode("bin")),
        (0o755, 0o644, 0o755, 0o755)
    );
    assert_eq!(fs::read_to_string(real.join("samples/link")).unwrap(), "read\n");
    assert_eq!(real.join("bin/t").metadata().unwrap().mtime(), 1_700_000_000);
    assert!(real.join("empty").is_dir());
    let tools = host.path(rackwright_proto::tool::TOOLS);
    assert_eq!(fs::read_dir(tools).unwrap().count(), 1, "something was left beside it");

    let to = format!("{TREE}/bin/t");
    let before_link = converge(&link(Some(&to)), &host).await.unwrap();
    assert_eq!(before_link, ToolSeen::Link(LinkSeen::Absent));
    converge(&inverse(&link(Some(&to)), before_link), &host).await.unwrap();
    converge(&inverse(&step, before), &host).await.unwrap();
    host.forget_artifacts();
    let left = below(dir.path());
    let left: Vec<&str> = left.iter().filter_map(|p| p.strip_prefix(dir.path().to_str().unwrap())).collect();
    let folders = [
        "/usr",
        "/usr/local",
        "/usr/local/bin",
        "/usr/local/lib",
        "/usr/local/lib/rackwright",
        "/var",
        "/var/lib",
        "/var/lib/rackwright",
    ];
    assert_eq!(left, folders);
}

#[tokio::test(flavor = "current_thread")]
async fn damage_is_seen_and_mended_and_what_others_put_there_stays() {
    let (_dir, host) = host();
    let bytes = good();
    let step = tree(&bytes);
    let real = host.path(TREE);
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 5] = [
        (|real| fs::remove_file(real.join("bin/t")).unwrap(), "bin/t is missing"),
        (|real| fs::write(real.join("README.md"), "other").unwrap(), "README.md was changed"),
        (
            |real| fs::set_permissions(real.join("bin/t"), fs::Permissions::from_mode(0o700)).unwrap(),
            "bin/t was changed",
        ),
        (|real| fs::remove_dir(real.join("empty")).unwrap(), "empty is missing"),
        (
            |real| {
                fs::remove_file(real.join("samples/link")).unwrap();
                std::os::unix::fs::symlink("/etc", real.join("samples/link")).unwrap();
            },
            "samples/link was changed",
        ),
    ];
    for (damage, told) in damages {
        push(&bytes, &host).unwrap();
        converge(&step, &host).await.unwrap();
        damage(&real);
        let ToolSeen::Tree(TreeSeen::Damaged { what, .. }) = observe(&step, &host).unwrap() else {
            panic!("{told}")
        };
        assert_eq!(what, told);
    }
    converge(&step, &host).await.unwrap();
    fs::write(real.join("samples/mine"), "mine").unwrap();
    fs::write(real.join("README.md"), "mine").unwrap();
    converge(&inverse(&step, ToolSeen::Tree(TreeSeen::Absent)), &host).await.unwrap();
    let seen = observe(&step, &host).unwrap();
    assert!(matches!(seen, ToolSeen::Tree(TreeSeen::Foreign { .. })), "{seen:?}");
    let left: Vec<String> = below(&real).iter().map(|p| p.replace(real.to_str().unwrap(), "")).collect();
    assert_eq!(left, ["/README.md", "/samples", "/samples/mine"]);
    let decision = HostStep::Tool(step).decide(&Seen::Tool(seen));
    assert!(matches!(decision, Decision::Refuse { .. }), "{decision:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_foreign_is_replaced() {
    let (_dir, host) = host();
    let bytes = good();
    fs::create_dir_all(host.path("/usr/local/bin")).unwrap();
    let at = host.path("/usr/local/bin/t");
    let want = HostStep::Tool(link(Some("/usr/local/lib/rackwright/tools/t-1/bin/t")));
    for make in [
        (|at| fs::write(at, "theirs")) as fn(&Path) -> std::io::Result<()>,
        |at| std::os::unix::fs::symlink("/opt/t", at),
        |at| std::os::unix::fs::symlink("/usr/local/lib/rackwright/tools/../../x", at),
        |at| fs::create_dir(at),
    ] {
        make(&at).unwrap();
        let seen = observe(&link(None), &host).unwrap();
        assert!(matches!(want.decide(&Seen::Tool(seen.clone())), Decision::Refuse { .. }), "{seen:?}");
        assert_eq!(HostStep::Tool(link(None)).decide(&Seen::Tool(seen)), Decision::Keep);
        if at.is_dir() && !at.is_symlink() {
            fs::remove_dir(&at).unwrap()
        } else {
            fs::remove_file(&at).unwrap()
        }
    }
    let real = host.path(TREE);
    fs::create_dir_all(real.parent().unwrap()).unwrap();
    fs::write(&real, "a file").unwrap();
    let seen = observe(&tree(&bytes), &host).unwrap();
    assert_eq!(seen, ToolSeen::Tree(TreeSeen::Foreign { what: "no folder".into() }));
}

/// Refused whole: nothing of it is left, neither in the tree's place nor elsewhere.
#[tokio::test(flavor = "current_thread")]
async fn hostile_archives_leave_nothing() {
    let ok = ("t-1/a", FILE, 0o644, b"a".as_slice());
    let cases: Vec<(&str, Vec<Entry<'_>>)> = vec![
        ("has an absolute path", vec![ok, ("/etc/x", FILE, 0o644, b"x")]),
        ("has `..` in its path", vec![ok, ("t-1/../../x", FILE, 0o644, b"x")]),
        ("lies outside of the folder", vec![ok, ("u-1/x", FILE, 0o644, b"x")]),
        ("is a link that leads out of it", vec![ok, ("t-1/l", LINK, 0o777, b"/etc")]),
        ("is a link that leads out of it", vec![ok, ("t-1/l", LINK, 0o777, b"../x")]),
        ("is a link that leads out of it", vec![ok, ("t-1/d/l", LINK, 0o777, b"e/../../../x")]),
        (
            "lies in a folder that is none",
            vec![ok, ("t-1/l", LINK, 0o777, b"a"), ("t-1/l/x", FILE, 0o644, b"x")],
        ),
        ("lies in a folder that is none", vec![ok, ("t-1/a/x", FILE, 0o644, b"x")]),
        ("is there twice", vec![ok, ok]),
        ("is there twice", vec![("t-1/l", LINK, 0o777, b"a"), ("t-1/l", FILE, 0o644, b"x")]),
        ("is a hard link", vec![ok, ("t-1/h", EntryType::Link, 0o644, b"/etc/passwd")]),
        ("is neither file, folder nor link", vec![ok, ("t-1/d", EntryType::Char, 0o644, b"")]),
        ("is neither file, folder nor link", vec![ok, ("t-1/d", EntryType::Block, 0o644, b"")]),
        ("is neither file, folder nor link", vec![ok, ("t-1/d", EntryType::Fifo, 0o644, b"")]),
        ("read the archive", vec![ok, ("t-1/d", EntryType::GNUSparse, 0o644, b"")]),
        ("is to run with another's rights", vec![ok, ("t-1/s", FILE, 0o4755, b"s")]),
        ("is to run with another's rights", vec![ok, ("t-1/s", FILE, 0o2755, b"s")]),
        ("has a control character in its name", vec![ok, ("t-1/a\nb", FILE, 0o644, b"s")]),
        ("has a name of rackwright's own", vec![ok, ("t-1/.rackwright.json", FILE, 0o644, b"{}")]),
        ("is to be a folder", vec![("t-1", FILE, 0o644, b"s")]),
        ("there is nothing in the archive's folder", vec![("t-1/", DIR, 0o755, b"")]),
    ];
    for (told, entries) in cases {
        refused(&packed(&entries), told).await;
    }
    let whole = good();
    refused(b"no archive at all", "read the archive").await;
    refused(&whole[..whole.len() / 2], "read the archive").await;
    let large = vec![0; 40 << 20];
    refused(&packed(&[ok, ("t-1/bomb", FILE, 0o644, &large)]), "it becomes too large").await;
    let many: Vec<String> = (0..20_001).map(|i| format!("t-1/{i}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), DIR, 0o755, b"".as_slice())).collect();
    refused(&packed(&many), "more than 20000 entries").await;
    let long = "x".repeat(1 << 20);
    refused(
        &packed(&[ok, ("././@LongLink", EntryType::GNULongName, 0o644, long.as_bytes()), ok]),
        "headers are too long",
    )
    .await;
}

async fn refused(bytes: &[u8], told: &str) {
    let (dir, host) = host();
    let outside = below(dir.path()).len();
    push(bytes, &host).unwrap();
    let step = tree(bytes);
    let error = act(&step, &observe(&step, &host).unwrap(), &host).await.unwrap_err();
    assert!(error.cause.contains(told), "{error} does not tell: {told}");
    host.forget_artifacts();
    let left = below(dir.path());
    assert!(left.iter().all(|path| Path::new(path).is_dir() && !path.contains("t-1")), "{left:?}");
    assert_eq!(outside, 0);
}

#[tokio::test(flavor = "current_thread")]
async fn long_names_of_both_kinds_are_understood() {
    let (_dir, host) = host();
    let long = format!("t-1/{}/file", "deep/".repeat(40).trim_end_matches('/'));
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, &long, b"x".as_slice()).unwrap();
    tar.append_pax_extensions([("path", "t-1/by-pax".as_bytes())]).unwrap();
    let mut header = Header::new_ustar();
    header.set_path("t-1/short").unwrap();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, b"y".as_slice()).unwrap();
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    push(&bytes, &host).unwrap();
    converge(&tree(&bytes), &host).await.unwrap();
    let real = host.path(TREE);
    assert!(real.join("by-pax").is_file() && real.join(&long[4..]).is_file(), "{:?}", below(&real));
}

#[tokio::test(flavor = "current_thread")]
async fn only_the_right_bytes_are_used() {
    let (_dir, host) = host();
    let bytes = good();
    let (sha256, size) = (hash(&bytes), bytes.len() as u64);
    let step = tree(&bytes);
    let before = observe(&step, &host).unwrap();
    let fault = act(&step, &before, &host).await.unwrap_err();
    assert_eq!(fault.next, "apply again: it is pushed then");

    // In parts, one of which comes twice and one too early: what is there is told.
    let part =
        |from: usize, to: usize| ArtifactPart::new(sha256.clone(), size, from as u64, &bytes[from..to]);
    assert_eq!(host.artifact_have(&sha256, size).unwrap(), 0);
    assert_eq!(host.artifact_part(&part(0, 10)).unwrap(), 10);
    assert_eq!(host.artifact_part(&part(0, 10)).unwrap(), 10);
    assert_eq!(host.artifact_part(&part(20, 30)).unwrap(), 10);
    assert_eq!(host.artifact_have(&sha256, size).unwrap(), 10);
    assert!(host.artifact_part(&ArtifactPart::new(sha256.clone(), size, 10, &[])).is_err());
    assert!(host.artifact_part(&ArtifactPart::new(sha256.clone(), size, size, b"more")).is_err());
    assert_eq!(push(&bytes, &host).unwrap(), size);
    assert_eq!(host.artifact_have(&sha256, size).unwrap(), size);

    // Changed on the disk since.
    let kept = host.path(format!("/var/lib/rackwright/artifacts/{sha256}"));
    fs::OpenOptions::new().append(true).open(&kept).unwrap().write_all(b"x").unwrap();
    assert!(act(&step, &before, &host).await.is_err());
    assert_eq!(host.artifact_have(&sha256, size).unwrap(), 0);

    // Other bytes under that name.
    let other = vec![0; bytes.len()];
    let fault = host.artifact_part(&ArtifactPart::new(sha256.clone(), size, 0, &other)).unwrap_err();
    assert!(fault.cause.contains("it was not used"), "{fault}");
    assert_eq!(host.artifact_have(&sha256, size).unwrap(), 0);
    assert!(host.artifact_have(&sha256, 1 << 40).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in an archive: all of it lies below the tree, or nothing of it anywhere.
    #[test]
    fn no_archive_reaches_out(
        entries in prop::collection::vec(
            ("(t-1/)?(\\.\\./)?[abc]{0,1}(/\\.\\.)?/?[abc]{1,2}", 0..3usize, "(\\.\\./){0,2}[abc]{1,2}(/\\.\\.)?"), 1..6,
        ),
        flip in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let kinds = [FILE, DIR, LINK];
        let entries: Vec<_> = entries.iter().map(|(name, kind, to)| (name.as_str(), kinds[*kind], 0o755, to.as_bytes())).collect();
        let mut bytes = packed(&entries);
        if let Some(at) = flip {
            let at = at.index(bytes.len());
            bytes[at] ^= 0x55;
        }
        let (dir, host) = host();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        push(&bytes, &host).unwrap();
        let step = tree(&bytes);
        let done = runtime.block_on(act(&step, &observe(&step, &host).unwrap(), &host));
        host.forget_artifacts();
        let real = host.path(TREE);
        for path in below(dir.path()) {
            let path = Path::new(&path);
            prop_assert!(path.starts_with(&real) || real.starts_with(path) || path.starts_with(dir.path().join("var")), "{path:?}");
            if let (true, Ok(to)) = (path.is_symlink(), fs::canonicalize(path)) {
                prop_assert!(to.starts_with(fs::canonicalize(&real).unwrap()), "{path:?} leads to {to:?}");
            }
        }
        prop_assert_eq!(done.is_ok(), real.exists());
    }
}
