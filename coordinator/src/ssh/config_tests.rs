use super::*;

#[test]
fn jump_hosts_in_all_spellings() {
    let owned = |user: Option<&str>, host: &str, port| Some((user.map(str::to_owned), host.to_owned(), port));
    assert_eq!(parse_jump("bastion"), owned(None, "bastion", None));
    assert_eq!(parse_jump("ops@bastion:2222"), owned(Some("ops"), "bastion", Some(2222)));
    assert_eq!(parse_jump("ssh://ops@[2001:db8::1]:2222/"), owned(Some("ops"), "2001:db8::1", Some(2222)));
    assert_eq!(parse_jump("2001:db8::1"), owned(None, "2001:db8::1", None));
    for bad in ["", "@h", "-oProxyCommand=x", "h:x", "h:70000", "[h", "a b"] {
        assert_eq!(parse_jump(bad), None, "{bad}");
    }
}

#[test]
fn one_answer_serves_all_unless_hosts_are_told_apart() {
    for (text, apart) in [
        ("", false),
        ("# Host x\nUser ops\n", false),
        ("Host *\n  HashKnownHosts yes\n", false),
        ("host=*\n", false),
        ("Host w1\n User ops\n", true),
        ("Host * !w1\n", true),
        ("Match user ops\n", true),
        ("HostName %h.example\n", true),
    ] {
        assert_eq!(scan_text(text).0, apart, "{text}");
    }
    assert_eq!(scan_text("Include a conf.d/*\n").1, ["a", "conf.d/*"]);
}

#[test]
fn includes_are_followed() {
    let home = tempfile::tempdir().unwrap();
    let ssh = home.path().join(".ssh");
    let write = |name: &str, text: &str| {
        #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
        std::fs::write(ssh.join(name), text).unwrap();
    };
    std::fs::create_dir_all(ssh.join("conf.d")).unwrap();
    write("config", "Include conf.d/*.conf\nInclude config\nInclude missing\n");
    write("conf.d/a.conf", "User ops\n");
    write("conf.d/b.off", "Host w1\n");
    assert!(!tells_hosts_apart(&ssh.join("config"), home.path()));
    write("conf.d/b.conf", "Host w1\n");
    assert!(tells_hosts_apart(&ssh.join("config"), home.path()));
}

#[test]
fn an_answer_of_ssh() {
    let answer = Answer::parse(
        "user ops\nhostname 192.0.2.1\nport 2222\nidentityfile ~/.ssh/%h\nidentityfile /k\nidentitiesonly yes\n\
         globalknownhostsfile /etc/g /etc/g2\nuserknownhostsfile /u /u2\nproxyjump a,ops@b:1\nconnecttimeout 7\n",
    );
    assert_eq!(answer.known_hosts, ["/u", "/u2", "/etc/g", "/etc/g2"]);
    assert_eq!(answer.jumps("h").unwrap(), ["a", "ops@b:1"]);
    assert_eq!(answer.connect_timeout, Some(Duration::from_secs(7)));
    assert!(answer.identities_only);
    let proxied = Answer::parse("proxycommand nc %h %p\n");
    assert_eq!(proxied.jumps("h"), Err(ConfigError::ProxyCommand { host: "h".into() }));
}

#[tokio::test]
async fn the_rack_wins() {
    let resolver = Resolver::new(false);
    let wanted = Wanted {
        node: "w1".into(),
        address: "192.0.2.1".into(),
        port: Some(2222),
        user: Some("ops".into()),
        identities: vec!["~/k".into()],
        jump: Some(vec!["root@bastion:2".into()]),
        ..Wanted::default()
    };
    let target = resolver.target(&wanted).await.unwrap();
    assert_eq!((target.endpoint.port, target.endpoint.user.as_str()), (2222, "ops"));
    assert_eq!(target.endpoint.identities, [resolver.home.join("k")]);
    assert_eq!((target.jump[0].host.as_str(), target.jump[0].user.as_str()), ("bastion", "root"));
    assert!(target.endpoint.known_hosts[0].ends_with(".ssh/known_hosts"));
}
