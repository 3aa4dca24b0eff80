//! The operator's own settings (`kubernetes.istio.file`), parsed strictly: an IstioOperator for the methods `istioctl`
//! and `operator`, values of the charts for `helm`.
//!
//! - [`operator`], [`helm`]: the types.
//! - `language`: how both are read, and what is said about fields that they do not know.
//! - `agree`: whether the file, the rack and the version go together.
//! - `stray`: a `profile` that stands where nobody reads it.

mod agree;
pub mod helm;
mod language;
pub mod operator;
mod stray;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

pub use helm::HelmValues;
pub use operator::IstioOperator;

use crate::rack::Diagnostic;
use crate::rack::checks::Found;
use crate::rack::diagnostic::{Place, render};
use crate::rack::language::read;
use crate::rack::model::kubernetes::{Istio, IstioMethod};
use crate::rack::structure::{Outcome, Problem};
use rackwright_proto::finding::Severity;

/// The largest settings file that is read, in bytes.
pub const LARGEST: usize = 1 << 20;

/// What the operator's file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Settings {
    /// There is no file.
    #[default]
    None,
    /// For `istioctl` and `operator`.
    Operator(Box<IstioOperator>),
    /// For `helm`.
    Helm(Box<HelmValues>),
}

impl Settings {
    /// The namespace of the control plane that they ask for.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Operator(file) => file.value("/global/istioNamespace")?.as_str(),
            Self::Helm(values) => values.istiod.as_ref()?.get("global")?.get("istioNamespace")?.as_str(),
        }
    }
}

/// The file is no settings for this rack. Its `Display` is all diagnostics, rendered.
#[derive(Debug, thiserror::Error)]
#[error("{}", render(name, text, diagnostics))]
pub struct Invalid {
    /// The file as the operator named it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses the operator's file for what the rack says of Istio; with it come warnings. `name` is what the reader of the
/// diagnostics calls the file.
///
/// # Errors
/// When it is too large, not UTF-8, not YAML, not what the method takes, or contradicts the rack.
pub fn parse(istio: &Istio, name: &str, bytes: &[u8]) -> Result<(Settings, Vec<Diagnostic>), Box<Invalid>> {
    let invalid = |text: &str, diagnostics| {
        Box::new(Invalid { name: name.to_owned(), text: text.to_owned(), diagnostics })
    };
    let text = text_of(bytes).map_err(|message| invalid("", vec![whole(message)]))?;
    let result = match istio.method {
        IstioMethod::Helm => values(istio, text),
        IstioMethod::Istioctl | IstioMethod::Operator => operator(istio, text),
    };
    result.map_err(|diagnostics| invalid(text, diagnostics))
}

fn text_of(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > LARGEST {
        return Err(format!("larger than {} MiB, the most that such a file may have", LARGEST >> 20));
    }
    std::str::from_utf8(bytes).map_err(|_| "this is not UTF-8; save the file as UTF-8".to_owned())
}

/// Something wrong with the file as a whole.
fn whole(message: String) -> Diagnostic {
    let (line, column, end_column) = (1, 1, 1);
    Diagnostic {
        severity: Severity::Error,
        path: String::new(),
        message,
        line,
        column,
        end_column,
        help: None,
    }
}

type Read = Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>>;

fn operator(istio: &Istio, text: &str) -> Read {
    let meaning = |outcome| typed(outcome, |file: &IstioOperator, found| agree::operator(istio, file, found));
    let (file, warnings) =
        read(text, &language::OPERATOR, meaning).map_err(|found| stray::explain(istio, text, found))?;
    Ok((Settings::Operator(Box::new(file)), warnings))
}

fn values(istio: &Istio, text: &str) -> Read {
    let meaning = |outcome| typed(outcome, |file: &HelmValues, found| agree::helm(istio, file, found));
    let (file, warnings) = read(text, &language::HELM, meaning)?;
    Ok((Settings::Helm(Box::new(file)), warnings))
}

/// From the structural pass to a type: only what is well-formed is looked at for its meaning.
fn typed<T: DeserializeOwned>(
    outcome: Outcome,
    agree: impl FnOnce(&T, &mut Found<'_>),
) -> Result<(T, Vec<Problem>), Vec<Problem>> {
    if !outcome.problems.is_empty() {
        return Err(outcome.problems);
    }
    let file: T = serde_json::from_value(outcome.value).map_err(|e| {
        // The schema is generated from the types, so this is a gap between the two.
        let message = format!("this file fits the schema but not the program: {e}");
        let (place, path, help) = (Place::default(), String::new(), None);
        vec![Problem { severity: Severity::Error, place, path, message, help }]
    })?;
    let mut found = Found::new(&outcome.places);
    agree(&file, &mut found);
    let problems = found.problems;
    if problems.iter().any(|p| p.severity == Severity::Error) { Err(problems) } else { Ok((file, problems)) }
}
