//! Swap: off now and after a reboot, by an edit that can be taken back.

use rackwright_lab::{Defect, Spec, need_lab};

use crate::run::Rack;

#[test]
fn swap_in_fstab_is_commented_out_and_comes_back() {
    need_lab!();
    let rack = Rack::up(Spec::test(1).defect("cp1", Defect::SwapFstab));
    let host = rack.host("cp1");
    let look = "cat /etc/fstab; stat -c '%a %U:%G' /etc/fstab; sha256sum /etc/fstab";
    let before = host.read(look).unwrap();
    let plan = rack.ends(0, &["plan"]).stdout;
    assert!(plan.contains("/etc/fstab"), "{plan}");
    assert!(plan.contains("- /swap.img"), "the line is shown: {plan}");
    rack.apply();
    let fstab = host.read("cat /etc/fstab").unwrap();
    let line = fstab.lines().find(|line| line.contains("/swap.img")).unwrap();
    assert!(line.starts_with('#') && line.contains("/swap.img\tnone\tswap\tsw\t0\t0"), "{line}");
    let others =
        |text: &str| text.lines().filter(|l| !l.contains("swap.img")).map(str::to_owned).collect::<Vec<_>>();
    let kept = before.lines().take(fstab.lines().count()).collect::<Vec<_>>().join("\n");
    assert!(
        others(&fstab).iter().all(|l| l.starts_with('#') || others(&kept).contains(l)),
        "{fstab}\n---\n{kept}"
    );
    assert!(rack.apply().stdout.contains("1 unchanged"));
    rack.ends(0, &["revert", "--yes"]);
    assert_eq!(host.read(look).unwrap(), before);
}

#[test]
fn a_line_that_somebody_adds_to_fstab_survives_the_undo() {
    need_lab!();
    let rack = Rack::up(Spec::test(1).defect("cp1", Defect::SwapFstab));
    let host = rack.host("cp1");
    let before = host.read("cat /etc/fstab").unwrap();
    rack.apply();
    host.read("printf 'tmpfs\\t/srv\\ttmpfs\\tnoauto\\t0\\t0\\n' >> /etc/fstab").unwrap();
    rack.ends(0, &["revert", "--yes"]);
    let after = host.read("cat /etc/fstab").unwrap();
    assert_eq!(after, format!("{before}\ntmpfs\t/srv\ttmpfs\tnoauto\t0\t0"));
}

#[test]
fn swap_that_the_rack_leaves_alone_is_left_alone_and_told() {
    need_lab!();
    let rack = Rack::up(Spec::test(1).defect("cp1", Defect::SwapFstab));
    rack.edit("swap: off", "swap: keep");
    let host = rack.host("cp1");
    let before = host.read("cat /etc/fstab").unwrap();
    let said = rack.apply().stdout;
    assert!(said.contains("swap-returns"), "{said}");
    assert_eq!(host.read("cat /etc/fstab").unwrap(), before);
}
