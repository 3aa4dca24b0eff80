//! One question to systemd without starting a program: which of these units are active?
//!
//! systemd's manager speaks D-Bus (the D-Bus Specification, version 1 of the protocol) over a socket of its own,
//! the one that systemctl(1) uses as root. Starting `systemctl` for it would cost a host more than all the rest of
//! a look that finds nothing to do. Whatever goes wrong here, the caller may still ask `systemctl`.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::Host;

const SOCKET: &str = "/run/systemd/private";
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest message that is read: an answer has some hundred bytes.
const LONGEST: usize = 64 * 1024;

/// Message types.
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

impl Host {
    /// The `ActiveState` of each unit, in their order: `active`, `inactive`, `failed` and so on.
    pub(super) async fn active_states(&self, units: &[&str]) -> Result<Vec<String>> {
        let work = async {
            let mut stream = BufReader::new(UnixStream::connect(self.path(SOCKET)).await?);
            authenticate(&mut stream).await?;
            let calls: Vec<u8> = (1..).zip(units).flat_map(|(serial, unit)| call(serial, unit)).collect();
            stream.write_all(&calls).await?;
            answers(&mut stream, units.len()).await
        };
        tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
    }
}

async fn authenticate(stream: &mut BufReader<UnixStream>) -> Result<()> {
    let uid = nix::unistd::geteuid().to_string();
    let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes()).await?;
    let mut line = Vec::new();
    (&mut *stream).take(1024).read_until(b'\n', &mut line).await?;
    if line.starts_with(b"OK ") { Ok(()) } else { Err(broken()) }
}

/// Reads until every call has its answer, in the order of the calls; signals in between are passed over.
async fn answers(stream: &mut BufReader<UnixStream>, count: usize) -> Result<Vec<String>> {
    let mut found = vec![None; count];
    while found.iter().any(Option::is_none) {
        let message = read(stream).await?;
        let Some(serial) = message.reply_to else { continue };
        let slot = (serial as usize).checked_sub(1).and_then(|i| found.get_mut(i)).ok_or_else(broken)?;
        *slot = match message.kind {
            METHOD_RETURN => Some(variant_text(&message.body).ok_or_else(broken)?),
            ERROR => return Err(broken()),
            _ => continue,
        };
    }
    Ok(found.into_iter().flatten().collect())
}

struct Message {
    kind: u8,
    reply_to: Option<u32>,
    body: Vec<u8>,
}

async fn read(stream: &mut BufReader<UnixStream>) -> Result<Message> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    if head[0] != b'l' {
        return Err(broken());
    }
    let (body, fields) = (number(&head, 4).ok_or_else(broken)?, number(&head, 12).ok_or_else(broken)?);
    let fields_padded = (fields as usize).next_multiple_of(8);
    let rest = fields_padded.saturating_add(body as usize);
    if rest > LONGEST {
        return Err(broken());
    }
    let mut bytes = vec![0; rest];
    stream.read_exact(&mut bytes).await?;
    let reply_to = reply_serial(&bytes[..fields as usize]);
    Ok(Message { kind: head[1], reply_to, body: bytes.split_off(fields_padded) })
}

/// The call `Get("org.freedesktop.systemd1.Unit", "ActiveState")` on a unit's object, little-endian.
fn call(serial: u32, unit: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, "org.freedesktop.systemd1.Unit");
    put_text(&mut body, "ActiveState");
    let mut message = vec![b'l', 1, 0, 1];
    message.extend((body.len() as u32).to_le_bytes());
    message.extend(serial.to_le_bytes());
    let mut fields = Vec::new();
    put_field(&mut fields, PATH, b'o', &format!("/org/freedesktop/systemd1/unit/{}", escape(unit)));
    put_field(&mut fields, INTERFACE, b's', "org.freedesktop.DBus.Properties");
    put_field(&mut fields, MEMBER, b's', "Get");
    put_field(&mut fields, DESTINATION, b's', "org.freedesktop.systemd1");
    pad(&mut fields, 8);
    fields.extend([SIGNATURE, 1, b'g', 0, 2, b's', b's', 0]);
    message.extend((fields.len() as u32).to_le_bytes());
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

/// A unit's name as the last part of its object's path: all but letters and digits as `_` and two hex digits,
/// a leading digit too (sd_bus_path_encode(3)).
fn escape(unit: &str) -> String {
    let plain = |i: usize, b: u8| b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit());
    let part = |(i, b)| if plain(i, b) { char::from(b).to_string() } else { format!("_{b:02x}") };
    unit.bytes().enumerate().map(part).collect()
}

fn put_field(fields: &mut Vec<u8>, code: u8, kind: u8, text: &str) {
    // The fields begin at a multiple of 8 in their message, so padding by their own length is right.
    pad(fields, 8);
    fields.extend([code, 1, kind, 0]);
    put_text(fields, text);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// The serial that a message answers, from its header fields.
fn reply_serial(fields: &[u8]) -> Option<u32> {
    let mut at = 0usize;
    while at < fields.len() {
        at = at.next_multiple_of(8);
        let (code, kind) = (*fields.get(at)?, *fields.get(at + 2)?);
        at += 4;
        match kind {
            b'u' if code == REPLY_SERIAL => return number(fields, at),
            b'u' => at += 4,
            b'g' => at += 2 + usize::from(*fields.get(at)?),
            b's' | b'o' => at = at.checked_add(5)?.checked_add(number(fields, at)? as usize)?,
            _ => return None,
        }
    }
    None
}

/// The text in a body that holds one variant of type `s`.
fn variant_text(body: &[u8]) -> Option<String> {
    let rest = body.strip_prefix(&[1, b's', 0, 0])?;
    let length = number(rest, 0)? as usize;
    Some(String::from_utf8_lossy(rest.get(4..4usize.checked_add(length)?)?).into_owned())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn broken() -> Error {
    Error::new(ErrorKind::InvalidData, "systemd's socket does not speak as expected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_has_the_object_path_that_systemd_gives_it() {
        assert_eq!(escape("rackwright-drift.timer"), "rackwright_2ddrift_2etimer");
        assert_eq!(escape("9a@b.service"), "_39a_40b_2eservice");
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let message = call(7, "a.timer");
        let fields = number(&message, 12).unwrap() as usize;
        let body = 16 + fields.next_multiple_of(8);
        assert_eq!(number(&message, 8), Some(7));
        assert_eq!(message.len() - body, number(&message, 4).unwrap() as usize);
        assert_eq!(&message[body + 4..body + 33], b"org.freedesktop.systemd1.Unit");
        assert_eq!(reply_serial(&message[16..16 + fields]), None);
    }

    #[test]
    fn an_answer_is_read() {
        let mut fields = vec![SIGNATURE, 1, b'g', 0, 1, b'v', 0, 0];
        fields.extend([REPLY_SERIAL, 1, b'u', 0, 3, 0, 0, 0]);
        assert_eq!(reply_serial(&fields), Some(3));
        assert_eq!(variant_text(b"\x01s\0\0\x06\0\0\0active\0").as_deref(), Some("active"));
    }

    proptest! {
        #[test]
        fn garbage_is_no_answer_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (reply_serial(&bytes), variant_text(&bytes));
        }
    }
}
