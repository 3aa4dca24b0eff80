//! Archives of tools that cannot be had, or are not what the rack says they are.

use rackwright_proto::finding::Finding;
use rackwright_proto::name::{NodeName, ToolName, ToolVersion};

use super::Check;
use crate::plan::NoArchive;

/// Nobody knows the archive of a version.
pub(crate) fn no_archive(
    nodes: &[&NodeName],
    name: &ToolName,
    version: &ToolVersion,
    no: &NoArchive,
) -> Finding {
    let checked = format!("the release archive of {name} {version}");
    Check::new("tool-archive", nodes, format!("{name} {version}"), checked, "there, with its SHA-256")
        .error(&no.why, &no.next)
}

/// A local archive is not what it should be.
pub(crate) fn unusable(nodes: &[&NodeName], title: &str, why: String) -> Finding {
    let checked = format!("the archive of {title} that is pushed from here");
    Check::new("tool-archive", nodes, title, checked, "there, with the SHA-256 that the rack says")
        .error(why, "put the right file there, or correct `path` and `sha256` in the rack")
}
