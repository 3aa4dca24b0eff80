//! Tools of a cluster: unpacked release archives, and links on PATH to their programs.

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::step::HostStep;
use rackwright_proto::tool::{Archive, ArchiveSource, LinkStep, ToolSeen, ToolStep, TreeSeen, TreeStep};

use crate::fault::host_fault;
use crate::fetch;
use crate::host::Host;
use crate::host::fs::FsError;

/// What is there.
pub(super) fn observe(step: &ToolStep, host: &Host) -> Result<ToolSeen, Fault> {
    let fault = |path: String| move |e: FsError| host_fault(format!("look at {path}"), &e);
    match step {
        ToolStep::Tree(s) => host.look_at_tree(&s.path()).map(ToolSeen::Tree).map_err(fault(s.path())),
        ToolStep::Link(s) => host.look_at_link(&s.path()).map(ToolSeen::Link).map_err(fault(s.path())),
    }
}

/// Puts there what is wanted.
pub(super) async fn act(step: &ToolStep, before: &ToolSeen, host: &Host) -> Result<(), Fault> {
    if *before != observe(step, host)? {
        let fault = Fault::new(FaultKind::Stale, words(step), "somebody else changed it at this very moment");
        return Err(fault.next("plan again"));
    }
    match (step, before) {
        (ToolStep::Tree(tree), ToolSeen::Tree(before)) => match &tree.archive {
            Some(archive) => unpack(tree, archive, host).await,
            None => remove(tree, before, host),
        },
        (ToolStep::Link(link), _) => put_link(link, host),
        _ => Err(Fault::new(FaultKind::Internal, words(step), "what was seen is of another kind")),
    }
}

fn words(step: &ToolStep) -> String {
    HostStep::Tool(step.clone()).title()
}

async fn unpack(tree: &TreeStep, archive: &Archive, host: &Host) -> Result<(), Fault> {
    let doing = || words(&ToolStep::Tree(tree.clone()));
    if archive.folder.is_empty() || archive.folder.contains('/') || archive.folder.starts_with('.') {
        return Err(Fault::new(FaultKind::Internal, doing(), "the archive's folder is no plain name"));
    }
    let there = |host: &Host| host.artifact(&archive.sha256).map_err(|e| host_fault(doing(), &e));
    let file = match (there(host)?, &archive.from) {
        (Some(file), _) => file,
        (None, ArchiveSource::Url(url)) => {
            fetch::archive(url, &archive.sha256, host).await?;
            there(host)?
                .ok_or_else(|| Fault::new(FaultKind::Internal, doing(), "the archive is gone again"))?
        }
        (None, ArchiveSource::Pushed) => {
            let cause = "its archive is not on this host, or what is there of it is damaged";
            return Err(Fault::new(FaultKind::Host, doing(), cause).next("apply again: it is pushed then"));
        }
    };
    host.unpack(&file, archive, &tree.path()).map_err(|e| host_fault(doing(), &e))
}

fn remove(tree: &TreeStep, before: &TreeSeen, host: &Host) -> Result<(), Fault> {
    match before {
        TreeSeen::Absent | TreeSeen::Foreign { .. } => Ok(()),
        TreeSeen::Unpacked { .. } | TreeSeen::Damaged { .. } => host
            .remove_unpacked(&tree.path())
            .map_err(|e| host_fault(words(&ToolStep::Tree(tree.clone())), &e)),
    }
}

fn put_link(link: &LinkStep, host: &Host) -> Result<(), Fault> {
    let done = match &link.target {
        Some(target) => host.make_link_folder().and_then(|()| host.replace_by_link(link.path(), target)),
        None => host.remove(link.path()),
    };
    done.map_err(|e| host_fault(words(&ToolStep::Link(link.clone())), &e))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests change their own folders")]
mod tests;
