//! Files that the rack names, and the shape of those that we write.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::file::{Content, FileStep, FileWant};
use rackwright_proto::step::HostStep;
use rackwright_proto::tool::ToolStep;

use super::kernel::joined;
use super::memory::FSTAB;
use super::wanted::{Because, Conflict, Conflicts, Wanted};

/// A file that everybody reads and only root writes.
pub(super) fn root_file(path: &str, text: String) -> HostStep {
    HostStep::File(FileStep {
        path: path.to_owned(),
        want: FileWant::Content {
            content: Content::Text(text),
            mode: 0o644,
            owner: "root".into(),
            group: "root".into(),
        },
    })
}

/// The rack's own files; `ours` are the steps that other families want, whose paths are taken.
pub(super) fn steps(
    wanted: &Wanted,
    ours: &[Because<HostStep>],
) -> Result<Vec<Because<HostStep>>, Conflicts> {
    let mut by_path: BTreeMap<&str, Vec<&Because<FileStep>>> = BTreeMap::new();
    for file in &wanted.files {
        by_path.entry(&file.what.path).or_default().push(file);
    }
    let conflicts: Vec<Conflict> =
        by_path.values().filter_map(|files| conflict(files, taken_by(wanted, ours, files[0]))).collect();
    if !conflicts.is_empty() {
        return Err(Conflicts(conflicts));
    }
    let step = |files: Vec<&Because<FileStep>>| {
        let whys: BTreeSet<String> = files.iter().map(|f| f.why.clone()).collect();
        Because::new(HostStep::File(files[0].what.clone()), joined(&whys))
    };
    Ok(by_path.into_values().map(step).collect())
}

fn taken_by(
    wanted: &Wanted,
    ours: &[Because<HostStep>],
    file: &Because<FileStep>,
) -> Option<Because<String>> {
    if wanted.swap_off && file.what.path == FSTAB {
        return Some(Because::new("without its swap entries".to_owned(), "swap: off"));
    }
    let same = |step: &&Because<HostStep>| match &step.what {
        HostStep::File(f) => f.path == file.what.path,
        HostStep::Tool(ToolStep::Link(link)) => link.path() == file.what.path,
        _ => false,
    };
    let ours = ours.iter().find(same)?;
    Some(Because::new("written by rackwright itself".to_owned(), &ours.why))
}

fn conflict(files: &[&Because<FileStep>], taken: Option<Because<String>>) -> Option<Conflict> {
    let mut wishes: Vec<Because<String>> =
        files.iter().map(|f| Because::new(f.what.want.words(), &f.why)).collect();
    wishes.sort_by(|a, b| (&a.what, &a.why).cmp(&(&b.what, &b.why)));
    let differ = files.iter().any(|f| f.what != files[0].what);
    wishes.extend(taken.clone());
    let about = format!("file {}", files[0].what.path);
    (differ || taken.is_some()).then_some(Conflict { about, wishes })
}
