//! Two real QEMUs whose disks are files of their own.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ::domain::Definition;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::*;
use crate::accelerator::Accelerator;
use crate::capabilities::{Probe, probe};
use crate::command::{Cont, MigrateContinue, MigrationStatus, QueryStatus, RunState};
use crate::command_line::CommandLine;
use crate::command_line::tests::{EMULATOR, frozen, launch};
use crate::migrate::{self, Means, Side};

/// 64 MiB: more than fits QEMU's buffers and any socket.
const DISK_BYTES: u64 = 64 << 20;

/// A guest with two disks of its own on either side; it runs on the source.
struct Pair {
    source: Probe,
    target: Probe,
    capabilities: Capabilities,
    here: Definition,
    there: Definition,
    directory: TempDir,
}

async fn start(definition: &Definition, incoming: bool) -> Probe {
    let directory = tempfile::tempdir().unwrap();
    let mut launch = launch(definition, &[], directory.path());
    launch.incoming = incoming;
    Probe::start(Path::new(EMULATOR), &CommandLine::new(&launch).unwrap()).await.unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The definition of the guest with its images in a directory, which are made.
fn guest_in(directory: &Path, target_bytes: u64) -> Definition {
    std::fs::create_dir(directory).unwrap();
    let disks: String = [("vda", "qcow2"), ("vdb", "raw")]
        .map(|(target, format)| {
            let path = directory.join(target);
            let path = path.to_str().unwrap();
            run("qemu-img", &["create", "-q", "-f", format, path, &target_bytes.to_string()]);
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{path}'/>\
                 <target dev='{target}' bus='virtio'/></disk>"
            )
        })
        .concat();
    frozen(&format!(
        "<domain type='qemu'><name>mirrored</name><uuid>9c2e5b1e-5c0a-4a3e-9d5c-6a1f5b8d0c11</uuid>\
         <memory unit='MiB'>64</memory><os><type machine='q35'>hvm</type></os><devices>{disks}</devices></domain>"
    ))
}

impl Pair {
    async fn start() -> Self {
        Self::with_target_bytes(DISK_BYTES).await
    }

    async fn with_target_bytes(target_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = guest_in(&directory.path().join("here"), DISK_BYTES);
        let there = guest_in(&directory.path().join("there"), target_bytes);
        let (source, target) = tokio::join!(start(&here, false), start(&there, true));
        let capabilities = probe(Path::new(EMULATOR), Accelerator::Tcg).await.unwrap();
        let pair = Self { source, target, capabilities, here, there, directory };
        pair.write("vda", "-P 1 0 40M").await;
        pair.write("vdb", "-P 2 8M 40M").await;
        // Zeros that were written take no room on the target.
        pair.write("vdb", "-P 0 0 8M").await;
        export(pair.target.qmp(), &pair.disks_there(), &pair.socket()).await.unwrap();
        pair.source.qmp().execute(Cont).await.unwrap();
        pair
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd.sock")
    }

