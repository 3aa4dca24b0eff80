//! Keys: one for the operator, one per host, and the `known_hosts` that names them. Made for one rack only.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::error::{Doing, Result};
use crate::run::{command, must};

const LIMIT: Duration = Duration::from_secs(30);

/// Makes an ed25519 key pair at `path` and `path.pub`.
pub(crate) fn generate(path: &Path, comment: &str) -> Result<()> {
    let mut keygen = command("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path);
    must(keygen, &format!("make the key {}", path.display()), LIMIT).map(drop)
}

/// The public half, as one line.
pub(crate) fn public(path: &Path) -> Result<String> {
    let path = path.with_extension("pub");
    let line = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
    Ok(line.trim().to_owned())
}

/// A line of `known_hosts` for a host that is known by name and by address.
pub(crate) fn known_host(name: &str, address: IpAddr, public: &str) -> String {
    let key: Vec<&str> = public.split_whitespace().take(2).collect();
    format!("{address},{name} {}\n", key.join(" "))
}
