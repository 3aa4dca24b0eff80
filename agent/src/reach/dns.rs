//! One DNS question and its answer (RFC 1035): bytes in, bytes out.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use rackwright_proto::reach::{Rcode, Reached, RecordKind};

/// Bytes of a message's header.
const HEADER: usize = 12;
/// The class of the Internet.
const IN: u16 = 1;
/// The most bytes of a name, with its lengths.
const NAME: usize = 255;

/// One question, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    id: u16,
    /// Name, kind and class, as on the wire.
    question: Vec<u8>,
    kind: u16,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) rcode: Rcode,
    pub(super) answers: Vec<String>,
    pub(super) truncated: bool,
}

/// Why a message is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// It has another id or question: it may be late, or forged.
    #[error("the answer is to another question")]
    Another,
    /// It breaks off, or breaks the rules.
    #[error("the answer cannot be understood")]
    Malformed,
}

impl Question {
    /// A question with recursion desired; says why `name` is none.
    pub(super) fn new(id: u16, name: &str, kind: RecordKind) -> Result<Self, String> {
        let bad = || format!("`{name}` is not a DNS name");
        let mut question = Vec::new();
        let labels = name.strip_suffix('.').unwrap_or(name);
        for label in labels.split('.').filter(|_| !labels.is_empty()) {
            let is_plain = label.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
            if !is_plain || !(1..=63).contains(&label.len()) {
                return Err(bad());
            }
            question.push(label.len() as u8);
            question.extend(label.bytes());
        }
        question.push(0);
        if question.len() > NAME {
            return Err(bad());
        }
        let kind = number(kind);
        question.extend(kind.to_be_bytes());
        question.extend(IN.to_be_bytes());
        Ok(Self { id, question, kind })
    }

    /// The message as it is sent.
    pub(super) fn build(&self) -> Vec<u8> {
        let head = [self.id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes);
        [head.as_flattened(), &self.question].concat()
    }

    /// What a message says to this question.
    pub(super) fn answer(&self, message: &[u8]) -> Result<Answer, NoAnswer> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.number()?, reader.number()?);
        let (questions, answers) = (reader.number()?, reader.number()?);
        reader.take(HEADER - reader.at)?;
        // A response, to an ordinary query.
        if id != self.id || flags & 0xf800 != 0x8000 {
            return Err(NoAnswer::Another);
        }
        let rcode = Rcode((flags & 15) as u8);
        // Some servers do not repeat a question that they turn down.
        if questions != 0 || rcode == Rcode::NOERROR {
            let asked = reader.take(self.question.len()).map_err(|_| NoAnswer::Another)?;
            if questions != 1 || !asked.eq_ignore_ascii_case(&self.question) {
                return Err(NoAnswer::Another);
            }
        }
        let truncated = flags & 0x0200 != 0;
        let mut records = Vec::new();
        for _ in 0..answers {
            match reader.record(self.kind) {
                Ok(record) if records.len() < Reached::RECORDS => records.push(record),
                Ok(_) => {}
                // What was cut off may be cut anywhere.
                Err(_) if truncated => break,
                Err(e) => return Err(e),
            }
        }
        Ok(Answer { rcode, answers: records, truncated })
    }
}

fn number(kind: RecordKind) -> u16 {
    match kind {
        RecordKind::A => 1,
        RecordKind::Ns => 2,
        RecordKind::Hinfo => 13,
        RecordKind::Aaaa => 28,
    }
}

fn word(kind: u16) -> String {
    match kind {
        1 => "A".into(),
        2 => "NS".into(),
        5 => "CNAME".into(),
        13 => "HINFO".into(),
        28 => "AAAA".into(),
        other => format!("TYPE{other}"),
    }
}