    fn disks_there(&self) -> Vec<&Disk> {
        self.there.domain().disks.iter().collect()
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// A write of the guest on the source.
    async fn write(&self, disk: &str, what: &str) {
        write(&self.source, disk, what).await;
    }

    fn mirrors(&self) -> Mirrors {
        Mirrors::new(self.source.qmp(), &self.capabilities)
    }

    /// Both disks go over.
    async fn mirror(&self) -> Mirrors {
        let mut mirrors = self.mirrors();
        for disk in &self.here.domain().disks {
            mirrors.add(disk, owned(self.connect().await), 0).await.unwrap();
        }
        mirrors
    }

    /// The source's QEMU has its own disks and nothing else, its guest runs and writes, and all that it ever wrote is there.
    async fn ends_as_before(self) {
        let nodes = node_names(self.source.qmp()).await.unwrap();
        let own = ["disk-vda", "disk-vda-file", "disk-vdb", "disk-vdb-file"].map(str::to_owned);
        assert_eq!(nodes, own.into());
        assert_eq!(jobs(self.source.qmp()).await.unwrap(), []);
        assert_eq!(state(&self.source).await, RunState::Running);
        self.write("vda", "-P 9 0 1M").await;
        let Self { source, target, directory, .. } = self;
        source.end().await;
        target.end().await;
        let here = directory.path().join("here");
        holds(&here.join("vda"), "qcow2", "-P 9 0 1M");
        holds(&here.join("vda"), "qcow2", "-P 1 1M 39M");
        holds(&here.join("vdb"), "raw", "-P 2 8M 40M");
    }
}

/// A write to a disk of the guest, by the same way as the guest's own (QEMU's monitor, `qemu-io -d`).
async fn write(qemu: &Probe, disk: &str, what: &str) {
    let line = format!("qemu-io -d /machine/peripheral/disk-{disk}/virtio-backend \"write {what}\"");
    let arguments = json!({ "command-line": line });
    let said = qemu.qmp().execute_value("human-monitor-command", arguments).await.unwrap();
    // What it did goes to QEMU's own output; here comes what it could not do.
    assert_eq!(said, json!(""), "{what}");
}

/// An image that nobody has open holds a pattern.
fn holds(path: &Path, format: &str, what: &str) {
    let read = format!("read {what}");
    run("qemu-io", &["-f", format, "-c", &read, path.to_str().unwrap()]);
}

async fn state(qemu: &Probe) -> RunState {
    qemu.qmp().execute(QueryStatus).await.unwrap().status
}

fn owned(stream: UnixStream) -> OwnedFd {
    // QEMU makes it what it needs it to be.
    stream.into_std().unwrap().into()
}

/// The next end of a mirror.
async fn ended(events: &mut Events) -> (String, Told) {
    events.find(|happened| mirror(happened).filter(|(_, told)| *told != Told::Ready)).await.unwrap()
}

#[tokio::test]
async fn both_sides_are_equal_when_the_guest_moves() {
    let pair = Pair::start().await;
    let mut mirrors = pair.mirror().await;
    pair.write("vda", "-P 3 40M 1M").await;
    mirrors.synchronize().await.unwrap();
    let progress = progress(pair.source.qmp()).await.unwrap();
    assert_eq!(progress.len(), 2);
    for disk in &progress {
        assert!(disk.done_bytes >= 40 << 20 && disk.done_bytes == disk.total_bytes, "{disk:?}");
    }
    pair.write("vdb", "-P 4 60M 1M").await;

    let means = Means { dirty_bitmaps: true, ..Means::default() };
    let (source, target) = (pair.source.qmp(), pair.target.qmp());
    migrate::prepare(source, &pair.capabilities, Side::Source, &means).await.unwrap();
    migrate::prepare(target, &pair.capabilities, Side::Target, &means).await.unwrap();
    let localhost = std::net::Ipv4Addr::LOCALHOST.into();
    let address = migrate::listen(target, &pair.capabilities, localhost).await.unwrap();
    let mut events = Events::of(source);
    migrate::start(source, address).await.unwrap();
    pair.write("vda", "-P 5 50M 1M").await;
    events.status(&[MigrationStatus::PreSwitchover]).await.unwrap();
    mirrors.finish().await.unwrap();
    source.execute(MigrateContinue { state: MigrationStatus::PreSwitchover }).await.unwrap();
    events.status(&[MigrationStatus::Completed]).await.unwrap();

    let refused = target.execute(Cont).await.unwrap_err();
    assert!(refused.to_string().contains("Failed to get \"write\" lock"), "{refused}");
    withdraw(target, &pair.disks_there()).await.unwrap();
    withdraw(target, &pair.disks_there()).await.unwrap();
    target.execute(Cont).await.unwrap();
    assert_eq!(state(&pair.target).await, RunState::Running);
    write(&pair.target, "vda", "-P 6 55M 1M").await;
    let Pair { source, target, directory, .. } = pair;
    source.end().await;
    target.end().await;
    let path = |side: &str, disk: &str| directory.path().join(side).join(disk);
    for (disk, written) in [("vda", 43_u64 << 20), ("vdb", 41 << 20)] {
        let allocated = std::fs::metadata(path("there", disk)).unwrap().blocks() * 512;
        assert!((written..written + (2 << 20)).contains(&allocated), "{disk}: {allocated} of {written}");
    }
    for what in ["-P 1 0 40M", "-P 3 40M 1M", "-P 5 50M 1M"] {
        holds(&path("here", "vda"), "qcow2", what);
        holds(&path("there", "vda"), "qcow2", what);
    }
    // What came after the move is there alone.
    holds(&path("there", "vda"), "qcow2", "-P 6 55M 1M");
    holds(&path("here", "vda"), "qcow2", "-P 0 55M 1M");
    let [here, there] = ["here", "there"].map(|side| path(side, "vdb").to_str().unwrap().to_owned());
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &here, &there]);
    holds(&path("there", "vdb"), "raw", "-P 4 60M 1M");
}

