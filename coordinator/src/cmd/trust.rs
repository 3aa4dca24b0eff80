//! `rackwright trust NODE`: show a node's host key, and record it as an explicit act.

use russh::keys::{HashAlg, PublicKey};

use super::load_rack;
use crate::ask;
use crate::cli::TrustArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::ssh::trust::{Existing, record};
use crate::ssh::{Dialer, Target};
use crate::target::Targets;

/// Runs the command.
pub async fn run(console: Console, args: TrustArgs) -> Exit {
    let loaded = match load_rack(console, &args.rack) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let Some(node) = loaded.rack.node(args.node.as_str()) else {
        console.say(format_args!("error: {} has no node `{}`", loaded.name, args.node));
        return Exit::Invalid;
    };
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let target = match Targets::new(&loaded, home.clone()).of(node).await {
        Ok(target) => target,
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
    decide(console, &args, &target, &keys)
}

fn decide(console: Console, args: &TrustArgs, target: &Target, keys: &[PublicKey]) -> Exit {
    console.say(format_args!("{} ({}) shows", args.node, target.endpoint));
    for key in keys {
        console.say(format_args!("  {} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256)));
    }
    console.say("Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the node's console.");
    let question = if args.replace { "Forget its old keys and trust these?" } else { "Trust them?" };
    match args.yes || console.ask(question).unwrap_or(false) {
        false => {
            console.say("nothing was recorded; say --yes where there is no terminal to ask on");
            Exit::Refused
        }
        true => {
            let existing = if args.replace { Existing::Replace } else { Existing::Keep };
            match record(&target.endpoint, keys, existing) {
                Ok(file) => {
                    console.say(format_args!("recorded in {}", file.display()));
                    Exit::Done
                }
                Err(error) => {
                    console.error(&error);
                    Exit::Failed
                }
            }
        }
    }
}
