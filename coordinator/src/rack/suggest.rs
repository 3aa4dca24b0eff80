//! Guessing what the operator meant.

use serde_json::{Map, Value};

use super::schema::{self, Want};

/// What an unknown field likely was.
pub(crate) struct Guess {
    /// What to tell.
    pub(crate) help: String,
    /// The field of the same section that was meant.
    pub(crate) sibling: Option<String>,
}

/// Lower-case letters and digits only: `strictArp`, `strict_arp` and `strictARP` are one word.
fn bare(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The candidate that `text` is a slip of, if one is near.
pub fn closest<'c>(text: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let text = bare(&text.chars().take(64).collect::<String>());
    let distance = |candidate: &str| strsim::damerau_levenshtein(&text, &bare(candidate));
    let (best, candidate) = candidates.iter().map(|c| (distance(c), *c)).min_by_key(|(d, _)| *d)?;
    let tolerated = (candidate.chars().count().max(text.chars().count()) + 1) / 3;
    let plural = !text.is_empty() && (bare(candidate).starts_with(&text) && text.len() >= 4);
    (best == 0 || (best <= tolerated && best < text.chars().count()) || plural).then_some(candidate)
}

/// Words of other systems, and what a rack calls them.
const KNOWN_AS: [(&str, &str, &str); 10] = [
    (
        "ssh",
        "password",
        "write `becomePassword: prompt`; to log in, use keys: a password never stands in a rack",
    ),
    ("ssh", "hostKey", "write it at the node: a key belongs to one host"),
    ("ssh", "privateKey", "did you mean `identity`?"),
    ("ssh", "proxyJump", "did you mean `jump`?"),
    ("nodes", "ip", "did you mean `address`?"),
    ("nodes", "host", "did you mean `address`?"),
    ("nodes", "hostname", "did you mean `name`?"),
    ("nodes", "role", "did you mean `roles`, a list?"),
    ("kubernetes.metallb.advertisements", "ipAddressPools", "did you mean `pools`?"),
    ("kubernetes.metallb.pools", "ranges", "did you mean `addresses`?"),
];

/// What to say about `field`, unknown in the section `path` of a rack that knows `names`; `siblings` stand beside it.
pub(super) fn unknown_field(field: &str, path: &str, names: &[&str], siblings: &[&str]) -> Guess {
    let only = |help: String| Guess { help, sibling: None };
    if let Some(help) = istio_operator(field, path, siblings) {
        return only(help);
    }
    let section = without_indices(path);
    if let Some((.., advice)) = KNOWN_AS.iter().find(|(s, f, _)| *s == section && bare(f) == bare(field)) {
        let sibling = names.iter().find(|n| advice.contains(&format!("mean `{n}`"))).map(|n| (*n).to_owned());
        return Guess { help: (*advice).to_owned(), sibling };
    }
    known_elsewhere(field, &section, names, &schema::CATALOGUE)
}

/// What to say about `field`, unknown in a section that knows `names`, by a catalogue of all sections' fields.
pub(crate) fn known_elsewhere(
    field: &str,
    section: &str,
    names: &[&str],
    catalogue: &[(String, String)],
) -> Guess {
    let only = |help: String| Guess { help, sibling: None };
    let here = closest(field, names);
    if let Some(name) = here.filter(|n| bare(n) == bare(field)) {
        return Guess { help: format!("did you mean `{name}`?"), sibling: Some(name.to_owned()) };
    }
    let plural =
        |name: &&str| bare(name) == format!("{}s", bare(field)) || bare(field) == format!("{}s", bare(name));
    if let Some(home) = elsewhere(field, section, catalogue).filter(|_| !here.as_ref().is_some_and(plural)) {
        return only(home);
    }
    match here {
        Some(name) => Guess { help: format!("did you mean `{name}`?"), sibling: Some(name.to_owned()) },
        None => only(format!("known here: {}", names.join(", "))),
    }
}

