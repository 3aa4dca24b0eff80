//! The SSH room against a real sshd, ssh, ssh-agent and ssh-keygen, on loopback.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, unreachable_pub)]

#[path = "ssh/connect.rs"]
mod connect;
#[path = "ssh/known_hosts.rs"]
mod known_hosts;
#[path = "ssh/login.rs"]
mod login;
#[path = "ssh/server.rs"]
mod server;
#[path = "ssh/session.rs"]
mod session;
