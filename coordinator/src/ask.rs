//! Answers to the questions that logging in and sudo ask: from the terminal, the environment or a file, as the
//! rack says. An answer is never logged and never in an argument.

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::rack::Loaded;
use crate::rack::model::ssh::SecretSource;
use crate::ssh::{Ask, Question, Secret};

/// The longest secret that is read from a file, in bytes.
const LONGEST: u64 = 4096;

/// Who answers what, for a whole rack. Each node has its own source of sudo's password; a person at the terminal
/// is asked once for all nodes of one user.
pub fn answers(loaded: &Loaded, home: Option<PathBuf>) -> Ask {
    let mut sudo = HashMap::new();
    let mut keys = HashMap::new();
    for node in loaded.rack.nodes() {
        if let Some(source) = &node.ssh.become_password {
            sudo.insert(node.name.to_string(), source.clone());
        }
        if let Some(source) = &node.ssh.passphrase {
            for key in &node.ssh.identity {
                keys.entry(key.resolve(&loaded.folder, home.as_deref())).or_insert_with(|| source.clone());
            }
        }
    }
    let folder = loaded.folder.clone();
    let typed = Mutex::new(HashMap::new());
    Arc::new(move |question| {
        let (source, prompt) = match question {
            Question::Sudo { node, user } => {
                (sudo.get(node), format!("Password of {user} for sudo on the nodes: "))
            }
            Question::Passphrase(path) => (keys.get(path), format!("Passphrase of {}: ", path.display())),
        };
        match source.unwrap_or(&SecretSource::Prompt) {
            SecretSource::Prompt => {
                // Locked while a person types: the other nodes wait for the same answer.
                let mut typed = typed.lock().unwrap_or_else(PoisonError::into_inner);
                typed.entry(prompt.clone()).or_insert_with(|| on_terminal(&prompt)).clone()
            }
            SecretSource::Env(name) => std::env::var(name.as_str()).ok().map(Secret::new),
            SecretSource::File(path) => first_line(&path.resolve(&folder, home.as_deref())),
        }
    })
}

fn first_line(path: &Path) -> Option<Secret> {
    let file = std::fs::File::open(path).ok()?;
    let mut line = String::new();
    std::io::BufReader::new(file.take(LONGEST)).read_line(&mut line).ok()?;
    Some(Secret::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

fn on_terminal(prompt: &str) -> Option<Secret> {
    std::io::stdin().is_terminal().then(|| rpassword::prompt_password(prompt).ok().map(Secret::new))?
}
