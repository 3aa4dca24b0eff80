use proptest::prelude::*;
use russh::keys::PublicKey;

use super::*;

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn verdict(file: &str, host: &str, port: u16) -> Verdict {
    let mut known = KnownHosts::default();
    known.parse(Path::new("kh"), file).unwrap();
    let key = PublicKeyOrCertificate::from(PublicKey::from_openssh(A).unwrap());
    known.about(host, port, None).judge(&key, 0)
}

fn line(verdict: &Verdict) -> (&'static str, usize) {
    match verdict {
        Verdict::Trusted(p) => ("trusted", p.line),
        Verdict::Revoked(p) => ("revoked", p.line),
        Verdict::Changed { place, .. } => ("changed", place.line),
        Verdict::Certificate(_) => ("certificate", 0),
        Verdict::Unknown => ("unknown", 0),
    }
}

#[test]
fn lines_of_all_kinds() {
    for (file, host, port, expected) in [
        (format!("h {A}\n"), "h", 22, ("trusted", 1)),
        (format!("\n# h {B}\nx,h {A} some comment\r\n"), "H", 22, ("trusted", 3)),
        (format!("h\t{}\n", A.replace(' ', "\t")), "h", 22, ("trusted", 1)),
        (format!("h {B}\nh {A}\n"), "h", 22, ("trusted", 2)),
        (format!("h {B}\n"), "h", 22, ("changed", 1)),
        (format!("*.x,!bad.x {A}\n"), "good.x", 22, ("trusted", 1)),
        (format!("*.x,!bad.x {A}\n"), "bad.x", 22, ("unknown", 0)),
        (format!("[h]:2222 {A}\n"), "h", 2222, ("trusted", 1)),
        (format!("[h]:2222 {A}\n"), "h", 22, ("unknown", 0)),
        (format!("h {A}\n"), "h", 2222, ("trusted", 1)),
        (format!("h {B}\n"), "h", 2222, ("unknown", 0)),
        (format!("h {A}\n[h]:2222 {B}\n"), "h", 2222, ("changed", 2)),
        (format!("h {A}\n@revoked * {A}\n"), "h", 22, ("revoked", 2)),
        (format!("h {A}\n@revoked\tother {A}\n"), "h", 22, ("trusted", 1)),
        (format!("h ssh-ed25519 AAAA\nh ssh-frob AAAA\n@frob h {A}\nh\nh {A}"), "h", 22, ("trusted", 5)),
        (String::new(), "h", 22, ("unknown", 0)),
    ] {
        assert_eq!(line(&verdict(&file, host, port)), expected, "{file}");
    }
}

#[test]
fn a_revoked_line_that_cannot_be_read_is_an_error() {
    for bad in ["@revoked", "@revoked *", "@revoked * ssh-ed25519 AAAA", "@revoked * ssh-rsa x"] {
        assert!(KnownHosts::default().parse(Path::new("kh"), bad).is_err(), "{bad}");
    }
}

#[test]
fn hashed_names() {
    let salt = [7; 20];
    let hash = STANDARD.encode(name_hash(&salt, "[h]:2222").as_ref());
    let file = format!("|1|{}|{hash} {A}", STANDARD.encode(salt));
    assert_eq!(line(&verdict(&file, "h", 2222)), ("trusted", 1));
    assert_eq!(line(&verdict(&file, "h", 22)), ("unknown", 0));
}

#[test]
fn known_kinds_are_asked_first() {
    let rsa = Algorithm::Rsa { hash: None };
    assert_eq!(order_algorithms(&[]), HOST_KEY_ALGORITHMS);
    assert!(same_kind(&order_algorithms(std::slice::from_ref(&rsa))[0], &rsa));
    assert_eq!(order_algorithms(&[rsa, Algorithm::Ed25519]), HOST_KEY_ALGORITHMS);
}

/// The plain definition, exponential but obvious.
fn naive(name: &[u8], pattern: &[u8]) -> bool {
    match (name, pattern) {
        ([], []) => true,
        (_, [b'*', rest @ ..]) => (0..=name.len()).any(|i| naive(&name[i..], rest)),
        ([_, n @ ..], [b'?', p @ ..]) => naive(n, p),
        ([a, n @ ..], [b, p @ ..]) => a == b && naive(n, p),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_defined(name in "[ab.]{0,8}", pattern in "[ab.*?]{0,8}") {
        prop_assert_eq!(matches_pattern(&name, &pattern), naive(name.as_bytes(), pattern.as_bytes()));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", marked in proptest::bool::ANY) {
        let text = if marked { format!("@revoked {text}") } else { text };
        let _ = KnownHosts::default().parse(Path::new("kh"), &text);
    }
}
