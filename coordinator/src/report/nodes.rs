//! Many nodes in few words.

use std::collections::HashMap;
use std::hash::Hash;

/// Names in few words, in their order: `cp1, w1..w62 (63 nodes)`. Three or more names that count up by one are
/// a run; the number of nodes is told when there is a run.
pub fn few_words<S: AsRef<str>>(names: &[S]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = names;
    let mut runs = false;
    while let Some(first) = rest.first() {
        let length = run_length(rest);
        let (run, after) = rest.split_at(length);
        match run {
            [_, .., last] if length >= 3 => {
                parts.push(format!("{}..{}", first.as_ref(), last.as_ref()));
                runs = true;
            }
            run => parts.extend(run.iter().map(|n| n.as_ref().to_owned())),
        }
        rest = after;
    }
    match runs {
        true => format!("{} ({} nodes)", parts.join(", "), names.len()),
        false => parts.join(", "),
    }
}

fn run_length<S: AsRef<str>>(names: &[S]) -> usize {
    let follows = |pair: &&[S]| successor(pair[0].as_ref()).as_deref() == Some(pair[1].as_ref());
    1 + names.windows(2).take_while(follows).count()
}

/// The name with its last number one higher, as wide as before: `w9` to `w10`, `w09` to `w10`, `a1.x` to `a2.x`.
fn successor(name: &str) -> Option<String> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |i| i + 1);
    let digits = &name[start..end];
    let next = digits.parse::<u64>().ok()?.checked_add(1)?;
    let width = if digits.starts_with('0') { digits.len() } else { 0 };
    Some(format!("{}{next:0width$}{}", &name[..start], &name[end..]))
}

/// Items that are equal by `key`, together, in the order of their first.
pub(crate) fn grouped<'a, T, K: Eq + Hash>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<Vec<&'a T>> {
    let mut index: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<Vec<&T>> = Vec::new();
    for item in items {
        let at = *index.entry(key(item)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}
