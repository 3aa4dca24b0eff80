//! Modules that a kernel cannot have, and sysctls that are not there.

use rackwright_lab::{Spec, need_lab};

use crate::run::Rack;

#[test]
fn a_module_that_this_kernel_cannot_have_is_a_finding_and_no_failure() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.edit("modules: [overlay]", "modules: [overlay, nvme_tcp]");
    let check = rack.json(0, &["check"]);
    let found = check["findings"].as_array().unwrap();
    let found = found.iter().find(|f| f["subject"] == "nvme_tcp").unwrap();
    assert!(["module-unsupported", "module-missing"].contains(&found["name"].as_str().unwrap()), "{found:#}");
    assert_eq!(found["severity"], "warning", "{found:#}");
    assert_eq!(found["nodes"], serde_json::json!(["cp1"]));
    let said = rack.apply().stdout;
    assert!(said.contains("1 changed"), "{said}");
    // systemd-modules-load.service would fail over it at every boot.
    let listed = rack.host("cp1").read("cat /etc/modules-load.d/rackwright.conf").unwrap();
    assert!(!listed.contains("nvme_tcp"), "{listed}");
    assert!(rack.apply().stdout.contains("1 unchanged"));
    rack.ends(0, &["status"]);
}

#[test]
fn a_sysctl_that_this_kernel_does_not_have_is_told_and_the_rest_is_done() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.edit("{net.ipv4.ip_forward: 1}", "{net.ipv4.ip_forward: 1, net.ipv4.no_such_key: 1}");
    let said = rack.apply().stdout;
    assert!(said.contains("warning: step-unsupported set net.ipv4.no_such_key = 1 on cp1"), "{said}");
    assert!(said.contains("this kernel has no sysctl net.ipv4.no_such_key"), "{said}");
    assert_eq!(rack.host("cp1").read("sysctl -n net.ipv4.ip_forward").unwrap(), "1");
    rack.host("cp1").reboot().unwrap();
    assert_eq!(rack.host("cp1").read("systemctl --failed --no-legend").unwrap(), "");
    assert!(rack.apply().stdout.contains("1 unchanged"));
}