/// A place in a message.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NoAnswer> {
        let bytes = self.message.get(self.at..).and_then(|rest| rest.get(..length));
        self.at += length;
        bytes.ok_or(NoAnswer::Malformed)
    }

    fn byte(&mut self) -> Result<u8, NoAnswer> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u16, NoAnswer> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A record as text, with its kind in front where that is not `asked`.
    fn record(&mut self, asked: u16) -> Result<String, NoAnswer> {
        self.name()?;
        let kind = self.number()?;
        self.take(6)?;
        let length = usize::from(self.number()?);
        let end = self.at + length;
        let data = self.take(length)?;
        let text = match kind {
            1 => Ipv4Addr::from(exactly(data)?).to_string(),
            28 => Ipv6Addr::from(exactly::<16>(data)?).to_string(),
            // A name may point at what comes before it in the message.
            2 | 5 => Reader { message: &self.message[..end], at: end - length }.name()?,
            13 => {
                let mut data = Reader { message: data, at: 0 };
                format!("{} {}", data.string()?, data.string()?)
            }
            _ => format!("{length} bytes"),
        };
        Ok(if kind == asked { text } else { format!("{} {text}", word(kind)) })
    }

    fn string(&mut self) -> Result<String, NoAnswer> {
        let length = usize::from(self.byte()?);
        Ok(printable(self.take(length)?))
    }

    /// A name without its last dot; the root's is a dot. Every pointer must point before where the part that it
    /// ends began, so that there are no loops.
    fn name(&mut self) -> Result<String, NoAnswer> {
        let (mut text, mut length) = (String::new(), 1);
        let (mut here, mut before) = (Reader { message: self.message, at: self.at }, self.at);
        let mut jumped = false;
        loop {
            let size = here.byte()?;
            match size >> 6 {
                0 if size == 0 => break,
                0 => {
                    let label = here.take(usize::from(size))?;
                    length += 1 + label.len();
                    if length > NAME {
                        return Err(NoAnswer::Malformed);
                    }
                    text.push_str(&printable(label));
                    text.push('.');
                }
                3 => {
                    let target = usize::from(size & 0x3f) << 8 | usize::from(here.byte()?);
                    if !std::mem::replace(&mut jumped, true) {
                        self.at = here.at;
                    }
                    if target >= before {
                        return Err(NoAnswer::Malformed);
                    }
                    (before, here.at) = (target, target);
                }
                _ => return Err(NoAnswer::Malformed),
            }
        }
        if !jumped {
            self.at = here.at;
        }
        Ok(if text.len() > 1 { text.trim_end_matches('.').to_owned() } else { ".".into() })
    }
}

fn exactly<const N: usize>(data: &[u8]) -> Result<[u8; N], NoAnswer> {
    data.try_into().map_err(|_| NoAnswer::Malformed)
}

