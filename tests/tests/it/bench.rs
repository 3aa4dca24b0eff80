//! That the benchmark runs and tells. How fast anything is, it does not judge: that is for a quiet machine.

use std::process::Command;

use rackwright_lab::{RackName, need_lab};

use crate::traces;

#[test]
fn the_benchmark_runs_and_prints_a_table() {
    need_lab!();
    let rack = RackName::of_test();
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["bench", "--debug", "--hosts", "1", "--runs", "1", "--name", &rack.to_string()])
        .output()
        .unwrap();
    let (said, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{talk}");
    for row in ["    1 first ", "    1 no change "] {
        let row = said.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{said}"));
        assert!(!row.contains("NaN"), "{said}");
    }
    assert!(said.contains("of the floor (goal: 1.3)"), "{said}");
    assert!(said.contains("probe: off"), "{said}");
    traces::assert_none(&rack);
}
