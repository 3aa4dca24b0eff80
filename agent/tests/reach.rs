//! What a host reaches on a real segment, between network namespaces of this machine.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test has no door"
)]
#![allow(missing_docs)]

mod segment;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use rackwright_proto::link::Mac;
use rackwright_proto::reach::{Asked, Knocked, Rcode, Reach, Reached, RecordKind, Transport};
use segment::{Segment, Space, possible};

/// What two hosts of a segment have, and the addresses to try.
const PAIRS: [[&str; 2]; 2] = [["192.0.2.1/24", "192.0.2.2/24"], ["2001:db8::1/64", "2001:db8::2/64"]];
const THERE: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

/// A segment with one who asks and one who is asked, each of both families.
fn two() -> (Segment, Space, Space) {
    let segment = Segment::new();
    let asker = segment.host("asker", &PAIRS.map(|pair| pair[0]));
    let other = segment.host("other", &PAIRS.map(|pair| pair[1]));
    (segment, asker, other)
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn listener(space: &Space, port: u16) -> TcpListener {
    space.inside(move || TcpListener::bind(("::", port)).unwrap())
}

fn failed(why: &str) -> Reached {
    Reached::Failed { why: why.into() }
}

fn knock(ip: &str, mac: Mac, port: u16) -> Reach {
    Reach::Knock { link: "eth0".parse().unwrap(), address: ip.parse().unwrap(), mac, port }
}

/// Answers one HTTP request on each connection, with what was asked for.
fn serve_http(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            let line =
                String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// The answer of a little DNS server: 192.0.2.53 for all names of kind A, and a refusal of everything else. As
/// a datagram it comes after one to another question.
fn dns_answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    let end = query.len();
    let is_a = query[end - 4..] == [0, 1, 0, 1];
    answer[2] = 0x81;
    answer[3] = if is_a { 0x80 } else { 0x85 };
    if is_a {
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 53]);
    }
    answer
}

