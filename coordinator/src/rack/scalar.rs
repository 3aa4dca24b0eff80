//! Scalars: the schema says what `off`, `1.30` and `0644` mean, not YAML.
//!
//! - Where text belongs, the raw text counts: `1.30` stays `1.30`, `0644` stays `0644`.
//! - Where yes or no belongs, `true`, `yes`, `on` and their opposites count, as in YAML 1.1.
//! - Where a word belongs and `off` or `none` is one of them, `false` and `no` mean it: programs that
//!   rewrite YAML make `false` of a plain `off`.

use serde_json::Value;

use super::schema::Want;
use super::words::WordError;
use super::{format, suggest};

/// The JSON value of a scalar.
pub(super) fn read(text: &str, plain: bool, wants: &[Want<'_>]) -> Result<Value, WordError> {
    let words: Vec<&str> =
        wants.iter().filter_map(|w| if let Want::Word(word) = w { Some(*word) } else { None }).collect();
    if !words.is_empty() {
        return word(text, plain, &words);
    }
    let mut refusal = None;
    for want in wants {
        let result = match want {
            Want::Boolean => boolean(text, plain),
            Want::Integer { least, most } => integer(text, plain, *least, *most),
            Want::Text { format } => format::check(format, text).map(|()| Value::from(text)),
            _ => continue,
        };
        match result {
            Ok(value) => return Ok(value),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| not_a_scalar(text, wants)))
}

/// The JSON value of a scalar where anything may stand, as YAML's core schema has it. What YAML 1.1 and 1.2 read
/// differently is refused: nobody knows which of them the program speaks that reads it next.
pub(super) fn free(text: &str, plain: bool) -> Result<Value, WordError> {
    let quoted = |what: &str| {
        let message = format!("`{text}` is {what} to some programs and text to others");
        Err(WordError::new(message, format!("write \"{text}\" if text is meant")))
    };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = digits.starts_with(|c: char| c.is_ascii_digit());
    match text {
        _ if !plain => Ok(text.into()),
        "" | "~" | "null" | "Null" | "NULL" => Ok(Value::Null),
        "true" | "True" | "TRUE" => Ok(true.into()),
        "false" | "False" | "FALSE" => Ok(false.into()),
        "y" | "Y" | "n" | "N" => quoted("yes or no"),
        _ if truth(text).is_some() => quoted("yes or no"),
        _ if !number => Ok(text.into()),
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => match text.parse::<i64>() {
            Ok(number) if digits == "0" || !digits.starts_with('0') => Ok(number.into()),
            _ => quoted("a number"),
        },
        _ if looks_octal_or_hex(digits) => quoted("a number"),
        _ if digits.bytes().all(|b| b.is_ascii_digit() || b"._eE+-".contains(&b)) => {
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number.into()),
                _ => Ok(text.into()),
            }
        }
        _ => Ok(text.into()),
    }
}

/// `0x1f`, `0o17`, `0b1`, `1_000`: numbers in one YAML or the other.
fn looks_octal_or_hex(digits: &str) -> bool {
    let radix = |prefix: &str, radix: u32| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    let grouped = digits.contains('_') && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    radix("0x", 16) || radix("0o", 8) || radix("0b", 2) || grouped
}

fn not_a_scalar(text: &str, wants: &[Want<'_>]) -> WordError {
    let help = wants.iter().find_map(|want| match want {
        Want::List { .. } if !text.contains([',', '\n', '[', '{']) => Some(format!("write [{text}]")),
        Want::List { .. } => Some("write [ONE, TWO], or each on a line of its own after `- `".into()),
        _ => None,
    });
    WordError { message: format!("`{text}`, where {} belongs", suggest::expected(wants)), help }
}

/// What YAML 1.1 took for a boolean, in the cases in which it did.
fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn boolean(text: &str, plain: bool) -> Result<Value, WordError> {
    match truth(text) {
        Some(value) if plain => Ok(value.into()),
        Some(value) => Err(WordError::new(
            format!("\"{text}\" in quotes is text"),
            format!("write {value} without quotes"),
        )),
        None => Err(WordError::new(format!("`{text}` is neither true nor false"), "write true or false")),
    }
}

fn integer(text: &str, plain: bool, least: i64, most: i64) -> Result<Value, WordError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number =
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i64>());
    let range = format!("a whole number from {least} to {most}");
    match number {
        None => Err(WordError::new(format!("`{text}` is not a whole number"), format!("write {range}"))),
        Some(Ok(_)) if !plain => Err(WordError::new(
            format!("\"{text}\" in quotes is text"),
            format!("write {text} without quotes"),
        )),
        Some(Ok(n)) if digits.len() > 1 && digits.starts_with('0') => Err(WordError::new(
            format!("`{text}` begins with a zero, which some read as octal"),
            format!("write {n}"),
        )),
        Some(Ok(n)) if (least..=most).contains(&n) => Ok(n.into()),
        _ => Err(WordError::new(format!("`{text}` is out of range"), format!("write {range}"))),
    }
}

fn word(text: &str, plain: bool, words: &[&str]) -> Result<Value, WordError> {
    if words.contains(&text) {
        return Ok(text.into());
    }
    let negative = words.iter().find(|w| matches!(**w, "off" | "none"));
    if let (true, Some(false), Some(word)) = (plain, truth(text), negative) {
        return Ok((*word).into());
    }
    if let [only] = words {
        return Err(WordError::new(
            format!("`{text}`, where only `{only}` is known"),
            format!("write {only}"),
        ));
    }
    let message = format!("`{text}` is none of {}", words.join(", "));
    let help = suggest::closest(text, words).map(|w| format!("did you mean `{w}`?"));
    Err(WordError { message, help })
}
