//! Everything that crosses SSH: host keys, logins, jump hosts, the agent's delivery and its channel.
//!
//! ```text
//! config   what ~/.ssh/config says about a node          -> Target
//! connect  Target -> Connection (through jump hosts)       known_hosts, auth
//! session  Connection -> one exec, through sudo            greeting
//! deliver  the agent's file, when a host does not have it
//! trust    record a host key, as an explicit act
//! ```
//! Decisions are pure ([`known_hosts`], [`greeting`]); effects have deadlines. Nothing here writes a secret
//! anywhere but into the stream that asked for it.

pub mod auth;
pub mod certificate;
pub mod config;
pub mod connect;
pub mod deliver;
pub mod error;
pub mod greeting;
mod handler;
pub mod known_hosts;
pub mod process;
mod scan;
pub mod secret;
pub mod session;
pub mod target;
mod transport;
pub mod trust;
pub mod tunnel;

pub use connect::{Connection, Dialer};
pub use deliver::Agents;
pub use error::{Fault, SshError};
pub use process::{ChannelReader, ChannelWriter, Ending, Exit, Output};
pub use secret::{Ask, Question, Secret};
pub use session::AgentChannel;
pub use target::{Deadlines, Endpoint, Pin, Privilege, Target};
pub use tunnel::Tunnel;
