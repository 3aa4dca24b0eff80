//! Tools of a cluster on a host: a release archive that is unpacked there, the links by which its programs are found, and
//! one run of a program such as `istioctl`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::name::{Sha256, ToolName, ToolVersion};
use crate::step::Decision;

/// Where unpacked archives lie, each in a folder `NAME-VERSION`.
pub const TOOLS: &str = "/usr/local/lib/rackwright/tools";

/// Where links to programs lie: on everybody's PATH.
pub const LINKS: &str = "/usr/local/bin";

/// A step of the tool family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToolStep {
    /// An unpacked release archive. Versions lie side by side.
    Tree(TreeStep),
    /// A link on PATH to a program of one.
    Link(LinkStep),
}

/// What a host has, in the tool family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolSeen {
    /// Where a tree would be.
    Tree(TreeSeen),
    /// Where a link would be.
    Link(LinkSeen),
}

/// A release archive of one version, unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeStep {
    /// The tool.
    pub name: ToolName,
    /// Its version.
    pub version: ToolVersion,
    /// The archive that shall be unpacked there; none for nothing.
    #[serde(default)]
    pub archive: Option<Archive>,
}

/// A release archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Of all its bytes.
    pub sha256: Sha256,
    /// How it is packed.
    pub format: ArchiveFormat,
    /// The one folder that all of it lies in, which the unpacked tree does without: `istio-1.29.1`.
    pub folder: String,
    /// Where the host gets it.
    pub from: ArchiveSource,
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFormat {
    /// tar (POSIX.1-2001, GNU), compressed by gzip (RFC 1952).
    TarGz,
}

/// Where a host gets an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveSource {
    /// From the coordinator, over the connection that brings the plan.
    Pushed,
    /// By itself, from this address. `https` only.
    Url(String),
}

/// What is where a tree would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum TreeSeen {
    /// Nothing.
    Absent,
    /// An archive that we unpacked, as we left it.
    Unpacked {
        /// Of the archive.
        sha256: Sha256,
    },
    /// An archive that we unpacked, and not as we left it.
    Damaged {
        /// Of the archive.
        sha256: Sha256,
        /// What is not as it was: the first thing found.
        what: String,
    },
    /// Something that we did not make; never replaced.
    Foreign {
        /// What, for people.
        what: String,
    },
}

/// A link on PATH to a program of an unpacked archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkStep {
    /// The program's name, and the link's.
    pub name: ToolName,
    /// Where it leads, below [`TOOLS`]; none for no link.
    #[serde(default)]
    pub target: Option<String>,
}

/// What is where a link would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum LinkSeen {
    /// Nothing.
    Absent,
    /// A link that leads below [`TOOLS`].
    Ours {
        /// Where it leads, as written.
        target: String,
    },
    /// Something that we did not make; never replaced.
    Foreign {
        /// What, for people.
        what: String,
    },
}

impl ToolStep {
    /// The natural key; see [`crate::step::HostStep::key`].
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Tree(s) => format!("tool/{}/{}", s.name, s.version),
            Self::Link(s) => format!("tool/link/{}", s.name),
        }
    }

    pub(crate) fn title(&self) -> String {
        match self {
            Self::Tree(s) if s.archive.is_some() => format!("unpack {} {}", s.name, s.version),
            Self::Tree(s) => format!("remove {} {}", s.name, s.version),
            Self::Link(s) if s.target.is_some() => format!("link {}", s.path()),
            Self::Link(s) => format!("remove {}", s.path()),
        }
    }

    pub(crate) fn decide(&self, seen: &ToolSeen) -> Decision {
        match (self, seen) {
            (Self::Tree(step), ToolSeen::Tree(seen)) => step.decide(seen),
            (Self::Link(step), ToolSeen::Link(seen)) => step.decide(seen),
            _ => Decision::Refuse { why: "what was seen is of another kind".into() },
        }
    }

    pub(crate) fn inverse(&self, before: &ToolSeen) -> Option<ToolStep> {
        match (self, before) {
            (Self::Tree(step), ToolSeen::Tree(before)) => step.inverse(before).map(Self::Tree),
            (Self::Link(step), ToolSeen::Link(before)) => step.inverse(before).map(Self::Link),
            _ => None,
        }
    }
}

impl ToolSeen {
    /// Whether `now` is still what a plan saw. A tree of ours stays ours when it is damaged.
    pub(crate) fn still(&self, now: &ToolSeen) -> bool {
        match (self, now) {
            (Self::Tree(then), Self::Tree(now)) => {
                then == now || then.ours().is_some_and(|then| Some(then) == now.ours())
            }
            (then, now) => then == now,
        }
    }

    /// One line for people.
    pub fn words(&self) -> String {
        match self {
            Self::Tree(seen) => seen.words(),
            Self::Link(LinkSeen::Absent) => "absent".into(),
            Self::Link(LinkSeen::Ours { target }) => format!("link to {target}"),
            Self::Link(LinkSeen::Foreign { what }) => what.clone(),
        }
    }
}

impl TreeStep {
    /// The folder's path on the host.
    pub fn path(&self) -> String {
        format!("{TOOLS}/{}-{}", self.name, self.version)
    }