pub(crate) fn without_indices(path: &str) -> String {
    let mut depth = 0;
    path.chars()
        .filter(|c| {
            depth += i32::from(*c == '[');
            let keep = depth == 0;
            depth -= i32::from(*c == ']');
            keep
        })
        .collect()
}

/// Another section that knows the field, nearest first.
fn elsewhere(field: &str, section: &str, catalogue: &[(String, String)]) -> Option<String> {
    let same = |name: &str| bare(name) == bare(field);
    // Names such as `name` and `path` are known in so many places that naming one would mislead.
    let homes: Vec<&(String, String)> =
        catalogue.iter().filter(|(at, name)| same(name) && at != section).collect();
    if homes.is_empty() || homes.len() > 3 {
        return None;
    }
    let shared = |at: &str| at.split('.').zip(section.split('.')).take_while(|(a, b)| a == b).count();
    let (at, name) = homes.iter().max_by_key(|(at, _)| (shared(at), std::cmp::Reverse(at.len())))?;
    Some(match at.as_str() {
        "" => format!("did you mean `{name}` at the top level?"),
        at => format!("did you mean `{name}` under `{at}`?"),
    })
}

/// An IstioOperator that was pasted into the rack, or instead of one.
fn istio_operator(field: &str, path: &str, siblings: &[&str]) -> Option<String> {
    let pasted = match path {
        "" => field == "spec" && siblings.contains(&"metadata"),
        _ => path.ends_with("istio") && ["spec", "apiVersion", "kind", "metadata"].contains(&field),
    };
    let beside = field == "profile" && siblings.contains(&"spec");
    let advice = "keep the IstioOperator in a file of its own and name it in `kubernetes.istio.file`";
    if beside {
        return Some(format!(
            "`profile` stands beside `spec`; in an IstioOperator it belongs under `spec`. Also, {advice}"
        ));
    }
    pasted.then(|| match siblings.contains(&"profile") {
        true => format!("{advice}; there, `profile` belongs under `spec`, not beside it"),
        false => advice.to_owned(),
    })
}

/// What to say about a missing field.
pub(super) fn missing(name: &str, object: &Map<String, Value>) -> Option<String> {
    let (_, field) = schema::fields(object).find(|(n, _)| *n == name)?;
    let words: Vec<String> = schema::wants(field)
        .iter()
        .filter_map(|w| if let Want::Word(word) = w { Some((*word).to_owned()) } else { None })
        .collect();
    let description = field.get("description").and_then(Value::as_str).unwrap_or_default();
    Some(match words.is_empty() {
        true => format!("add `{name}`: {}", description.trim_end_matches('.')),
        false => format!("add `{name}: {}`", words.join(" | ")),
    })
}

/// What a place wants, in words.
pub(super) fn expected(wants: &[Want<'_>]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for want in wants {
        let part = match want {
            Want::Null => continue,
            Want::Any => "anything".to_owned(),
            Want::Boolean => "true or false".to_owned(),
            Want::Integer { .. } => "a whole number".to_owned(),
            Want::Word(word) => format!("`{word}`"),
            Want::Text { format } => readable(format).to_owned(),
            Want::List { .. } => "a list".to_owned(),
            Want::Object(object) => {
                let names: Vec<&str> = schema::fields(object).map(|(n, _)| n).collect();
                match names.len() {
                    0 => "a mapping".to_owned(),
                    1..=4 => format!("a mapping of {}", names.join(", ")),
                    _ => format!("a mapping ({}, ...)", names[..4].join(", ")),
                }
            }
        };
        parts.push(part);
    }
    parts.dedup();
    match parts.is_empty() {
        true => "nothing".to_owned(),
        false => parts.join(" or "),
    }
}

fn readable(format: &str) -> &'static str {
    match format {
        "address-range" => "an address range",
        "cidr" => "a CIDR",
        "host" => "an IP address or DNS name",
        "ip-address" => "an IP address",
        "local-path" | "absolute-path" => "a path",
        "period" => "a length of time",
        "version" => "a version",
        "host-key" => "a host key",
        _ => "text",
    }
}
