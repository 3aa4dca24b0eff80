//! The lab: racks of real hosts on one machine, to try the product without a rack and to test it.
//!
//! Each host is a Debian tree on an overlay with its own network: systemd as PID 1, real sshd, journal, sudo,
//! on shared L2 segments inside network namespaces. Nothing in the product knows which lab it runs on.
//!
//! ```no_run
//! use rackwright_lab::{Defect, Lab, Spec};
//!
//! let lab = Lab::up(Spec::test(2).defect("w1", Defect::SwapFstab))?;
//! assert_eq!(lab.host("w1").read("hostname")?, "w1");
//! let check = lab.op_command("rackwright")?.arg("check").arg(lab.rack_yaml()).status();
//! # Ok::<(), rackwright_lab::LabError>(())
//! ```
//! The rack goes down when `lab` is dropped.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// The lab is all effects, and no part of what is shipped: the doors of the product are not its own.
#![allow(clippy::disallowed_methods)]

pub mod agents;
mod base;
pub mod bench;
mod cgroup;
mod defect;
mod error;
mod files;
mod host;
mod keys;
mod kube;
pub mod layout;
mod limits;
mod names;
pub mod need;
mod netns;
mod prepare;
mod rack;
mod run;
pub mod skip;
mod slot;
mod spec;
pub mod sweep;
mod sys;
pub mod talk;
mod tree;
mod vm;

pub use base::ensure as ensure_base;
pub use defect::{Defect, Edit, NEIGHBOUR, WRONG_MTU};
pub use error::{Doing, LabError, Result, chain};
pub use host::Host;
pub use kube::{
    Archive, Cluster, ClusterDefect, ClusterShape, Istio, Metallb, Outside, PodNetwork, Release, helm,
    mesh_web, suite as clusters,
};
pub use names::{RACKS, RackName, netns_path};
pub use need::Lack;
pub use rack::Lab;
pub use run::{Output, await_until, command, each, must, run};
pub use spec::{BASTION, Kind, Login, Order, Spec};
pub use vm::suite as vms;
