//! The node, as a value that is passed around. Every effect of the agent is behind this door.
#![expect(clippy::disallowed_methods, reason = "this is the door that the lint keeps")]

pub mod arp;
pub mod artifact;
mod bus;
mod checksum;
pub mod clock;
pub mod cni;
pub mod command;
mod conntrack;
pub mod counters;
pub mod detach;
pub mod dial;
pub mod disk;
pub mod drops;
pub mod echo;
pub mod firewall;
pub mod fs;
pub mod knock;
pub mod kubernetes;
pub mod leftovers;
pub mod machine;
pub mod modules;
pub mod ndp;
mod netfilter;
mod nftables;
pub mod proxy;
pub mod raw;
mod read;
pub mod rtnl;
pub mod sockets;
pub mod space;
pub mod swap;
pub mod syn;
mod sys;
pub mod sysctl;
pub mod systemd;
pub mod tool;
pub mod tools;
pub mod translate;
pub mod tree;
pub mod tunnels;
pub mod watch;
pub mod web;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A node: the root of its file system. `/` in production; a directory in tests that need no kernel.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    #[cfg(feature = "fault-injection")]
    dies: Option<std::sync::Arc<Dies>>,
}

/// Where a run dies, for tests of what is left behind.
#[cfg(feature = "fault-injection")]
#[derive(Debug)]
struct Dies {
    at: u32,
    passed: std::sync::atomic::AtomicU32,
}

impl Host {
    /// The machine that the agent runs on.
    pub fn this() -> Self {
        Self::at("/")
    }

    /// A tree that looks like a machine's.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            #[cfg(feature = "fault-injection")]
            dies: None,
        }
    }

    /// Where an absolute path of the node really lies.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// Where the node's file system begins.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the machine itself and not a tree that looks like one.
    pub fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A place between two effects of a run. In builds with `fault-injection` the process may kill itself here.
    pub fn boundary(&self) {
        #[cfg(feature = "fault-injection")]
        if let Some(dies) = &self.dies {
            let passed = dies.passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            if passed == dies.at {
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    /// The same host, on which this process dies by SIGKILL at boundary `at`, counted from 1.
    #[cfg(feature = "fault-injection")]
    #[must_use]
    pub fn dying_at(mut self, at: u32) -> Self {
        self.dies = Some(std::sync::Arc::new(Dies { at, passed: 0.into() }));
        self
    }
}

/// The host's clock, as Unix time in milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Whether this process may change the machine.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