fn serve_dns(space: &Space) {
    let (datagrams, streams) =
        space.inside(|| (UdpSocket::bind("[::]:53").unwrap(), TcpListener::bind("[::]:53").unwrap()));
    std::thread::spawn(move || {
        let mut query = [0; 512];
        // The first query is lost.
        datagrams.recv_from(&mut query).unwrap();
        while let Ok((length, from)) = datagrams.recv_from(&mut query) {
            let mut late = dns_answer(&query[..length]);
            late[1] ^= 1;
            datagrams.send_to(&late, from).unwrap();
            datagrams.send_to(&dns_answer(&query[..length]), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in streams.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let answer = dns_answer(&query);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
}

#[test]
fn http_and_tcp_are_answered_in_order() {
    if !possible() {
        return;
    }
    let (_segment, asker, other) = two();
    serve_http(listener(&other, 10249));
    let _open = listener(&other, 80);
    other.nft("add table inet t");
    other.nft("add chain inet t in { type filter hook input priority 0; }");
    other.nft("add rule inet t in tcp dport 81 drop");
    for there in THERE {
        let tcp = |port| Reach::Tcp { address: at(there, port) };
        let get = |path: &str| Reach::Http { address: at(there, 10249), host: None, path: path.into() };
        let reached = asker.reach(vec![get("/proxyMode"), tcp(80), tcp(79), tcp(81), get("no path")]);
        assert_eq!(
            reached[0],
            Reached::Http { status: 200, server: String::new(), body: "GET /proxyMode HTTP/1.0".into() }
        );
        assert!(matches!(reached[1], Reached::Tcp { .. }), "{reached:?}");
        let rest = ["connection refused", "no answer within 1 s", "`no path` is not a path like /healthz"];
        assert_eq!(reached[2..], rest.map(failed));
    }
    let nowhere = asker.reach(vec![Reach::Tcp { address: at("198.51.100.1", 80) }]);
    assert_eq!(nowhere, [failed("network is unreachable")]);
    let many = asker.reach(vec![Reach::Tcp { address: at(THERE[0], 80) }; Asked::MOST + 1]);
    assert_eq!(many.len(), Asked::MOST + 1);
    assert_eq!(many[Asked::MOST], failed("only 256 questions are asked at once"));
}

#[test]
fn dns_is_asked_over_udp_and_tcp() {
    if !possible() {
        return;
    }
    let (_segment, asker, other) = two();
    serve_dns(&other);
    for there in THERE {
        for transport in [Transport::Udp, Transport::Tcp] {
            let ask =
                |kind| Reach::Dns { server: at(there, 53), transport, name: "www.example".into(), kind };
            let reached = asker.reach(vec![ask(RecordKind::A), ask(RecordKind::Hinfo)]);
            let told: Vec<_> = reached
                .iter()
                .map(|reached| match reached {
                    Reached::Dns { rcode, answers, truncated: false, .. } => (*rcode, answers.join(" ")),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(told, [(Rcode::NOERROR, "192.0.2.53".into()), (Rcode::REFUSED, String::new())]);
        }
    }
    let name = "www.example".to_owned();
    let nobody = [Transport::Udp, Transport::Tcp].map(|transport| Reach::Dns {
        server: at(THERE[0], 54),
        transport,
        name: name.clone(),
        kind: RecordKind::A,
    });
    assert_eq!(asker.reach(nobody.to_vec()), [failed("connection refused"), failed("connection refused")]);
}

#[test]
fn a_knock_tells_open_from_refused_rejected_and_silent() {
    if !possible() {
        return;
    }
    let (_segment, asker, other) = two();
    let _open = listener(&other, 80);
    other.nft("add table inet t");
    other.nft("add chain inet t in { type filter hook input priority 0; }");
    other.nft("add rule inet t in tcp dport 81 drop");
    other.nft("add rule inet t in tcp dport 82 reject");
    let from = other.mac("eth0");
    for there in THERE {
        let heard = asker.reach([80, 79, 81, 82].map(|port| knock(there, from, port)).to_vec());
        let Reached::Knock(Knocked::Open { from: opener, .. }) = heard[0] else { panic!("{heard:?}") };
        assert_eq!(opener, from);
        let rest = [
            Knocked::Refused { from },
            Knocked::Silence,
            Knocked::Rejected { from, why: "port unreachable".into() },
        ];
        assert_eq!(heard[1..], rest.map(Reached::Knock));
    }
    // Nobody has this MAC.
    let absent = asker.reach(vec![knock(THERE[0], Mac([2, 0, 0, 0, 0, 9]), 80)]);
    assert_eq!(absent, [Reached::Knock(Knocked::Silence)]);
}

#[test]
fn a_knock_goes_past_what_the_host_itself_does_with_the_address() {
    if !possible() {
        return;
    }
    let (_segment, asker, other) = two();
    let _open = listener(&other, 80);
    other.ip("addr add 192.0.2.200/32 dev lo");
    // As kube-proxy of mode ipvs does: the address is the host's own, too.
    asker.ip("addr add 192.0.2.200/32 dev lo");
    let ordinary = Reach::Tcp { address: at("192.0.2.200", 80) };
    let heard = asker.reach(vec![ordinary, knock("192.0.2.200", other.mac("eth0"), 80)]);
    assert_eq!(heard[0], failed("connection refused"));
    assert!(matches!(heard[1], Reached::Knock(Knocked::Open { .. })), "{heard:?}");
}

#[test]
fn the_kernel_resets_what_a_knock_opened() {
    if !possible() {
        return;
    }
    let (_segment, asker, other) = two();
    let _open = listener(&other, 80);
    asker.reach(THERE.map(|there| knock(there, other.mac("eth0"), 80)).to_vec());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    // Hexadecimal state 03 is SYN_RECV.
    while ["tcp", "tcp6"].iter().any(|file| {
        let table = other.exec(&["cat", &format!("/proc/net/{file}")]);
        table.lines().skip(1).any(|line| line.split_whitespace().nth(3) == Some("03"))
    }) {
        assert!(std::time::Instant::now() < deadline, "a connection stays half open");
        std::thread::yield_now();
    }
}

#[test]
fn a_link_that_cannot_be_knocked_from_says_why() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let on = |link: &str, ip: &str| Reach::Knock {
        link: link.parse().unwrap(),
        address: ip.parse::<IpAddr>().unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 9]),
        port: 80,
    };
    let heard = asker.reach(vec![on("eth9", "192.0.2.2"), on("lo", "192.0.2.2"), on("eth0", "192.0.2.1")]);
    let why =
        ["there is no link eth9", "lo is not an Ethernet link", "eth0 has no IPv4 address to knock from"];
    assert_eq!(heard, why.map(failed));
}
