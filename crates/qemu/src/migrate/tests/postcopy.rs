//! Post-copy between two real QEMUs: switched in the first round, cut, taken up again, and every page right in the end.

use std::io::{Read, Seek, SeekFrom};

use serde::Serialize;

use super::super::postcopy::{RecoverError, has_switched, listen_again, pause, resume, switch};
use super::*;
use crate::command::{Command, Done, Quit};

/// Where the pattern lies in the guest's memory.
const PATTERN_AT: u64 = 16 << 20;

/// As long as it takes some seconds to go over.
const PATTERN_BYTES: usize = 32 << 20;

/// Slow enough to be cut in the middle.
const BYTES_PER_S: u64 = 4 << 20;

/// Writes guest memory into a file.
#[derive(Serialize)]
struct Pmemsave {
    val: u64,
    size: usize,
    filename: PathBuf,
}

impl Command for Pmemsave {
    const NAME: &'static str = "pmemsave";
    type Reply = Done;
}

/// Noise that no two pages share, so that a page that is missing, old or elsewhere shows.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(PATTERN_BYTES / 8).flatten().collect()
}

/// A pair whose source has the pattern in its memory.
async fn pair_with_pattern(directory: &TempDir) -> Pair {
    let file = directory.path().join("pattern");
    std::fs::write(&file, pattern()).unwrap();
    let loader = format!("loader,file={},addr={PATTERN_AT},force-raw=on", file.display());
    Pair::start_with(&[Plain("-device", &loader)]).await
}

async fn slow(pair: &Pair, bytes_per_s: u64) {
    let parameters = MigrationParameters {
        max_bandwidth: Some(bytes_per_s),
        max_postcopy_bandwidth: Some(bytes_per_s),
        ..Default::default()
    };
    pair.source.qmp().execute(MigrateSetParameters { parameters }).await.unwrap();
}

/// Switches in the first round; afterwards the guest runs on the target.
async fn switched(pair: &Pair, means: &Means, target_means: &Means) -> (Events, Events) {
    let (mut at_source, mut at_target) = (Events::of(pair.source.qmp()), Events::of(pair.target.qmp()));
    let address = pair.prepare(means, target_means).await;
    slow(pair, BYTES_PER_S).await;
    start(pair.source.qmp(), address).await.unwrap();
    at_source.status(&[MigrationStatus::Active]).await.unwrap();
    switch(pair.source.qmp()).await.unwrap();
    at_source.status(&[MigrationStatus::PreSwitchover]).await.unwrap();
    assert_eq!(state(&pair.source).await, RunState::FinishMigrate);
    let go = MigrateContinue { state: MigrationStatus::PreSwitchover };
    pair.source.qmp().execute(go).await.unwrap();
    let seen = until(&mut at_source, MigrationStatus::PostcopyActive).await;
    assert!(!seen.contains(&What::Resumed), "{seen:?}");
    at_target.status(&[MigrationStatus::PostcopyActive]).await.unwrap();
    is_soon(&pair.target, RunState::Paused).await;
    // There is no way back.
    assert!(pair.source.qmp().execute(MigrateCancel).await.is_err());
    assert!(pair.source.qmp().execute(Cont).await.is_err());
    pair.target.qmp().execute(Cont).await.unwrap();
    at_target.find(|it| (it.what == What::Resumed).then_some(())).await.unwrap();
    (at_source, at_target)
}

async fn status_of(probe: &Probe) -> MigrationStatus {
    probe.qmp().execute(QueryMigrate).await.unwrap().status.unwrap()
}

/// Lets the rest go over and compares the pattern.
async fn arrives(pair: Pair, mut at_source: Events, mut at_target: Events, directory: &TempDir) {
    let ended = [MigrationStatus::Completed, MigrationStatus::Failed, MigrationStatus::PostcopyPaused];
    slow(&pair, 0).await;
    assert_eq!(at_source.status(&ended).await.unwrap(), MigrationStatus::Completed);
    assert_eq!(at_target.status(&ended).await.unwrap(), MigrationStatus::Completed);
    is_soon(&pair.source, RunState::Postmigrate).await;
    assert_eq!(state(&pair.target).await, RunState::Running);
    pair.source.qmp().execute(Quit).await.unwrap();
    let filename = directory.path().join("arrived");
    let save = Pmemsave { val: PATTERN_AT, size: PATTERN_BYTES, filename: filename.clone() };
    pair.target.qmp().execute(save).await.unwrap();
    let (mut arrived, expected) = (std::fs::read(&filename).unwrap(), pattern());
    assert!(arrived == expected, "a page is missing, old or elsewhere");
    // The comparison can fail.
    let mut file = std::fs::File::open(&filename).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.read_exact(&mut arrived[..4096]).unwrap();
    assert!(arrived != expected);
    pair.end().await;
}

