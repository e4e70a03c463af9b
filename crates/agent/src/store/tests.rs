//! What the release before this one left is read as it was meant, and so is what a later one adds. The files in
//! `tests/previous` are that release's own: the two sides of a third migration, copied while memory went over.

use std::path::{Path, PathBuf};

use migration::owner::OwnerRecord;
use migration::phase::Phase;
use uuid::Uuid;

use super::Store;
use crate::guest::{GuestRecord, RECORD};
use crate::journal::Journal;

fn files(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/previous").join(of)
}

/// A store with a copy of a host's files: a journal is cut where it is torn.
fn copied(host: &str) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    copy(&files(host), directory.path());
    let state_dir = directory.path().to_owned();
    let store = Store { run_dir: state_dir.join("run"), log_dir: state_dir.join("log"), state_dir };
    (directory, store)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// The one domain of the files.
fn web1() -> Uuid {
    Uuid::from_u128(0xf3b0_3d45_2399_40f4_9909_95dc_9177_f147)
}

#[test]
fn a_source_of_the_previous_release_is_read() {
    let (_directory, store) = copied("source");
    let definitions = store.definitions().unwrap();
    let [(definition, record)] = &definitions[..] else { panic!("{definitions:?}") };
    assert_eq!((definition.domain().uuid, record.moved.as_ref()), (Some(web1()), None));
    let guest = store.read_run::<GuestRecord>(web1(), RECORD).unwrap().unwrap();
    assert_eq!((guest.uuid, guest.generation, guest.kvm), (web1(), 3, false));
    assert_eq!(guest.taps, ["tapd857192a-0"]);
    assert_eq!(guest.owner_record.as_deref(), Some(Path::new("/srv/guests/web1.qcow2.ferry")));
    domain::Definition::parse(&guest.xml).unwrap();
    insta::assert_snapshot!(told(&store), @r"
    Source, kvm1 to kvm2: Some(Moved)
    Target, kvm2 to kvm1: Some(Running)
    Source, kvm1 to kvm2: Some(Pledging)
    Source Some(Moved): 232039532 bytes
    Target Some(Moved): 0 bytes
    ");
}

#[test]
fn a_target_of_the_previous_release_is_read() {
    let (_directory, store) = copied("target");
    let definitions = store.definitions().unwrap();
    let [(_, record)] = &definitions[..] else { panic!("{definitions:?}") };
    assert_eq!(record.moved.as_ref().map(|moved| moved.host.as_str()), Some("kvm1"));
    let guest = store.read_run::<GuestRecord>(web1(), RECORD).unwrap().unwrap();
    assert_eq!(guest.generation, 4);
    insta::assert_snapshot!(told(&store), @r"
    Target, kvm1 to kvm2: Some(Running)
    Source, kvm2 to kvm1: Some(Moved)
    Target, kvm1 to kvm2: Some(Receiving)
    Target Some(Moved): 0 bytes
    Source Some(Moved): 225260586 bytes
    ");
    let open = store.journals().unwrap().pop().unwrap();
    let (_, decoded) = Journal::open(&open).unwrap();
    let (live, inactive) = store.read_arrival(decoded.opened().unwrap().migration);
    assert_eq!(live.unwrap().domain().uuid, Some(web1()));
    assert_eq!(inactive.unwrap().domain().uuid, Some(web1()));
}

/// Every journal's side and last phase, and every report's outcome.
fn told(store: &Store) -> String {
    let mut lines = Vec::new();
    for path in store.journals().unwrap() {
        let bytes = std::fs::metadata(&path).unwrap().len();
        let (_, decoded) = Journal::open(&path).unwrap();
        assert_eq!(decoded.whole_bytes as u64, bytes, "nothing of {} is lost", path.display());
        let opened = decoded.opened().unwrap();
        let last: Option<Phase> = decoded.last_phase().map(|(phase, _)| phase);
        lines.push(format!("{:?}, {} to {}: {last:?}", opened.side, opened.source, opened.target));
    }
    let mut reports = store.reports().unwrap();
    reports.sort_by_key(|migration| migration.report.id);
    lines.extend(reports.iter().map(|migration| {
        format!(
            "{:?} {:?}: {} bytes",
            migration.role, migration.report.outcome, migration.report.memory.sent_bytes
        )
    }));
    lines.join("\n")
}

#[test]
fn an_owner_record_of_the_previous_release_is_read() {
    let record = OwnerRecord::from_bytes(&std::fs::read(files("owner.ferry")).unwrap()).unwrap();
    assert_eq!((record.host.as_str(), record.generation), ("kvm1", 3));
}

#[test]
fn what_a_later_release_adds_is_overlooked() {
    let (directory, store) = copied("source");
    let mut met = 0;
    for host in ["domains", "migrations", &format!("run/{}", web1())] {
        for path in super::list(&directory.path().join(host), "json").unwrap() {
            let mut value: serde_json::Value = super::read_json(&path).unwrap().unwrap();
            value["invented_later"] = serde_json::json!({ "by": ["a", "release"] });
            std::fs::write(&path, super::json(&value)).unwrap();
            met += 1;
        }
    }
    assert_eq!(met, 4);
    assert_eq!(store.definitions().unwrap().len(), 1);
    assert_eq!(store.reports().unwrap().len(), 2);
    assert!(store.read_run::<GuestRecord>(web1(), RECORD).unwrap().is_some());
    let mut owner: serde_json::Value = super::read_json(&files("owner.ferry")).unwrap().unwrap();
    owner["invented_later"] = serde_json::json!(true);
    assert!(OwnerRecord::from_bytes(owner.to_string().as_bytes()).is_ok());
}
