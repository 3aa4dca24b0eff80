//! Answers to the questions that logging in and sudo ask: from the terminal, the environment or a file, as the
//! rack says. An answer is never logged and never in an argument.

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::rack::Loaded;
use crate::rack::model::ssh::SecretSource;
use crate::ssh::{Ask, Question, Secret};

/// The longest secret that is read from a file, in bytes.
const LONGEST: u64 = 4096;

/// Where answers come from, for a whole rack.
struct Answers {
    /// By node.
    sudo: HashMap<String, SecretSource>,
    /// By key file.
    keys: HashMap<PathBuf, SecretSource>,
    folder: PathBuf,
    home: Option<PathBuf>,
    /// What was asked for already, by source and prompt: nodes that share both share the answer. Held while a
    /// person is asked, so that two questions never mix on the terminal.
    given: Mutex<HashMap<(SecretSource, String), Option<Secret>>>,
}

/// Who answers what, for a whole rack.
pub fn answers(loaded: &Loaded, home: Option<PathBuf>) -> Ask {
    let (mut sudo, mut keys) = (HashMap::new(), HashMap::new());
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
    let answers = Answers { sudo, keys, folder: loaded.folder.clone(), home, given: Mutex::default() };
    Arc::new(move |question| answers.to(question))
}

impl Answers {
    fn to(&self, question: &Question) -> Option<Secret> {
        let (source, prompt) = match question {
            Question::Sudo { user, node } => {
                (self.sudo.get(node), format!("Password of {user} for sudo on the nodes: "))
            }
            Question::Passphrase(path) => {
                (self.keys.get(path), format!("Passphrase of {}: ", path.display()))
            }
        };
        let source = source.unwrap_or(&SecretSource::Prompt);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = given.entry((source.clone(), prompt.clone()));
        asked.or_insert_with(|| answer(source, &prompt, &self.folder, self.home.as_deref())).clone()
    }
}

fn answer(source: &SecretSource, prompt: &str, folder: &Path, home: Option<&Path>) -> Option<Secret> {
    match source {
        SecretSource::Prompt => on_terminal(prompt),
        SecretSource::Env(name) => {
            let found = std::env::var(name.as_str());
            found.map(Secret::new).inspect_err(|_| tracing::warn!("the environment has no {name}")).ok()
        }
        SecretSource::File(path) => {
            let path = path.resolve(folder, home);
            let line = first_line(&path);
            line.inspect_err(|e| tracing::warn!("read the secret in {}: {e}", path.display())).ok()
        }
    }
}

fn first_line(path: &Path) -> std::io::Result<Secret> {
    let mut line = Zeroizing::new(String::new());
    std::io::BufReader::new(std::fs::File::open(path)?.take(LONGEST)).read_line(&mut line)?;
    Ok(Secret::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

fn on_terminal(prompt: &str) -> Option<Secret> {
    std::io::stdin().is_terminal().then(|| rpassword::prompt_password(prompt).ok().map(Secret::new))?
}