/// The connection breaks in the middle and the migration is taken up again, twice.
async fn cut_and_taken_up(means: Means, target_means: Means) {
    let directory = tempfile::tempdir().unwrap();
    let pair = pair_with_pattern(&directory).await;
    let (mut at_source, mut at_target) = switched(&pair, &means, &target_means).await;
    for _cut in 0..2 {
        assert_eq!(status_of(&pair.source).await, MigrationStatus::PostcopyActive);
        pause(pair.source.qmp()).await.unwrap();
        assert_eq!(status_of(&pair.source).await, MigrationStatus::PostcopyPaused);
        at_source.status(&[MigrationStatus::PostcopyPaused]).await.unwrap();
        pause(pair.source.qmp()).await.unwrap();
        let address = listen_again(pair.target.qmp(), LOOPBACK).await.unwrap();
        at_target.status(&[MigrationStatus::PostcopyPaused]).await.unwrap();
        // A source that did not hear the address asks for another one.
        let again = listen_again(pair.target.qmp(), LOOPBACK).await.unwrap();
        assert!(std::net::TcpStream::connect(address).is_err() || again == address);
        resume(pair.source.qmp(), again).await.unwrap();
        at_source.status(&[MigrationStatus::PostcopyActive]).await.unwrap();
        at_target.status(&[MigrationStatus::PostcopyActive]).await.unwrap();
    }
    arrives(pair, at_source, at_target, &directory).await;
}

#[tokio::test]
async fn a_guest_is_handed_over_and_its_memory_follows() {
    let directory = tempfile::tempdir().unwrap();
    let means = Means { postcopy: true, ..Means::default() };
    let pair = pair_with_pattern(&directory).await;
    let (at_source, at_target) = switched(&pair, &means, &means).await;
    arrives(pair, at_source, at_target, &directory).await;
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_again() {
    let means = Means { postcopy: true, validate_uuid: true, ..Means::default() };
    cut_and_taken_up(means.clone(), means).await;
}

#[tokio::test]
async fn a_broken_encrypted_connection_is_taken_up_again() {
    let directory = certificates();
    let (at_source, at_target) = encrypted(&directory, "kvm2", "CN=kvm1");
    let alone = |means: Means| Means { postcopy: true, multifd_channels: None, ..means };
    cut_and_taken_up(alone(at_source), alone(at_target)).await;
}

#[tokio::test]
async fn a_source_whose_target_died_stands() {
    let directory = tempfile::tempdir().unwrap();
    let means = Means { postcopy: true, ..Means::default() };
    let pair = pair_with_pattern(&directory).await;
    let (mut at_source, _at_target) = switched(&pair, &means, &means).await;
    pair.target.process.kill();
    pair.target.process.exited().await;
    at_source.status(&[MigrationStatus::PostcopyPaused]).await.unwrap();
    assert!(has_switched(&status_of(&pair.source).await));
    assert!(pair.source.qmp().execute(Cont).await.is_err());
    let nobody = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap();
    resume(pair.source.qmp(), nobody).await.unwrap();
    // It fails to connect and can be tried again.
    at_source.status(&[MigrationStatus::PostcopyPaused]).await.unwrap();
    pair.end().await;
}

#[tokio::test]
async fn a_target_that_has_all_its_memory_listens_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let means = Means { postcopy: true, ..Means::default() };
    let pair = pair_with_pattern(&directory).await;
    let (mut at_source, _at_target) = switched(&pair, &means, &means).await;
    slow(&pair, 0).await;
    at_source.status(&[MigrationStatus::Completed]).await.unwrap();
    pause(pair.source.qmp()).await.unwrap();
    let refused = listen_again(pair.target.qmp(), LOOPBACK).await;
    assert!(matches!(refused, Err(RecoverError::Holds)), "{refused:?}");
    pair.end().await;
}
