//! `rackwright trust NODE`: show the host key of a node, or of a jump host, and record it as an explicit act.

use std::path::PathBuf;

use russh::keys::{HashAlg, PublicKey};
use serde::Serialize;

use super::{load_rack, no_such_node};
use crate::ask;
use crate::cli::TrustArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::rack::Loaded;
use crate::report;
use crate::ssh::known_hosts::{self, KnownHostsError, Verdict};
use crate::ssh::trust::{Existing, record};
use crate::ssh::{Dialer, Target};
use crate::target::{TargetError, Targets};

/// Runs the command.
pub async fn run(console: Console, args: TrustArgs) -> Exit {
    let loaded = match load_rack(console, &args.rack) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let target = match target(&loaded, &args.node, home.clone()).await {
        Ok(Some(target)) => target,
        Ok(None) => return no_such_node(console, &loaded, &args.node),
        Err(error) => {
            console.error(&error);
            return Exit::Invalid;
        }
    };
    let keys = match Dialer::new(ask::answers(&loaded, home)).host_keys(&target).await {
        Ok(keys) => keys,
        Err(error) => {
            console.error(&error);
            return Exit::Failed;
        }
    };
    let decided = decide(console, &args, &target, &keys);
    if args.json {
        let keys = keys.iter().map(|key| Key {
            algorithm: key.algorithm().to_string(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        });
        let told = Told { node: &args.node, keys: keys.collect(), recorded: decided.as_ref().ok() };
        console.data(|out| report::json(out, "trust", told));
    }
    match decided {
        Ok(_) => Exit::Done,
        Err(exit) => exit,
    }
}

/// `{"format", "kind": "trust", "node", "keys": [{"algorithm", "fingerprint"}], "recorded": FILE or null}`
#[derive(Serialize)]
struct Told<'a> {
    node: &'a str,
    keys: Vec<Key>,
    recorded: Option<&'a PathBuf>,
}

#[derive(Serialize)]
struct Key {
    algorithm: String,
    fingerprint: String,
}

/// The node of this name, or a jump host on the way to some node.
async fn target(loaded: &Loaded, name: &str, home: Option<PathBuf>) -> Result<Option<Target>, TargetError> {
    let targets = Targets::new(loaded, home);
    if let Some(node) = loaded.rack.node(name) {
        return targets.of(node).await.map(Some);
    }
    for node in loaded.rack.nodes() {
        if let Some(jump) = targets.of(node).await?.jump_host(name) {
            return Ok(Some(jump));
        }
    }
    Ok(None)
}

/// Shows the keys, asks, records; the file that they stand in now.
fn decide(console: Console, args: &TrustArgs, target: &Target, keys: &[PublicKey]) -> Result<PathBuf, Exit> {
    console.say(format_args!("{} ({}) shows", args.node, target.endpoint));
    for key in keys {
        console.say(format_args!("  {} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256)));
    }
    console.say("Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the node's console.");
    match objection(args, target, keys) {
        Ok(None) => {}
        Ok(Some(why)) => {
            console.say(format_args!("error: {why}; nothing was recorded"));
            return Err(Exit::Refused);
        }
        Err(error) => {
            console.error(&error);
            return Err(Exit::Failed);
        }
    }
    let question = if args.replace { "Forget its old keys and trust these?" } else { "Trust them?" };
    if !args.yes && !console.ask(question).unwrap_or(false) {
        console.say("nothing was recorded; say --yes where there is no terminal to ask on");
        return Err(Exit::Refused);
    }
    let existing = if args.replace { Existing::Replace } else { Existing::Keep };
    match record(&target.endpoint, keys, existing) {
        Ok(file) => {
            console.say(format_args!("recorded in {}", file.display()));
            Ok(file)
        }
        Err(error) => {
            console.error(&error);
            Err(Exit::Failed)
        }
    }
}

/// Why these keys are not recorded, whatever the operator answers: a changed key is replaced only by name.
fn objection(
    args: &TrustArgs,
    target: &Target,
    keys: &[PublicKey],
) -> Result<Option<String>, KnownHostsError> {
    let endpoint = &target.endpoint;
    let known = known_hosts::load(&endpoint.known_hosts)?;
    let known = known.about(&endpoint.host, endpoint.port, endpoint.host_key_alias.as_deref());
    let verdicts: Vec<_> = keys.iter().map(|key| (key, known.judge(&key.clone().into(), 0))).collect();
    let trusted = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Trusted(_)));
    for (key, verdict) in verdicts {
        match verdict {
            Verdict::Revoked(place) => return Ok(Some(format!("this key is revoked by {place}"))),
            // A host that is known by one kind of key may show another kind as well.
            Verdict::Changed { place, algorithm, fingerprint }
                if !args.replace && (!trusted || algorithm == key.algorithm().as_str()) =>
            {
                return Ok(Some(format!(
                    "{place} knows another key, {algorithm} {fingerprint}: either somebody is in between, or \
                     the host was installed anew; if it was, say --replace"
                )));
            }
            _ => {}
        }
    }
    Ok(None)
}