    fn decide(&self, seen: &TreeSeen) -> Decision {
        match (&self.archive, seen) {
            (None, TreeSeen::Absent | TreeSeen::Foreign { .. }) => Decision::Keep,
            (Some(archive), TreeSeen::Unpacked { sha256 }) if *sha256 == archive.sha256 => Decision::Keep,
            (Some(_), TreeSeen::Foreign { what }) => Decision::Refuse {
                why: format!("{} is {what}, which rackwright did not make; move it away", self.path()),
            },
            (Some(archive), _) => Decision::change(seen.words(), unpacked(&archive.sha256)),
            (None, _) => Decision::change(seen.words(), "absent"),
        }
    }

    fn inverse(&self, before: &TreeSeen) -> Option<TreeStep> {
        let absent = || TreeStep { archive: None, ..self.clone() };
        match (&self.archive, before) {
            (None, _) | (_, TreeSeen::Foreign { .. }) => None,
            (Some(archive), TreeSeen::Unpacked { sha256 }) if *sha256 == archive.sha256 => None,
            // Another archive of that version cannot be brought back: nobody has it any more.
            (Some(_), _) => Some(absent()),
        }
    }
}

impl TreeSeen {
    /// The archive that we unpacked there.
    fn ours(&self) -> Option<&Sha256> {
        match self {
            Self::Unpacked { sha256 } | Self::Damaged { sha256, .. } => Some(sha256),
            Self::Absent | Self::Foreign { .. } => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Absent => "absent".into(),
            Self::Unpacked { sha256 } => unpacked(sha256),
            Self::Damaged { what, .. } => format!("damaged: {what}"),
            Self::Foreign { what } => what.clone(),
        }
    }
}

fn unpacked(sha256: &Sha256) -> String {
    format!("unpacked ({})", &sha256.as_str()[..12])
}

impl LinkStep {
    /// The link's path on the host.
    pub fn path(&self) -> String {
        format!("{LINKS}/{}", self.name)
    }

    fn decide(&self, seen: &LinkSeen) -> Decision {
        match (&self.target, seen) {
            (None, LinkSeen::Absent | LinkSeen::Foreign { .. }) => Decision::Keep,
            (Some(want), LinkSeen::Ours { target }) if target == want => Decision::Keep,
            (Some(_), LinkSeen::Foreign { what }) => Decision::Refuse {
                why: format!(
                    "{} is {what}, which rackwright did not make; move it away, so that the rack's version is found there",
                    self.path()
                ),
            },
            (Some(want), now) => {
                Decision::change(ToolSeen::Link(now.clone()).words(), format!("link to {want}"))
            }
            (None, now) => Decision::change(ToolSeen::Link(now.clone()).words(), "absent"),
        }
    }

    fn inverse(&self, before: &LinkSeen) -> Option<LinkStep> {
        let target = match before {
            LinkSeen::Absent => None,
            LinkSeen::Ours { target } => Some(target.clone()),
            LinkSeen::Foreign { .. } => return None,
        };
        (target != self.target).then(|| LinkStep { name: self.name.clone(), target })
    }
}

/// How an archive's bytes come to a host: asked for before, part by part after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactPart {
    /// Of the whole.
    pub sha256: Sha256,
    /// How long the whole is, in bytes.
    pub size: u64,
    /// Where this part begins.
    pub offset: u64,
    /// The part, in base64 (RFC 4648, with padding).
    base64: String,
}

impl ArtifactPart {
    /// The most bytes of one: few enough for a slow line's deadline.
    pub const LONGEST: usize = 1 << 20;

    /// A part of an archive.
    pub fn new(sha256: Sha256, size: u64, offset: u64, bytes: &[u8]) -> Self {
        Self { sha256, size, offset, base64: STANDARD.encode(bytes) }
    }

    /// Its bytes; an error text when the base64 is broken.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        STANDARD.decode(&self.base64).map_err(|e| e.to_string())
    }
}

/// The most bytes of an archive: Istio's have some 35 MB.
pub const LARGEST_ARTIFACT: u64 = 512 << 20;

/// One run of a tool, with the rights of the cluster's administrator on that host (`KUBECONFIG`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRun {
    /// Whose unpacked archive `{tool}` stands for: `istio`. Empty, with an empty version, where none is needed.
    pub tool: String,
    /// Of which version: `1.29.1`.
    pub version: String,
    /// The program: inside of the unpacked archive where there is a `/` in it (`bin/istioctl`), else one of the host's
    /// own that is found by its name (`helm`).
    pub program: String,
    /// Its arguments. No secret: they are seen by every process of the host. `{files}` in one of them stands for the
    /// folder of `files`, `{tool}` for that of the unpacked archive.
    pub args: Vec<String>,
    /// Files to put beside, by name: in a folder of this run's own that root alone can read and that goes with it.
    pub files: BTreeMap<String, String>,
    /// How long it may take, in seconds; at most [`ToolRun::LONGEST`].
    pub seconds: u32,
}

impl ToolRun {
    /// The longest that a run may take, in seconds.
    pub const LONGEST: u32 = 1800;
}

/// How a run of a tool ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolOutcome {
    /// Its exit code; `None` where a signal or the deadline ended it.
    pub code: Option<i32>,
    /// Its standard output, as UTF-8, at most 8 MiB.
    pub stdout: String,
    /// The end of its standard error, at most 64 KiB.
    pub stderr: String,
    /// Whether something of either was left out.
    pub cut: bool,
}