#[tokio::test]
async fn a_guest_that_writes_faster_than_its_disk_goes_over_is_slowed_down() {
    let pair = Pair::start().await;
    let mut mirrors = pair.mirrors();
    // A disk of which all is written again and again, several times within the time that one pass takes.
    mirrors.add(&pair.here.domain().disks[1], owned(pair.connect().await), 24 << 20).await.unwrap();
    let writing = async {
        loop {
            for at in ["8M", "16M", "24M", "32M", "40M"] {
                pair.write("vdb", &format!("-P 2 {at} 8M")).await;
            }
        }
    };
    let synchronized = tokio::select! {
        synchronized = timeout(std::time::Duration::from_secs(120), mirrors.synchronize()) => synchronized,
        () = writing => unreachable!("it writes for ever"),
    };
    synchronized.expect("it is never ready").unwrap();
    abort(pair.source.qmp()).await.unwrap();
    pair.ends_as_before().await;
}

#[tokio::test]
async fn a_target_that_dies_costs_the_guest_nothing() {
    let pair = Pair::start().await;
    let mut events = Events::of(pair.source.qmp());
    let mut mirrors = pair.mirror().await;
    mirrors.synchronize().await.unwrap();
    pair.target.process.kill();
    pair.target.process.exited().await;
    // Without a write nobody would notice.
    pair.write("vda", "-P 7 0 1M").await;
    let (disk, told) = ended(&mut events).await;
    assert_eq!(disk, "vda");
    assert!(matches!(told, Told::Failed { .. }), "{told:?}");
    assert!(mirrors.finish().await.is_err());
    abort(pair.source.qmp()).await.unwrap();
    pair.ends_as_before().await;
}

