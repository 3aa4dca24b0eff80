//! Receipts outlive the build that wrote them. The golden files of a released shape are never changed, only
//! added to: what is on a host's disk cannot be changed either.

use std::fs;
use std::path::{Path, PathBuf};

use rackwright_agent::host::Host;
use rackwright_agent::journal::{RunDir, parse};
use rackwright_agent::ledger::Book;
use rackwright_proto::event::Record;
use rackwright_proto::receipt::Ledger;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/receipts/v1")
}

/// Families that came later have folders of their own.
fn golden_of_tools() -> PathBuf {
    golden().with_file_name("v1-tools")
}

fn files(suffix: &str) -> Vec<PathBuf> {
    [golden(), golden_of_tools()].iter().flat_map(|folder| files_in(folder, suffix)).collect()
}

fn files_in(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| p.to_string_lossy().ends_with(suffix)).collect();
    files.sort();
    files
}

#[test]
fn every_golden_journal_loads_whole() {
    let files = files(".jsonl");
    assert!(files.len() >= 4);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let (events, whole) = parse(&bytes);
        assert_eq!(whole, bytes.len(), "{}", file.display());
        let strange = events.iter().filter(|e| e.record == Record::Unknown).count();
        let of_later = usize::from(file.ends_with("later.jsonl")) * 2;
        assert_eq!(strange, of_later, "{}", file.display());
    }
}

/// All journals of a folder, put on a host: what follows from them is the golden ledger.
#[test]
fn golden_journals_give_the_golden_ledger() {
    gives(&golden());
    gives(&golden_of_tools());
}

fn gives(folder: &Path) {
    let dir = tempfile::tempdir().unwrap();
    for file in files_in(folder, ".jsonl") {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let run = dir.path().join("var/lib/rackwright/runs").join(name);
        fs::create_dir_all(&run).unwrap();
        fs::copy(&file, run.join("journal.jsonl")).unwrap();
    }
    let ledger = Book::current(&Host::at(dir.path())).unwrap();
    let golden: Ledger = serde_json::from_slice(&fs::read(folder.join("ledger.json")).unwrap()).unwrap();
    assert_eq!(ledger, golden, "{}", serde_json::to_string_pretty(&ledger).unwrap());
}

#[test]
fn the_golden_ledger_loads_and_a_later_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    fs::create_dir_all(dir.path().join("var/lib/rackwright")).unwrap();
    let path = dir.path().join("var/lib/rackwright/ledger.json");
    let text = fs::read_to_string(golden().join("ledger.json")).unwrap();
    fs::write(&path, &text).unwrap();
    assert!(Book::current(&host).unwrap().entries.len() > 3);
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = Book::current(&host).unwrap_err().to_string();
    assert!(error.contains("has format 2, this build knows 1"), "{error}");
}

/// Power may go at any byte: what was whole before is read, and the journal goes on after it.
#[test]
fn a_journal_torn_at_any_byte_reads_as_a_prefix_and_can_be_continued() {
    for file in files(".jsonl") {
        let bytes = fs::read(&file).unwrap();
        let (all, _) = parse(&bytes);
        for cut in 0..=bytes.len() {
            let (events, whole) = parse(&bytes[..cut]);
            assert_eq!(events[..], all[..events.len()], "cut at {cut}");
            assert_eq!(events.len(), bytes[..cut].iter().filter(|b| **b == b'\n').count());
            assert!(whole <= cut);
            // Blocks that were allotted and never written read as zeroes.
            let mut zeroes = bytes[..cut].to_vec();
            zeroes.resize(cut + 512, 0);
            assert_eq!(parse(&zeroes).0, events, "cut at {cut}");
        }
    }
}

#[test]
fn a_torn_line_is_cut_off_before_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    let run = RunDir::of(&host, &"torn".parse().unwrap());
    let path = host.path(run.inside("journal.jsonl"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes = fs::read(golden().join("done.jsonl")).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let before = run.events().unwrap();
    let mut journal = run.journal().unwrap();
    journal.write(Record::Confirmed).unwrap();
    journal.sync().unwrap();
    let after = run.events().unwrap();
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after[before.len()].seq, before[before.len() - 1].seq + 1);
}
