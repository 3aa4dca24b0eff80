//! `check` and `plan` look, and leave everything as it was.

use rackwright_lab::{Spec, need_lab};

use crate::run::{Rack, assert_same};

#[test]
fn looking_changes_nothing_on_any_host() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    let untouched = rack.states();
    rack.ends(0, &["check", "--all"]);
    // The one thing that the first look leaves behind: the program that looks.
    let first = rack.states();
    for (before, after) in untouched.iter().zip(&first) {
        let mut left = before.changes(after);
        left.retain(|line| !line.contains(": d 755 0:0"));
        assert!(left.iter().all(|line| line.contains("/usr/local/lib/rackwright")), "{left:#?}");
        let agents = left.iter().filter(|line| line.contains("/rackwright/agent-")).count();
        assert_eq!(agents, 2, "one file, its mode and its content: {left:#?}");
    }
    for arguments in
        [&["check"][..], &["plan"], &["plan", "--json"], &["plan", "-o", "saved.plan"], &["status"]]
    {
        rack.ends(0, arguments);
        assert_same(&first, &rack.states(), &arguments.join(" "));
    }
    // A host that was prepared is looked at in the same way.
    rack.apply();
    let prepared = rack.states();
    for arguments in [&["check"][..], &["plan"], &["status"]] {
        rack.ends(0, arguments);
        assert_same(&prepared, &rack.states(), &arguments.join(" "));
    }
}

#[test]
fn a_rack_that_is_not_valid_reaches_no_host() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    let before = rack.states();
    rack.edit("strictARP: true", "strictArp: true");
    for command in ["check", "plan", "status"] {
        let said = rack.ends(2, &[command]).stderr;
        assert!(said.contains("strictArp") && said.contains("strictARP"), "{said}");
    }
    rack.ends(2, &["apply", "--yes"]);
    rack.ends(2, &["check", "no-such-rack.yaml"]);
    rack.ends(2, &["no-such-command"]);
    assert_same(&before, &rack.states(), "an invalid rack");
}
