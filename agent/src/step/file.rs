//! Files and symbolic links.
//!
//! Missing parents are made with mode 0755 and stay after an undo: an empty directory is harmless, and somebody
//! else may have come to count on it. Extended attributes and SELinux labels are not carried over.

use std::path::{Component, Path};

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::file::{FileSeen, FileStep, FileWant};

use crate::fault::host_fault;
use crate::host::Host;
use crate::host::fs::{Access, FsError};

/// What is at the path.
pub(super) fn observe(step: &FileStep, host: &Host) -> Result<FileSeen, Fault> {
    check_path(step)?;
    host.look(&step.path).map_err(|e| host_fault(format!("look at {}", step.path), &e))
}

/// Puts there what is wanted, keeping the bytes that it replaces.
pub(super) fn act(step: &FileStep, before: &FileSeen, host: &Host) -> Result<(), Fault> {
    check_path(step)?;
    let doing = || words(step);
    let fault = |e: FsError| host_fault(doing(), &e);
    if !before.same(&host.look(&step.path).map_err(fault)?) {
        let fault = Fault::new(FaultKind::Stale, doing(), "somebody else changed it at this very moment");
        return Err(fault.next("plan again"));
    }
    if matches!(before, FileSeen::File { .. }) {
        host.keep(&step.path).map_err(fault)?;
        host.boundary();
    }
    if step.want != FileWant::Absent {
        let parent = Path::new(&step.path).parent().unwrap_or(Path::new("/"));
        host.make_dirs(parent, 0o755).map_err(fault)?;
    }
    match &step.want {
        FileWant::Content { content, mode, owner, group } => {
            let bytes = content.bytes().map_err(|why| Fault::new(FaultKind::Internal, doing(), why))?;
            let owner = (id(host, step, "/etc/passwd", owner)?, id(host, step, "/etc/group", group)?);
            host.replace(&step.path, &bytes, Access { mode: *mode, owner: Some(owner) }).map_err(fault)
        }
        FileWant::Kept { sha256, mode, uid, gid } => {
            let bytes = host.kept(sha256).map_err(fault)?;
            host.replace(&step.path, &bytes, Access { mode: *mode, owner: Some((*uid, *gid)) }).map_err(fault)
        }
        FileWant::Link { target } => host.replace_by_link(&step.path, target).map_err(fault),
        FileWant::Absent => host.remove(&step.path).map_err(fault),
    }
}

fn words(step: &FileStep) -> String {
    rackwright_proto::step::HostStep::File(step.clone()).title()
}

fn id(host: &Host, step: &FileStep, list: &'static str, name: &str) -> Result<u32, Fault> {
    let found = host.id_of(list, name).map_err(|e| host_fault(words(step), &e))?;
    found.ok_or_else(|| {
        Fault::new(FaultKind::Host, words(step), format!("{list} on this host knows no `{name}`"))
            .next("create it on the host, or give the number")
    })
}

