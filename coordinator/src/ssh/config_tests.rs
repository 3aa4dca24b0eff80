use super::*;

#[test]
fn jump_hosts_in_all_spellings() {
    let hop = |user: Option<&str>, address: &str, port| {
        let (user, address) = (user.map(str::to_owned), address.to_owned());
        Some(WantedHop { user, address, port, ..WantedHop::default() })
    };
    assert_eq!(parse_jump("bastion"), hop(None, "bastion", None));
    assert_eq!(parse_jump("ops@bastion:2222"), hop(Some("ops"), "bastion", Some(2222)));
    assert_eq!(parse_jump("ssh://ops@[2001:db8::1]:2222/"), hop(Some("ops"), "2001:db8::1", Some(2222)));
    assert_eq!(parse_jump("2001:db8::1"), hop(None, "2001:db8::1", None));
    for bad in ["", "@h", "-oProxyCommand=x", "h:x", "h:70000", "[h", "a b"] {
        assert_eq!(parse_jump(bad), None, "{bad}");
    }
}

#[test]
fn an_answer_of_ssh() {
    let answer = Answer::parse(
        "user ops\nhostname 192.0.2.1\nport 2222\nidentityfile ~/.ssh/%h\nidentityfile /k\nidentitiesonly yes\n\
         globalknownhostsfile /etc/g /etc/g2\nuserknownhostsfile /u /u2\nproxyjump a,ops@b:1\nconnecttimeout 7\n",
    );
    assert_eq!(answer.known_hosts, ["/u", "/u2", "/etc/g", "/etc/g2"]);
    assert_eq!(answer.jumps("h").unwrap(), ["a", "ops@b:1"].map(|hop| parse_jump(hop).unwrap()));
    assert_eq!(answer.connect_timeout, Some(Duration::from_secs(7)));
    assert!(answer.identities_only);
    let proxied = Answer::parse("proxycommand nc %h %p\n");
    assert_eq!(proxied.jumps("h"), Err(ConfigError::ProxyCommand { host: "h".into() }));
}

fn wanted(address: &str) -> Wanted {
    let hop = WantedHop { address: address.to_owned(), ..WantedHop::default() };
    Wanted { node: "w1".into(), hop, ..Wanted::default() }
}

#[tokio::test]
async fn the_rack_wins() {
    let resolver = Resolver::new(&Source::None);
    let mut wanted = wanted("192.0.2.1");
    wanted.hop.port = Some(2222);
    wanted.hop.user = Some("ops".into());
    wanted.hop.identities = vec!["~/k".into()];
    wanted.jump = Some(vec![parse_jump("root@bastion:2").unwrap()]);
    let target = resolver.target(&wanted).await.unwrap();
    assert_eq!((target.endpoint.port, target.endpoint.user.as_str()), (2222, "ops"));
    assert_eq!(target.endpoint.identities, [resolver.home.join("k")]);
    assert_eq!((target.jump[0].host.as_str(), target.jump[0].user.as_str()), ("bastion", "root"));
    assert!(target.endpoint.known_hosts[0].ends_with(".ssh/known_hosts"));
}

#[tokio::test]
async fn a_file_for_ssh_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let text = "Host w1\n HostName 192.0.2.7\n ProxyJump b2\nHost b2\n ProxyJump ops@b1:2222\n User root\n\
                Host loop\n ProxyJump loop2\nHost loop2\n ProxyJump loop\n\
                Host *\n Port 2022\n User me\n UserKnownHostsFile /kh/%h\n IdentityAgent none\n ConnectTimeout 3\n";
    #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
    std::fs::write(&file, text).unwrap();
    let resolver = Resolver::new(&Source::File(file));
    assert!(resolver.per_host);
    let target = resolver.target(&wanted("w1")).await.unwrap();
    assert_eq!((target.endpoint.host.as_str(), target.endpoint.port), ("192.0.2.7", 2022));
    assert_eq!(target.endpoint.known_hosts[0], Path::new("/kh/192.0.2.7"));
    assert_eq!((&target.endpoint.agent_socket, target.deadlines.connect), (&None, Duration::from_secs(3)));
    let way: Vec<String> = target.jump.iter().map(|hop| format!("{}@{hop}", hop.user)).collect();
    assert_eq!(way, ["ops@b1:2222", "root@b2:2022"]);
    assert!(matches!(resolver.target(&wanted("loop")).await, Err(ConfigError::TooManyJumps(_))));
    assert!(matches!(resolver.target(&wanted("-oX")).await, Err(ConfigError::Failed { .. })));
}

#[tokio::test]
async fn one_answer_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
    std::fs::write(&file, "User ops\nProxyJump bastion\n").unwrap();
    let resolver = Resolver::new(&Source::File(file.clone()));
    assert!(!resolver.per_host);
    let first = resolver.target(&wanted("192.0.2.1")).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
    std::fs::remove_file(&file).unwrap();
    let second = resolver.target(&wanted("192.0.2.2")).await.unwrap();
    assert_eq!((first.endpoint.host.as_str(), second.endpoint.host.as_str()), ("192.0.2.1", "192.0.2.2"));
    assert_eq!((second.endpoint.user.as_str(), second.jump[0].host.as_str()), ("ops", "bastion"));
}
