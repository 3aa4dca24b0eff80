//! The node, as a value that is passed around. Every effect of the agent is behind this door.
#![expect(clippy::disallowed_methods, reason = "this is the door that the lint keeps")]

pub mod arp;
pub mod clock;
pub mod command;
pub mod disk;
pub mod firewall;
pub mod leftovers;
pub mod machine;
pub mod modules;
pub mod ndp;
pub mod raw;
mod read;
pub mod rtnl;
pub mod sockets;
pub mod swap;
mod sys;
pub mod sysctl;
pub mod tools;

use std::path::{Path, PathBuf};

/// A node: the root of its file system. `/` in production; a directory in tests that need no kernel.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine that the agent runs on.
    pub fn this() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// A tree that looks like a machine's.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where an absolute path of the node really lies.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }
}