/// Text that can be shown (RFC 1035 section 5.1).
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'.' | b'\\' | b'"' => text.extend(['\\', char::from(*byte)]),
            byte if byte.is_ascii_graphic() => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            byte => drop(write!(text, "\\{byte:03}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(kind: RecordKind) -> Question {
        Question::new(0x1234, "www.example.", kind).unwrap()
    }

    /// A response with these flags and records.
    fn response(question: &Question, flags: u16, records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = question.build();
        bytes[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        bytes[7] = records.len() as u8;
        bytes.extend(records.concat());
        bytes
    }

    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let head = [0xc00c, kind, IN, 0, 30, data.len() as u16].map(u16::to_be_bytes);
        [head.as_flattened(), data].concat()
    }

    #[test]
    fn a_question_has_the_bytes_of_rfc_1035() {
        let expected =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x1c\x00\x01";
        assert_eq!(asked(RecordKind::Aaaa).build(), expected);
        assert_eq!(Question::new(1, ".", RecordKind::Ns).unwrap().build()[12..], [0, 0, 2, 0, 1]);
    }

    #[test]
    fn what_is_no_name_is_not_asked() {
        let long =
            ["a".repeat(64), ["abc"; 64].join("."), "a..b".into(), "a b".into(), ".a".into(), "ä".into()];
        for name in long {
            assert_eq!(Question::new(1, &name, RecordKind::A), Err(format!("`{name}` is not a DNS name")));
        }
        assert!(Question::new(1, &["abc"; 63].join("."), RecordKind::A).is_ok());
    }

    #[test]
    fn records_are_told_as_text() {
        let a = asked(RecordKind::A);
        let records = [record(5, b"\x03lb\x2e\xc0\x10"), record(1, &[192, 0, 2, 1]), record(99, b"??")];
        let answer = a.answer(&response(&a, 0, &records.each_ref().map(Vec::as_slice))).unwrap();
        assert_eq!(answer.answers, ["CNAME lb\\..example", "192.0.2.1", "TYPE99 2 bytes"]);
        assert_eq!((answer.rcode, answer.truncated), (Rcode::NOERROR, false));
        let host = asked(RecordKind::Hinfo);
        let answer = host.answer(&response(&host, 0, &[&record(13, b"\x03x86\x02\xffs")])).unwrap();
        assert_eq!(answer.answers, ["x86 \\255s"]);
        let six = asked(RecordKind::Aaaa);
        let address = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(
            six.answer(&response(&six, 0, &[&record(28, &address)])).unwrap().answers,
            ["2001:db8::1"]
        );
    }

    #[test]
    fn the_servers_word_is_told() {
        let a = asked(RecordKind::A);
        assert_eq!(a.answer(&response(&a, 2, &[])).unwrap().rcode, Rcode::SERVFAIL);
        let mut bare = response(&a, 5, &[]);
        bare.truncate(HEADER);
        bare[5] = 0;
        assert_eq!(a.answer(&bare).unwrap().rcode, Rcode::REFUSED);
        let mut cut = response(&a, 0x0200, &[&record(1, &[192, 0, 2, 1]), &record(1, &[192, 0, 2, 2])]);
        cut.truncate(cut.len() - 3);
        let answer = a.answer(&cut).unwrap();
        assert_eq!((answer.answers.as_slice(), answer.truncated), (&["192.0.2.1".to_owned()][..], true));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let a = asked(RecordKind::A);
        for other in [
            Question { id: 1, ..a.clone() },
            asked(RecordKind::Ns),
            Question::new(0x1234, "www.example.com", RecordKind::A).unwrap(),
        ] {
            assert_eq!(a.answer(&response(&other, 0, &[])), Err(NoAnswer::Another));
        }
        assert_eq!(a.answer(&a.build()), Err(NoAnswer::Another), "our own question, thrown back");
        let loud = Question::new(0x1234, "WWW.EXAMPLE", RecordKind::A).unwrap();
        assert!(a.answer(&response(&loud, 0, &[])).is_ok());
    }

    #[test]
    fn pointers_that_do_not_go_back_are_refused() {
        let ns = asked(RecordKind::Ns);
        let here = response(&ns, 0, &[]).len() as u16;
        for target in [here + 12, here + 13, 0x3fff] {
            let pointer = (0xc000 | target).to_be_bytes();
            assert_eq!(ns.answer(&response(&ns, 0, &[&record(2, &pointer)])), Err(NoAnswer::Malformed));
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            tail in prop::collection::vec(any::<u8>(), 0..256),
            count in 0..8u8,
            truncated: bool,
        ) {
            let ns = asked(RecordKind::Ns);
            let mut bytes = response(&ns, u16::from(truncated) << 9, &[]);
            bytes[7] = count;
            bytes.extend(&tail);
            let _ = ns.answer(&bytes);
            let _ = ns.answer(&tail);
        }

        #[test]
        fn pointers_everywhere_end(tail in prop::collection::vec(prop_oneof![Just(0xc0u8), 0..64u8], 0..256)) {
            let ns = asked(RecordKind::Ns);
            let mut bytes = response(&ns, 0, &[]);
            (bytes[6], bytes[7]) = (0xff, 0xff);
            bytes.extend(&tail);
            let _ = ns.answer(&bytes);
        }
    }
}
