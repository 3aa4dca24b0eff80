//! Virtual machines: kernels and disks of their own. What hosts on this machine's kernel cannot show.

use rackwright_lab::{Lab, Spec, need_vm};

/// A machine is cut off in the middle of its work: what it flushed is there, what it did not is lost, as with any disk
/// that has a cache.
#[test]
fn a_disk_keeps_what_was_flushed_and_loses_the_rest() {
    need_vm!();
    let lab = Lab::up(Spec::test(1).vms_all()).unwrap();
    let host = lab.host("cp1");
    assert_eq!(host.read("cat /sys/block/vda/queue/write_cache").unwrap(), "write back");
    let first = host.boot_id().unwrap();

    host.read("echo kept > /root/kept && sync /root/kept && sync").unwrap();
    host.read("echo lost > /root/lost").unwrap();
    host.kill().unwrap();
    assert_eq!(host.pid(), None);
    host.boot().unwrap();
    let second = host.boot_id().unwrap();
    assert_ne!(first, second);
    assert_eq!(host.read("cat /root/kept").unwrap(), "kept");
    assert!(!host.sh("test -e /root/lost").unwrap().success());
    host.reboot().unwrap();
    assert_ne!(host.boot_id().unwrap(), second);
    assert_eq!(host.read("cat /root/kept").unwrap(), "kept");
}