#[tokio::test]
async fn a_target_that_withdraws_breaks_the_copy_off() {
    let pair = Pair::start().await;
    let mut mirrors = pair.mirrors();
    let disk = &pair.here.domain().disks[0];
    // Slow enough to be under way for a minute.
    mirrors.add(disk, owned(pair.connect().await), 1 << 20).await.unwrap();
    withdraw(pair.target.qmp(), &pair.disks_there()).await.unwrap();
    let error = mirrors.synchronize().await.unwrap_err();
    assert!(matches!(&error, MirrorError::Failed { disk, .. } if disk == "vda"), "{error}");
    abort(pair.source.qmp()).await.unwrap();
    pair.ends_as_before().await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_breaks_the_copy_off() {
    let pair = Pair::start().await;
    let line = CommandLine::probe("q35", Accelerator::Tcg, None);
    let source = Probe::start(Path::new(EMULATOR), &line).await.unwrap();
    // The guest's disk, broken, where a mirror looks for it.
    let path = pair.directory.path().join("here/vdb");
    let options = json!({
        "driver": "raw", "node-name": "disk-vdz",
        "file": {
            "driver": "blkdebug", "inject-error": [{ "event": "read_aio", "errno": 5 }],
            "image": { "driver": "file", "filename": path, "read-only": true },
        },
        "read-only": true,
    });
    source.qmp().execute_value("blockdev-add", options).await.unwrap();
    let mut disk = pair.here.domain().disks[1].clone();
    disk.target = "vdz".into();
    let mut mirrors = Mirrors::new(source.qmp(), &pair.capabilities);
    let error = mirrors.add(&disk, owned(pair.connect().await), 0).await.unwrap_err();
    assert!(error.to_string().contains("reach the target's image of"), "no export has its name: {error}");
    let there = &pair.there.domain().disks[1];
    let export = BlockExportAdd {
        kind: ExportType::Nbd,
        id: "broken".into(),
        node_name: copy(there).pop().unwrap().node_name,
        name: "vdz".into(),
        writable: true,
    };
    pair.target.qmp().execute(export).await.unwrap();
    mirrors.add(&disk, owned(pair.connect().await), 0).await.unwrap();
    let error = mirrors.synchronize().await.unwrap_err();
    let MirrorError::Unreadable { disk } = error else { panic!("{error}") };
    assert_eq!(disk, "vdz");
    abort(source.qmp()).await.unwrap();
    assert!(!node_names(source.qmp()).await.unwrap().contains("mirror-vdz"));
    source.end().await;
    pair.ends_as_before().await;
}

#[tokio::test]
async fn an_image_that_is_too_small_breaks_the_copy_off() {
    let pair = Pair::with_target_bytes(DISK_BYTES / 2).await;
    let mut mirrors = pair.mirrors();
    mirrors.add(&pair.here.domain().disks[1], owned(pair.connect().await), 0).await.unwrap();
    let error = mirrors.synchronize().await.unwrap_err();
    assert!(matches!(&error, MirrorError::Failed { disk, .. } if disk == "vdb"), "{error}");
    abort(pair.source.qmp()).await.unwrap();
    pair.ends_as_before().await;
}

#[tokio::test]
async fn a_connection_that_stands_still_ends_when_it_is_closed() {
    let pair = Pair::start().await;
    let (ours, qemus) = UnixStream::pair().unwrap();
    let (stalled, stands) = oneshot::channel();
    let server = pair.connect().await;
    let (closing, close) = oneshot::channel::<()>();
    let relay = tokio::spawn(carry_a_little(ours, server, stalled, close));
    let mut mirrors = pair.mirrors();
    mirrors.add(&pair.here.domain().disks[0], owned(qemus), 0).await.unwrap();
    stands.await.unwrap();

    let [progress] = &progress(pair.source.qmp()).await.unwrap()[..] else { panic!("there is one mirror") };
    assert!(progress.done_bytes < progress.total_bytes, "{progress:?}");
    let stuck = abort(pair.source.qmp()).await.unwrap_err();
    assert!(matches!(stuck, AbortError::Stuck { .. }), "{stuck}");
    closing.send(()).unwrap();
    relay.await.unwrap();
    abort(pair.source.qmp()).await.unwrap();
    pair.ends_as_before().await;
}

/// Carries bytes between two streams until 8 MiB have come, then nothing more; closes them when told so.
async fn carry_a_little(
    client: UnixStream,
    server: UnixStream,
    stalled: oneshot::Sender<()>,
    close: oneshot::Receiver<()>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    let questions = async {
        let mut buffer = vec![0; 1 << 16];
        let mut carried = 0;
        while carried < 8 << 20 {
            let count = from_client.read(&mut buffer).await.unwrap();
            to_server.write_all(&buffer[..count]).await.unwrap();
            carried += count;
        }
        stalled.send(()).unwrap();
        close.await.unwrap();
    };
    tokio::select! {
        _ = answers => panic!("the server went first"),
        () = questions => {}
    }
}

fn check(name: &str, data: Value, expect: Option<(&str, Told)>) {
    let event = Event { name: name.into(), data, timestamp: std::time::SystemTime::UNIX_EPOCH };
    assert_eq!(told(&event), expect.map(|(disk, told)| (disk.to_owned(), told)));
}

#[test]
fn events_are_of_a_disk_or_of_something_else() {
    check("BLOCK_JOB_READY", json!({"device": "mirror-vda", "len": 1}), Some(("vda", Told::Ready)));
    check("BLOCK_JOB_COMPLETED", json!({"device": "mirror-vda"}), Some(("vda", Told::Equal)));
    let failed = Told::Failed { reason: "No space left on device".into() };
    let data = json!({"device": "mirror-sda", "error": "No space left on device"});
    check("BLOCK_JOB_COMPLETED", data, Some(("sda", failed)));
    check("BLOCK_JOB_CANCELLED", json!({"device": "mirror-vda"}), Some(("vda", Told::Cancelled)));
    let error = |operation| json!({"device": "mirror-vda", "operation": operation, "action": "report"});
    check("BLOCK_JOB_ERROR", error("read"), Some(("vda", Told::Unreadable)));
    check("BLOCK_JOB_ERROR", error("write"), None);
    check("BLOCK_JOB_CANCELLED", json!({"device": "commit-vda"}), None);
    check("BLOCK_JOB_READY", Value::Null, None);
    check("STOP", Value::Null, None);
}
