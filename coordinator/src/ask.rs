//! Answers to the questions that logging in and sudo ask: from the terminal, the environment or a file, as the
//! rack says. An answer is never logged and never in an argument.

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rack::Loaded;
use crate::rack::model::ssh::SecretSource;
use crate::ssh::{Ask, Question, Secret};

/// The longest secret that is read from a file, in bytes.
const LONGEST: u64 = 4096;

/// Who answers what, for a whole rack. Nodes with the same user share the source of sudo's password.
pub fn answers(loaded: &Loaded, home: Option<PathBuf>) -> Ask {
    let mut sudo = HashMap::new();
    let mut keys = HashMap::new();
    for node in loaded.rack.nodes() {
        if let Some(source) = &node.ssh.become_password {
            let user = node.ssh.user.as_ref().map(|u| u.as_str().to_owned());
            sudo.entry(user).or_insert_with(|| source.clone());
        }
        if let Some(source) = &node.ssh.passphrase {
            for key in &node.ssh.identity {
                keys.entry(key.resolve(&loaded.folder, home.as_deref())).or_insert_with(|| source.clone());
            }
        }
    }
    let folder = loaded.folder.clone();
    Arc::new(move |question| {
        let (source, prompt) = match question {
            Question::Sudo { user } => {
                let source = sudo.get(&Some(user.clone())).or_else(|| sudo.get(&None));
                (source, format!("Password of {user} for sudo on the nodes: "))
            }
            Question::Passphrase(path) => (keys.get(path), format!("Passphrase of {}: ", path.display())),
        };
        match source {
            Some(source) => answer(source, &prompt, &folder, home.as_deref()),
            None => on_terminal(&prompt),
        }
    })
}

fn answer(source: &SecretSource, prompt: &str, folder: &Path, home: Option<&Path>) -> Option<Secret> {
    match source {
        SecretSource::Prompt => on_terminal(prompt),
        SecretSource::Env(name) => std::env::var(name.as_str()).ok().map(Secret::new),
        SecretSource::File(path) => {
            let file = std::fs::File::open(path.resolve(folder, home)).ok()?;
            let mut line = String::new();
            std::io::BufReader::new(file.take(LONGEST)).read_line(&mut line).ok()?;
            Some(Secret::new(line.trim_end_matches(['\n', '\r']).to_owned()))
        }
    }
}

fn on_terminal(prompt: &str) -> Option<Secret> {
    std::io::stdin().is_terminal().then(|| rpassword::prompt_password(prompt).ok().map(Secret::new))?
}
