//! The upstream resolver: the machine's own cannot be reached from a rack, and would not answer the same anywhere.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use super::Parts;
use crate::error::{Doing, Result};
use crate::layout::{OPERATOR_ADDRESS, RESOLVER_ADDRESS};
use crate::names::netns_path;
use crate::rack::Lab;
use crate::run::{await_until, command};

const START_LIMIT: Duration = Duration::from_secs(30);

/// Starts the resolver of a rack unless it runs. It ends with its network namespace.
pub(super) fn ensure(lab: &Lab, parts: &Parts) -> Result<()> {
    if answers(lab) {
        return Ok(());
    }
    let (file, log) = (lab.dir().join("Corefile"), lab.dir().join("resolver.log"));
    fs::write(&file, corefile()).doing(|| format!("write {}", file.display()))?;
    let open = || File::create(&log).doing(|| format!("open {}", log.display()));
    let mut resolver = command("setsid");
    let namespace = netns_path(&lab.spec().name.neighbour("resolver"));
    resolver.args(["--fork", "nsenter", &format!("--net={}", namespace.display())]);
    resolver.arg(&parts.resolver).arg("-conf").arg(&file).current_dir("/");
    resolver.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    resolver.status().doing(|| "start the resolver".to_owned())?;
    let seen = || fs::read_to_string(&log).unwrap_or_default();
    await_until("the lab's resolver answers", START_LIMIT, || if answers(lab) { Ok(()) } else { Err(seen()) })
}

/// Over TCP, so that a refusal is told at once.
fn answers(lab: &Lab) -> bool {
    let Ok(mut probe) = lab.op_command("bash") else { return false };
    probe.args(["-c", &format!("exec 3<>/dev/tcp/{RESOLVER_ADDRESS}/53")]);
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// A few names of its own (RFC 2606); all others do not exist.
fn corefile() -> String {
    format!(
        "lab.test {{
    bind {RESOLVER_ADDRESS}
    hosts {{
        {OPERATOR_ADDRESS} operator.lab.test
        {RESOLVER_ADDRESS} resolver.lab.test
    }}
    errors
}}
. {{
    bind {RESOLVER_ADDRESS}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
    errors
}}
"
    )
}