/// A path comes over the wire: absolute, and straight.
fn check_path(step: &FileStep) -> Result<(), Fault> {
    let path = Path::new(&step.path);
    let straight = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    // `components` hides `.` and doubled slashes; the path as written must not have them either.
    let as_written = step.path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    if path.is_absolute() && straight && as_written && !step.path.contains('\0') {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Host, words(step), "the path must be absolute, without `.` and `..`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rackwright_proto::file::Content;
    use std::os::unix::fs::MetadataExt as _;

    fn host() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        host.make_dirs("/etc", 0o755).unwrap();
        let me = nix::unistd::geteuid();
        let group = nix::unistd::getegid();
        let passwd = format!("other:x:54321:1::/:\nme:x:{me}:{group}::/:\n");
        host.replace("/etc/passwd", passwd.as_bytes(), Access::PUBLIC).unwrap();
        host.replace("/etc/group", format!("us:x:{group}:\n").as_bytes(), Access::PUBLIC).unwrap();
        (dir, host)
    }

    fn text(path: &str, text: &str, mode: u32) -> FileStep {
        let content = Content::Text(text.into());
        FileStep {
            path: path.into(),
            want: FileWant::Content { content, mode, owner: "me".into(), group: "us".into() },
        }
    }

    fn converge(step: &FileStep, host: &Host) -> FileSeen {
        let before = observe(step, host).unwrap();
        act(step, &before, host).unwrap();
        let after = observe(step, host).unwrap();
        assert!(step.want.matches(&after), "{:?} gave {after:?}", step.want);
        before
    }

    fn inverse(step: &FileStep, before: &FileSeen) -> FileStep {
        use rackwright_proto::step::{HostStep, Seen};
        match HostStep::File(step.clone()).inverse(&Seen::File(before.clone())) {
            Some(HostStep::File(step)) => step,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_mode_and_owner_come_back() {
        let (dir, host) = host();
        let path = dir.path().join("etc/x/y.conf");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        host.replace("/etc/x/y.conf", b"old \xff bytes", Access::PUBLIC).unwrap();
        let step = text("/etc/x/y.conf", "new\n", 0o640);
        let before = converge(&step, &host);
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
        converge(&inverse(&step, &before), &host);
        assert_eq!(std::fs::read(&path).unwrap(), b"old \xff bytes");
        let left: Vec<_> = host.names_in("/etc/x").unwrap();
        assert_eq!(left, ["y.conf"], "something was left behind");
    }

    #[test]
    fn a_new_file_goes_again_and_a_link_comes_back() {
        let (_dir, host) = host();
        let step = text("/opt/a/b/new", "x", 0o600);
        let before = converge(&step, &host);
        converge(&inverse(&step, &before), &host);
        assert_eq!(observe(&step, &host).unwrap(), FileSeen::Absent);

        host.replace_by_link("/etc/link", "first").unwrap();
        let link = FileStep { path: "/etc/link".into(), want: FileWant::Link { target: "second".into() } };
        let before = converge(&link, &host);
        converge(&inverse(&link, &before), &host);
        assert_eq!(observe(&link, &host).unwrap(), FileSeen::Link { target: "first".into() });
    }

    #[test]
    fn a_link_is_replaced_and_never_written_through() {
        let (dir, host) = host();
        host.replace("/victim", b"mine", Access::PUBLIC).unwrap();
        host.replace_by_link("/etc/trap", dir.path().join("victim").to_str().unwrap()).unwrap();
        converge(&text("/etc/trap", "theirs", 0o644), &host);
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "mine");
    }

    #[test]
    fn directories_and_pipes_are_never_replaced() {
        let (dir, host) = host();
        std::fs::create_dir(dir.path().join("etc/d")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("etc/p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, kind) in [("/etc/d", "directory"), ("/etc/p", "pipe")] {
            let seen = observe(&text(path, "", 0o644), &host).unwrap();
            assert_eq!(seen, FileSeen::Other { what: kind.into() });
        }
    }

    #[test]
    fn crooked_paths_and_unknown_owners_are_refused() {
        let (_dir, host) = host();
        for bad in ["etc/x", "/etc/../x", "/etc/./x", "/etc//x", "/", "/x\0y", "/x/"] {
            assert!(observe(&text(bad, "", 0o644), &host).is_err(), "{bad:?} was accepted");
        }
        let mut step = text("/etc/x", "", 0o644);
        step.want = FileWant::Content {
            content: Content::Text(String::new()),
            mode: 0o644,
            owner: "nobody-here".into(),
            group: "us".into(),
        };
        let fault = act(&step, &FileSeen::Absent, &host).unwrap_err();
        assert_eq!(fault.cause, "/etc/passwd on this host knows no `nobody-here`");
        assert_eq!(observe(&step, &host).unwrap(), FileSeen::Absent);
    }
}
