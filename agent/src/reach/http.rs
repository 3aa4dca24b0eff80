//! One `GET` and its answer (RFC 1945, RFC 9112): bytes in, bytes out. HTTP/1.0, so that no answer is chunked.

use std::net::SocketAddr;

use rackwright_proto::reach::Reached;

/// The most bytes of an answer that are read: headers, and the body that is kept.
pub(super) const LIMIT: usize = 16 * 1024 + Reached::BODY;

/// The request; says why `path` or `host` is none.
pub(super) fn request(to: SocketAddr, host: Option<&str>, path: &str) -> Result<Vec<u8>, String> {
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{}` is not a path like /healthz", path.escape_debug()));
    }
    let host = host.map_or_else(|| to.to_string(), str::to_owned);
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{}` is not a name to ask for", host.escape_debug()));
    }
    let text =
        format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: rackwright\r\nConnection: close\r\n\r\n");
    Ok(text.into_bytes())
}

/// Whether all of the answer that is kept is there.
pub(super) fn is_enough(bytes: &[u8]) -> bool {
    let Some((head, body)) = split(bytes) else { return false };
    let length = field(head, "content-length").and_then(|length| length.parse::<usize>().ok());
    body.len() >= length.unwrap_or(Reached::BODY).min(Reached::BODY)
}

/// The answer; `None` for what is no HTTP.
pub(super) fn parse(bytes: &[u8]) -> Option<Reached> {
    let (head, body) = split(bytes)?;
    let mut words = head.lines().next()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = words.next().filter(|status| status.len() == 3)?.parse().ok()?;
    let body = &body[..body.len().min(Reached::BODY)];
    let server = field(head, "server").unwrap_or_default();
    let server = server.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(Reached::SERVER).collect();
    Some(Reached::Http { status, server, body: String::from_utf8_lossy(body).into_owned() })
}

/// The value of a header field, without the blanks around it.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_cannot_smuggle_lines() {
        let to = "127.0.0.1:10249".parse().unwrap();
        assert!(
            request(to, None, "/proxyMode")
                .unwrap()
                .starts_with(b"GET /proxyMode HTTP/1.0\r\nHost: 127.0.0.1:10249\r\n")
        );
        assert!(request(to, None, "proxyMode").is_err());
        assert!(request(to, Some("a\r\nX: b"), "/").is_err());
        let named = String::from_utf8(request(to, Some("web.example"), "/").unwrap()).unwrap();
        assert!(named.contains("\r\nHost: web.example\r\n"));
        assert_eq!(
            request(to, None, "/a\r\nX: b").unwrap_err(),
            "`/a\\r\\nX: b` is not a path like /healthz"
        );
    }

    #[test]
    fn an_answer_is_cut_at_what_is_kept() {
        let short = b"HTTP/1.1 503 Service Unavailable\r\nserver: istio-envoy\r\nContent-Length: 2\r\n\r\nno";
        let read = Reached::Http { status: 503, server: "istio-envoy".into(), body: "no".into() };
        assert_eq!(parse(short), Some(read));
        assert!(is_enough(short));
        assert!(!is_enough(&short[..short.len() - 1]));
        let mut long = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        long.resize(LIMIT, b'x');
        let read = Reached::Http { status: 200, server: String::new(), body: "x".repeat(Reached::BODY) };
        assert_eq!(parse(&long), Some(read));
        assert!(is_enough(&long));
        assert_eq!(parse(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(head in prop::collection::vec(any::<u8>(), 0..64), body: Vec<u8>) {
            let bytes = [b"HTTP/1.1 2".as_slice(), &head, b"\r\n\r\n", &body].concat();
            let _ = (parse(&bytes), is_enough(&bytes), parse(&head));
        }
    }
}
